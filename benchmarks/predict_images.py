"""A parquet file of small pictures, from the file to the labels in another: `predict_file` against plain transformers.

    plain       the bare classifier without a program: pictures decoded, resized to its canvas and normalised by the image
                processor of its folder in batches of 64, and its own labels
    file        `predict_file` with an adapter of ILM-VP on the same source, which reads and writes a part of the file at a time

The model is loaded in each way. Pictures are PNG files of 32 x 32 pixels: random ones, or those of `--data`, a parquet file
with a column `image` or `img`. `--source` is a folder with an image classifier and its image processor.

Equality: the probabilities that the adapter gives picture by picture, against those in the file. With more than 1,000 pictures
nothing is run once before it is timed.
"""

from __future__ import annotations

import io
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from common import alternate, parser, report, start
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification, pipeline

from hf_reprogram import reprogram
from hf_reprogram.experiments.predictions import iter_predictions, predict_file

BATCH, CHECKED = 64, 32


def main() -> None:
    """Compare, print, write."""
    arguments = parser(__doc__, rounds=3)
    arguments.add_argument("--images", type=int, default=256, help="pictures of the file (default: %(default)s)")
    arguments.add_argument("--data", help="parquet file with the pictures (default: random ones)")
    options = start(arguments)
    if not options.source:
        raise SystemExit("Give --source: the folder of an image classifier with its image processor.")
    with TemporaryDirectory() as name:
        folder = Path(name)
        pictures = pictures_of(options.data, options.images)
        pq.write_table(
            pa.table({"image": [{"bytes": one, "path": None} for one in pictures]}), folder / "images.parquet"
        )
        torch.manual_seed(1)
        labels = [str(number) for number in range(10)]
        model, processor = reprogram(options.source, "ilm_vp", labels, mapping="dense", start="none")
        model.save_pretrained(folder / "adapter")
        processor.save_pretrained(folder / "adapter")
        adapter, found = str(folder / "adapter"), folder / "found.csv"

        def file() -> None:
            found.unlink(missing_ok=True)
            predict_file(adapter, folder / "images.parquet", found, quiet=True)

        paths = {"plain": lambda: plain(options.source, folder / "images.parquet"), "file": file}
        cpu, wall = alternate(paths, options.rounds, warmup=int(options.images <= 1000))
        records = list(islice(iter_predictions(adapter, folder / "images.parquet", quiet=True), CHECKED))
        error = alone(adapter, records, [Image.open(io.BytesIO(one)).convert("RGB") for one in pictures[:CHECKED]])
    report(
        "predict_images",
        f"{options.images:,} pictures from a parquet file to a csv file",
        options,
        cpu,
        wall,
        {"a file, against the plain source": ("plain", "file")},
        {f"difference in the score of {CHECKED} pictures (absolute)": (error, 1e-5)},
    )


def pictures_of(file: str | None, count: int) -> list[bytes]:
    """PNG files of the first pictures of a parquet file, or of random ones with 32 x 32 pixels."""
    if file:
        table = pq.read_table(file)
        column = table[next(name for name in ("image", "img") if name in table.column_names)][:count]
        return [one["bytes"] for one in column.to_pylist()]
    draw, found = np.random.default_rng(0), []
    for _ in range(count):
        written = io.BytesIO()
        Image.fromarray(draw.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(written, "PNG")
        found.append(written.getvalue())
    return found


@torch.no_grad()
def plain(source: str, file: Path) -> list[int]:
    """The labels that the source alone gives."""
    model = AutoModelForImageClassification.from_pretrained(source).eval()
    processor, labels = AutoImageProcessor.from_pretrained(source), []
    for part in pq.ParquetFile(file).iter_batches(BATCH):
        images = [Image.open(io.BytesIO(one["bytes"])).convert("RGB") for one in part["image"].to_pylist()]
        labels += model(**processor(images, return_tensors="pt")).logits.argmax(-1).tolist()
    return labels


def alone(adapter: str, records: list[dict[str, Any]], images: list[Any]) -> float:
    """The largest difference between scores of the file and those of a pipeline that gets one picture after the other."""
    ask = pipeline("image-classification", model=adapter, device="cpu")
    given = [{one["label"]: one["score"] for one in ask(image, top_k=10)} for image in images]
    return max(abs(scores[one["label"]] - one["score"]) for one, scores in zip(records, given, strict=False))


if __name__ == "__main__":
    main()
