"""Two claims about why programs work, on pairs of a task and a source.

    python tools/alignment_claims.py --sources DIR results/alignment/claims.json      DIR holds a folder of each source

Within a run, does the risk on target data fall as the source's outputs for them come nearer to those for its own data (Yang et
al. 2021)? And does the agreement of gradients before training rank tasks by what training gains (Zheng et al. 2021)? Takes
about an hour on one core. Pairs that are finished are kept.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from accelerate import PartialState
from scipy.stats import spearmanr

from hf_reprogram.diagnostics import Alignment
from hf_reprogram.experiments.choices import decide
from hf_reprogram.experiments.diagnose import reference_outputs, source_address
from hf_reprogram.experiments.job import Job
from hf_reprogram.experiments.recipe import load_recipe
from hf_reprogram.experiments.seed_runs import score_test, train_seed, untrained_model
from hf_reprogram.files import write_json
from hf_reprogram.progress import quiet_libraries
from hf_reprogram.tasks.load import load_task

SEEDS = (0, 1, 2)
ROWS, EXAMPLES = 200, 64
SPOTTER, MOBILENET, SPLADE = "keyword-spotter", "mobilenet-v2", "bert-tiny-splade"
OWN = {SPOTTER: "audio:speech_commands_12", MOBILENET: "images:imagenet_sample", SPLADE: "nyu-mll/glue:sst2"}
FEW = ["task.few_shot=16", "task.max_test=500", "training.num_train_epochs=12", "training.bf16=false"]
SMALL = ["source.image_size=64", *FEW]
TEXTS = [
    *FEW,
    "task.max_length=128",
    "training.per_device_train_batch_size=8",
    "training.gradient_accumulation_steps=1",
]

# recipe, source, overrides
PAIRS: dict[str, tuple[str, str, list[str]]] = {
    **{
        f"{SPOTTER}/{name}": ("series/ucr", SPOTTER, [f"task.name={name}"])
        for name in ("ECG200", "Coffee", "Chinatown", "ItalyPowerDemand", "SonyAIBORobotSurface1")
    },
    **{
        f"{MOBILENET}/{name}": ("vision/mnist", MOBILENET, [f"task.name={name}", *SMALL])
        for name in ("mnist", "fashion_mnist", "cifar10", "pneumonia_mnist")
    },
    f"{SPLADE}/sst2": ("glue/bert_tiny/sst2", SPLADE, TEXTS),
    f"{SPLADE}/cola": ("glue/bert_tiny/cola", SPLADE, [*TEXTS, "task.metrics=[accuracy]"]),
    f"{SPLADE}/rte": ("glue/bert_tiny/rte", SPLADE, TEXTS),
    f"{SPLADE}/mrpc": ("glue/bert_tiny/mrpc", SPLADE, TEXTS),
    f"{SPLADE}/amp": ("peptides/amp", SPLADE, [*FEW, "task.max_length=64"]),
}


def measured(name: str, sources: Path, folder: Path) -> dict[str, Any]:
    """The records of each epoch, and the accuracy on test before and after training, for each seed of a pair."""
    file, source, overrides = PAIRS[name]
    recipe = load_recipe(file, [f"source.name={sources / source}", "sweep={}", "baselines=[]", *overrides])
    task = load_task(recipe.task_options)
    job, _ = decide(Job(recipe, task, folder, PartialState(cpu=True), quiet=True))
    own = source_address(OWN[source], ["source_data.text=sentence"] if source == SPLADE else [])
    reference, seeds = None, {}
    for seed in SEEDS:
        if reference is None:
            model, _ = untrained_model(job.recipe, task, seed, task.splits(seed))
            reference, _ = reference_outputs(model.eval(), job.recipe, own, ROWS, quiet=True)
        callback = Alignment(reference, rows=ROWS, examples=EXAMPLES)
        scores = score_test(job, train_seed(job, seed, callbacks=[callback]))
        metric = task.metrics[0]
        seeds[seed] = {
            "history": callback.history,
            "start": scores["start_test"][metric],
            "test": scores["test"][metric],
        }
    return {"metric": task.metrics[0], "method": job.recipe.method["name"], "seeds": seeds}


def within(record: dict[str, Any]) -> list[float]:
    """The rank correlation of W1 minus its null with the risk over the epochs of each run; positive as the claim says."""
    found = []
    for run in record["seeds"].values():
        excess = [each["w1"] - each["w1_null"] for each in run["history"] if "w1" in each and "risk" in each]
        risks = [each["risk"] for each in run["history"] if "w1" in each and "risk" in each]
        if len(set(excess)) > 2 and len(set(risks)) > 2:
            found.append(float(spearmanr(excess, risks).statistic))
    return found


def interval(x: np.ndarray, y: np.ndarray, draws: int = 10_000) -> tuple[float, float, float]:
    """Spearman's rank correlation of pairs, and the 95 % interval of a bootstrap over them."""
    random = np.random.default_rng(0)
    values = []
    for _ in range(draws):
        rows = random.integers(len(x), size=len(x))
        if len(set(x[rows])) > 1 and len(set(y[rows])) > 1:
            values.append(spearmanr(x[rows], y[rows]).statistic)
    low, high = np.quantile(values, [0.025, 0.975])
    return float(spearmanr(x, y).statistic), float(low), float(high)


def summary(records: dict[str, Any]) -> dict[str, Any]:
    """Both claims over all pairs."""
    rows: dict[str, Any] = {}
    for name, record in records.items():
        runs = list(record["seeds"].values())
        agreements = [run["history"][0]["alignment"] for run in runs if "alignment" in run["history"][0]]
        rows[name] = {
            "rank_correlation": within(record),
            "alignment": float(np.mean(agreements)) if agreements else None,
            "unrelated": runs[0]["history"][0].get("unrelated"),
            "start": float(np.mean([run["start"] for run in runs])),
            "gain": float(np.mean([run["test"] - run["start"] for run in runs])),
        }
    means = [np.mean(row["rank_correlation"]) for row in rows.values() if row["rank_correlation"]]
    random = np.random.default_rng(0)
    drawn = [np.mean(random.choice(means, len(means))) for _ in range(10_000)]
    known = [row for row in rows.values() if row["alignment"] is not None]
    above = np.array([row["alignment"] - row["unrelated"] for row in known])
    gains = np.array([row["gain"] for row in known])
    room = np.array([row["gain"] / max(1 - row["start"], 1e-9) for row in known])
    return {
        "pairs": rows,
        "risk_with_w1": [float(np.mean(means)), *map(float, np.quantile(drawn, [0.025, 0.975]))],
        "alignment_with_gain": interval(above, gains),
        "alignment_with_share_of_room": interval(above, room),
    }


def main() -> None:
    """Measure what is not there yet, and print both claims."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="the file of the records")
    parser.add_argument("--sources", type=Path, required=True, help="folder with the sources")
    parser.add_argument("--only", default="", help="the beginning of the names of pairs to measure")
    arguments = parser.parse_args()
    quiet_libraries(True)
    kept = json.loads(arguments.results.read_text(encoding="utf-8"))["records"] if arguments.results.exists() else {}
    for name in PAIRS:
        if name not in kept and name.startswith(arguments.only):
            with TemporaryDirectory() as folder:
                kept[name] = measured(name, arguments.sources, Path(folder))
            write_json(arguments.results, {"records": kept})
            print(name, flush=True)
    write_json(arguments.results, {"records": kept, "summary": summary(kept)})
    print(json.dumps(summary(kept), indent=1))


if __name__ == "__main__":
    main()
