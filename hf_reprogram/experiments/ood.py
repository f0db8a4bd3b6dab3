"""Running the `ood:` section: an adapter's logits on every set, the reports on them, and the files that hold these.

runs/seed-0/ood.json    the record of one adapter: the options, its report, and the data of the plots; kept on resume
ood.md, ood_*.png       the tables and plots of the whole run

A record holds `report` (see `hf_reprogram.ood.report`) and `curves`. If the method blends a zero-shot branch in, it also holds
the adapter's own `alpha`. If alphas were swept, `alphas` has for each one its accuracy on validation, on which alone alpha is
chosen, and its report.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch

from ..errors import InputError
from ..files import write_json
from ..mappings.base import Blends
from ..ood.report import Scored, average, curves, report_of_scored, scored, title_of
from ..registry import plugins
from ..reports.results import short_name, summarize
from ..tasks.shifts import CorruptionOptions, Shifts
from ..tasks.task import Task
from ..training.encode import batches, encode, labels_of
from ..training.features import add_zero_shot_features
from ..training.predict import predict_logits
from .recipe import Recipe


def check_alphas(mapping: Any, alphas: list[float]) -> None:
    """Raise `InputError` if there are alphas to sweep and the output mapping has no alpha that can be set."""
    if not alphas:
        return
    if not isinstance(mapping, Blends):
        raise InputError(
            "ood.alphas are shares of a zero-shot branch, which the output mapping of this method does not have: leave them "
            "out."
        )
    mapping.set_alpha(mapping.alpha())  # raises if alpha was trained


def report_of(shifts: Shifts, id_logits: Any, id_labels: Any, logits: dict[str, Any]) -> dict[str, Any]:
    """The OOD report from logits.

    Args:
        shifts: the loaded sets.
        id_logits, id_labels: logits (n, classes) and labels (n,) of the test split.
        logits: logits (m, classes) of each of `shifts.splits`, by name.
    """
    score = shifts.options.score_function()
    sets = {name: scored(logits[name], _labels(split), score) for name, split in shifts.splits.items()}
    return _report(shifts, {**sets, "test": scored(id_logits, id_labels, score)})


def _labels(split: Any) -> np.ndarray | None:
    return np.asarray(split["label"][:]) if "label" in split.column_names else None


def _report(shifts: Shifts, sets: dict[str, Scored]) -> dict[str, Any]:
    """The report on "test" and on each of `shifts.splits`."""
    options, corrupted = shifts.options, {}
    if isinstance(options.corruptions, CorruptionOptions):
        for kind in options.corruptions.kinds:
            corrupted[kind] = {level: sets[f"corruptions/{kind}/{level}"] for level in options.corruptions.levels}
    return report_of_scored(
        sets["test"],
        {name: sets[f"covariate/{name}"] for name in options.covariate},
        corrupted,
        {name: sets[f"semantic/{name}"] for name in options.semantic},
        title_of(options.score, options.temperature),
        options.tpr,
    )


def options_as_json(shifts: Shifts, alphas: bool = True) -> dict[str, Any]:
    """The OOD options as JSON; without `alphas` the list of alphas is empty, as baselines have none."""
    options = asdict(shifts.options)
    return json.loads(json.dumps(options if alphas else {**options, "alphas": []}))


def adapter_record(
    model: Any, processor: Any, task: Task, shifts: Shifts, validation: Any, *, bf16: bool = False, quiet: bool = False
) -> dict[str, Any]:
    """The record of an adapter; see the module's docstring.

    Args:
        model: a `ReprogrammedModel` in eval mode.
        processor: its processor.
        task: the task, whose test split is in distribution.
        shifts: the loaded sets.
        validation: the prepared split that chooses among the alphas; not read if there are none.
        bf16: whether to autocast to bfloat16, as in training.
        quiet: show no progress bars.

    Raises:
        InputError: there are alphas, and the output mapping has no alpha that can be set.
    """
    alphas = [float(alpha) for alpha in shifts.options.alphas]
    check_alphas(model.mapping, alphas)
    with torch.no_grad():
        own = float(model.mapping.alpha()) if isinstance(model.mapping, Blends) else None
    tried = [own, *(alpha for alpha in alphas if alpha != own)] if alphas and own is not None else []
    splits = {"test": task.test, **({"validation": validation} if alphas else {}), **shifts.splits}
    # Logits are reduced to scores split by split, as for ImageNet they take 200 MB per alpha.
    score = shifts.options.score_function()
    sets: list[dict[str, Scored]] = [{} for _ in range(len(tried) or 1)]
    validation_scores: list[dict[str, float]] = []
    for name, split in splits.items():
        data = encode({name: split}, processor)[name]
        for index, logits in enumerate(_predict(model, processor, data, tried, bf16, quiet)):
            sets[index][name] = scored(logits, _labels(split), score)
            if name == "validation":
                validation_scores.append(task.score(logits, labels_of(data)))
    reports = [_report(shifts, results) for results in sets]
    outside = {name: sets[0][f"semantic/{name}"].scores for name in shifts.options.semantic}
    record: dict[str, Any] = {"report": reports[0], "curves": curves(sets[0]["test"].scores, outside)}
    if own is not None:
        record["alpha"] = own
    if tried:
        record["alphas"] = [
            {
                "alpha": alpha,
                "validation": validation_scores[tried.index(alpha)],
                "report": reports[tried.index(alpha)],
            }
            for alpha in alphas
        ]
    return record


@torch.no_grad()
def _predict(
    model: Any, processor: Any, data: Any, alphas: list[float], bf16: bool, quiet: bool, batch_size: int = 64
) -> list[np.ndarray]:
    """Logits (n, classes) for each alpha from one pass through the source; without alphas those of the model's own alpha."""
    mapping, source = model.mapping, model.source
    if not alphas:
        add_zero_shot_features(model, processor, {"split": data}, bf16=bf16, quiet=quiet)
        return [predict_logits(model, processor, data, bf16=bf16, quiet=quiet)]
    mapping.set_alpha(max(alphas))
    add_zero_shot_features(model, processor, {"split": data}, bf16=bf16, quiet=quiet)
    batches_of: list[list[np.ndarray]] = [[] for _ in alphas]
    for _, batch in batches(data, processor, batch_size, source.device, "Predicting", quiet):
        mapping.set_alpha(max(alphas))  # its outputs then serve all alphas
        with torch.autocast(source.device.type, torch.bfloat16, enabled=bf16):
            outputs = source(model.inputs(batch), mapping.reads)
            for logits, alpha in zip(batches_of, alphas, strict=True):
                mapping.set_alpha(alpha)
                logits.append(model.logits_and_loss(outputs, batch, None)[0].float().cpu().numpy())
    mapping.set_alpha(alphas[0])
    return [np.concatenate(logits) for logits in batches_of]


# -------------------------------------------------------------------------------------------------------- whole runs


def seed_record(
    folder: Path, recipe: Recipe, task: Task, shifts: Shifts, seed: int, process: Any, quiet: bool
) -> dict[str, Any]:
    """The record of the adapter of one seed. It is computed once and read afterwards, unless the options changed.

    Args:
        folder: the folder of the seed's run.
        recipe: the recipe of the run.
        task: the loaded task.
        shifts: the loaded sets.
        seed: the seed.
        process: accelerate's `PartialState`; the main process writes the record.
        quiet: show no progress bars.
    """
    from ..devices import to_accelerator
    from ..model import ReprogrammedModel

    path, asked = folder / "ood.json", options_as_json(shifts)
    if path.exists() and (record := json.loads(path.read_text(encoding="utf-8")))["asked"] == asked:
        return record
    with plugins(True):  # the recipe names them
        model = ReprogrammedModel.from_pretrained(
            folder, source=recipe.model_source, source_kwargs=recipe.source_kwargs
        )
    to_accelerator(model)
    processor = task.modality.load_processor(folder)
    validation, bf16 = task.splits(seed)["validation"], bool(recipe.training.get("bf16"))
    record = adapter_record(model, processor, task, shifts, validation, bf16=bf16, quiet=quiet)
    if process.is_main_process:
        write_json(path, {"asked": asked, **record})
    return record


def summarize_ood(records: list[dict[str, Any]], shifts: Shifts, task: Task) -> dict[str, Any]:
    """The `ood` entry of `results.json`, from one record per seed.

    Returns:
        `report`, the average of the reports, and `sets`, the data sets of the images. If a zero-shot branch is blended in,
        also `alpha`, the mean of the adapters' own. If alphas were swept, also `alphas` and `chosen_alpha`, see
        `residual_alpha`.
    """
    summary: dict[str, Any] = {
        "report": average([record["report"] for record in records]),
        "sets": {
            kind: {
                name: {"dataset": short_name(options.dataset), "name": options.name} for name, options in sets.items()
            }
            for kind, sets in (("covariate", shifts.options.covariate), ("semantic", shifts.options.semantic))
        },
    }
    if "alpha" in records[0]:
        summary["alpha"] = mean(record["alpha"] for record in records)
    if "alphas" in records[0]:
        swept = zip(*(record["alphas"] for record in records), strict=True)
        summary["alphas"] = [
            {
                "alpha": entries[0]["alpha"],
                "validation": summarize([entry["validation"] for entry in entries]),
                "report": average([entry["report"] for entry in entries]),
            }
            for entries in swept
        ]
        summary["chosen_alpha"] = residual_alpha(summary["alphas"], summary["alpha"], task)
    return summary


def residual_alpha(swept: list[dict[str, Any]], own: float, task: Task) -> float:
    """The share of the zero-shot branch with which the residual method is reported.

    It is the alpha with the best mean of the task's first metric on validation, and the first of equally good ones. Only values
    between 0 (no residual) and 1 (the zero-shot classifier) are candidates. If none of these was tried, all values but the
    adapters' own are candidates, and without any of these it is the adapters' own.

    Args:
        swept: one mapping per alpha, with `alpha` and the summary `validation`.
        own: the adapters' own alpha.
        task: the task, whose first metric counts.
    """
    between = [entry for entry in swept if 0 < entry["alpha"] < 1]
    candidates = between or [entry for entry in swept if entry["alpha"] != own]
    means = [{metric: value["mean"] for metric, value in entry["validation"].items()} for entry in candidates]
    return candidates[int(np.argmax([task.benefit(each) for each in means]))]["alpha"] if candidates else own
