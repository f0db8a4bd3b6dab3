"""What a label map does on its own: every kind fitted to a method's untrained program, and scored on test.

    python tools/label_maps.py recipes/vision/mnist.yaml results/untrained/mnist.json --set source.name=DIR/vit-tiny-imagenet

Writes the mean and sample deviation over the recipe's seeds for every map and number of labels a class, by the names that
`tools/measure.py` gives to the same maps with a trained program.
"""

from __future__ import annotations

import torch
from recipe_arguments import recipe_and_output

from hf_reprogram.baselines.linear_probe import extract
from hf_reprogram.experiments.run import untrained_model
from hf_reprogram.files import write_json
from hf_reprogram.mappings.label_map import LabelMap
from hf_reprogram.mappings.label_map_options import LabelMapOptions
from hf_reprogram.reports.results import markdown, plus_minus, summarize
from hf_reprogram.tasks.load import load_task
from hf_reprogram.training.encode import encode, labels_of

SETS = ("random", "frequency", "optimal")
MAPS = {f"{how}_m{m}": {"how": how, "labels_per_class": m} for how in SETS for m in (1, 3, 10)}
WEIGHTS = {how: {"how": how} for how in ("blm", "blm_plus")}


def main() -> None:
    """Score every map."""
    recipe, output = recipe_and_output(__doc__)
    task = load_task(recipe.task_options)
    scores: dict[str, list[dict[str, float]]] = {}
    for seed in recipe.seeds:
        splits = task.splits(seed)
        model, processor = untrained_model(recipe, task, seed, splits)
        data = encode({split: splits[split] for split in ("train", "test")}, processor)
        source, transform = model.source, model.transform
        outputs, labels = {}, {}
        for split, rows in data.items():
            with torch.no_grad():
                found = extract(source, lambda batch: transform(batch, source), rows, processor, ["logits"], False)  # noqa: B023
            outputs[split], labels[split] = torch.from_numpy(found["logits"]), labels_of(rows)
        for name, options in (MAPS | WEIGHTS).items():
            mapping = LabelMap(LabelMapOptions(len(task.labels), source.spec.widths["logits"], seed=seed, **options))
            if mapping.options.is_fitted:
                mapping.fit(outputs["train"], torch.from_numpy(labels["train"]), source)
            logits = mapping(outputs["test"], source).numpy()
            scores.setdefault(name, []).append(task.score(logits, labels["test"]))
    summary = {name: summarize(found) for name, found in scores.items()}
    write_json(output, {"task": {"title": task.title, "metrics": list(task.metrics)}, "test": summary})
    metric = task.metrics[0]
    print(markdown([{"label map": name, metric: plus_minus(found[metric], metric)} for name, found in summary.items()]))


if __name__ == "__main__":
    main()
