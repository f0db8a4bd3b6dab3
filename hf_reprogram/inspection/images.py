"""Adapters of image sources: what lies where on the canvas, how far the program moves the pixels, and pictures of it.

A program is measured on an example, the difference of what the source sees with the program and without it. Where a
program surrounds an image the numbers are the same for any example; where it lies on the image, or is masked for every
image anew, they are not. The default is a test card: grey from black to white and back in steps as an image, features from
the least to the greatest as a row of numbers, and the first tokens of the vocabulary as a text.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ..errors import InputError
from ..figures import cut, drawable, pyplot, save
from ..modalities.pixels import to_rgb
from ..model import ReprogrammedModel
from ..transforms.canvas import Canvas
from ..transforms.dual import Dual
from ..transforms.feature_overlay import FeatureOverlay
from ..transforms.program import ProgramTransform
from ..transforms.sample_mask import SampleMask
from ..transforms.token_patches import GREY, TokenPatches

PATCHES = 10  # how many tokens are drawn
STEPS = 8  # of grey on the test card
PANEL = 3.2  # width of a canvas on paper, in inches


@dataclass
class Views:
    """An example on the canvas, as pixels (3, height, width) from 0 to 1 on the CPU.

    Attributes:
        example: what it is, in words.
        before, after: what the source sees without the program and with it.
        acts: where the program acts, as positions on the flattened canvas; None for everywhere.
        added: what is drawn as the program, by its title: changes of any size.
    """

    example: str
    before: Tensor
    after: Tensor
    acts: Tensor | None
    added: dict[str, Tensor]


def takes_images(model: ReprogrammedModel) -> bool:
    """Whether the source sees an image that the input transform makes."""
    return isinstance(_drawing(model), ProgramTransform | TokenPatches)


def _drawing(model: ReprogrammedModel) -> Any:
    """The transform that draws: of a dual encoder's two programs that of the images, or None."""
    transform: Any = model.transform
    return transform.canvas if isinstance(transform, Dual) else transform


def inspect_images(model: ReprogrammedModel, processor: Any, example: str | None = None) -> dict[str, Any]:
    """The canvas and the program in numbers.

    Args:
        model: one that `takes_images`.
        processor: its own; None for rows of numbers.
        example: to measure on: the path of an image, numbers separated by commas, or a text (a tab separates a pair),
            whichever the adapter takes; None for a test card.

    Returns:
        `canvas`: its `size` (height, width), what it `holds`, how many and how large `each`, and where the first one lies
        (`at`: top, left), in pixels; `scale` if that is trained. `program`: how many `numbers` theta has, the `share` of the
        canvas on which it acts, and the `mean_change` and `largest_change` of a pixel there, of 1, on the `example`.

    Raises:
        InputError: the example is not what the adapter takes.
    """
    views = look(model, processor, example)
    transform = _drawing(model)
    change = (views.after - views.before).abs().flatten(1)
    acting = change if views.acts is None else change[:, views.acts]
    canvas: dict[str, Any] = {"size": list(views.after.shape[1:])}
    if type(transform) in _LAYOUTS:
        holds, number, each, at = _LAYOUTS[type(transform)](transform)
        canvas |= {"holds": holds, "number": number, "each": list(each), "at": list(at)}
    if hasattr(transform, "log_scale"):
        canvas["scale"] = transform.log_scale.exp().item()
    program = {
        "numbers": sum(parameter.numel() for parameter in transform.parameters()),
        "share": acting.shape[1] / change.shape[1],
        "mean_change": float(acting.mean()),
        "largest_change": float(acting.max()),
        "example": views.example,
    }
    return {"canvas": canvas, "program": program}


_LAYOUTS: dict[type, Callable[[Any], tuple[str, int, tuple[int, int], tuple[int, int]]]] = {
    Canvas: lambda t: ("image", len(t.options.spots), t.options.image, tuple(s.start for s in t.options.spots[0])),
    SampleMask: lambda t: ("image", 1, (t.options.height, t.options.width), (0, 0)),
    FeatureOverlay: lambda t: (
        "feature",
        t.options.num_features,
        (t.options.side, t.options.side),
        divmod(int(t.squares[0]), t.options.width),
    ),
    TokenPatches: lambda t: ("token", t.options.places, (t.options.patch_size, t.options.patch_size), (0, 0)),
}  # what lies on the canvas, how many, height and width of each, top and left of the first


def describe_images(found: dict[str, Any]) -> list[str]:
    """What `inspect_images` found, as lines for a terminal."""
    canvas, program = found["canvas"], found["program"]
    line = f"canvas: {_by(canvas['size'])} pixels"
    if "holds" in canvas and canvas["each"] == canvas["size"]:
        line += f", which the {canvas['holds']} fills"
    elif "holds" in canvas:
        several = canvas["number"] > 1
        line += f"; {canvas['number']} {canvas['holds']}s, each" if several else f"; the {canvas['holds']}"
        top, left = canvas["at"]
        line += (
            f" of {_by(canvas['each'])}, {'the first ' if several else ''}{top} from the top and {left} from the left"
        )
    if "scale" in canvas:
        line += f", drawn {canvas['scale']:.3g} times as large"
    return [
        line,
        f"program: {program['numbers']:,} numbers, on {program['share']:.0%} of the canvas; it moves a pixel there by "
        f"{program['mean_change']:.3g} on average and {program['largest_change']:.3g} at most, of 1 "
        f"(seen on {program['example']})",
    ]


def _by(size: list[int]) -> str:
    return " x ".join(map(str, size))


# ------------------------------------------------------------------------------------------------------------ examples


@torch.no_grad()
def look(model: ReprogrammedModel, processor: Any, example: str | None = None) -> Views:
    """An example with the program and without it; arguments as for `inspect_images`."""
    transform = _drawing(model)
    data, name = _READ[transform.takes](transform, processor, example)
    data = data.to(next(transform.parameters()).device)
    if isinstance(transform, TokenPatches):
        after = transform.image(transform.placed({"input_ids": data}))[0].cpu()
        base = transform.base_image / 255 if transform.options.base_image else torch.tensor(GREY)
        return Views(name, base.cpu().expand_as(after), after, None, _patches(transform, processor))
    before, after = (transform.canvas_of(data, programmed)[0].cpu() for programmed in (False, True))
    added = {"what the program adds": transform.program().cpu()}
    if isinstance(transform, SampleMask):
        added["its mask for the example"] = transform.masks(transform.canvas_of(data, False))[0].cpu()
    return Views(name, before, after, transform.program.index.cpu(), added)


def _patches(transform: TokenPatches, processor: Any) -> dict[str, Tensor]:
    """What the most frequent tokens add to grey, by their names; where none are known the first of the vocabulary."""
    ids = transform.options.frequent[:PATCHES] or ordinary_tokens(processor, PATCHES)
    changes = (transform.eps * transform.table[ids].tanh()).cpu()
    return dict(zip(processor.convert_ids_to_tokens(ids), changes, strict=True))


def ordinary_tokens(tokenizer: Any, most: int) -> list[int]:
    """The ids of the first tokens of a vocabulary that are not special."""
    special = set(tokenizer.all_special_ids)
    return [index for index in range(len(tokenizer)) if index not in special][:most]


def grey_card(height: int, width: int) -> Tensor:
    """A grey image (1, 3, height, width): from black to white above, and from white to black in steps below."""
    ramp = torch.linspace(0, 1, width)
    steps = (ramp.flip(0) * STEPS).floor().clamp(max=STEPS - 1) / (STEPS - 1)
    above = torch.arange(height)[:, None] < height // 2
    return torch.where(above, ramp, steps).expand(1, 3, height, width)


def _image(transform: Any, processor: Any, example: str | None) -> tuple[Tensor, str]:
    """Pixels (1, 3, height, width), and what they show."""
    if example is None:
        options = transform.options
        size = options.image if isinstance(transform, Canvas) else (options.height, options.width)
        return grey_card(*size), "a test card"
    try:
        with Image.open(example) as image:
            picture = to_rgb(image)
    except Exception as error:  # Pillow raises many types for what it cannot read, and none in common
        raise InputError(f"The example {example!r} is no image that can be read: {str(error).rstrip('.')}.") from error
    return processor(picture, return_tensors="pt")["pixel_values"], Path(example).name


def _row(transform: FeatureOverlay, _processor: Any, example: str | None) -> tuple[Tensor, str]:
    """Features (1, F), and what they are."""
    if example is None:
        share = torch.linspace(0, 1, transform.options.num_features, device=transform.low.device)
        return torch.lerp(transform.low, transform.high, share)[None], "features from the least to the greatest"
    try:
        numbers = [float(number) for number in example.split(",")]
    except ValueError as error:
        raise InputError(
            f"The example {example!r} is no row of numbers separated by commas, which this adapter takes."
        ) from error
    return torch.tensor([numbers]), f"a row of {len(numbers)} numbers"


def _text(transform: TokenPatches, processor: Any, example: str | None) -> tuple[Tensor, str]:
    """Token ids (1, tokens), and what they say."""
    if example is None:
        ids = ordinary_tokens(processor, transform.options.places)
        return torch.tensor([ids]), f"the first {len(ids)} tokens of the vocabulary"
    found = processor(*example.split("\t", 1), truncation=True, return_tensors="pt")
    return found["input_ids"], repr(cut(" ".join(example.split()), 100))


_READ: dict[str, Callable[[Any, Any, str | None], tuple[Tensor, str]]] = {
    "pixel_values": _image,
    "input_features": _row,
    "input_ids": _text,
}  # by what the adapter takes


# --------------------------------------------------------------------------------------------------------------- plots


def plot_images(
    model: ReprogrammedModel, processor: Any, path: str | Path, title: str, example: str | None = None
) -> Path:
    """Write a PNG of the program, drawn on mid-grey, and of the canvas with an example before and after.

    What is added is multiplied so that its largest change (of bounded patches: the largest that is allowed) reaches black
    or white, and the factor is given. Where tokens are patches, those of the ten most frequent tokens of the training texts,
    or where none are known of the vocabulary's first ones, stand in place of the program.

    Args:
        model, processor, example: as for `inspect_images`.
        path: where to.
        title: above all.

    Raises:
        InputError: matplotlib is not installed, or the example is not what the adapter takes.
    """
    plt = pyplot()
    draw = drawable()
    views = look(model, processor, example)
    canvases = [("before", views.before), ("after", views.after)]
    transform = _drawing(model)
    if isinstance(transform, TokenPatches):
        factor, which = GREY / max(transform.options.eps), "most frequent" if transform.options.frequent else "first"
        rows, side, heading = 2, 1.3, f"patches of the {which} tokens, on grey{_times(factor)}"
        pictures = [(cut(draw(name), 12), _on_grey(change, factor)) for name, change in views.added.items()]
        if not transform.options.base_image:
            canvases = [("", views.after)]  # before, it is plain grey
    else:
        rows, side, heading, pictures = 1, PANEL, "drawn on grey", []
        for name, change in views.added.items():
            largest = float(change.abs().max())
            factor = GREY / largest if largest > 0 else 1.0
            pictures.append((name + _times(factor), _on_grey(change, factor)))
    height, width = views.after.shape[1:]
    widths = [side * ceil(len(pictures) / rows), PANEL * len(canvases)]
    figure = plt.figure(figsize=(sum(widths), PANEL * min(3, max(0.5, height / width)) + 0.9), layout="constrained")
    figure.suptitle(draw(title), fontsize=10)
    left, right = figure.subfigures(1, 2, width_ratios=widths)
    _panels(left, heading, rows, pictures)
    seen = textwrap.wrap(f"what the source sees of {draw(views.example)}", 45 * len(canvases))
    _panels(right, "\n".join(seen), 1, canvases)
    return save(figure, path)


def _on_grey(change: Tensor, factor: float) -> Tensor:
    return (GREY + factor * change).clamp(0, 1)


def _times(factor: float) -> str:
    return "" if abs(factor - 1) < 0.05 else f", x {factor:.2g}"


def _panels(figure: Any, heading: str, rows: int, pictures: list[tuple[str, Tensor]]) -> None:
    """Pictures (3, height, width) of numbers from 0 to 1, each with its title, in rows."""
    figure.suptitle(heading, fontsize=9)
    axes = figure.subplots(rows, ceil(len(pictures) / rows), squeeze=False).ravel()
    for axis in axes:
        axis.set(xticks=[], yticks=[])
    for axis, (title, picture) in zip(axes, pictures, strict=False):
        axis.set_title(title, fontsize=8)
        axis.imshow(picture.permute(1, 2, 0).numpy())
    for axis in axes[len(pictures) :]:
        axis.set_axis_off()
