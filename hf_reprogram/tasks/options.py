"""What a recipe says of its data: the `task:` section."""

from __future__ import annotations

from dataclasses import dataclass, field, make_dataclass
from typing import TYPE_CHECKING, Any

from ..errors import InputError, unknown
from ..modalities import every_modality
from ..options import check_whole
from .metrics import METRICS
from .problems import PROBLEMS


@dataclass
class TaskSection:
    """The `task:` section of a recipe, but for the columns of its examples, which `TaskOptions` adds.

    Attributes:
        dataset: a Hub id, a folder (of images in a folder a class, too), a csv, tsv, jsonl or parquet file, or a name of
            `hf_reprogram.tasks.builtin`. With `HF_REPROGRAM_DATA=DIR` in the environment, `owner/dataset` with its `name`
            is first looked for as `DIR/dataset/name`.
        name: configuration of the data set, for example "rte" of "nyu-mll/glue".
        revision: commit of the data set's repository.
        label: the label column; several columns of 0 and 1 (empty where a label is missing) for a multi-label task.
        labels: label names in the order of their values (or of any order if the column holds names); read from the
            data if it declares them.
        problem: a key of `hf_reprogram.tasks.problems.PROBLEMS`; known for the tasks of `CATALOG`, else multi-label if
            `label` names several columns, a regression if `regression` is set, and a class an example otherwise. For
            "token_classification" the label column holds a letter a letter of the text; for "infilling" a mark a letter.
        regression: whether the label is a number to predict; the same as `problem: regression`.
        scored: for token classification, a column of 0 and 1 a letter: what is 0 is not scored.
        marks: for infilling, the marks of the positions to hide and guess.
        metrics: of `hf_reprogram.tasks.metrics`; models are selected on the first.
        train_split, validation_split, test_split: names of the splits. Without a validation split one is carved from
            train; without a test split one is carved from train first.
        validation_share, validation_max: how much of train is carved.
        split: how splits are carved: "seeded", by class and with `split_seed`, or "scaffold": molecules by Murcko
            scaffold, the largest groups first into train, as MoleculeNet does (needs rdkit).
        split_seed: seed of carving, the same for every seed of a run.
        few_shot: train on so many examples a class, and validate on as many others (drawn with the run's seed).
        train_size: train on so many examples in all, and validate on as many others at most (drawn with the run's seed).
        max_train, max_test: use at most so many examples, drawn with `split_seed`.
        max_length: truncate to so many tokens, the template counted; by default the source's limit.
    """

    dataset: str = ""
    name: str | None = None
    revision: str | None = None
    label: str | list[str] | None = None
    labels: list[str | float] | None = None
    problem: str | None = None
    regression: bool | None = None
    scored: str | None = None
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

    def __post_init__(self):
        if not self.dataset:
            raise InputError("The task names no dataset: give a Hub id, a folder or a file in task.dataset.")
        for modality in every_modality():
            setattr(self, modality.column, modality.named(getattr(self, modality.column)))
        columns = [f"task.{each.column}" for each in every_modality() if getattr(self, each.column)]
        if len(columns) > 1:
            raise InputError(f"{' and '.join(columns)} both say what an example is: give one of them.")
        if self.few_shot is not None:
            check_whole(1, " of examples per class", **{"task.few_shot": self.few_shot})
        if self.few_shot is not None and self.train_size is not None:
            raise InputError("task.few_shot and task.train_size both say how much to train on: give one.")
        if self.split not in (None, "seeded", "scaffold"):
            raise unknown("task.split", self.split, ("seeded", "scaffold"))
        if self.problem is not None and self.problem not in PROBLEMS:
            raise unknown("task.problem", self.problem, PROBLEMS)
        for key in ("max_train", "max_test", "max_length", "validation_max", "train_size"):
            value = getattr(self, key)
            if value is not None:
                check_whole(**{f"task.{key}": value})
        if not 0 < self.validation_share < 1:
            raise InputError(f"task.validation_share is {self.validation_share}: give a share between 0 and 1.")
        for name in self.labels or ():
            if isinstance(name, bool):
                raise InputError(f"task.labels holds {name!r}, which YAML reads from yes and no: put it in quotes.")
        for name in self.metrics or ():
            if name not in METRICS:
                raise unknown("metric", name, METRICS)


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
            "__doc__": "The `task:` section of a recipe: `TaskSection`, and a key per modality for the raw columns of the "
            "examples. One of these keys is given, or the task is known from `CATALOG`.",
        },
    )
