"""The input that a transform is shown on: the one that was given on the command line, or the transform's own choice."""

from __future__ import annotations

from typing import Any

from ..model import ReprogrammedModel
from ..sources.probe import Example


def read_example(model: ReprogrammedModel, processor: Any, given: str | None = None) -> Example | None:
    """An input of the adapter.

    Args:
        model: whose transform says what an input is.
        processor: its own, of the target's data; None for rows of numbers.
        given: the path of an image, numbers separated by commas, or a text (a tab separates a pair), whichever the adapter
            takes; None for the transform's default, such as a test card.

    Returns:
        None if nothing is given and the transform is shown on no input.

    Raises:
        InputError: what is given is not what the adapter takes, or the transform is shown on no input.
    """
    if given is None:
        return model.transform.default_example(processor)
    return model.transform.read_example(processor, given)
