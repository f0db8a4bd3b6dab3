"""The source that the user of an adapter names: `--source` of the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import InputError
from .recipe import load_recipe


def named_source(source: str | None) -> Any:
    """The black box of a recipe file whose section `source` has an `endpoint`; any other name or folder as it is.

    The black box has the ledger and the budget of the recipe, so that what training paid for is not paid for again.

    Args:
        source: None, a Hub id, a folder, or a file that ends with .yaml or .yml.

    Raises:
        InputError: the recipe names no endpoint, the key is missing, or the model gives no answer.
        BudgetSpent: the budget does not allow the 8 fixed inputs.

    >>> named_source("google-bert/bert-base-uncased")
    'google-bert/bert-base-uncased'
    """
    if source is None or Path(source).suffix not in (".yaml", ".yml") or Path(source).is_dir():
        return source
    recipe = load_recipe(source)
    if recipe.endpoint is None:
        raise InputError(
            f"The recipe {source!r} has a source with weights: give its name, {recipe.source['name']!r}; a recipe is for a "
            "source behind an endpoint."
        )
    recipe.endpoint.check_key()
    return recipe.endpoint.black_box()
