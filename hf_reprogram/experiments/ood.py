"""The `ood:` section at work: an adapter's logits on every set, the reports made of them, and the files that hold them.

runs/seed-0/ood.json    one adapter's record: what was asked, its report, and what plots are drawn from; kept on resume
ood.md, ood_*.png       the tables and plots of the whole run

A record holds `report` (`hf_reprogram.ood.report`), `curves`, where the method blends a zero-shot branch in the adapter's own
`alpha`, and where alphas were swept, for each one tried, `alphas`: its accuracy on validation, which alone chooses, and its
report.
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
from ..reports.results import short_name, summarize
from ..tasks.shifts import CorruptionOptions, Shifts
from ..tasks.task import Task
from ..training.encode import batches, encode, labels_of
from ..training.features import add_zero_shot_features
from ..training.predict import predict_logits
from .recipe import Recipe


def check_alphas(mapping: Any, alphas: list[float]) -> None:
    """Raise `InputError` if there are alphas to sweep and an output mapping has none that can be set."""
    if not alphas:
        return
    if not isinstance(mapping, Blends):
        raise InputError(
            "ood.alphas are shares of a zero-shot branch, and this method's output mapping blends none in: leave them out."
        )
    mapping.set_alpha(mapping.alpha())  # refused where it was trained


def report_of(shifts: Shifts, id_logits: Any, id_labels: Any, logits: dict[str, Any]) -> dict[str, Any]:
    """The report on logits (n, classes) of every one of `shifts.splits`, beside those of the test split."""
    score = shifts.options.score_function()
    sets = {name: scored(logits[name], _labels(split), score) for name, split in shifts.splits.items()}
    return _report(shifts, {**sets, "test": scored(id_logits, id_labels, score)})


def _labels(split: Any) -> np.ndarray | None:
    return np.asarray(split["label"]) if "label" in split.column_names else None


def _report(shifts: Shifts, sets: dict[str, Scored]) -> dict[str, Any]:
    """The report on "test" and every one of `shifts.splits`."""
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


def asked_of(shifts: Shifts, alphas: bool = True) -> dict[str, Any]:
    """What a record answers, as plain data; of a baseline without the alphas, which it has none of."""
    asked = asdict(shifts.options)
    return json.loads(json.dumps(asked if alphas else {**asked, "alphas": []}))


def adapter_record(
    model: Any, processor: Any, task: Task, shifts: Shifts, validation: Any, *, bf16: bool = False, quiet: bool = False
) -> dict[str, Any]:
    """An adapter's record; see the module's docstring.

    Args:
        model: a `ReprogrammedModel` in eval mode.
        processor: its own.
        task: whose test split is in distribution.
        shifts: the sets.
        validation: the prepared split that chooses among alphas; read only where there are some.
        bf16: autocast to bfloat16, as in training.
        quiet: no progress bars.
    """
    alphas = [float(alpha) for alpha in shifts.options.alphas]
    check_alphas(model.mapping, alphas)
    with torch.no_grad():
        own = float(model.mapping.alpha()) if isinstance(model.mapping, Blends) else None
    tried = [own, *(alpha for alpha in alphas if alpha != own)] if alphas and own is not None else []
    splits = {"test": task.test, **({"validation": validation} if alphas else {}), **shifts.splits}
    # In short for each value tried: the logits of one split at a time are held, of ImageNet 200 MB for each value.
    score = shifts.options.score_function()
    sets: list[dict[str, Scored]] = [{} for _ in range(len(tried) or 1)]
    chosen_by: list[dict[str, float]] = []
    for name, split in splits.items():
        data = encode({name: split}, processor)[name]
        for place, logits in enumerate(_predict(model, processor, data, tried, bf16, quiet)):
            sets[place][name] = scored(logits, _labels(split), score)
            if name == "validation":
                chosen_by.append(task.score(logits, labels_of(data)))
    made = [_report(shifts, found) for found in sets]
    outside = {name: sets[0][f"semantic/{name}"].scores for name in shifts.options.semantic}
    record: dict[str, Any] = {"report": made[0], "curves": curves(sets[0]["test"].scores, outside)}
    if own is not None:
        record["alpha"] = own
    if tried:
        record["alphas"] = [
            {
                "alpha": alpha,
                "validation": chosen_by[tried.index(alpha)],
                "report": made[tried.index(alpha)],
            }
            for alpha in alphas
        ]
    return record


@torch.no_grad()
def _predict(
    model: Any, processor: Any, data: Any, alphas: list[float], bf16: bool, quiet: bool, batch_size: int = 64
) -> list[np.ndarray]:
    """Logits (n, classes) for each alpha, of one pass through the source; without alphas the model's own."""
    mapping, source = model.mapping, model.source
    if not alphas:
        add_zero_shot_features(model, processor, {"split": data}, bf16=bf16, quiet=quiet)
        return [predict_logits(model, processor, data, bf16=bf16, quiet=quiet)]
    mapping.set_alpha(max(alphas))
    add_zero_shot_features(model, processor, {"split": data}, bf16=bf16, quiet=quiet)
    found: list[list[np.ndarray]] = [[] for _ in alphas]
    for _, batch in batches(data, processor, batch_size, source.device, "Predicting", quiet):
        mapping.set_alpha(max(alphas))  # what it reads then serves them all
        with torch.autocast(source.device.type, torch.bfloat16, enabled=bf16):
            outputs = source(model.transform(batch, source), mapping.reads)
            for logits, alpha in zip(found, alphas, strict=True):
                mapping.set_alpha(alpha)
                logits.append(mapping(outputs, source).float().cpu().numpy())
    mapping.set_alpha(alphas[0])
    return [np.concatenate(logits) for logits in found]


# -------------------------------------------------------------------------------------------------------- whole runs


def seed_record(folder: Path, recipe: Recipe, task: Task, shifts: Shifts, seed: int, quiet: bool) -> dict[str, Any]:
    """The record of a finished run's adapter: made once, and read from then on unless something else is asked."""
    from ..model import ReprogrammedModel, to_accelerator

    path, asked = folder / "ood.json", asked_of(shifts)
    if path.exists() and (record := json.loads(path.read_text(encoding="utf-8")))["asked"] == asked:
        return record
    model = ReprogrammedModel.from_pretrained(folder, source=recipe.source["name"], source_kwargs=recipe.source_kwargs)
    to_accelerator(model)
    processor = task.modality.load_processor(folder)
    validation, bf16 = task.splits(seed)["validation"], bool(recipe.training.get("bf16"))
    record = adapter_record(model, processor, task, shifts, validation, bf16=bf16, quiet=quiet)
    write_json(path, {"asked": asked, **record})
    return record


def summarize_ood(records: list[dict[str, Any]], shifts: Shifts, task: Task) -> dict[str, Any]:
    """What `results.json` holds of an adapter's records, one a seed.

    `report` is their average, and `sets` says where images come from. Where a zero-shot branch is blended in, `alpha` is the
    adapters' own, of trained ones the mean. Where alphas were swept there are `alphas`, and `chosen_alpha`: see
    `residual_alpha`.
    """
    found: dict[str, Any] = {
        "report": average([record["report"] for record in records]),
        "sets": {
            kind: {name: {"dataset": short_name(given.dataset), "name": given.name} for name, given in sets.items()}
            for kind, sets in (("covariate", shifts.options.covariate), ("semantic", shifts.options.semantic))
        },
    }
    if "alpha" in records[0]:
        found["alpha"] = mean(record["alpha"] for record in records)
    if "alphas" in records[0]:
        swept = zip(*(record["alphas"] for record in records), strict=True)
        found["alphas"] = [
            {
                "alpha": entries[0]["alpha"],
                "validation": summarize([entry["validation"] for entry in entries]),
                "report": average([entry["report"] for entry in entries]),
            }
            for entries in swept
        ]
        found["chosen_alpha"] = residual_alpha(found["alphas"], found["alpha"], task)
    return found


def residual_alpha(swept: list[dict[str, Any]], own: float, task: Task) -> float:
    """The share of the zero-shot branch that the residual method is reported with.

    It is the one with the best mean of the task's first metric on validation, of equal ones the first, among those strictly
    between 0, which is no residual, and 1, which is the zero-shot classifier. If none of these was tried it is the best of all
    but the adapters' own, and if there is no other, their own.

    Args:
        swept: a mapping with `alpha` and the summary `validation` for each one tried.
        own: the adapters'.
        task: whose metrics count.
    """
    between = [entry for entry in swept if 0 < entry["alpha"] < 1]
    candidates = between or [entry for entry in swept if entry["alpha"] != own]
    means = [{metric: value["mean"] for metric, value in entry["validation"].items()} for entry in candidates]
    return candidates[int(np.argmax([task.benefit(each) for each in means]))]["alpha"] if candidates else own
