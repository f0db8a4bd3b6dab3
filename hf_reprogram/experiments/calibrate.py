"""The command `hf-reprogram calibrate`: fit a temperature, and a shift, to held-out data, and keep them in the adapter."""

from __future__ import annotations

import os
import secrets
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..calibration import METHODS, CalibrationOptions, calibrated, uncalibrate
from ..errors import InputError, unknown
from ..files import staged, write_json
from ..options import from_dict
from ..progress import quiet_libraries
from ..registry import plugins
from ..reports.calibration import render_calibration
from ..reports.card import write_card
from ..tasks.options import TaskOptions, data_address
from ..tasks.task import Task
from ..training.adapter import load_adapter, recorded
from ..training.calibration import ClampingOptions, fit_clamping, fit_temperature, measures, scored_rows
from ..training.encode import encode, labels_of
from ..training.predict import predict_logits
from .evaluate import same_splits, seed_of, task_of
from .named_source import named_source
from .recipe import Recipe, apply_overrides, make_recipe, recorded_recipe
from .whole_paths import with_whole_paths

SPLITS = ("validation", "all")
KEPT = ("recipe.json", "results.json", "fit.json")  # what a calibrated copy takes along


def calibrate_adapter(
    adapter: str,
    *,
    data: str | None = None,
    overrides: list[str] | None = None,
    split: str = "validation",
    test: str | None = None,
    method: str = "temperature",
    clamping: ClampingOptions | None = None,
    output: Path | None = None,
    source: str | None = None,
    quiet: bool = False,
    trust_remote_code: bool = False,
) -> tuple[str, Path]:
    """Calibrate an adapter on labelled data that were held out of its training.

    Args:
        adapter: a folder or a Hub id.
        data: the data set, as DATASET or DATASET:CONFIGURATION; None for that of the adapter's recipe.
        overrides: changes of the section `task` of the data, such as "task.label=kind".
        split: "validation", or "all" for every example of a data set that is not the recipe's.
        test: "test" to report the figures on that split too, on which nothing is fitted; or None.
        method: "temperature" or "neural_clamping".
        clamping: how Neural Clamping is fitted.
        output: a new folder for a calibrated copy; None to calibrate the adapter in its own folder.
        source: the name or folder of the source, if it is not where the adapter recorded it.
        quiet: show no progress bars.
        trust_remote_code: whether the source's own Python code may run; see `hf_reprogram.trust`.

    Returns:
        The table and the sentences about it, and the folder of the calibrated adapter.

    Raises:
        InputError: the adapter predicts numbers or fills in tokens, the examples were trained on or are the test split's, or no
            calibration fits. Nothing is written then.
    """
    quiet_libraries(quiet)
    if method not in METHODS:
        raise unknown("method of calibration", method, METHODS)
    _check_split(split, test)
    folder = _folder(adapter, output)
    options, recipe = _task(adapter, data, split, overrides or [], trust_remote_code)
    kwargs = recipe.source_kwargs if recipe else None
    model, processor = load_adapter(adapter, named_source(source), kwargs, trust_remote_code)
    _check_problem(model)
    task = task_of(model, options)
    bf16 = bool(recipe and recipe.training.get("bf16"))
    uncalibrate(model)
    splits = {split: _every(task) if split == "all" else task.splits(seed_of(adapter))["validation"]}
    if test:
        splits["test"] = task.test
    encoded = encode(splits, processor, options.max_length, task.problem_type)
    logits, labels = {}, {}
    for name, examples in encoded.items():
        logits[name] = predict_logits(model, processor, examples, bf16=bf16, quiet=quiet)
        labels[name] = labels_of(examples)
    if method == "temperature":
        rows, classes = _rows(model, logits[split], labels[split])
        found = CalibrationOptions(temperature=fit_temperature(rows, classes))
        after = {name: values / found.temperature for name, values in logits.items()}
    else:
        found = fit_clamping(model, processor, encoded[split], clamping, bf16=bf16, quiet=quiet)
        after = {n: predict_logits(model, processor, each, bf16=bf16, quiet=quiet) for n, each in encoded.items()}
    states = {name: _state(model, logits[name], after[name], labels[name]) for name in encoded}
    record = {"data": task.title, "split": split, **states[split], **({"test": states["test"]} if test else {})}
    if clamping is not None and method == "neural_clamping":
        record["fit"] = asdict(clamping)
    delta = None if model.calibration is None else model.calibration.delta
    calibrated(model, replace(found, record=record), delta)
    _save(model, processor, adapter, folder, in_place=output is None)
    return render_calibration(model.config.calibration), folder


def _check_split(split: str, test: str | None) -> None:
    """Raise `InputError` unless a calibration may be fitted on a split and reported on another."""
    if split in ("train", "test"):
        why = "was trained on" if split == "train" else "is scored on, and nothing may be selected there"
        raise InputError(
            f"The {split} split is what the adapter {why}: calibrate on validation, or on other data with --data."
        )
    if split not in SPLITS:
        raise unknown("split to calibrate on", split, SPLITS)
    if test not in (None, "test"):
        raise unknown("split to report on", test, ("test",))
    if split == "all" and test:
        raise InputError("With split all every example is fitted on, so none is left to test on: leave --test out.")


def _folder(adapter: str, output: Path | None) -> Path:
    """The folder of the calibrated adapter."""
    if output is None:
        if not Path(adapter).is_dir():
            raise InputError(f"{adapter!r} is no folder to write into: name one for a calibrated copy with --output.")
        return Path(adapter)
    if os.path.lexists(output):
        raise InputError(f"The output {str(output)!r} exists already: give a new folder.")
    return output


def _task(
    adapter: str, data: str | None, split: str, overrides: list[str], trust: bool
) -> tuple[TaskOptions, Recipe | None]:
    """The options of the task whose examples are held out, and the recipe of the adapter, if it has one."""
    own, recipe = recorded_recipe(adapter), None
    if own is not None:
        with plugins(trust):
            recipe = make_recipe(own)
    if data is None and recipe is None:
        raise InputError(f"{adapter!r} has no recipe.json: name labelled data that it was not trained on with --data.")
    task = with_whole_paths(dict(recipe.task)) if recipe else {}
    address = with_whole_paths({"name": None, **data_address(data)}) if data is not None else {}
    known = recipe is not None and all(task.get(key) == value for key, value in address.items())
    values: dict[str, Any] = {"task": task if known else address}
    apply_overrides(values, overrides)
    if [*values] != ["task"]:
        raise InputError("--set changes keys of the section task here: write --set task.KEY=VALUE.")
    options: TaskOptions = from_dict(TaskOptions, values["task"], "key of task")
    if known and split == "all":
        raise InputError("The adapter was trained on a part of this data set: calibrate on its validation split.")
    if known and recipe is not None and not same_splits(options, recipe.task):
        raise InputError(
            "These options draw other splits than those of training, so that examples of validation may be trained on: leave "
            "--set out."
        )
    return options, recipe


def _check_problem(model: Any) -> None:
    """Raise `InputError` unless an adapter predicts probabilities of labels."""
    if model.config.problem_type == "regression":
        raise InputError("The adapter predicts numbers without probabilities, so there is nothing to calibrate.")
    if model.mapping.reads == "decoder":
        raise InputError("The adapter fills in masked tokens and has no labels, so there is nothing to calibrate.")


def _every(task: Task) -> Any:
    """All examples of a data set."""
    from datasets import concatenate_datasets

    return concatenate_datasets([each for each in (task.train, task.validation, task.test) if each is not None])


def _rows(model: Any, logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows of logits that have a class, and their classes; see `scored_rows`."""
    given = torch.from_numpy(logits), torch.as_tensor(labels)
    rows, classes = scored_rows(*given, model.config.problem_type)
    return rows.numpy(), classes.numpy()


def _state(model: Any, before: np.ndarray, after: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """The figures of a split before and after, and how many labels changed."""
    (old, classes), (new, _) = _rows(model, before, labels), _rows(model, after, labels)
    return {
        "examples": len(labels),
        "before": measures(old, classes),
        "after": measures(new, classes),
        "changed": int((old.argmax(1) != new.argmax(1)).sum()),
    }


def _save(model: Any, processor: Any, adapter: str, folder: Path, in_place: bool) -> None:
    """Write the calibrated adapter into its own folder, or with what belongs to it into a new one."""
    kept = {name: values for name in KEPT if (values := recorded(adapter, name)) is not None}
    if in_place:
        with staged(folder, last="config.json") as stage:
            _write(model, stage, {name: values for name, values in kept.items() if name == "results.json"}, folder.name)
            for file in stage.iterdir():
                if (folder / file.name).exists():
                    shutil.copymode(folder / file.name, file)
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
    partial.mkdir()
    try:
        if processor is not None:
            processor.save_pretrained(partial)
        _write(model, partial, kept, folder.name)
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write(model: Any, folder: Path, files: dict[str, Any], name: str) -> None:
    """The adapter, its JSON files, and a card if it has results, in which the calibration stands too."""
    model.save_pretrained(folder)
    for file, values in files.items():
        if file == "results.json":
            values = {**values, "calibration": model.config.calibration}
            write_card(values, folder, name)
        write_json(folder / file, values)
