"""Images."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from .base import CardFacts, Modality
from .examples import Columns, image_examples
from .first_recipe import FirstRecipe, Guess, holds_files, plain_values
from .media_folders import read_media
from .pixels import encoded, image_processor, to_rgb
from .processors import open_image_processor

if TYPE_CHECKING:
    from torch import Tensor


ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")  # of files that are images
SMALL_IMAGE_SOURCE = {"name": "facebook/dinov2-small-imagenet1k-1-layer", "image_size": 112}  # for first recipes


class Picture(Modality):
    """One image per example, encoded until it is read."""

    name = "image"
    column = "image"
    column_help = "the column of images: encoded, or paths from the folder that the data lies in"
    takes = "pixel_values"
    noun = "images"
    on_command_line = "the path of an image"
    pictures = True
    auto_classes = (
        "ImageClassification",
        "ZeroShotImageClassification",
    )  # the second is where a dual encoder's user looks

    def pick(self, names: Sequence[str], columns: Sequence[str]) -> list[str]:
        """The first of `names` that the data has."""
        return [next((name for name in names if name in columns), names[0])]

    def candidates(self, rows: Any, labels: Sequence[str]) -> list[str]:
        """The columns of encoded images or of paths of images; see `Modality.candidates`."""
        from datasets import Image

        values = plain_values(rows)
        return [
            name
            for name, kind in rows.features.items()
            if name not in labels
            and (
                isinstance(kind, Image)
                or holds_files(rows, name, ENDINGS, nameless=True)
                or all(str(path).lower().endswith(ENDINGS) for path in values.get(name, [""]))
            )
        ]

    def guess(self, rows: Any, labels: Sequence[str]) -> Guess | None:
        """The first column that the data declares as images, or that holds encoded images or the paths of images."""
        from datasets import Image

        values = plain_values(rows)
        for name, kind in rows.features.items():
            if name in labels:
                continue
            if isinstance(kind, Image):
                return Guess([name], 1.0, "The column holds images.")
            if holds_files(rows, name, ENDINGS, nameless=True):
                return Guess([name], 1.0, "The column holds encoded images.")
            paths = values.get(name, ())
            if paths and all(isinstance(path, str) and path.lower().endswith(ENDINGS) for path in paths):
                return Guess([name], 1.0, "The column holds the paths of images.")
        return None

    def first_recipe(self, rows: Any, columns: Sequence[str], problem: str) -> FirstRecipe:
        """A program around the image for classes, and one over the whole image for numbers and for several labels."""
        classes = problem == "single_label_classification"
        return FirstRecipe(
            source=SMALL_IMAGE_SOURCE,
            method={"name": "ilm_vp" if classes else "kloberdanz"},
            why="A program around the image; validation chooses the image's size, and a label map or a dense layer."
            if classes
            else "A program on the image and a dense layer, which also gives numbers and several labels.",
            baselines=["majority", "linear_probe"] if classes else ["majority"],
        )

    def read_folder(self, folder: str, named: Sequence[str] = ()) -> Any:
        """The splits of a folder with images; see `hf_reprogram.modalities.media_folders.read_media`."""
        from datasets import Image

        return read_media(folder, ENDINGS, named, self.column, Image())

    def prepare(self, data: Any, columns: list[str], split: str, dataset: str) -> Any:
        """`image`, encoded or as a path, which nothing has opened yet; see `Modality.prepare`."""
        from datasets import Dataset, Image, Value

        (column,) = columns
        kind = data.features[column]
        encoded = isinstance(kind, Image) or (isinstance(kind, dict) and {*kind} == {"bytes", "path"})
        if isinstance(kind, Value) and kind.dtype in ("string", "large_string"):  # a path, from where the data lies
            where = Path(dataset)
            folder = where.parent if where.is_file() else where if where.is_dir() else ""
            data = Dataset.from_dict(
                {column: [os.path.join(folder, path) if path else None for path in data[column][:]]}
            )
        elif not encoded and not (isinstance(kind, Value) and kind.dtype in ("binary", "large_binary")):
            raise InputError(
                f"The column {column!r} of {dataset!r} holds {kind}, which is no image: name a column of encoded images "
                "or of their paths in task.image."
            )
        data = data.select_columns([column])
        return (data if column == "image" else data.rename_column(column, "image")).cast_column("image", Image())

    def encode(self, splits: Mapping[str, Any], processor: Any, max_length: int | None, problem_type: str) -> Any:
        """Pixels (3, height, width) from 0 to 1; see `Modality.encode`."""
        return {name: image_examples(split, processor, name) for name, split in splits.items()}

    def load_processor(self, adapter: str | os.PathLike[str]) -> Any:
        """The image processor: Pillow's, so that pixels are the same everywhere."""
        return open_image_processor(adapter, {"backend": "pil"})

    def raw_processor(self, side: int) -> Any:
        """Resizes to a square."""
        return image_processor((side, side))

    def parse(self, lines: list[str]) -> list[dict[str, Any]]:
        """The path of an image per line, or several separated by tabs; see `Modality.parse`."""
        paths = [path for line in lines for path in line.split("\t")]
        for path in paths:
            if not os.path.isfile(path):
                raise InputError(f"There is no image file {path!r}: this adapter takes the paths of images.")
        return [{"image": path} for path in paths]

    def row_of(self, value: Any) -> dict[str, Any]:
        """See `Modality.row_of`: a path, an encoded image as bytes, or an image of Pillow."""
        from PIL import Image

        if isinstance(value, os.PathLike):
            return super().row_of(os.fspath(value))
        if isinstance(value, Image.Image):
            value = encoded(value)
        return {"image": {"bytes": bytes(value), "path": None}} if isinstance(value, bytes) else super().row_of(value)

    def as_split(self, rows: list[dict[str, Any]]) -> Any:
        """Rows with paths or bytes as a prepared split."""
        values = (row["image"] for row in rows)
        return Columns({"image": [{"bytes": None, "path": one} if isinstance(one, str) else one for one in values]})

    def example(self, text: str, processor: Any) -> tuple[Tensor, str]:
        """Pixels (1, 3, height, width) of the image in a file; see `Modality.example`."""
        from PIL import Image

        try:
            with Image.open(text) as image:
                picture = to_rgb(image)
        except Exception as error:  # Pillow raises many types for what it cannot read, and none in common
            raise InputError(f"The example {text!r} is no image that can be read: {str(error).rstrip('.')}.") from error
        return processor(picture, return_tensors="pt")["pixel_values"], Path(text).name

    def processor_note(self, transform: str) -> str:
        """See `Modality.processor_note`."""
        return " and the image processor that brings images to their size"

    def processor_steps(self, processor: Any) -> str:
        """See `Modality.processor_steps`."""
        size, cut = dict(processor.size), dict(processor.crop_size or {})
        resized = (
            f"Resize the shorter side to {size['shortest_edge']} pixels and cut out the middle {cut['height']} x {cut['width']}"
            if processor.do_center_crop
            else f"Resize to {size['height']} x {size['width']}"
        )
        return (
            "`pixel_values` (images, 3, height, width), float32: Turn the image as its EXIF data say, make it 8-bit RGB, with "
            f"white behind what is transparent. {resized} with Pillow's filter {int(processor.resample)}. Divide by 255."
        )

    def card_example(self, facts: CardFacts) -> str:
        """See `Modality.card_example`."""
        several = f", top_k={len(facts.labels)}" if facts.problem == "multi_label_classification" else ""
        return (
            "import hf_reprogram\nfrom transformers import AutoImageProcessor, pipeline\n\n"
            f'processor = AutoImageProcessor.from_pretrained("{facts.repo_id}", backend="pil")\n'
            f'classify = pipeline("{facts.pipeline_tag}", model="{facts.repo_id}", image_processor=processor)\n'
            f'classify("image.png"{several}){facts.remark}'
        )


IMAGE = Picture()
