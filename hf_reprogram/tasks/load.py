"""From a `task:` section to train, validation and test splits with the columns `text`, `text_pair` and `label`."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError, unknown
from .catalog import ALIASES, CATALOG, KnownTask
from .metrics import METRICS
from .splits import carve, few_shot

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

FILE_FORMATS = {".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet"}


@dataclass
class TaskOptions:
    """The `task:` section of a recipe.

    Attributes:
        dataset: a Hub id, a folder, or a csv, tsv, jsonl or parquet file. With `HF_REPROGRAM_DATA=DIR` in the
            environment, `owner/dataset` with its `name` is first looked for as `DIR/dataset/name`.
        name: configuration of the data set, for example "rte" of "nyu-mll/glue".
        revision: commit of the data set's repository.
        text: one column, or two for pairs; known for the tasks of `CATALOG`.
        label: the label column.
        labels: label names in the order of their values (or of any order if the column holds names); read from the
            data if it declares them.
        regression: whether the label is a number to predict; known for the tasks of `CATALOG`.
        metrics: of `hf_reprogram.tasks.metrics`; models are selected on the first.
        train_split, validation_split, test_split: names of the splits. Without a validation split one is carved from
            train; without a test split one is carved from train first.
        validation_share, validation_max: how much of train is carved.
        split_seed: seed of carving, the same for every seed of a run.
        few_shot: train on so many examples a class, and validate on as many others (drawn with the run's seed).
        max_train, max_test: use at most so many examples, drawn with `split_seed`.
        max_length: truncate to so many tokens, the template counted; by default the source's limit.
    """

    dataset: str = ""
    name: str | None = None
    revision: str | None = None
    text: list[str] | None = None
    label: str = "label"
    labels: list[str] | None = None
    regression: bool | None = None
    metrics: list[str] | None = None
    train_split: str = "train"
    validation_split: str | None = None
    test_split: str | None = None
    validation_share: float = 0.1
    validation_max: int = 1000
    split_seed: int = 0
    few_shot: int | None = None
    max_train: int | None = None
    max_test: int | None = None
    max_length: int | None = None

    def __post_init__(self):
        if not self.dataset:
            raise InputError("The task names no dataset: give a Hub id, a folder or a file in task.dataset.")
        if isinstance(self.text, str):
            self.text = [self.text]
        if self.text is not None and not 1 <= len(self.text) <= 2:
            raise InputError(f"task.text names {len(self.text)} columns: give one, or two for pairs.")
        if self.few_shot is not None and (not isinstance(self.few_shot, int) or self.few_shot < 1):
            raise InputError(f"task.few_shot is {self.few_shot}: give at least 1 example a class.")
        for key in ("max_train", "max_test", "max_length", "validation_max"):
            value = getattr(self, key)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise InputError(f"task.{key} is {value!r}: give a whole number, 1 or more.")
        if not 0 < self.validation_share < 1:
            raise InputError(f"task.validation_share is {self.validation_share}: give a share between 0 and 1.")
        for name in self.labels or ():
            if isinstance(name, bool):
                raise InputError(f"task.labels holds {name!r}, which YAML reads from yes and no: put it in quotes.")
        for name in self.metrics or ():
            if name not in METRICS:
                raise unknown("metric", name, METRICS)


@dataclass
class Task:
    """A loaded task: every split has the columns `text`, `label` and, for pairs, `text_pair`.

    Attributes:
        options: what was asked for.
        train, test: all the training data (before carving and few-shot sampling) and the test data.
        validation: the declared validation split, or None if it is to be carved.
        labels: names by class index; empty for a regression.
        metrics: the first one selects.
        average: of F1.
        notes: what was done to the data, in words, for the model card.
    """

    options: TaskOptions
    train: Dataset
    test: Dataset
    validation: Dataset | None
    labels: list[str]
    metrics: list[str]
    average: str
    test_split: str
    notes: list[str] = field(default_factory=list)

    @property
    def regression(self) -> bool:
        """Whether a number is predicted."""
        return not self.labels

    @property
    def problem_type(self) -> str:
        """As in `ReprogramConfig`."""
        return "regression" if self.regression else "single_label_classification"

    @property
    def title(self) -> str:
        """What to call the task in a table."""
        return self.options.name or Path(self.options.dataset).stem

    def splits(self, seed: int) -> DatasetDict:
        """Train, validation and test for one seed; only a few-shot draw depends on the seed."""
        from datasets import DatasetDict

        options, pool = self.options, self.train
        labels = np.asarray(pool["label"])
        if options.few_shot is not None:
            chosen, held_out = few_shot(labels, options.few_shot, seed, self.labels)
            train, validation = pool.select(chosen), pool.select(held_out)
        elif self.validation is not None:
            train, validation = pool, self.validation
        else:
            kept, held_out = carve(
                labels, options.validation_share, options.validation_max, options.split_seed, not self.regression
            )
            train, validation = pool.select(kept), pool.select(held_out)
        if options.max_train is not None and options.few_shot is None and len(train) > options.max_train:
            train = _at_most(train, options.max_train, options.split_seed)
        return DatasetDict(train=train, validation=validation, test=self.test)


def load_task(options: TaskOptions) -> Task:
    """Load the data of a task and check it.

    Raises:
        InputError: the data cannot be found, a column or split is missing, a split is empty, a label is missing or
            outside the label names, or there are fewer than two classes.
    """
    known = CATALOG.get((ALIASES.get(options.dataset, options.dataset), options.name or ""))
    splits = _load(options)
    text = list(options.text or (known.text if known else ()))
    if not text:
        raise InputError(
            f"task.text is missing: which columns of {options.dataset!r} hold the text? {_columns(splits)}"
        )
    train = _split(splits, options.train_split, options)
    _check_metrics(options, known)
    test_name = options.test_split or (known.test_split if known else ("test" if "test" in splits else None))
    named = [name for name in (options.train_split, options.validation_split, test_name) if name]
    if len(set(named)) < len(named):
        raise InputError(
            f"The splits {', '.join(named)} (train, validation, test) must differ, as nothing may be selected on test: leave "
            "task.validation_split out to carve it from train."
        )
    raw = {
        "train": train,
        "test": _split(splits, test_name, options) if test_name else None,
        "validation": _split(splits, options.validation_split, options) if options.validation_split else None,
    }
    if known is None and options.validation_split is None and "validation" in splits and test_name != "validation":
        raw["validation"] = splits["validation"]
    names, regression = _label_names(options, known, train)
    if regression and options.few_shot is not None:
        raise InputError("task.few_shot draws examples a class, and a regression has none: use task.max_train.")
    ready = {
        split: _prepare(data, text, options, known, names, regression, split)
        for split, data in raw.items()
        if data is not None
    }
    notes = []
    if "test" not in ready:
        labels = np.asarray(ready["train"]["label"])
        kept, held_out = carve(labels, 0.2, 10**9, options.split_seed, not regression)
        ready["train"], ready["test"] = ready["train"].select(kept), ready["train"].select(held_out)
        notes.append(f"The data has no test split: 20 % of train was carved with seed {options.split_seed}.")
    elif known is not None and str(test_name).startswith("validation"):
        notes.append("The official test labels are hidden: the official validation split is the test split here.")
    if "validation" not in ready and options.few_shot is None:
        notes.append(
            f"Validation was carved from train ({options.validation_share:.0%}, at most {options.validation_max}, seed "
            f"{options.split_seed})."
        )
    if options.few_shot is not None:
        notes.append(_few_shot_note(np.asarray(ready["train"]["label"]), options.few_shot, names))
    if options.max_test is not None and len(ready["test"]) > options.max_test:
        ready["test"] = _at_most(ready["test"], options.max_test, options.split_seed)
        notes.append(f"{options.max_test} test examples were drawn.")
    if options.max_train is not None:
        notes.append(f"At most {options.max_train} training examples were used.")
    default = ("pearson", "spearman") if regression else ("accuracy",)
    return Task(
        options=options,
        train=ready["train"],
        test=ready["test"],
        validation=ready.get("validation"),
        labels=names,
        metrics=list(options.metrics or (known.metrics if known else default)),
        test_split=test_name or "carved from train",
        average=known.average if known else ("binary" if len(names) == 2 else "macro"),
        notes=notes,
    )


def _few_shot_note(labels: np.ndarray, shots: int, names: list[str]) -> str:
    few = {names[label]: count // 2 for label, count in enumerate(np.bincount(labels)) if count < 2 * shots}
    fewer = f" ({', '.join(f'{count} of {name}' for name, count in few.items())})" if few else ""
    return f"{shots} examples a class{fewer} for training and as many for validation, drawn with the seed."


def _check_metrics(options: TaskOptions, known: KnownTask | None) -> None:
    """Metrics must fit the kind of label."""
    regression = options.regression if options.regression is not None else bool(known and not known.labels)
    for name in options.metrics or ():
        if (METRICS[name][1] == "float64") != regression:
            raise InputError(f"The metric {name!r} does not fit a {'regression' if regression else 'classification'}.")


def _load(options: TaskOptions) -> Any:
    """The raw splits, from the local mirror, a file, a folder or the Hub."""
    from datasets import load_dataset

    path = Path(options.dataset)
    words = {"keep_default_na": False, "na_values": [""]}  # of csv: only an empty field is missing, "None" is a word
    mirror = os.environ.get("HF_REPROGRAM_DATA")
    try:
        if mirror and not path.exists():
            bare = ALIASES.get(options.dataset, options.dataset).split("/")[-1]
            local = Path(mirror, bare, *([options.name] if options.name else []))
            if local.is_dir():
                return load_dataset("parquet", data_files=_parquet_splits(local))
        if path.is_file():
            kind = FILE_FORMATS.get(path.suffix)
            if kind is None:
                raise InputError(
                    f"The file {options.dataset!r} is none of {', '.join(sorted(FILE_FORMATS))}: convert it to one of them."
                )
            extra = {**words, "sep": "\t" if path.suffix == ".tsv" else ","} if kind == "csv" else {}
            return load_dataset(kind, data_files={"train": str(path)}, **extra)
        if path.is_dir() and any(path.rglob("*.csv")):
            return load_dataset("csv", data_dir=str(path), **words)
        return load_dataset(ALIASES.get(options.dataset, options.dataset), options.name, revision=options.revision)
    except InputError:
        raise
    except Exception as error:  # datasets raises many types for "not found", and none in common
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        called = f"{options.dataset!r}{f', {options.name!r}' if options.name else ''}"
        if nothing := re.search(r'"(\w+)" corresponds to no data', reason):
            raise InputError(
                f"The split {nothing[1]!r} of {called} is empty: there is nothing to learn or score."
            ) from error
        if path.exists():
            raise InputError(f"The data in {called} is empty or cannot be read: {reason}") from error
        raise InputError(
            f"The data set {called} is neither a file or folder here nor one that can be fetched from the Hub now ({reason}): "
            "check its spelling and the network, or point HF_REPROGRAM_DATA at a local copy."
        ) from error


def _parquet_splits(folder: Path) -> dict[str, list[str]]:
    """Files of a mirrored data set by split: `train.parquet`, `validation_matched.parquet`, `test-00000-of-00002.parquet`."""
    files: dict[str, list[str]] = {}
    for file in sorted(folder.glob("*.parquet")):
        files.setdefault(re.sub(r"-\d+-of-\d+$", "", file.stem), []).append(str(file))
    if not files:
        raise InputError(f"HF_REPROGRAM_DATA has the folder {str(folder)!r}, but no parquet file in it.")
    return files


def _split(splits: Any, name: str, options: TaskOptions) -> Any:
    if name not in splits:
        raise unknown(f"split of {options.dataset!r}", name, splits)
    if len(splits[name]) == 0:
        raise InputError(f"The split {name!r} of {options.dataset!r} is empty: there is nothing to learn or score.")
    return splits[name]


def _columns(splits: Any) -> str:
    return f"It has {', '.join(map(repr, next(iter(splits.values())).column_names))}."


def _label_names(options: TaskOptions, known: KnownTask | None, train: Any) -> tuple[list[str], bool]:
    """Names by class index, and whether the task is a regression."""
    from datasets import ClassLabel

    if options.label not in train.column_names:
        raise unknown(f"label column of {options.dataset!r}", options.label, train.column_names)
    regression = options.regression if options.regression is not None else bool(known and not known.labels)
    if regression:
        return [], True
    if options.labels:
        names = [str(name) for name in options.labels]
    elif known:
        names = list(known.labels)
    elif isinstance(train.features[options.label], ClassLabel):
        names = list(train.features[options.label].names)
    else:
        values = sorted(
            {value for value in train[options.label] if value is not None and value == value},
            key=lambda v: (str(type(v)), v),
        )
        if any(isinstance(value, float) and not float(value).is_integer() for value in values):
            raise InputError(
                f"The column {options.label!r} holds numbers such as {next(v for v in values if v != int(v))}: set "
                "task.regression: true to predict them."
            )
        if values and all(isinstance(value, int | float) for value in values):
            names = [str(int(value)) for value in values]
        else:
            names = [str(value) for value in values]
    if len(names) < 2:
        raise InputError(
            f"The column {options.label!r} has fewer than 2 classes ({', '.join(names)}): there is nothing to tell apart."
        )
    return names, False


def _prepare(
    data: Any,
    text: list[str],
    options: TaskOptions,
    known: KnownTask | None,
    names: list[str],
    regression: bool,
    split: str,
) -> Any:
    """The columns `text`, `text_pair`, `label`, with labels checked."""
    from datasets import Dataset, Features, Value

    if known is not None and known.prepare is not None and not options.text:
        data = data.map(known.prepare)
    for column in [*text, options.label]:
        if column not in data.column_names:
            raise unknown(f"column of {options.dataset!r}", column, data.column_names)
    columns: dict[str, list[Any]] = {"text": [str(value) if value is not None else "" for value in data[text[0]]]}
    if len(text) == 2:
        columns["text_pair"] = [str(value) if value is not None else "" for value in data[text[1]]]
    columns["label"] = [_label(value, names, regression, row, split) for row, value in enumerate(data[options.label])]
    features = {name: Value("string") for name in columns if name != "label"}
    features["label"] = Value("float32" if regression else "int64")
    return Dataset.from_dict(columns, features=Features(features))


def _label(value: Any, names: list[str], regression: bool, row: int, split: str) -> float | int:
    if regression:
        try:
            finite = value is not None and np.isfinite(float(value))
        except ValueError:
            finite = False
        if not finite:
            raise InputError(
                f"Row {row} of the {split} split has the label {value!r}: a regression needs a finite number."
            )
        return float(value)
    number = isinstance(value, bool | int | float) and np.isfinite(value) and value == int(value)
    name = str(int(value)) if number else value
    if isinstance(name, str) and name in names:  # a name comes before a position: labels 1 and 2 named "1" and "2"
        return names.index(name)
    if number and 0 <= value < len(names):
        return int(value)
    raise InputError(
        f"Row {row} of the {split} split has the label {value!r}, outside the {len(names)} names "
        f"{', '.join(names[:8])}: correct task.labels, or name another split if this one's labels are hidden."
    )


def _at_most(data: Any, count: int, seed: int) -> Any:
    return data.select(np.sort(np.random.default_rng(seed).permutation(len(data))[:count]))
