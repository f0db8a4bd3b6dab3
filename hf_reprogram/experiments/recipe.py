"""Recipes: source, method, task and training of a run in one YAML file.

    source: FacebookAI/roberta-large                      # or {name: ..., dtype: bfloat16, ...}, or {endpoint: URL, ...}
    method: {name: warp, num_prompts: 20}
    task: {dataset: nyu-mll/glue, name: rte}              # see hf_reprogram.tasks.options.TaskOptions
    training: {learning_rate: 1e-3, num_train_epochs: 30} # TrainingArguments; they override the method's defaults
    seeds: [0, 1, 2]
    tune: [norms, {last_layers: 2}]                       # parts of the source that are trained too; most methods have none
    gradients: {rgf: {q: 25}}                             # theta's gradient is estimated, or {dp_sgd: {epsilon: 8}} private
    objectives: [fixmatch]                                # trained beside the labels' loss (hf_reprogram.objectives)
    unlabelled: {from_train: 2000}                        # rows without labels (hf_reprogram.tasks.unlabelled)
    baselines: [majority, linear_probe]
    sweep: {training.learning_rate: [1e-3, 1e-2]}         # chosen on validation, on the first seed
    ood: {semantic: {textures: {dataset: images, name: dtd}}}   # see hf_reprogram.tasks.shifts.ShiftOptions
    federated: {clients: 5, rounds: 10, alpha: 0.3}       # the same by clients that share no data (hf_reprogram.federated)

`method: auto` with `budget: 10m` searches methods and their settings on validation (`hf_reprogram.experiments.auto`).

Everything is checked before anything is loaded. An unknown key is refused with the nearest valid one.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..gradients import is_private, plain_step, read_gradients
from ..modalities import modality_taking
from ..modalities.base import Modality
from ..options import check_whole_list, from_dict
from ..sources.families import every_family
from ..tasks.inputs import task_modality
from ..tasks.labels import problem_of
from ..tasks.memory import held
from ..tasks.options import TaskOptions
from ..tasks.shifts import ShiftOptions, check_task
from ..tasks.unlabelled import UnlabelledOptions
from ..training.adapter import recorded
from ..trust import check_recipe_source, recorded_source
from .endpoint import Endpoint, read_endpoint
from .federated_section import check_federated
from .library import find
from .recipe_checks import (
    check_gradients,
    check_membership,
    check_objectives,
    check_robustness,
    check_tune,
    named_options,
)
from .training_arguments import check_training
from .yaml_text import read_yaml


@dataclass
class Recipe:
    """A checked recipe.

    Attributes:
        source: `name`, optionally `kind`, and other arguments of the source's `from_pretrained`; or `endpoint` and the other
            keys of a black box (`hf_reprogram.experiments.endpoint.EndpointSource`).
        method: `name` and the method's options. `auto` searches all methods that fit, or those of its option `methods`.
        task: the section of the data, see `hf_reprogram.tasks.options.TaskOptions`.
        training: fields of `TrainingArguments`.
        seeds: one run per seed; the adapter of the seed with the best validation score is kept.
        baselines: names, or `{name: {option: value}}`.
        sweep: dotted keys with lists of values. The combination with the best validation score on the first seed is used.
        budget: of `method: auto`: a time such as "10m" or "1h", or a number of trials; by default 20 trials.
        storage: of `method: auto`: the URL of a database in which several processes share one search; by default a file in the
            output folder.
        ood: the section of shifted images and images of other classes, see `hf_reprogram.tasks.shifts.ShiftOptions`.
        robustness: the section of accuracy under attack, see `hf_reprogram.training.attack.RobustnessOptions`.
        federated: the section of federated training, which is run beside the central one, see
            `hf_reprogram.federated.options.FederatedOptions`.
        init_from: an adapter to start from (two-stage training).
        tune: the parts of the source that are trained too: a list of norms, positions, {last_layers: n} and {lora: {...}}, or
            all (`hf_reprogram.sources.tuning`); by default those of the method, of which most have none. Their learning rate is
            `training.source_learning_rate`, by default `training.learning_rate`.
        gradients: how theta's gradient is estimated, as exact, a name or {name: {option: value}} (`hf_reprogram.gradients`); by
            default that of the method, of which most have none. {dp_sgd: {epsilon: 8}} protects the training examples
            (`hf_reprogram.gradients.private`).
        objectives: what training minimises beside the loss of labelled examples: names, or `{name: {option: value}}`
            (`hf_reprogram.objectives`).
        membership: training examples, and as many of the test split, whose losses are compared: how well they tell what was
            trained on (`hf_reprogram.privacy.membership`); by default none.
        unlabelled: further inputs without labels, for objectives and baselines that read such, see
            `hf_reprogram.tasks.unlabelled.UnlabelledOptions`.
        cache_text: GiB of key/value states to keep for a causal source whose prompt follows the text.
        output: the output folder; by default `runs/<name of the recipe file>`.
        trusts_code: whether the source's own code may run. No key of a file sets it, but the argument `trust_remote_code` of
            `load_recipe`.
        endpoint: the black box that the recipe names; None for a source with weights. No key of a file is it.
    """

    trusts_code = False  # no field: a file cannot set it

    source: dict[str, Any]
    method: dict[str, Any]
    task: dict[str, Any]
    training: dict[str, Any] = field(default_factory=dict)
    seeds: list[int] = field(default_factory=lambda: [0])
    baselines: list[Any] = field(default_factory=list)
    sweep: dict[str, list[Any]] = field(default_factory=dict)
    budget: Any = None
    storage: str | None = None
    ood: dict[str, Any] | None = None
    robustness: dict[str, Any] | None = None
    federated: dict[str, Any] | None = None
    init_from: str | None = None
    tune: Any = None
    gradients: Any = None
    objectives: list[Any] = field(default_factory=list)
    membership: int | None = None
    unlabelled: dict[str, Any] | None = None
    cache_text: float | None = None
    output: str | None = None

    def __post_init__(self):
        from ..baselines import BASELINES
        from .auto_space import check_search

        for section in ("source", "method"):
            if not isinstance(getattr(self, section), str | dict):
                raise InputError(
                    f"The recipe's {section} is {getattr(self, section)!r}: write its name, or {{name: NAME, ...}}."
                )
        for section in ("baselines", "objectives"):
            if not isinstance(getattr(self, section), list):
                raise InputError(f"{section} is {getattr(self, section)!r}: give a list of names.")
        if self.cache_text is not None and (isinstance(self.cache_text, str) or not self.cache_text > 0):
            raise InputError(f"cache_text is {self.cache_text!r}: give a number of GiB above 0.")
        self.source = {"name": self.source} if isinstance(self.source, str) else dict(self.source)
        self.method = {"name": self.method} if isinstance(self.method, str) else dict(self.method)
        self.endpoint: Endpoint | None = read_endpoint(self) if "endpoint" in self.source else None
        for section, value in (("source", self.source), ("method", self.method)):
            if not isinstance(value.get("name"), str) or not value["name"]:
                raise InputError(
                    f"The recipe's {section} has no name: write {section}: NAME or {section}: {{name: NAME}}."
                )
        for section in ("task", "training", "sweep"):
            if not isinstance(getattr(self, section), dict):
                raise InputError(
                    f"The recipe's {section} is {getattr(self, section)!r}: give a mapping of keys to values."
                )
        check_recipe_source(self.source)
        self.task, self.ood, self.unlabelled = map(_with_data, (self.task, self.ood, self.unlabelled))
        modality = task_modality(self.task_options)
        if self.searches:
            check_search(self)
        else:
            self._check_method(modality)
        if self.shift_options is not None:
            check_task(modality, problem_of(self.task_options))
        check_training(self.training)
        check_tune(self)
        check_gradients(self)
        check_objectives(self)
        check_membership(self)
        check_robustness(self)
        check_federated(self)
        check_whole_list(0, seeds=self.seeds)
        if len(set(self.seeds)) < len(self.seeds):
            raise InputError(f"seeds is {self.seeds!r}: give every seed once.")
        for name, options in self.baseline_list():
            BASELINES[name](from_dict(BASELINES[name].Options, options, f"option of {name}")).check(self)
        for key, values in self.sweep.items():
            if key.partition(".")[0] not in ("method", "training"):
                raise InputError(f"sweep.{key} cannot be swept: give keys of method and training.")
            if not isinstance(values, list) or not values:
                raise InputError(f"sweep.{key} is {values!r}: give a list of values to try.")
            for value in values:
                self.with_values({key: value})

    def _check_method(self, modality: Modality | None) -> None:
        """Refuse options that the method does not have, and examples that it does not take."""
        from ..methods import METHODS
        from ..transforms import TRANSFORMS

        name = self.method["name"]
        chosen = METHODS[name]
        chosen.read_options(self.method_options, f"option of {name}")
        takes = TRANSFORMS[chosen.info.transform].takes
        if modality is not None and modality.takes != takes:
            raise InputError(
                f"The method {name!r} takes {modality_taking(takes).noun}, and the examples of this task are {modality.noun}: "
                "see `hf-reprogram methods` for one that takes these."
            )
        for key in ("budget", "storage"):
            if getattr(self, key) is not None:
                raise InputError(f"{key} is for method: auto, and the method is {name!r}: leave it out.")

    @property
    def searches(self) -> bool:
        """Whether the recipe searches for a method and its settings."""
        return bool(self.method["name"] == "auto")

    @property
    def estimator(self) -> dict[str, Any]:
        """How theta's gradient is estimated; empty for the exact gradient."""
        from ..methods import METHODS

        return read_gradients(METHODS[self.method["name"]].gradients if self.gradients is None else self.gradients)

    @property
    def private(self) -> bool:
        """Whether the training examples are protected by DP-SGD."""
        return not self.searches and is_private(self.estimator)

    @property
    def model_source(self) -> Any:
        """What `hf_reprogram.sources.load_source` takes: the name, or the black box of an endpoint."""
        return self.source["name"] if self.endpoint is None else self.endpoint.black_box()

    @property
    def source_kwargs(self) -> dict[str, Any]:
        """Arguments of the source's `from_pretrained`; a black box has none."""
        if self.endpoint is not None:
            return {}
        given = {key: value for key, value in self.source.items() if key not in ("name", "kind")}
        return {**given, "trust_remote_code": True} if self.trusts_code else given

    @property
    def method_options(self) -> dict[str, Any]:
        """The method's options."""
        return {key: value for key, value in self.method.items() if key != "name"}

    @property
    def training_arguments(self) -> dict[str, Any]:
        """Those of the method and of its gradients, overridden by the recipe's; its epochs replace a method's own steps."""
        from ..methods import METHODS

        if self.searches:  # each trial has those of its own method
            return dict(self.training)
        method = METHODS[self.method["name"]]
        options = method.read_options(self.method_options, f"option of {self.method['name']}")
        own = {**method(options).arguments(), **plain_step(self.estimator)}
        if "num_train_epochs" in self.training:
            own.pop("max_steps", None)
        return {**own, **self.training}

    @property
    def task_options(self) -> TaskOptions:
        """The checked task section."""
        return from_dict(TaskOptions, self.task, "key of task")

    @property
    def shift_options(self) -> ShiftOptions | None:
        """The checked `ood` section; None if there is none."""
        if self.ood is None:
            return None
        if not isinstance(self.ood, dict):
            raise InputError(f"The recipe's ood is {self.ood!r}: give a mapping of keys to values.")
        return from_dict(ShiftOptions, self.ood, "key of ood")

    @property
    def unlabelled_options(self) -> UnlabelledOptions | None:
        """The checked `unlabelled` section; None if there is none."""
        return None if self.unlabelled is None else from_dict(UnlabelledOptions, self.unlabelled, "key of unlabelled")

    def baseline_list(self) -> list[tuple[str, dict[str, Any]]]:
        """The baselines as pairs of name and options."""
        return named_options(self.baselines, "baseline")

    def objective_list(self) -> list[tuple[str, dict[str, Any]]]:
        """The objectives as pairs of name and options."""
        return named_options(self.objectives, "objective")

    def with_values(self, values: dict[str, Any], keep_sweep: bool = False) -> Recipe:
        """A copy with some values changed, by dotted keys such as `training.learning_rate`; without a sweep by default."""
        plain = asdict(self) if keep_sweep else {**asdict(self), "sweep": {}}
        for dotted, value in values.items():
            _set(plain, dotted, value)
        made = make_recipe(plain, self.trusts_code)
        made.endpoint = self.endpoint
        return made

    def grid(self) -> list[dict[str, Any]]:
        """Every combination of the sweep's values, by dotted key; without a sweep one empty combination."""
        return [dict(zip(self.sweep, values, strict=True)) for values in product(*self.sweep.values())]


def _with_data(section: Any) -> Any:
    """A section with data sets in memory in a form that can be copied and recorded; see `hf_reprogram.tasks.memory`."""
    if not isinstance(section, dict):
        return section
    return {key: held(value) if key == "dataset" else _with_data(value) for key, value in section.items()}


def load_recipe(
    path: str | os.PathLike, overrides: list[str] | None = None, *, trust_remote_code: bool = False
) -> Recipe:
    """Read a recipe and apply overrides.

    Args:
        path: a file, or the name of a recipe that comes with the package, such as `molecules/bbbp`.
        overrides: changes such as "training.learning_rate=1e-2", whose values are YAML; applied in this order.
        trust_remote_code: whether the source's own Python code may run, and a pickle of its weights be read; a recipe itself
            cannot say so.

    Raises:
        InputError: the recipe is missing or not YAML, a key is unknown, or a value cannot be used.

    >>> load_recipe("molecules/bbbp", ["seeds=[7]"]).seeds
    [7]
    """
    try:
        text = find(path).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"The recipe {os.fspath(path)!r} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"The recipe {os.fspath(path)!r} is not text in UTF-8.") from error
    values = read_yaml(text, os.fspath(path))
    if not isinstance(values, dict):
        raise InputError(f"The recipe {os.fspath(path)!r} is not a mapping of keys to values.")
    apply_overrides(values, overrides or [])
    if not values.get("output"):
        values["output"] = os.path.join("runs", Path(path).stem)
    return make_recipe(values, trust_remote_code)


def recorded_recipe(adapter: str) -> dict[str, Any] | None:
    """The recipe beside an adapter as plain data, without what could let code run; None if there is none."""
    values = recorded(adapter, "recipe.json")
    if values is not None and isinstance(values.get("source"), dict):
        options = {option for family in every_family() for option in family.options}
        values["source"] = recorded_source(values["source"], options)
    return values


def apply_overrides(values: dict[str, Any], overrides: Sequence[str]) -> None:
    """Change the plain data of a recipe by strings such as "training.learning_rate=1e-2".

    Raises:
        InputError: a string has another form, or its value is not YAML.

    >>> values = {"method": "warp"}
    >>> apply_overrides(values, ["method.num_prompts=4"])
    >>> values
    {'method': {'name': 'warp', 'num_prompts': 4}}
    """
    for override in overrides:
        key, sign, value = override.partition("=")
        if not sign or not key:
            raise InputError(f"The override {override!r} has another form: write key.subkey=value.")
        _set(values, key, read_yaml(value, override))


def make_recipe(values: dict[str, Any], trust_remote_code: bool = False) -> Recipe:
    """A checked recipe from plain data, for example from parsed YAML.

    Args:
        values: the recipe.
        trust_remote_code: as in `load_recipe`.

    Raises:
        InputError: a key is unknown, or a value cannot be used.

    >>> recipe = make_recipe({"source": "owner/model", "method": "warp", "task": {"dataset": "glue", "name": "rte"}})
    >>> recipe.seeds, recipe.task_options.name
    ([0], 'rte')
    """
    recipe = from_dict(Recipe, values, "key of the recipe")
    recipe.trusts_code = trust_remote_code
    return recipe


def _set(values: dict[str, Any], dotted: str, value: Any) -> None:
    """Set `a.b` in nested mappings. `source` and `method` may be names instead of mappings."""
    *parents, last = dotted.split(".")
    for parent in parents:
        inner = values.get(parent)
        if isinstance(inner, str) and parent in ("source", "method"):
            inner = {"name": inner}
        elif inner is None:
            inner = {}
        elif not isinstance(inner, dict):
            raise InputError(
                f"{dotted!r} cannot be set, as {parent!r} is {inner!r}: give it as a mapping of keys to values."
            )
        values[parent] = dict(inner)
        values = values[parent]
    values[last] = value
