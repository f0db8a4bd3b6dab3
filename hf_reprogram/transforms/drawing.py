"""The pictures of transforms: an example with and without a program, and tables of coefficients.

`InputTransform.picture` returns `Views`, a `HeatMap` or a `Drawing` of its own. `hf_reprogram.inspection` writes each as a
PNG, for any transform.
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

STEPS = 8  # the number of grey steps on the test card


@dataclass
class Views:
    """An example on the canvas, as pixels (3, height, width) from 0 to 1 on the CPU.

    Attributes:
        example: a description of the example in words.
        before, after: the source's input without the program and with it.
        acts: the positions on the flattened canvas where the program acts; None for all.
        added: the pictures of the program by title; their values are changes of any size.
        heading: the title above `added`.
        reach: if `added` are many small patches, the largest change that is allowed; they are drawn in two rows and to one
            scale. None for large pictures, each of which has its own scale.
        plain: whether `before` is plain grey, which is not drawn.

    >>> grey = torch.full((3, 32, 32), 0.5)
    >>> views = Views("a grey square", before=grey, after=grey, acts=None, added={})
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
        values: for each row's name its coefficients that are not zero, as (column, coefficient), the largest first.
        colour: the name of the numbers.
        rows, columns: the meaning of a row and of a column.

    >>> table = HeatMap({"A": [("film", 0.9), ("good", 0.1)]}, colour="cosine")
    """

    values: dict[str, list[tuple[str, float]]]
    colour: str = "coefficient"
    rows: str = "target token"
    columns: str = "source token"


class Drawing(Protocol):
    """A drawing of any other kind, such as curves or a spectrogram, which has its own way to be written.

    >>> class Curve:
    ...     def plot(self, path, title): ...
    >>> drawing: Drawing = Curve()
    """

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
    """Describe the canvas and the program in numbers.

    Args:
        part: the transform, whose parameters are counted.
        views: an example with the program and without it.
        layout: the contents of the canvas: the name of one item (`holds`), the `number` of items, the height and width of
            `each`, and top and left of the first one (`at`), in pixels; `scale` if it is trained. It may be empty.

    Returns:
        `canvas` has its `size` (height, width) and the layout. `program` has the count of `numbers` in theta, the `share` of
        the canvas on which it acts, and the `mean_change` and `largest_change` of a pixel there (pixels go from 0 to 1), on
        the `example`.

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


def program_lines(description: dict[str, Any]) -> list[str]:
    """The result of `describe_program` as lines for a terminal; empty without a program.

    >>> grey = torch.full((3, 32, 32), 0.5)
    >>> views = Views("a grey square", before=grey, after=grey + 0.1, acts=None, added={})
    >>> program_lines(describe_program(nn.Linear(1, 1), views, {}))[0]
    'canvas: 32 x 32 pixels'
    """
    if "program" not in description:
        return []
    canvas, program = description["canvas"], description["program"]
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
        f"program: {program['numbers']:,} numbers, on {program['share']:.0%} of the canvas; it changes a pixel by "
        f"{program['mean_change']:.3g} on average and {program['largest_change']:.3g} at most, of 1 "
        f"(on {program['example']})",
    ]


# ------------------------------------------------------------------------------------------------------------ examples


def grey_card(height: int, width: int) -> Tensor:
    """A grey image (1, 3, height, width) of pixels from 0 to 1.

    The upper half goes from black to white. The lower half goes from white to black in steps.

    >>> grey_card(2, 3)[0, 0]
    tensor([[0.0000, 0.5000, 1.0000],
            [1.0000, 0.5714, 0.0000]])
    """
    ramp = torch.linspace(0, 1, width)
    steps = (ramp.flip(0) * STEPS).floor().clamp(max=STEPS - 1) / (STEPS - 1)
    above = torch.arange(height)[:, None] < height // 2
    return torch.where(above, ramp, steps).expand(1, 3, height, width)


def ordinary_tokens(tokenizer: Any, most: int) -> list[int]:
    """The ids of the first `most` tokens of a vocabulary that are not special.

    >>> tokenizer.convert_ids_to_tokens(ordinary_tokens(tokenizer, most=3))
    ['"', '?', '.']
    """
    special = set(tokenizer.all_special_ids)
    return [index for index in range(len(tokenizer)) if index not in special][:most]


def parse_example(takes: str, processor: Any, text: str) -> Example:
    """The input that a user typed on the command line, for a transform that `takes` examples of a modality.

    Args:
        takes: the column of the modality (`hf_reprogram.modalities.base.Modality.takes`).
        processor: the adapter's own; None for tables.
        text: the path of an image, numbers separated by commas, or a text.

    Raises:
        InputError: the text is not an example of that modality.

    >>> parse_example("table_values", None, "0.5, 100").name
    'a row of 2 numbers'
    """
    return Example(*modality_taking(takes).example(text, processor))
