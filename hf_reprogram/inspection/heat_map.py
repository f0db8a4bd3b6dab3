"""A table of coefficients as a heat map."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import InputError
from ..figures import drawable, pyplot, save
from ..transforms.drawing import HeatMap


def plot_heat_map(table: HeatMap, path: str | Path, title: str, most: int = 40) -> Path:
    """Write a heat map as PNG, with coefficients as colours.

    Args:
        table: the coefficients, from `InputTransform.picture`.
        path: the path of the PNG.
        title: the title of the map.
        most: the largest number of rows and of columns; the columns with the largest coefficients are kept.

    Raises:
        InputError: matplotlib is not installed, or no row has a coefficient.
    """
    plt = pyplot()
    rows = list(table.values)[:most]
    weight: dict[str, float] = {}
    for name in rows:
        for word, value in table.values[name]:
            weight[word] = max(weight.get(word, 0.0), abs(value))
    if not weight:
        raise InputError(
            f"There is nothing to plot, as no {table.rows} is a combination of {table.columns}s: leave the plot out."
        )
    first = dict.fromkeys(table.values[name][0][0] for name in rows if table.values[name])  # every row has a column
    rest = sorted((word for word in weight if word not in first), key=lambda word: -weight[word])
    columns = [*first, *rest][:most]
    values = np.zeros((len(rows), len(columns)))
    for i, name in enumerate(rows):
        for word, value in table.values[name]:
            if word in columns:
                values[i, columns.index(word)] = value
    order = np.argsort(np.abs(values).argmax(0), kind="stable")  # columns in the order of the rows that use them most
    values, columns = values[:, order], [columns[i] for i in order]
    size = (2 + 0.24 * len(columns), 1.4 + 0.22 * len(rows))
    figure, axis = plt.subplots(figsize=size, layout="constrained")
    limit = np.abs(values).max() or 1.0
    image = axis.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
    draw = drawable()
    axis.set_xticks(range(len(columns)), [draw(word) for word in columns], rotation=90, fontsize=7)
    axis.set_yticks(range(len(rows)), [draw(name) for name in rows], fontsize=7)
    axis.set(xlabel=table.columns, ylabel=table.rows)
    figure.colorbar(image, ax=axis, shrink=0.8, label=table.colour)
    figure.suptitle(draw(title), fontsize=9)
    return save(figure, path)
