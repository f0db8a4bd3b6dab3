"""The options of a task: the `task:` section of a recipe."""

from __future__ import annotations

from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, shown, unknown
from ..label_names import label_list
from ..modalities import every_modality
from ..options import check_whole
from .memory import held
from .metrics import METRICS
from .problems import PROBLEMS


@dataclass
class TaskSection:
    """The `task:` section of a recipe, without the columns of its examples, which `TaskOptions` adds.

    Attributes:
        dataset: a Hub id, a csv, tsv, jsonl or parquet file, a folder, or a name of `hf_reprogram.tasks.builtin`. A folder of
            images holds one folder per class. If the environment sets `HF_REPROGRAM_DATA=DIR`, `owner/dataset` with its
            `name` is looked for in `DIR/dataset/name` first.
        name: the configuration of the data set, for example "rte" of "nyu-mll/glue".
        revision: the commit of the data set's repository.
        sep: the character between two fields of a csv or tsv file; by default a tab in a tsv file, else a comma.
        encoding: the encoding of a csv, tsv or JSON file, such as "latin-1"; by default UTF-8.
        columns: the names of all columns of a csv or tsv file whose first line is no header.
        label: the label column. A multi-label task has several columns of 0 and 1, with empty fields where a label is
            missing. For "token_classification" the column holds one label character per text character, and for
            "infilling" one mark per text character.
        labels: label names. Each name is a value of the column, and the order of the names is free. If the values are
            numbers, the names may be others: one name per value, in the order of the numbers. `{value: name}` gives any
            values other names. By default the names that the data declares, or else the values that occur.
        problem: a key of `hf_reprogram.tasks.problems.PROBLEMS`. By default that of `CATALOG`; for other tasks it is
            multi-label if `label` names several columns, a forecast if `horizon` is set, a regression if `regression`
            is set, and single-label classification otherwise.
        regression: whether the label is a number to predict; the same as `problem: regression`.
        group: for a classification, the column of the group that each example belongs to, such as "sex". Gaps between groups
            are reported, and objectives may read it in training; an adapter predicts without it. It is no input of the model,
            unless `features` lists it too (`hf_reprogram.tasks.groups`).
        scored: for token classification, a column with one 0 or 1 per text character; a character with 0 is not scored.
        horizon: for a forecast, the number of steps to predict. The data has a row per time step and a column of numbers in
            `series`, or a row per series and a column of lists; see `hf_reprogram.tasks.forecast`.
        context: for a forecast, the number of steps that it goes on from; by default four horizons.
        season: for a forecast, the steps after which the series repeats itself, such as 24 of hours; by default 1. Baselines
            and MASE use it.
        time: for a forecast, a column of times, by which the rows must be sorted.
        marks: for infilling, the marks whose positions are hidden and predicted.
        metrics: names from `hf_reprogram.tasks.metrics`; models are selected on the first one.
        train_split, validation_split, test_split: names of the splits. A missing test split is carved from train, and then
            a missing validation split.
        validation_share: the share of train that is carved for validation.
        validation_max: the largest number of examples that are carved for validation.
        split: how splits are carved. "seeded" draws with `split_seed` and keeps the share of each class. "scaffold" splits
            molecules by Murcko scaffold and puts the largest groups into train, as MoleculeNet does (needs rdkit).
        split_seed: the seed of carving, which is the same for every seed of a run.
        few_shot: train on this number of examples per class and validate on as many others, drawn with the run's seed.
        train_size: train on this number of examples in all and validate on at most as many others, drawn with the run's
            seed.
        max_train, max_test: the largest number of training and of test examples, drawn with `split_seed`.
        streaming: read the training rows while training, so that memory does not grow with the data
            (`hf_reprogram.tasks.streaming`).
        max_length: the number of tokens, template included, that texts are truncated to; by default the source's limit.
    """

    dataset: str = ""
    name: str | None = None
    revision: str | None = None
    sep: str | None = None
    encoding: str | None = None
    columns: list[str] | None = None
    label: str | list[str] | None = None
    labels: list[str | float] | dict[Any, Any] | None = None
    problem: str | None = None
    regression: bool | None = None
    group: str | None = None
    scored: str | None = None
    horizon: int | None = None
    context: int | None = None
    season: int | None = None
    time: str | None = None
    marks: str | None = None
    metrics: list[str] | None = None
    train_split: str | None = None
    validation_split: str | None = None
    test_split: str | None = None
    validation_share: float = 0.1
    validation_max: int = 1000
    split: str | None = None
    split_seed: int = 0
    few_shot: int | None = None
    train_size: int | None = None
    max_train: int | None = None
    max_test: int | None = None
    max_length: int | None = None
    streaming: bool = False

    def __post_init__(self):
        self.dataset = held(self.dataset)
        if not isinstance(self.dataset, str):
            raise InputError(
                f"task.dataset is {shown(self.dataset)}: give a Hub id, a file, a folder, a Dataset or a DataFrame."
            )
        if not self.dataset:
            raise InputError("The task has no dataset: give a Hub id, a folder or a file in task.dataset.")
        for modality in every_modality():
            setattr(self, modality.column, modality.named(getattr(self, modality.column)))
        columns = [f"task.{each.column}" for each in every_modality() if getattr(self, each.column)]
        if len(columns) > 1:
            raise InputError(f"{' and '.join(columns)} both name the examples: give one of them.")
        if self.sep is not None and (len(str(self.sep)) != 1 or self.sep in '\0\r\n"' or not self.sep.isascii()):
            raise InputError(f"task.sep is {self.sep!r}: give one ASCII character, such as ';' or a tab as \"\\t\".")
        if self.columns is not None and not 1 <= len(self.columns) == len({*map(str, self.columns)}):
            raise InputError(f"task.columns is {self.columns!r}: give the name of every column once.")
        if self.few_shot is not None:
            check_whole(1, " of examples per class", **{"task.few_shot": self.few_shot})
        if self.few_shot is not None and self.train_size is not None:
            raise InputError(
                "task.few_shot and task.train_size both set the number of training examples: give one of them."
            )
        if self.split not in (None, "seeded", "scaffold"):
            raise unknown("task.split", self.split, ("seeded", "scaffold"))
        if self.problem is not None and self.problem not in PROBLEMS:
            raise unknown("task.problem", self.problem, PROBLEMS)
        self._check_forecast()
        for key in ("max_train", "max_test", "max_length", "validation_max", "train_size"):
            value = getattr(self, key)
            if value is not None:
                check_whole(**{f"task.{key}": value})
        if not 0 < self.validation_share < 1:
            raise InputError(f"task.validation_share is {self.validation_share}: give a share between 0 and 1.")
        if self.labels is not None:
            self.labels = self._checked_labels()
        for name in self.metrics or ():
            if name not in METRICS:
                raise unknown("metric", name, METRICS)

    def _check_forecast(self) -> None:
        """Raise `InputError` unless the options of a forecast fit each other."""
        for key in ("horizon", "context", "season"):
            if getattr(self, key) is not None:
                check_whole(1, " of time steps", **{f"task.{key}": getattr(self, key)})
            elif key == "horizon" and self.problem == "forecast":
                raise InputError("A forecast has a number of steps: give it in task.horizon.")
        others = [key for key in ("context", "season", "time") if getattr(self, key) is not None]
        if others and self.horizon is None:
            raise InputError(f"task.{others[0]} is for a forecast, which has a number of steps: give task.horizon too.")
        if self.horizon is not None and (self.problem not in (None, "forecast") or self.regression):
            raise InputError("task.horizon makes the task a forecast: leave task.problem and task.regression out.")

    def _checked_labels(self) -> Any:
        """The label names: a mapping or a list of names as it is, another form as a list."""
        given: Any = self.labels
        if isinstance(given, int):
            raise InputError(f"task.labels is {given!r}: give the names of the labels.")
        names = given.values() if isinstance(given, dict) else given
        for name in names if isinstance(given, dict | list | tuple) else ():
            if isinstance(name, bool):
                raise InputError(f"task.labels holds {name!r}, which is no text: put the name in quotes.")
        listed = label_list(list(names) if isinstance(given, dict) else given, "task.labels")
        return given if isinstance(given, dict | list) else listed


def data_address(text: str) -> dict[str, str]:
    """The keys of a section `task` for a data set that the command line names, as DATASET or DATASET:CONFIGURATION.

    >>> data_address("nyu-mll/glue:sst2")
    {'dataset': 'nyu-mll/glue', 'name': 'sst2'}
    """
    if Path(text).exists() or ":" not in text:
        return {"dataset": text}
    dataset, _, name = text.rpartition(":")
    return {"dataset": dataset, "name": name}


if TYPE_CHECKING:

    class TaskOptions(TaskSection):
        """The `task:` section of a recipe."""

        def __init__(self, dataset: str = "", name: str | None = None, revision: str | None = None, **options: Any): ...

        def __getattr__(self, name: str) -> Any: ...

else:
    TaskOptions = make_dataclass(
        "TaskOptions",
        [
            (each.column, list[str] | str | None, field(default=None, metadata={"help": each.column_help}))
            for each in every_modality()
        ],
        bases=(TaskSection,),
        namespace={
            "__module__": __name__,
            "__doc__": "The `task:` section of a recipe: the keys of `TaskSection`, and one key per modality that names the "
            "raw columns of the examples. Give one of these keys unless the task is in `CATALOG`.",
        },
    )
