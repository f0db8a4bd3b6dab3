"""Options from plain data: what they take, and what they refuse in one sentence."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from hf_reprogram.errors import InputError
from hf_reprogram.options import from_dict


@dataclass
class Options:
    """One field of every type that options have."""

    size: int
    rate: float = 0.1
    name: str | None = None
    sets: list[list[int | str]] | None = None
    flag: bool = False
    more: dict[str, Any] = field(default_factory=dict)
    free: Any = None
    pair: tuple[float, float] = (1.0, 2.0)

    def __post_init__(self):
        if isinstance(self.name, list):
            self.name = " ".join(self.name)
        if self.size < 1:
            raise InputError(f"size is {self.size}: give 1 or more.")


@pytest.mark.parametrize(
    "values",
    [
        {"size": 1, "rate": 2, "name": "a", "sets": [[1, "b"], []], "flag": True, "more": {"x": [1]}, "free": object()},
        {"size": 1, "name": None, "sets": None},
        {"size": 1, "sets": ([1], (2,)), "pair": [3, 4.0]},
        {"size": 1, "name": ["made", "one"]},
    ],
)
def test_values_of_their_types_are_taken(values):
    made = from_dict(Options, values, "option of this")
    assert made == Options(**values)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"size": "3"}, "The option of this 'size' is '3': give a whole number."),
        ({"size": 1.0}, "The option of this 'size' is 1.0: give a whole number."),
        ({"size": True}, "The option of this 'size' is True: give a whole number."),
        ({"size": 0}, "size is 0: give 1 or more."),
        ({"size": 1, "rate": "a"}, "The option of this 'rate' is 'a': give a number."),
        ({"size": 1, "rate": None}, "The option of this 'rate' is None: give a number."),
        ({"size": 1, "name": 3}, "The option of this 'name' is 3: give a text or null."),
        ({"size": 1, "flag": 1}, "The option of this 'flag' is 1: give true or false."),
        ({"size": 1, "more": []}, "The option of this 'more' is []: give a mapping of keys to values."),
        (
            {"size": 1, "sets": [1, 2]},
            "The option of this 'sets' is [1, 2]: give a list of lists of whole numbers or texts or null.",
        ),
        ({"size": 1, "pair": 3}, "The option of this 'pair' is 3: give a list of numbers."),
        ({"rate": 1.0}, "Missing option of this: 'size' has no default."),
        ({"size": 1, "rat": 1}, "Unknown option of this 'rat': did you mean 'rate'?"),
    ],
)
def test_other_values_are_refused_in_one_sentence(values, sentence):
    with pytest.raises(InputError) as refused:
        from_dict(Options, values, "option of this")
    assert str(refused.value) == sentence


def test_an_error_of_the_options_own_is_not_hidden():
    @dataclass
    class Broken:
        size: int

        def __post_init__(self):
            raise TypeError("mine")

    with pytest.raises(TypeError, match="mine"):
        from_dict(Broken, {"size": 1}, "option of this")
