"""The section `federated` of a recipe."""

from __future__ import annotations

from typing import Any

from ..errors import InputError
from ..federated.options import FederatedOptions
from ..options import from_dict


def federated_options(section: Any) -> FederatedOptions | None:
    """The checked section `federated`; None if there is none.

    >>> federated_options({"clients": 3}).clients
    3
    """
    if section is None:
        return None
    if not isinstance(section, dict):
        raise InputError(f"The recipe's federated is {section!r}: give a mapping of keys to values.")
    return from_dict(FederatedOptions, section, "key of federated")


def check_federated(recipe: Any) -> None:
    """Raise `InputError` for a recipe with a section `federated` beside what it cannot be together with."""
    if federated_options(recipe.federated) is None:
        return
    if recipe.searches:
        raise InputError("method: auto searches with all data in one place: name the method, or leave federated out.")
    for key in ("tune", "gradients", "cache_text"):
        if getattr(recipe, key) is not None:
            raise InputError(
                f"federated trains programs with exact gradients on a frozen source, and {key} is set: leave one of them out."
            )
    if recipe.task.get("streaming"):
        raise InputError("federated divides rows that are at hand, and task.streaming is set: leave one of them out.")
