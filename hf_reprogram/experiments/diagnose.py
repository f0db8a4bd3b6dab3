"""The command `hf-reprogram diagnose`: why an adapter works, or does not.

The start of training is made anew from the recipe and stands beside what was trained: the same program without training, with
the same start of omega.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import softmax
from torch.utils.data import DataLoader

from ..alignment import mean_risk, risk_bound
from ..devices import to_accelerator
from ..diagnostics.measures import agreement, compared, distances, source_outputs, target_outputs
from ..errors import InputError
from ..files import write_json, write_text
from ..ood import adaptive_ece, brier, ece, nll, reliability
from ..options import check_whole, from_dict
from ..progress import quiet_libraries
from ..registry import plugins
from ..reports.diagnosis import render_diagnosis
from ..reports.results import versions
from ..schedule import begin_epoch
from ..tasks.options import TaskOptions, data_address
from ..tasks.source_data import source_data
from ..training.adapter import load_adapter
from ..training.encode import batches, collator, encode, labels_of
from ..training.predict import predict_logits
from ..trust import file_arguments
from .evaluate import seed_of, task_of
from .named_source import named_source
from .recipe import Recipe, apply_overrides, make_recipe, recorded_recipe
from .seed_runs import untrained_model

SHOWN = 300  # points of each kind in the projection


def diagnose_adapter(
    adapter: str,
    *,
    source_dataset: str | None = None,
    overrides: list[str] | None = None,
    rows: int = 500,
    examples: int = 64,
    output: Path | None = None,
    source: str | None = None,
    quiet: bool = False,
    trust_remote_code: bool = False,
) -> tuple[str, Path]:
    """Measure an adapter and its untrained start on validation data, and write `diagnosis.json`, `diagnosis.md` and plots.

    Args:
        adapter: the output folder of a run, or a Hub id with a `recipe.json`.
        source_dataset: data of the source's own task, as DATASET or DATASET:CONFIGURATION; None for no distances.
        overrides: changes of that data's address, such as "source_data.text=sentence".
        rows: the largest number of validation examples; distances take as many, and twice as many of the source's data.
        examples: the number of training examples whose gradients are compared; 0 for none.
        output: the folder to write into; None for `diagnosis` in the adapter's folder, or in the current folder for an adapter
            of the Hub.
        source: the name or folder of the source, if it is not where the adapter recorded it; or a recipe with its endpoint.
        quiet: show no progress bars.
        trust_remote_code: whether the source's own Python code may run; see `hf_reprogram.trust`.

    Returns:
        The tables as Markdown, and the folder.

    Raises:
        InputError: the adapter has no recipe, its task has not one label per example, or the source's data do not fit.
    """
    quiet_libraries(quiet)
    check_whole(2, rows=rows)
    check_whole(0, examples=examples)
    values = recorded_recipe(adapter)
    if values is None:
        raise InputError(
            f"{adapter!r} has no recipe.json, which says what it was trained on: diagnose the folder of a run."
        )
    with plugins(trust_remote_code):
        recipe = make_recipe(values)
    model, processor = load_adapter(adapter, named_source(source), recipe.source_kwargs, trust_remote_code)
    options, seed = recipe.task_options, seed_of(adapter)
    task = task_of(model, options)
    if task.problem_type != "single_label_classification":
        raise InputError(
            f"diagnose is for one class per example, and this is a task of {task.problem_type.replace('_', ' ')}."
        )
    reference, source_risk = None, None
    if source_dataset is not None:
        address = source_address(source_dataset, overrides or [])
        reference, source_risk = reference_outputs(model, recipe, address, rows, quiet)
    splits = task.splits(seed)
    start, start_processor = _start(recipe, task, seed, splits, model.source, quiet)
    record: dict[str, Any] = {"task": task.title, "source_data": source_dataset, "reads": compared(model), "states": {}}
    outputs = {}
    for name, each, encoder in (("start", start, start_processor), ("trained", model, processor)):
        data = encode({s: splits[s] for s in ("train", "validation")}, encoder, options.max_length, task.problem_type)
        loaders = {s: DataLoader(data[s], 32, collate_fn=collator(encoder)) for s in data}
        record["states"][name], outputs[name] = _state(
            each, encoder, data["validation"], loaders, reference, rows, examples, quiet
        )
    if source_risk is not None:
        record["source_risk"] = source_risk
        bound = risk_bound(source_risk, record["states"]["trained"]["w1"], len(model.source.spec.labels))
        record["bound"] = bound
    tables = render_diagnosis(record)
    folder = output or Path(adapter if Path(adapter).is_dir() else ".") / "diagnosis"
    write_json(folder / "diagnosis.json", {**record, "versions": versions()})
    write_text(folder / "diagnosis.md", f"# Diagnosis of {task.title}\n\n{tables}")
    _plot(record, reference, outputs, folder)
    return tables, folder


def source_address(dataset: str, overrides: list[str]) -> TaskOptions:
    """The section that names the source's own data."""
    values: dict[str, Any] = {"source_data": data_address(dataset)}
    apply_overrides(values, overrides)
    if [*values] != ["source_data"]:
        raise InputError("--set changes keys of the source's data here: write --set source_data.KEY=VALUE.")
    options: TaskOptions = from_dict(TaskOptions, values["source_data"], "key of source_data")
    return options


def reference_outputs(
    model: Any, recipe: Recipe, address: TaskOptions, rows: int, quiet: bool
) -> tuple[torch.Tensor, float | None]:
    """The source's outputs for its own data, and its risk there; None where the data do not name its labels."""
    spec = model.source.spec
    data, labels = source_data(address, spec.takes, spec.labels, 2 * rows)
    processor = model.source.plain_processor(recipe.source["name"], file_arguments(recipe.source_kwargs))
    encoded = encode({"test": data}, processor, None)["test"]
    order: list[int] = []
    found = []
    for numbers, batch in batches(encoded, processor, 32, model.source.device, "Source data", quiet):
        order += numbers.tolist()
        found.append(source_outputs(model.source, [batch], compared(model)))
    outputs = torch.empty_like(torch.cat(found))
    outputs[order] = torch.cat(found)
    named = labels >= 0
    if compared(model) != "logits" or not named.any():
        return outputs, None
    return outputs, mean_risk(outputs[torch.from_numpy(named)], labels[named])


def _start(recipe: Recipe, task: Any, seed: int, splits: Any, source: Any, quiet: bool) -> tuple[Any, Any]:
    """The model of the recipe before its first step, with its start fitted to the training data; and its processor."""
    model, processor = untrained_model(recipe, task, seed, splits)
    to_accelerator(model).eval()
    data = encode({"train": splits["train"]}, processor, task.options.max_length, task.problem_type)["train"]
    begin_epoch(model, 0.0, DataLoader(data, 32, collate_fn=collator(processor)), quiet=quiet, soften=False)
    model.in_schedule = False
    return model, processor


def _state(
    model: Any,
    processor: Any,
    data: Any,
    loaders: dict[str, Any],
    reference: torch.Tensor | None,
    rows: int,
    examples: int,
    quiet: bool,
) -> tuple[dict[str, Any], torch.Tensor]:
    """What is measured of a model, and the source's outputs for its validation data."""
    logits, labels = predict_logits(model.eval(), processor, data, quiet=quiet), labels_of(data)
    probabilities = softmax(logits.astype(np.float64), axis=1)
    outputs, _ = target_outputs(model, loaders["validation"], rows)
    record: dict[str, Any] = {
        "examples": len(labels),
        "accuracy": float((logits.argmax(1) == labels).mean()),
        "risk": mean_risk(logits, labels),
        "ece": ece(probabilities, labels),
        "adaptive_ece": adaptive_ece(probabilities, labels),
        "brier": brier(probabilities, labels),
        "nll": nll(probabilities, labels),
        "reliability": reliability(probabilities, labels),
    }
    if reference is not None:
        record |= distances(outputs, reference)
    if examples and (found := agreement(model, loaders["train"], examples)) is not None:
        shuffled = agreement(model, loaders["train"], examples, shuffled=True)
        record |= {**found, "alignment_shuffled": (shuffled or {})["alignment"]}
    return record, outputs


def _plot(
    record: dict[str, Any], reference: torch.Tensor | None, outputs: dict[str, torch.Tensor], folder: str | os.PathLike
) -> None:
    import warnings

    from ..reports.diagnosis import plot_calibration, plot_projection

    try:
        plot_calibration(record, Path(folder) / "calibration.png")
        if reference is not None:
            points = {"source's own data": reference[:SHOWN], **{k: v[:SHOWN] for k, v in outputs.items()}}
            plot_projection({name: part.numpy() for name, part in points.items()}, Path(folder) / "projection.png")
    except InputError:
        warnings.warn("matplotlib is not installed, so no plots: pip install 'hf_reprogram[plots]'.", stacklevel=2)
