"""The README's tables of measured scores, and a plot a task of the score against the number of labels."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from hf_reprogram.ood import report
from hf_reprogram.reports.results import markdown, plus_minus, run_reports
from hf_reprogram.tasks.metrics import METRICS

BESIDE = {  # baselines with a column of their own, in this order
    "majority": "majority",
    "source_labels": "source's labels",
    "linear_probe": "linear probe",
    "counts": "counts",
    "raw_linear": "linear on raw",
    "small_network": "small network",
    "from_scratch": "from scratch",
    "fine_tuning": "fine-tuning",
}

OVERVIEW = {  # one result a method: what the source was trained on, and the task
    "glue/bert_tiny/stsb_k8": "English words: similarity of sentences, STS-B",
    "glue/minilm/sst2_k8": "English sentences: sentiment, SST-2",
    "efficiency/toxicity_n200": "English sentences: toxic peptides",
    "efficiency/bbbp_n200": "English sentences: molecules that pass into the brain, BBBP",
    "recipes/cdr_h3_infilling": "English words: hidden residues of antibodies",
    "vision/squares": "photographs: how many squares there are",
    "vision/mnist": "photographs: handwritten digits, MNIST",
    "vision/cifar10_blm": "photographs: small photographs, CIFAR-10",
    "vision/card_fraud": "photographs: fraud in rows of numbers",
    "cross_modal/subj": "photographs: subjective sentences",
    "cross_modal/promoters": "photographs: promoters of DNA",
    "ood/cifar10_few_shot": "photographs and their names: small photographs, CIFAR-10",
}
MAPPINGS = ("random", "frequency", "optimal", "iterative", "blm", "blm plus", "rvp", "dense")  # in this order


def runs(folder: Path) -> dict[str, dict[int, Any]]:
    """Results by task and number of labels, from files called `TASK_nNUMBER.json` or `TASK_all.json`."""
    found: dict[str, dict[int, Any]] = {}
    for path in sorted(folder.glob("*.json")):
        task = re.fullmatch(r"(.+)_(n\d+|all)", path.stem)[1]  # type: ignore[index]
        result = json.loads(path.read_text(encoding="utf-8"))
        found.setdefault(task, {})[result["task"]["sizes"]["train"]] = result
    return {task: dict(sorted(sizes.items())) for task, sizes in found.items()}


def table(folder: Path) -> str:
    """A row a task and number of labels, a column a baseline and one for R2DL."""
    found = runs(folder)
    ran = {name for sizes in found.values() for result in sizes.values() for name in result["baselines"]}
    rows = []
    for task, sizes in found.items():
        for size, result in sizes.items():
            metric = result["task"]["metrics"][0]
            row = {"task": f"{task.replace('_', ' ')} ({metric})", "labels": f"{size:,}"}
            rows.append({**row, **_scores(result, ran, "R2DL")})
    return markdown(rows) if rows else ""


def _scores(result: dict[str, Any], ran: set[str], title: str) -> dict[str, str]:
    """The cells of a result: each baseline that ran anywhere, the method, its trained numbers and bytes."""
    metric = result["task"]["metrics"][0]
    row = {}
    for name, called in BESIDE.items():
        if name in ran:
            entry = result["baselines"].get(name)
            row[called] = plus_minus(entry["test"][metric], metric) if entry else ""
    row |= start_and_gain(result)
    row[title] = plus_minus(result["test"][metric], metric)
    return {**row, "trained": f"{result['trainable']:,}", "bytes": f"{result['adapter_bytes']:,}"}


def start_and_gain(result: dict[str, Any]) -> dict[str, str]:
    """The score of the untrained start, and theta's gain with its standard error; dashes for a run without a start."""
    if "start" not in result:
        return {"start": "-", "theta's gain": "-"}
    metric = result["task"]["metrics"][0]
    factor, digits = (1, METRICS[metric].digits) if METRICS[metric].lower_is_better else (100, 1)
    entry = result["gain"][metric]
    error = f" ± {factor * entry['error']:.{digits}f}" if entry["n"] > 1 else ""
    return {
        "start": plus_minus(result["start"]["test"][metric], metric),
        "theta's gain": f"{factor * entry['mean']:+.{digits}f}{error}",
    }


def scores(folder: Path) -> str:
    """A row a result, a column a baseline and one for the method."""
    found = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}
    ran = {name for result in found.values() for name in result["baselines"]}
    rows = []
    for name, result in found.items():
        metric = result["task"]["metrics"][0]
        row = {"run": f"{name} ({metric})"}
        if len({result["method"]["name"] for result in found.values()}) > 1:
            row["method"] = result["method"]["name"]
        if len({result["source"]["name"] for result in found.values()}) > 1:
            row["source"] = result["source"]["name"]
        row["train"] = f"{result['task']['sizes']['train']:,}"
        rows.append({**row, **_scores(result, ran, "reprogrammed")})
    return markdown(rows) if rows else ""


FPT_COLUMNS = {
    "_untuned": "nothing of the source",
    "": "its norms and positions",
    "_all": "all of it",
    "_random": "norms and positions, random source",
}


def fpt(folder: Path) -> str:
    """A row per source and task of FPT, and a column per part of the source that is trained; trained numbers of the default."""
    rows = []
    for path in sorted(folder.glob("*.json")):
        found = {name: folder / f"{path.stem}{name}.json" for name in FPT_COLUMNS}
        if path.stem.endswith(tuple(filter(None, FPT_COLUMNS))) or not any(map(Path.exists, found.values())):
            continue
        result = json.loads(path.read_text(encoding="utf-8"))
        metric, beside = result["task"]["metrics"][0], result["baselines"]
        row = {"source": result["source"]["name"], "task": f"{path.stem.rpartition('_')[2]} ({metric})"}
        row |= {"train": f"{result['task']['sizes']['train']:,}"}
        for name in ("majority", "small_network"):
            title = {"majority": "majority", "small_network": "small network"}[name]
            row[title] = plus_minus(beside[name]["test"][metric], metric) if name in beside else ""
        for name, title in FPT_COLUMNS.items():
            there = found[name].exists()
            entry = json.loads(found[name].read_text(encoding="utf-8"))["test"][metric] if there else None
            row[title] = plus_minus(entry, metric) if entry else ""
        rows.append({**row, "trained": f"{result['trainable']:,}"})
    return markdown(rows) if rows else ""


FORECASTS = {
    "": "Time-LLM",
    "_no_source": "Time-LLM without the language model",
    "_random": "Time-LLM, random language model",
    "_prompt": "Time-LLM with its prompt",
    "_dense": "Time-LLM, dense codes",
}


def forecasts(folder: Path, task: str) -> str:
    """A row per variant of Time-LLM on a series and per baseline, with all errors."""

    def cells(scores: dict[str, dict[str, float]]) -> dict[str, str]:
        return {name.upper(): f"{entry['mean']:.3f} ± {entry['std']:.3f}" for name, entry in scores.items()}

    rows = []
    for suffix, title in FORECASTS.items():
        if not (path := folder / f"{task}{suffix}.json").exists():
            continue
        result = json.loads(path.read_text(encoding="utf-8"))
        start = result["start"]["test"]["mse"]
        trained = f"{result['trainable']:,}"
        rows.append(
            {"forecast": title, **cells(result["test"]), "MSE of its start": f"{start['mean']:.3f}", "trained": trained}
        )
        if not suffix:
            beside = result["baselines"].values()
            baselines = [
                {"forecast": entry["title"], **cells(entry["test"]), "MSE of its start": "", "trained": ""}
                for entry in beside
            ]
    return markdown([*rows, *baselines])


def overview(folder: Path) -> str:
    """A row a method, each on one task, beside what needs no reprogramming."""
    rows = []
    for name, what in OVERVIEW.items():
        path = folder / f"{name}.json"
        if not path.exists():
            continue
        result = json.loads(path.read_text(encoding="utf-8"))
        metric, beside = result["task"]["metrics"][0], result["baselines"]

        def cell(*names: str) -> str:
            found = [beside[name]["test"][metric] for name in names if name in beside]  # noqa: B023
            return plus_minus(found[0], metric) if found else ""  # noqa: B023

        rows.append(
            {
                "method": f"`{result['method']['name']}`",
                "an encoder of": what.partition(": ")[0],
                "solves": f"{what.partition(': ')[2]} ({metric})",
                "labels": f"{result['task']['sizes']['train']:,}",
                "majority": cell("majority"),
                "from scratch": cell("from_scratch", "small_network"),
                "linear probe": cell("linear_probe"),
                **start_and_gain(result),
                "reprogrammed": plus_minus(result["test"][metric], metric),
                "trained": f"{result['trainable']:,}",
                "KB": f"{result['adapter_bytes'] / 1024:,.0f}",
            }
        )
    return markdown(rows).replace("|---|---:|---:|", "|---|---|---|", 1) if rows else ""


def mappings(trained: Path, untrained: Path) -> str:
    """A row a label mapping and number of source labels a class, a column a task under the untrained or trained program.

    Args:
        trained: folder of results called `TASK_HOW.json` or `TASK_HOW_mNUMBER.json`.
        untrained: what `tools/label_maps.py` wrote, a file a task.
    """
    before = {
        path.stem: json.loads(path.read_text(encoding="utf-8"))["test"] for path in sorted(untrained.glob("*.json"))
    }
    after: dict[str, dict[str, Any]] = {}
    for path in sorted(trained.glob("*.json")):
        task, how = re.fullmatch(rf"({'|'.join(before)})_(.+)", path.stem).groups()  # type: ignore[union-attr]
        after.setdefault(how, {})[task] = json.loads(path.read_text(encoding="utf-8"))
    rows = []
    for how, results in after.items():
        name, _, count = how.partition("_m")
        row = {"label mapping": name.replace("_", " "), "m": count}
        for task, found in before.items():
            result = results.get(task)
            metric = result["task"]["metrics"][0] if result else ""
            short = task.partition("_")[0]
            row[f"{short}, untrained"] = plus_minus(found[how][metric], metric) if result and how in found else ""
            row[f"{short}, trained"] = plus_minus(result["test"][metric], metric) if result else ""
        rows.append(row)
    order = {name: place for place, name in enumerate(MAPPINGS)}
    return markdown(sorted(rows, key=lambda row: (order[row["label mapping"]], int(row["m"] or 0)))) if rows else ""


def out_of_distribution(folder: Path) -> str:
    """For each result a table: a row a baseline and one or two for the method, in percent."""
    parts = []
    for path in sorted(folder.glob("*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        found = run_reports(result)
        size = f"{result['task']['sizes']['train']:,} training images"
        parts.append(f"{size}:\n\n{markdown(report.rows(found))}\n\n{report.note(result['ood']['report'])}")
    return "\n\n".join(parts)


def swept_alphas(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """By run: what was measured at each alpha, of runs that tried several."""
    found = {path.stem: json.loads(path.read_text(encoding="utf-8"))["ood"] for path in sorted(folder.glob("*.json"))}
    return {name: ood["alphas"] for name, ood in found.items() if len(ood.get("alphas", [])) > 1}


def ablation(folder: Path) -> str:
    """A row a variant, for each task its score, and what the adapter holds."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob("*.json")):
        task, _, variant = path.stem.partition("_")
        found.setdefault(variant, {})[task] = json.loads(path.read_text(encoding="utf-8"))
    tasks = sorted({task for results in found.values() for task in results})
    rows = []
    for variant, results in found.items():
        row = {"variant": variant.replace("_", " ")}
        for task in tasks:
            result = results.get(task)
            metric = result["task"]["metrics"][0] if result else ""
            row[f"{task}"] = f"{plus_minus(result['test'][metric], metric)} {metric}" if result else ""
            row[f"{task}: trained, bytes"] = f"{result['trainable']:,}, {result['adapter_bytes']:,}" if result else ""
        rows.append(row)
    return markdown(rows) if rows else ""


def plot(folder: Path, output: Path) -> list[Path]:
    """Write a PNG a task with at least two numbers of labels: mean and deviation of every method."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    output.mkdir(parents=True, exist_ok=True)
    written = []
    for task, sizes in runs(folder).items():
        if len(sizes) < 2:
            continue
        metric = next(iter(sizes.values()))["task"]["metrics"][0]
        figure, axis = plt.subplots(figsize=(5.2, 3.6), layout="constrained")
        for index, name in enumerate((*BESIDE, "R2DL")):
            points = []
            for size, result in sizes.items():
                entry = result if name == "R2DL" else result["baselines"].get(name)
                if entry:
                    points.append((size, entry["test"][metric]["mean"], entry["test"][metric]["std"], entry))
            if not points:
                continue
            label = name if name == "R2DL" else points[0][3]["title"]
            style = {"color": "0.6", "linestyle": ":"} if name == "majority" else {"color": f"C{index}", "marker": "o"}
            width = 2.4 if name == "R2DL" else 1.2
            axis.errorbar(
                *zip(*(point[:3] for point in points), strict=True), label=label, lw=width, capsize=2, **style
            )
        axis.set_xscale("log")
        axis.set_xticks(list(sizes), [str(size) for size in sizes])
        axis.minorticks_off()
        axis.set(xlabel="labelled training examples", ylabel=f"{metric} on test", title=task.replace("_", " "))
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7)
        path = output / f"{task}.png"
        figure.savefig(path, dpi=120)
        plt.close(figure)
        written.append(path)
    return written
