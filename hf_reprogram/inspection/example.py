"""The input that a transform is shown on: from the command line, or the transform's default."""

from __future__ import annotations

from typing import Any

from ..model import ReprogrammedModel
from ..sources.probe import Example


def read_example(model: ReprogrammedModel, processor: Any, text: str | None = None) -> Example | None:
    """Read an input of the adapter from its form on the command line.

    Args:
        model: a `ReprogrammedModel`, whose transform determines the form.
        processor: its processor of the target's data; None for rows of numbers.
        text: the path of an image, numbers separated by commas, or a text (a tab separates a text from its pair), whichever
            the adapter takes; None for the transform's default, such as a test card.

    Returns:
        The input; None if `text` is None and the transform has no default.

    Raises:
        InputError: the adapter does not take such an input, or its transform is not shown on inputs.
    """
    if text is None:
        return model.transform.default_example(processor)
    return model.transform.read_example(processor, text)
