"""Pictures of a program, and of an example with and without it."""

from __future__ import annotations

import textwrap
from math import ceil
from pathlib import Path
from typing import Any

from torch import Tensor

from ..figures import cut, drawable, pyplot, save
from ..transforms.drawing import Views

GREY = 0.5  # the grey value on which programs are drawn
PANEL, PATCH = 3.2, 1.3  # width of a canvas and of a small patch on paper, in inches


def plot_views(views: Views, path: str | Path, title: str) -> Path:
    """Write a PNG of a program, drawn on mid-grey, and of an example on the canvas before and after the program is added.

    The program is scaled so that its largest change reaches black or white; for patches it is the largest change that is
    allowed. The picture names the factor.

    Args:
        views: the pictures, from `InputTransform.picture`.
        path: the path of the PNG.
        title: the title of the picture.

    Raises:
        InputError: matplotlib is not installed.
    """
    plt = pyplot()
    draw = drawable()
    canvases = [("", views.after)] if views.plain else [("before", views.before), ("after", views.after)]
    heading, pictures = views.heading, []
    if views.reach is not None:
        rows, side, factor = 2, PATCH, GREY / views.reach
        heading += _times(factor)
        pictures = [(cut(draw(name), 12), _on_grey(change, factor)) for name, change in views.added.items()]
    else:
        rows, side = 1, PANEL
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
    caption = textwrap.wrap(f"the source's view of {draw(views.example)}", 45 * len(canvases))
    _panels(right, "\n".join(caption), 1, canvases)
    return save(figure, path)


def _on_grey(change: Tensor, factor: float) -> Tensor:
    return (GREY + factor * change).clamp(0, 1)


def _times(factor: float) -> str:
    return "" if abs(factor - 1) < 0.05 else f", x {factor:.2g}"


def _panels(figure: Any, heading: str, rows: int, pictures: list[tuple[str, Tensor]]) -> None:
    """Draw pictures (3, height, width) with values from 0 to 1 in rows, each with its title."""
    figure.suptitle(heading, fontsize=9)
    axes = figure.subplots(rows, ceil(len(pictures) / rows), squeeze=False).ravel()
    for axis in axes:
        axis.set(xticks=[], yticks=[])
    for axis, (title, picture) in zip(axes, pictures, strict=False):
        axis.set_title(title, fontsize=8)
        axis.imshow(picture.permute(1, 2, 0).numpy())
    for axis in axes[len(pictures) :]:
        axis.set_axis_off()
