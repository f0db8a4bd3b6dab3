"""Run the recipes behind the README's tables and keep their `results.json`; the curves of each seed go to `history/`.

    python tools/measure.py --sources DIR results            DIR holds a folder of each source

Takes hours on two cores. A run that is finished is kept, one that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from hf_reprogram.experiments.recipe import read_yaml
from hf_reprogram.files import write_json

MINILM = "all-MiniLM-L6-v2"

# recipe: (folder of the source, prompts). Baselines are run once, beside the first K.
GLUE = {
    **{
        f"glue/bert_tiny/{task}": ("bert-tiny-splade", (8, 0, 20))
        for task in ("rte", "mrpc", "sst2", "cola", "stsb", "sst2_few_shot", "cb_few_shot")
    },
    **{f"glue/minilm/{task}": (MINILM, (8,)) for task in ("rte", "mrpc", "sst2", "sst2_few_shot")},
}
# Where the probe is ahead: the same, read as the mean over tokens.
FEATURES = ("sst2", "sst2_few_shot", "cb_few_shot")
# Labels: epochs, so that few labels are seen often enough. Learning rates are chosen at 50 and at 200 labels, and with fewer
# or more than those the nearest choice is taken over.
EPOCHS = {25: 40, 50: 20, 100: 12, 200: 10, 500: 5, 1000: 4}
CHOSEN_AT = {25: 50, 100: 50, 500: 200, 1000: 200, "all": 200}
EFFICIENCY = (
    "peptides/amp",
    "peptides/toxicity",
    "molecules/bbbp",
    "dna/splice",
    "dna/splice_positions",
    "proteins/secondary_structure",
)
# What sparsity, alternation and learned atoms cost or bring, at 200 labels.
ABLATION = {
    "s4": ["method.sparsity=4"],
    "s16": [],
    "s64": ["method.sparsity=64"],
    "dense": ["method.sparsity=null"],
    "alternating": ["method.alternating=true"],
    "alternating_s64": ["method.alternating=true", "method.sparsity=64"],
    "warmup": ["method.warmup_epochs=3"],
    "ksvd": ["method.atoms=ksvd"],
    "random_init": ["method.init=random"],
}
# Epochs of the ablation; BBBP's s = 16 is its result at 200 labels.
ABLATED = {"peptides/amp": 20, "molecules/bbbp": 10}
# The same with standardized features under the dense layer.
STANDARDIZED = ("peptides/amp", "peptides/toxicity", "molecules/bbbp", "dna/splice", "proteins/secondary_structure")
# Recipes that run as they are.
WHOLE = {
    "molecules/clintox": MINILM,
    "molecules/esol": MINILM,
    "molecules/sider": MINILM,
    "molecules/tox21": MINILM,
    "dna/promoters": MINILM,
    "peptides/amp_modlamp": MINILM,
    "proteins/cdr_h3_infilling": "bert-tiny-splade",
}
PROBE = "{linear_probe: {tokens: target, reads: features}}"
# Sources from a near domain, and a causal one, with so many labels; a classifier also by its own labels.
NEAR = {
    "amp_antiberty": ("peptides/amp", "antiberty", 200, []),
    "amp_antiberty_species": ("peptides/amp", "antiberty-species", 200, ["method.mapping=label_map"]),
    "amp_smollm2": ("peptides/amp", "smollm2-135m", 50, []),
    "bbbp_rxnfp_bert": ("molecules/bbbp", "rxnfp-bert", 200, []),
    "bbbp_rxnmapper_albert": ("molecules/bbbp", "rxnmapper-albert", 200, []),
    "bbbp_rxnfp_classes": ("molecules/bbbp", "rxnfp-classes", 200, ["method.mapping=label_map"]),
}
VIT, MOBILENET = "vit-tiny-imagenet", "mobilenet-v2"
VISION = (
    "vision/digits",
    "vision/mnist",
    "vision/squares",
    "vision/cifar10_ilm_vp",
    "vision/cifar10_blm",
    "vision/cifar10_smm",
    "vision/cifar10_kloberdanz",
    "vision/pneumonia",
    "vision/card_fraud",
    "cross_modal/ag_news",
    "cross_modal/imdb",
    "cross_modal/subj",
    "cross_modal/splice",
    "cross_modal/promoters",
    "cross_modal/h3",
)
# Every label mapping under the same program and budget, with one, three and ten labels a class where that is a choice.
MAPPINGS = {
    **{
        f"{how}_m{m}": [f"method.label_mapping={how}", f"method.labels_per_class={m}"]
        for how in ("random", "frequency", "optimal", "iterative")
        for m in (1, 3, 10)
    },
    **{how: [f"method.label_mapping={how}", "method.labels_per_class=null"] for how in ("blm", "blm_plus")},
    **{
        f"rvp_m{m}": ["method.mapping=rvp", "method.label_mapping=frequency", f"method.labels_per_class={m}"]
        for m in (1, 3, 10)
    },
    "dense": ["method.mapping=dense", "method.reads=logits"],
}
MAPPED = {"vision/mnist": 5e-2, "vision/cifar10_ilm_vp": 1e-2}  # learning rates that their recipes choose
# The same task, source and budget: what stands beside the first stands beside the others too.
SHARED = {f"vision/cifar10_{name}": "vision/cifar10_blm" for name in ("ilm_vp", "smm", "kloberdanz")}

# The regime of the papers: thousands of images, label maps without free weights, a source of ImageNet's labels.
REGIME = {
    "ilm_vp": ["method={name: ilm_vp, mapping: label_map}"],
    "blm_plus": ["method={name: blm, mapping: label_map, label_mapping: blm_plus}"],
    "smm": ["method={name: smm, mapping: label_map}"],
    "rvp": ["method={name: ilm_vp, mapping: rvp, label_mapping: frequency}"],
    "elsayed": ["method={name: elsayed, mapping: label_map}"],
    "defaults": ["method={name: ilm_vp}"],
}

# Relations of two texts with a sentence encoder; a prompt before every layer beside as many vectors in the input.
PAIRS = {
    "k8": {"num_prompts": 8},
    "k20": {"num_prompts": 20},
    "k48": {"num_prompts": 48},
    "deep8": {"num_prompts": 8, "deep": True},
}

# Commands of other languages on a keyword spotter: the program alone, with the paper's map, and with the source trained too.
SPOTTER = "keyword-spotter"
AUDIO = {
    "": [],
    "_paper": ["method.preset=paper", "baselines=[majority]"],
    "_both": ["tune=[all]", "baselines=[majority]"],
}

# A program from answers alone, beside the gradient itself, with 10,000 samples of training each.
ANSWERS = {
    "bar": [],
    "spsa_gc": ["method.name=spsa_gc", "gradients={spsa: {q: 5}}", "sweep={training.learning_rate: [1e-1, 1.0]}"],
    "cma_es": ["gradients={cma_es: {popsize: 20, sigma: 0.3}}", "training.max_steps=24", "sweep={}"],
    "gradient": ["gradients=exact", "training.max_steps=500", "sweep={}", "training.learning_rate=1e-2"],
}

# Patches of other data through a text model: its norms and positions tuned, none of it, all of it, and with random weights.
FPT_SOURCES = {"bert_tiny": "bert-tiny-splade", "minilm": MINILM, "smollm2": "smollm2-135m"}
FPT_TASKS = {
    "xor": ("fpt/xor", []),
    "memory": ("fpt/memory", []),
    "mnist": ("fpt/mnist", []),
    "cifar10": ("fpt/mnist", ["task.name=cifar10", "method.channels=3"]),
}
FPT = {"": [], "_random": ["source.random=0"], "_untuned": ["tune=[]"], "_all": ["tune=[all]"]}

# The next two weeks of a daily series, beside the same without the language model and with random weights.
FORECASTS = {
    "": [],
    "_no_source": ["method.use_source=false"],
    "_random": ["source.random=0"],
    "_prompt": ["method.prompt=true"],
    "_dense": ["method.prototype_codes=dense"],
}

# Sets of the UCR archive, the quickest first; with `_random` the spotter has random weights.
UCR = [
    "Coffee",
    "SonyAIBORobotSurface1",
    "SonyAIBORobotSurface2",
    "ECGFiveDays",
    "Chinatown",
    "BirdChicken",
    "Beef",
    "ArrowHead",
    "ToeSegmentation1",
    "ItalyPowerDemand",
    "Herring",
    "ECG200",
    "PowerCons",
    "SmoothSubspace",
    "SyntheticControl",
    "WormsTwoClass",
    "Earthquakes",
    "DistalPhalanxTW",
    "MiddlePhalanxTW",
    "ProximalPhalanxOutlineAgeGroup",
    "Adiac",
    "DistalPhalanxOutlineCorrect",
    "MiddlePhalanxOutlineCorrect",
    "ProximalPhalanxOutlineCorrect",
    "ECG5000",
    "Wafer",
]

# In and out of distribution, on 2,000 training images beside the main baselines, and on 16 a class beside all.
OOD = {
    "cifar10": ["baselines=[zero_shot, linear_probe, fine_tuning]"],
    "cifar10_few_shot": ["task.max_train=null", "task.few_shot=16", "training.num_train_epochs=15"],
}


# The programs of Reprogrammer alone and together, on 16 images per class.
PROGRAMS = {
    "context": (1e-1, "{name: reprogrammer, image_program: none}"),
    "context_small_rate": (3e-2, "{name: reprogrammer, image_program: none}"),
    "low_rank": (5e-2, "{name: reprogrammer, image_program: none, text_program: low_rank}"),
    "context_and_border": (1e-1, "{name: reprogrammer}"),
}


def baselines_of(recipe: Path) -> dict[str, dict[str, Any]]:
    """A recipe's baselines with their options."""
    entries = read_yaml(recipe.read_text(encoding="utf-8"), str(recipe))["baselines"]
    return dict((entry, {}) if isinstance(entry, str) else next(iter(entry.items())) for entry in entries)


def taken_over(path: Path, baselines: dict[str, dict[str, Any]]) -> list[str]:
    """Set the learning rates which the run with its result at `path` chose; returns the method's as overrides."""
    result = json.loads(path.read_text(encoding="utf-8"))
    for name in baselines:
        chosen = (result["baselines"].get(name, {}).get("chosen") or [None])[0] or {}
        if "learning_rate" in chosen:
            baselines[name] = {**baselines[name], "learning_rate": chosen["learning_rate"]}
    return ["sweep={}", f"training.learning_rate={result['training']['learning_rate']!r}"]


def plan() -> Iterator[tuple[str, str, str, list[str]]]:
    """Result, recipe, source and overrides of every run."""
    for recipe, (source, counts) in GLUE.items():
        for k in counts:
            beside = [] if k == counts[0] else ["baselines=[majority]"]
            yield f"{recipe}_k{k}", recipe, source, [f"method.num_prompts={k}", *beside]
    for task in FEATURES:
        few = ["method.reads=features", "baselines=[majority]"]
        yield f"reads/{task}_features", f"glue/bert_tiny/{task}", "bert-tiny-splade", few
    for recipe in EFFICIENCY:
        for size, epochs in EPOCHS.items():
            few = [f"task.train_size={size}", f"training.num_train_epochs={epochs}"]
            yield f"efficiency/{Path(recipe).name}_n{size}", recipe, MINILM, few
        yield f"efficiency/{Path(recipe).name}_all", recipe, MINILM, ["seeds=[0]"]
    for recipe in STANDARDIZED:
        for size in (50, 200, 1000):
            few = [f"task.train_size={size}", f"training.num_train_epochs={EPOCHS[size]}", "baselines=[majority]"]
            rates = "sweep={training.learning_rate: [2e-2, 6e-2]}"
            yield f"standardized/{Path(recipe).name}_n{size}", recipe, MINILM, ["method.standardize=true", rates, *few]
    for recipe, epochs in ABLATED.items():
        for name, overrides in ABLATION.items():
            few = ["task.train_size=200", f"training.num_train_epochs={epochs}", "baselines=[majority]"]
            yield f"ablation/{Path(recipe).name}_{name}", recipe, MINILM, [*few, *overrides]
    for recipe, source in WHOLE.items():
        yield f"recipes/{Path(recipe).name}", recipe, source, []
    for recipe in VISION:
        yield recipe, recipe, VIT, []
    for recipe, rate in MAPPED.items():
        for name, overrides in MAPPINGS.items():
            few = ["training.num_train_epochs=6", "sweep={}", f"training.learning_rate={rate}", "baselines=[majority]"]
            yield f"mappings/{Path(recipe).name}_{name}", recipe, VIT, [*few, *overrides]
    for name, overrides in OOD.items():
        yield f"ood/{name}", "ood/cifar10", "vit-minilm-dual", overrides
    for name, (rate, method) in PROGRAMS.items():
        more = ["ood=null", "baselines=[majority]", "sweep={}", f"training.learning_rate={rate}", f"method={method}"]
        yield f"programs/cifar10_{name}", "ood/cifar10", "vit-minilm-dual", [*OOD["cifar10_few_shot"], *more]
    for source in (VIT, MOBILENET):
        for recipe in ("vision/mnist", "vision/cifar10_ilm_vp"):
            for name, overrides in REGIME.items():
                more = ["task.few_shot=null", "task.max_train=2000", "task.validation_max=500"]
                more += ["training={num_train_epochs: 5, per_device_train_batch_size: 16, bf16: true}"]
                beside = [] if name == "ilm_vp" else ["baselines=[majority]"]
                task = Path(recipe).name.partition("_")[0]
                yield f"regime/{source.partition('-')[0]}_{task}_{name}", recipe, source, [*more, *overrides, *beside]
    for task, train in {"qqp": 2000, "qnli": 1000, "mnli": 1000}.items():
        for name, options in PAIRS.items():
            more = [f"task.max_train={train}", "task.validation_max=500", "task.max_test=1000", "task.max_length=128"]
            more += ["training={num_train_epochs: 3, per_device_train_batch_size: 16, bf16: true}"]
            beside = [] if name == "k8" else ["baselines=[majority]"]
            method = f"method={json.dumps({'name': 'warp', **options})}"
            yield f"pairs/{task}_{name}", f"glue/warp_{task}", MINILM, [method, *more, *beside]
    for language in ("lithuanian", "arabic"):
        for name, overrides in AUDIO.items():
            yield f"audio/{language}{name}", f"audio/{language}_commands", SPOTTER, overrides
    for name, overrides in ANSWERS.items():
        beside = [] if name == "bar" else ["baselines=[majority]"]
        yield f"black_box/pneumonia_{name}", "black_box/pneumonia", MOBILENET, [*overrides, *beside]
    for name, overrides in FORECASTS.items():
        beside = [] if not name else ["baselines=[majority]"]
        yield f"forecast/weather{name}", "series/weather", MINILM, [*overrides, *beside]
    for short, source in FPT_SOURCES.items():
        seeds = "seeds=[0]" if short == "smollm2" else "seeds=[0, 1, 2]"
        for task, (recipe, more) in FPT_TASKS.items():
            for name, overrides in FPT.items():
                beside = [] if not name else ["baselines=[majority]"]
                yield f"fpt/{short}_{task}{name}", recipe, source, [seeds, *more, *overrides, *beside]
    for name in UCR:
        yield f"series/{name}", "series/ucr", SPOTTER, [f"task.name={name}"]
        random = ["source.random=0", "baselines=[majority, untrained_probe]"]
        yield f"series/{name}_random", "series/ucr", SPOTTER, [f"task.name={name}", *random]
    for name, (recipe, source, size, overrides) in NEAR.items():
        few = [f"task.train_size={size}", f"training.num_train_epochs={EPOCHS[size]}", f"baselines=[majority, {PROBE}]"]
        yield f"sources/{name}", recipe, source, [*few, *overrides]


def main() -> None:
    """Run what is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="where the results go, one JSON a run")
    parser.add_argument("--sources", type=Path, required=True, help="folder with the sources")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the runs go")
    parser.add_argument("--only", default="*", help="run only results whose name matches, as in 'efficiency/amp_*'")
    parser.add_argument("--skip", action="append", default=[], help="a baseline to leave out; it can be added later")
    parser.add_argument("--older", type=Path, help="results from which the baselines that are left out are taken over")
    parser.add_argument("--set", action="append", default=[], help="a further override, for all of them")
    arguments = parser.parse_args()
    root = Path(__file__).resolve().parent.parent
    for name, recipe, source, overrides in plan():
        target = arguments.results / f"{name}.json"
        if target.exists() or not fnmatch(name, arguments.only):
            continue
        output, file = arguments.runs / name.replace("/", "_"), root / f"recipes/{recipe}.yaml"
        command = [sys.executable, "-m", "hf_reprogram", "train", str(file), "--resume"]
        command += ["--output", str(output), "--set", f"source.name={arguments.sources / source}"]
        baselines = {key: value for key, value in baselines_of(file).items() if key not in arguments.skip}
        size = re.fullmatch(r"efficiency/(.+)_n?(\d+|all)", name)
        if size and (nearest := CHOSEN_AT.get(size[2] if size[2] == "all" else int(size[2]))):
            chosen = target.with_name(f"{size[1]}_n{nearest}.json")
            tuned = {} if size[2] == "all" else baselines  # with its one seed, baselines choose anew
            overrides += taken_over(chosen, tuned)
        if name in SHARED:
            baselines = {"majority": {}}
        overrides.insert(0, f"baselines={json.dumps([{key: value} for key, value in baselines.items()])}")
        for override in [*overrides, *arguments.set]:
            command += ["--set", override]
        subprocess.run(command, check=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        result = json.loads((output / "results.json").read_text(encoding="utf-8"))
        if name in SHARED:
            shared = (arguments.results / f"{SHARED[name]}.json").read_text(encoding="utf-8")
            result["baselines"] = json.loads(shared)["baselines"]
        older = arguments.older / f"{name}.json" if arguments.older else None
        if older is not None and older.exists():
            kept = json.loads(older.read_text(encoding="utf-8"))["baselines"]
            result["baselines"] |= {key: kept[key] for key in arguments.skip if key in kept}
        curves = {seed: record.pop("history") for seed, record in result["seeds"].items() if "history" in record}
        write_json(arguments.results / "history" / f"{name}.json", curves)
        write_json(target, result)
    for recipe in MAPPED:
        name = f"untrained/{Path(recipe).name}"
        target = arguments.results / f"{name}.json"
        if not target.exists() and fnmatch(name, arguments.only):
            script, file = root / "tools/label_maps.py", root / f"recipes/{recipe}.yaml"
            command = [sys.executable, str(script), str(file), str(target)]
            subprocess.run([*command, "--set", f"source.name={arguments.sources / VIT}"], check=True)


if __name__ == "__main__":
    main()
