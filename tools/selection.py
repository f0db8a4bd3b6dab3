"""Which epoch is better on test: the one that the metric chooses on validation, or the one that the loss chooses?

    python tools/selection.py recipes/glue/bert_tiny/sst2_few_shot.yaml OUTPUT.json --set source=DIR/SOURCE

Trains a recipe once per seed, and scores validation and test after every epoch. `metric` is the rule of recipes: the first
metric, and the loss among equals. The test scores serve this comparison alone.
"""

from __future__ import annotations

import tempfile
from typing import Any

from recipe_arguments import recipe_and_output
from transformers import TrainerCallback

from hf_reprogram.experiments.seed_runs import untrained_model
from hf_reprogram.files import write_json
from hf_reprogram.mappings.linear_fit import mean_loss
from hf_reprogram.reports.results import summarize
from hf_reprogram.tasks.load import load_task
from hf_reprogram.training.encode import encode, labels_of
from hf_reprogram.training.fit import fit, selection
from hf_reprogram.training.predict import predict_logits


class Epochs(TrainerCallback):
    """The scores of every epoch on validation and test.

    Attributes:
        rows: per epoch the number that selects, the loss on validation, and the first metric on test.
    """

    def __init__(self, task: Any, processor: Any, data: dict[str, Any], bf16: bool) -> None:
        self.task, self.processor, self.data, self.bf16 = task, processor, data, bf16
        self.rows: list[dict[str, float]] = []

    def on_evaluate(self, args, state, control, model=None, **kwargs):
        """Score both splits."""
        was_training, row = model.training, {}
        model.eval()
        for split in ("validation", "test"):
            logits = predict_logits(model, self.processor, self.data[split], bf16=self.bf16, quiet=True)
            labels = labels_of(self.data[split])
            scores = self.task.score(logits, labels)
            if split == "validation":
                row["metric"] = selection(self.task, scores, logits, labels)
                row["loss"] = -mean_loss(logits, labels, self.task.problem_type)
            else:
                row["test"] = scores[self.task.metrics[0]]
        model.train(was_training)
        self.rows.append(row)


def main() -> None:
    """Train, and compare the two rules."""
    recipe, output = recipe_and_output(__doc__)
    recipe = recipe.with_values(recipe.grid()[0])
    task = load_task(recipe.task_options)
    curves: dict[int, list[dict[str, float]]] = {}
    sizes: dict[str, int] = {}
    for seed in recipe.seeds:
        splits = task.splits(seed)
        model, processor = untrained_model(recipe, task, seed, splits)
        data = encode(splits, processor, task.options.max_length, task.problem_type)
        sizes = {split: len(data[split]) for split in data}
        settings = recipe.training_arguments
        epochs = Epochs(task, processor, data, bool(settings.get("bf16")))
        with tempfile.TemporaryDirectory() as folder:
            fit(model, processor, data, task, settings, folder=folder, seed=seed, callbacks=[epochs], quiet=True)
        curves[seed] = epochs.rows
    chosen = {
        rule: [{"test": max(rows, key=lambda row: row[rule])["test"]} for rows in curves.values()]
        for rule in ("metric", "loss")
    }
    gap = [
        {"test": loss["test"] - metric["test"]} for loss, metric in zip(chosen["loss"], chosen["metric"], strict=True)
    ]
    write_json(
        output,
        {
            "task": {"title": task.title, "metrics": list(task.metrics), "sizes": sizes},
            "chosen_by": {rule: summarize(scores)["test"] for rule, scores in chosen.items()},
            "loss_minus_metric": summarize(gap)["test"],
            "curves": curves,
        },
    )


if __name__ == "__main__":
    main()
