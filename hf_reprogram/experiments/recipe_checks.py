"""What some keys of a recipe (`tune`, `gradients`, `objectives`, `robustness`, ...) cannot be with; names with options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..baselines import BASELINES
from ..errors import InputError
from ..gradients import check_plain_step, plain_step, private_options
from ..modalities import modality_taking
from ..objectives import make_objectives
from ..objectives.adversarial import check_attacked
from ..options import check_whole, from_dict
from ..sources.tuning import read_tune
from ..tasks.unlabelled import check_unlabelled
from ..training.attack import RobustnessOptions

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
    if recipe.private:
        check_private(recipe)
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


def read_robustness(section: Any) -> RobustnessOptions | None:
    """The checked section `robustness` of a recipe; None if there is none."""
    return None if section is None else from_dict(RobustnessOptions, section, "key of robustness")


def check_robustness(recipe: Recipe) -> None:
    """Refuse a section `robustness` that cannot be measured."""
    if read_robustness(recipe.robustness) is not None:
        check_attacked(recipe, "The section robustness")


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


def check_private(recipe: Recipe) -> None:
    """Refuse what would spend more privacy than is accounted for; omega starts without a look at the training data."""
    from ..methods import METHODS
    from ..transforms import TRANSFORMS

    recipe.method = {"name": recipe.method["name"], **private_options(recipe.method_options)}
    takes = TRANSFORMS[METHODS[recipe.method["name"]].info.transform].takes
    if recipe.sweep:
        why = "each value of sweep is a training of its own on the same data: give the values, or choose them on other data"
    elif recipe.tune:
        why = "it clips gradients of theta and omega alone, and tune trains the source: leave tune out"
    elif recipe.task_options.streaming:
        why = "each batch is drawn from all training examples: leave task.streaming out"
    elif takes in ("table_values", "past_values"):
        noun = modality_taking(takes).noun
        why = f"a program on {noun} is scaled by its training rows: use reprogram(..., features=ROWS) with public ones"
    elif recipe.training.get("gradient_accumulation_steps", 1) > 1:
        why = (
            "a step is one batch: leave training.gradient_accumulation_steps out, and give a larger batch, of any size"
        )
    elif "train_sampling_strategy" in recipe.training:
        why = "batches are drawn at random: leave training.train_sampling_strategy out"
    elif recipe.training.get("fp16"):
        why = "fp16 scales losses and leaves steps out: train in float32 or bf16"
    else:
        return
    raise InputError(f"gradients are those of dp_sgd, and {why}.")


def check_membership(recipe: Recipe) -> None:
    """Refuse a number of examples that is none, and tasks without one list of training examples or one loss each."""
    if recipe.membership is None:
        return
    check_whole(membership=recipe.membership)
    if recipe.searches or recipe.task_options.streaming:
        key = "method: auto" if recipe.searches else "task.streaming"
        raise InputError(
            f"membership compares losses of training examples that are at hand, and {key} is set: leave it out."
        )
