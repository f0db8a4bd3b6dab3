"""What the keys `tune` and `gradients` of a recipe cannot be together with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import InputError
from ..gradients import check_plain_step, plain_step
from ..sources.tuning import read_tune

if TYPE_CHECKING:
    from .recipe import Recipe


def check_tune(recipe: Recipe) -> None:
    """Refuse what `tune` cannot be together with, and a learning rate for it without it."""
    from ..methods import METHODS

    recipe.tune = None if recipe.tune is None else read_tune(recipe.tune)
    rate = "source_learning_rate" in {*recipe.training, *(key.removeprefix("training.") for key in recipe.sweep)}
    if not (recipe.tune or (recipe.tune is None and not recipe.searches and METHODS[recipe.method["name"]].tune)):
        if rate:
            raise InputError(
                "training.source_learning_rate is for weights of the source that are trained, and this recipe trains none: "
                "name them in tune, or leave it out."
            )
        return
    if recipe.searches:
        raise InputError("method: auto searches programs on a frozen source: leave tune out, or name the method.")
    if recipe.cache_text is not None:
        raise InputError(
            "cache_text keeps states of a frozen source, and tune changes them: leave one of the two out of the recipe."
        )
    if recipe.source.get("shard"):
        raise InputError("source.shard is for a frozen source, and tune trains parts of it: leave one of the two out.")


def check_gradients(recipe: Recipe) -> None:
    """Refuse what gradients that are estimated cannot be together with."""
    if not recipe.searches and plain_step(recipe.estimator):
        check_plain_step(recipe.training)
    if recipe.gradients is None:
        return
    if recipe.searches:
        raise InputError("method: auto trains with exact gradients: leave gradients out, or name the method.")
    if not recipe.estimator:
        return
    if half := next((name for name in ("bf16", "fp16") if recipe.training.get(name)), None):
        raise InputError(
            f"gradients are estimated from small differences of losses, which training.{half} rounds away: leave it out."
        )
    if recipe.tune:
        raise InputError("gradients are estimated for theta alone, and tune trains the source: leave one of them out.")
