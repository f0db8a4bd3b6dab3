"""What the keys `tune`, `gradients` and `objectives` of a recipe cannot be together with, and lists of names with options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..baselines import BASELINES
from ..errors import InputError
from ..gradients import check_plain_step, plain_step
from ..objectives import make_objectives
from ..sources.tuning import read_tune
from ..tasks.unlabelled import check_unlabelled

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


def check_objectives(recipe: Recipe) -> None:
    """Refuse unknown objectives, and what they cannot be together with."""
    made = make_objectives(recipe.objective_list())
    if (rows := recipe.unlabelled_options) is not None:
        check_unlabelled(rows, recipe.task_options)
        if not made and not any(BASELINES[name].needs_unlabelled for name, _ in recipe.baseline_list()):
            raise InputError(
                "Nothing in this recipe reads unlabelled: name objectives such as fixmatch, or leave it out."
            )
    if not made:
        return
    if recipe.searches:
        raise InputError("method: auto trains on labelled examples alone: leave objectives out, or name the method.")
    if recipe.estimator:
        raise InputError(
            f"objectives need exact gradients, and gradients is {next(iter(recipe.estimator))!r}: leave one of them out."
        )
    for objective in made:
        objective.check(recipe)


def named_options(entries: list[Any], kind: str) -> list[tuple[str, dict[str, Any]]]:
    """Names with their options, from a list of names and of `{name: {option: value}}`.

    Args:
        entries: the list.
        kind: the noun of an entry, for messages.

    Raises:
        InputError: an entry has another form.

    >>> named_options(["majority", {"linear_probe": {"reads": "features"}}], "baseline")
    [('majority', {}), ('linear_probe', {'reads': 'features'})]
    """
    pairs: list[tuple[str, dict[str, Any]]] = []
    for entry in entries:
        if isinstance(entry, str):
            pairs.append((entry, {}))
        elif isinstance(entry, dict) and len(entry) == 1:
            name, options = next(iter(entry.items()))
            if not isinstance(options, dict | None):
                raise InputError(f"The {kind} {name!r} has the options {options!r}: write {{option: value}}.")
            pairs.append((name, dict(options or {})))
        else:
            raise InputError(f"One of the {kind}s is {entry!r}: write its name, or {{name: {{option: value}}}}.")
    return pairs
