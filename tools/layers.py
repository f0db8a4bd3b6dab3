"""Which layer of a text source holds the answer: a linear probe on the states of each, over untrained target tokens.

    python tools/layers.py recipes/peptides/amp.yaml --set source=DIR/all-MiniLM-L6-v2 --set task.train_size=200

Prints a row a layer (0 is the embedding) with the test score of logistic regression on the mean and on the largest of each
number over the tokens, mean and sample deviation over the recipe's seeds; its strength is chosen on validation.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch

from hf_reprogram.baselines.linear import best_linear
from hf_reprogram.experiments.recipe import load_recipe
from hf_reprogram.experiments.run import untrained_model
from hf_reprogram.progress import quiet_libraries
from hf_reprogram.reports.results import markdown, plus_minus, summarize
from hf_reprogram.sources.pooling import mean_over_tokens
from hf_reprogram.tasks.load import load_task
from hf_reprogram.training.encode import batches, encode, labels_of

STRENGTHS = (0.01, 0.1, 1.0, 10.0)


@torch.no_grad()
def states(model: Any, processor: Any, data: Any) -> dict[tuple[int, str], np.ndarray]:
    """Pooled states (n, width) of a split by layer and by how they are pooled."""
    found: dict[tuple[int, str], np.ndarray] = {}
    for rows, batch in batches(data, processor, 64):
        inputs = model.transform(batch, model.source)
        mask = inputs["attention_mask"]
        output = model.source.base(
            inputs_embeds=inputs["inputs_embeds"], attention_mask=mask, output_hidden_states=True
        )
        for layer, hidden in enumerate(output.hidden_states):
            largest = hidden.masked_fill(mask[..., None] == 0, -torch.inf).amax(1)
            for pooled, values in (("mean", mean_over_tokens(hidden, mask)), ("largest", largest)):
                empty = np.empty((len(data), hidden.shape[-1]), np.float32)
                found.setdefault((layer, pooled), empty)[rows] = values.float().numpy()
    return found


def main() -> None:
    """Probe every layer and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="an R2DL recipe of a classification")
    parser.add_argument("--set", action="append", default=[], help="an override, as of hf-reprogram train")
    arguments = parser.parse_args()
    quiet_libraries(quiet=True)
    recipe = load_recipe(arguments.recipe, arguments.set)
    task = load_task(recipe.task_options)
    scores: dict[tuple[int, str], list[dict[str, float]]] = {}
    for seed in recipe.seeds:
        splits = task.splits(seed)
        model, processor = untrained_model(recipe, task, seed, splits)
        data = encode(splits, processor, task.options.max_length, task.problem_type)
        labels = {split: labels_of(data[split]) for split in data}
        pooled = {split: states(model, processor, data[split]) for split in data}
        for key in pooled["train"]:
            features = {split: {key: pooled[split][key]} for split in pooled}
            _, probe = best_linear(task, features, labels, STRENGTHS, len(task.labels))
            scores.setdefault(key, []).append(task.score(probe.logits(features["test"][key]), labels["test"]))
    metric = task.metrics[0]
    cells = {key: plus_minus(summarize(found)[metric], metric) for key, found in scores.items()}
    rows = [
        {"layer": str(layer), **{pooled: cells[layer, pooled] for pooled in ("mean", "largest")}}
        for layer in sorted({layer for layer, _ in cells})
    ]
    print(f"{task.title} ({metric})\n\n{markdown(rows)}")


if __name__ == "__main__":
    main()
