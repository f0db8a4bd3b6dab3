"""What transforms show of themselves: an example with and without a program, and tables of coefficients.

A transform returns `Views`, a `HeatMap` or a `Drawing` of its own from `InputTransform.picture`. `hf_reprogram.inspection`
writes them as a PNG, whatever the transform is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..modalities import modality_taking
from ..sources.probe import Example

STEPS = 8  # of grey on the test card


@dataclass
class Views:
    """An example on the canvas, as pixels (3, height, width) from 0 to 1 on the CPU.

    Attributes:
        example: what it is, in words.
        before, after: what the source sees without the program and with it.
        acts: where the program acts, as positions on the flattened canvas; None for everywhere.
        added: what is drawn as the program, by its title: changes of any size.
        heading: what stands above `added`.
        reach: the largest change that is allowed, where `added` are many small patches, which are then drawn in two rows and
            to one scale; None for large pictures, each to a scale of its own.
        plain: whether `before` is plain grey, and not worth a picture.
    """

    example: str
    before: Tensor
    after: Tensor
    acts: Tensor | None
    added: dict[str, Tensor]
    heading: str = "drawn on grey"
    reach: float | None = None
    plain: bool = False


@dataclass
class HeatMap:
    """A table of coefficients, most of them zero.

    Attributes:
        values: for each row's name the columns that count for it, as (name, coefficient), the largest first.
        colour: what the numbers are.
        rows, columns: what a row and a column stand for.
    """

    values: dict[str, list[tuple[str, float]]]
    colour: str = "coefficient"
    rows: str = "target token"
    columns: str = "source token"


class Drawing(Protocol):
    """A drawing of any other kind, such as curves or a spectrogram, which writes itself."""

    def plot(self, path: str | Path, title: str) -> Path:
        """Write the drawing as a PNG with a title, and return the path; see `pyplot` and `save` in `hf_reprogram.figures`.

        Raises:
            InputError: matplotlib is not installed.
        """


def by(size: Sequence[int]) -> str:
    """A size in words.

    >>> by((32, 24))
    '32 x 24'
    """
    return " x ".join(map(str, size))


def describe_program(part: nn.Module, views: Views, layout: dict[str, Any]) -> dict[str, Any]:
    """The canvas and the program in numbers.

    Args:
        part: the transform, whose parameters are counted.
        views: an example with the program and without it.
        layout: what lies on the canvas: what it `holds`, how many (`number`), height and width of `each`, and top and left
            of the first one (`at`), in pixels; `scale` where images are drawn larger or smaller. It may be empty.

    Returns:
        `canvas`: its `size` (height, width) and the layout. `program`: how many `numbers` theta has, the `share` of the canvas
        on which it acts, and the `mean_change` and `largest_change` of a pixel there, in pixels from 0 to 1, on the `example`.

    >>> white, black = torch.ones(3, 2, 2), torch.zeros(3, 2, 2)
    >>> views = Views("a square", before=black, after=white, acts=torch.tensor([0]), added={})
    >>> describe_program(nn.Linear(1, 1), views, {})["program"]["share"]
    0.25
    """
    change = (views.after - views.before).abs().flatten(1)
    acting = change if views.acts is None else change[:, views.acts]
    return {
        "canvas": {"size": list(views.after.shape[1:]), **layout},
        "program": {
            "numbers": sum(parameter.numel() for parameter in part.parameters()),
            "share": acting.shape[1] / change.shape[1],
            "mean_change": float(acting.mean()),
            "largest_change": float(acting.max()),
            "example": views.example,
        },
    }


def program_lines(found: dict[str, Any]) -> list[str]:
    """What `describe_program` found, as lines for a terminal; none where it found no program."""
    if "program" not in found:
        return []
    canvas, program = found["canvas"], found["program"]
    line = f"canvas: {by(canvas['size'])} pixels"
    if "holds" in canvas and canvas["each"] == canvas["size"]:
        line += f", which the {canvas['holds']} fills"
    elif "holds" in canvas:
        several = canvas["number"] > 1
        line += f"; {canvas['number']} {canvas['holds']}s, each" if several else f"; the {canvas['holds']}"
        top, left = canvas["at"]
        line += (
            f" of {by(canvas['each'])}, {'the first ' if several else ''}{top} from the top and {left} from the left"
        )
    if "scale" in canvas:
        line += f", drawn {canvas['scale']:.3g} times as large"
    return [
        line,
        f"program: {program['numbers']:,} numbers, on {program['share']:.0%} of the canvas; it moves a pixel there by "
        f"{program['mean_change']:.3g} on average and {program['largest_change']:.3g} at most, of 1 "
        f"(seen on {program['example']})",
    ]


# ------------------------------------------------------------------------------------------------------------ examples


def grey_card(height: int, width: int) -> Tensor:
    """A grey image (1, 3, height, width): from black to white above, and from white to black in steps below.

    >>> grey_card(2, 3)[0, 0]
    tensor([[0.0000, 0.5000, 1.0000],
            [1.0000, 0.5714, 0.0000]])
    """
    ramp = torch.linspace(0, 1, width)
    steps = (ramp.flip(0) * STEPS).floor().clamp(max=STEPS - 1) / (STEPS - 1)
    above = torch.arange(height)[:, None] < height // 2
    return torch.where(above, ramp, steps).expand(1, 3, height, width)


def ordinary_tokens(tokenizer: Any, most: int) -> list[int]:
    """The ids of the first tokens of a vocabulary that are not special, at most `most`."""
    special = set(tokenizer.all_special_ids)
    return [index for index in range(len(tokenizer)) if index not in special][:most]


def read_given(takes: str, processor: Any, given: str) -> Example:
    """The input that is written on a command line, for a transform that `takes` examples of a modality.

    Raises:
        InputError: what is given is no example of that modality.

    >>> read_given("table_values", None, "0.5, 100").name
    'a row of 2 numbers'
    """
    return Example(*modality_taking(takes).example(given, processor))
