"""What `method: auto` searches: the budget, the methods that fit the source and the task, and the values of each.

A method fits if its transform takes the task's examples, it knows the task's problem, and it can be composed on the source.
Its space has the groups of `Method.alternatives`, the values of `Method.searched`, a factor of its learning rates, and a share
of omega's.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import InputError, shown, unknown
from ..gradients import plain_step
from ..methods import METHODS
from ..modalities import modality_taking
from ..modalities.alphabets import alphabet_of
from ..progress import progress
from ..tasks.inputs import task_modality
from ..tasks.task import Task
from ..transforms import TRANSFORMS
from .seed_runs import untrained_model

if TYPE_CHECKING:
    from .job import Job
    from .recipe import Recipe

DEFAULT = 20  # trials, if the recipe has no budget
FACTORS = (0.1, 10.0)  # of the method's own learning rates
SHARES = (1.0, 0.3, 0.1)  # of omega's own rate
_SECONDS = {"s": 1, "m": 60, "h": 3600}
_TEXTS = 2000  # that the alphabet is recognised from


@dataclass(frozen=True)
class Budget:
    """How long a search takes.

    Attributes:
        seconds: of wall clock; None for no limit.
        trials: the number of trials; None for no limit.
    """

    seconds: float | None = None
    trials: int | None = None


def read_budget(value: Any) -> Budget:
    """A budget as a recipe gives it.

    Args:
        value: "90s", "10m", "1h", a number of trials, {trials: 20}, or None for `DEFAULT` trials.

    Raises:
        InputError: the budget has another form.

    >>> read_budget("10m"), read_budget({"trials": 20})
    (Budget(seconds=600.0, trials=None), Budget(seconds=None, trials=20))
    """
    if value is None:
        return Budget(trials=DEFAULT)
    if isinstance(value, dict) and list(value) == ["trials"]:
        value = value["trials"]
    if type(value) is int and 0 < value <= 100_000:
        return Budget(trials=value)
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)([smh])", value) if isinstance(value, str) else None
    if found and (seconds := float(found[1]) * _SECONDS[found[2]]) > 0:
        return Budget(seconds=seconds)
    raise InputError(f"budget is {shown(value)}: give a time such as 90s, 10m or 1h, or a number of trials such as 20.")


def check_search(recipe: Recipe) -> None:
    """Refuse what a search cannot do, before anything is loaded.

    Raises:
        InputError: an option, the budget or the storage cannot be used, there is a sweep too, or a method takes other examples.
    """
    for option in recipe.method_options:
        if option != "methods":
            raise unknown("option of auto", option, ["methods"])
    names = recipe.method_options.get("methods")
    if names is not None and not (isinstance(names, list) and names and all(isinstance(name, str) for name in names)):
        raise InputError(f"methods of auto is {shown(names)}: give a list of names, or leave it out for all that fit.")
    modality = task_modality(recipe.task_options)
    for name in names or ():
        takes = TRANSFORMS[METHODS[name].info.transform].takes
        if modality is not None and modality.takes != takes:
            raise InputError(
                f"The method {name!r} takes {modality_taking(takes).noun}, and the examples of this task are {modality.noun}: "
                "leave it out of methods."
            )
    if recipe.sweep:
        raise InputError("A recipe with method: auto has no sweep, as it searches by itself: leave sweep out.")
    read_budget(recipe.budget)
    if recipe.storage is not None and not re.match(r"\w+(\+\w+)?://.", str(recipe.storage)):
        raise InputError(f"storage is {shown(recipe.storage)}: give a database's URL, such as sqlite:///searches.db.")


@dataclass(frozen=True)
class Candidate:
    """A method that fits, and its space.

    Attributes:
        name: of the method.
        fixed: options that the task decides, such as a tokenizer for its texts.
        groups: choices by the name of their group; each choice is a dictionary of options.
        factor, share: whether the learning rates are searched, and a share of omega's.
        spec: of the source.
        num_prompts: of the method's own defaults.
    """

    name: str
    fixed: dict[str, Any]
    groups: dict[str, list[dict[str, Any]]]
    factor: bool
    share: bool
    spec: Any
    num_prompts: int

    def recipe(self, recipe: Recipe, options: dict[str, Any] | None = None) -> Recipe:
        """A recipe with this method in place of the search."""
        method = {"name": self.name, **self.fixed, **(options or {})}
        return recipe.with_values({"method": method, "budget": None, "storage": None})

    def parameters(self, options: dict[str, Any]) -> dict[str, Any]:
        """The point of the space that stands for the method's defaults with these options."""
        found: dict[str, Any] = {"method": self.name}
        for group, choices in self.groups.items():
            fitting = [choice for choice in choices if all(options.get(key, ...) == choice[key] for key in choice)]
            found[f"{self.name}.{group}"] = json.dumps((fitting or choices)[0])
        rates = {"factor": 1.0} if self.factor else {}
        shares = {"share": SHARES[0]} if self.share else {}
        return {**found, **{f"{self.name}.{key}": value for key, value in (rates | shares).items()}}

    def sampled(self, recipe: Recipe, trial: Any) -> Recipe:
        """The recipe of a trial, whose values the study suggests."""
        options: dict[str, Any] = {}
        for group, choices in self.groups.items():
            names = [json.dumps(choice) for choice in choices]
            options |= json.loads(trial.suggest_categorical(f"{self.name}.{group}", names))
        factor = trial.suggest_float(f"{self.name}.factor", *FACTORS, log=True) if self.factor else 1.0
        share = trial.suggest_categorical(f"{self.name}.share", SHARES) if self.share else 1.0
        made = self.recipe(recipe, options)
        own, rates = made.training_arguments, {}
        if self.factor:
            rates = {name: factor * own[name] for name in own if name.endswith("learning_rate")}
        if share != 1:
            scaled = {**own, **rates}
            rates["omega_learning_rate"] = share * scaled.get("omega_learning_rate", scaled["learning_rate"])
        rates = {name: float(f"{rate:.3g}") for name, rate in rates.items() if name not in recipe.training}
        unchanged = all(own.get(name) == rate for name, rate in rates.items())
        return made if unchanged else made.with_values({f"training.{name}": rate for name, rate in rates.items()})


def candidates(job: Job) -> tuple[list[Candidate], dict[str, str]]:
    """The methods that fit, those of few updates first, and why the others do not.

    Raises:
        InputError: no method fits.
    """
    recipe, task, seed = job.recipe, job.task, job.recipe.seeds[0]
    splits = task.splits(seed)
    found, unfit = [], {}
    names = recipe.method_options.get("methods") or METHODS.names()
    for name in progress(names, "Methods that fit", len(names), job.quiet):
        method = METHODS[name]
        takes = TRANSFORMS[method.info.transform].takes
        if takes != task.modality.takes:
            unfit[name] = f"it takes {modality_taking(takes).noun}"
            continue
        if task.problem_type not in method.problem_types:
            unfit[name] = f"it does not support the problem {task.problem_type.replace('_', ' ')}"
            continue
        if plain_step(method.gradients):
            unfit[name] = "it has no learning rate to search"
            continue
        fixed = _tokenizer(name, task, splits["train"])
        try:
            concrete = recipe.with_values({"method": {"name": name, **fixed}, "budget": None, "storage": None})
            model, _ = untrained_model(concrete, task, seed, splits)
        except Exception as error:  # of one method, which must not end the search
            unfit[name] = (str(error).strip() or type(error).__name__).splitlines()[0]
            continue
        found.append(_candidate(name, fixed, concrete, model, task))
    if not found:
        reasons = {*unfit.values()}
        why = reasons.pop() if len(reasons) == 1 else "; ".join(f"{name}: {reason}" for name, reason in unfit.items())
        raise InputError(f"No method fits this source and this task: {why}")

    def updates(candidate: Candidate) -> float:
        arguments = candidate.recipe(recipe).training_arguments
        return float(arguments["num_train_epochs"])

    return sorted(found, key=updates), unfit


def _candidate(name: str, fixed: dict[str, Any], recipe: Recipe, model: Any, task: Task) -> Candidate:
    """A method with the space of its options."""
    method = METHODS[name]
    options = method.read_options(recipe.method_options, f"option of {name}")
    groups = method(options).alternatives(model.source.spec, task.problem_type)
    space = {"+".join(sorted({key for choice in group for key in choice})): group for group in groups if len(group) > 1}
    space |= {key: [{key: value} for value in values] for key, values in method.searched.items() if key not in fixed}
    if recipe.cache_text is not None:
        # the cache serves the last token alone
        space = {name: group for name, group in space.items() if "reads" not in name.split("+")}
    rates, theta, omega = (
        {key for key in recipe.training if key.endswith("learning_rate")},
        [p for p in model.transform.parameters() if p.requires_grad],
        [p for p in model.mapping.parameters() if p.requires_grad],
    )
    share = bool(theta and omega) and "omega_learning_rate" not in rates
    return Candidate(
        name, fixed, space, "learning_rate" not in rates, share, model.source.spec, model.transform.num_prompts
    )


def _tokenizer(name: str, task: Task, train: Any) -> dict[str, Any]:
    """The options of a tokenizer that fits the texts, for a method that has one."""
    if not task.modality.letters or not hasattr(METHODS[name].Options, "tokenizer"):
        return {}
    alphabet = alphabet_of(train[task.modality.column][:_TEXTS])
    if alphabet is None:
        return {"tokenizer": "characters" if task.per_token else "words"}
    known = METHODS[name].Options.__dataclass_fields__
    return {key: value for key, value in alphabet.tokenizer.items() if key in known}
