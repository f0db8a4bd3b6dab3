"""Which rule chooses better defaults on few labels: the score on validation, or five folds of training and validation?

    python tools/choosing.py recipes/series/ucr.yaml OUTPUT.json --set source.name=DIR/SOURCE --set task.name=ECG200

Builds every alternative of the defaults as the first seed would, untrained, and scores it by both rules and on at most 500
test examples. Nothing is trained. The test scores serve this comparison alone.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from accelerate import PartialState
from recipe_arguments import recipe_and_output

from hf_reprogram.errors import InputError
from hf_reprogram.experiments import choices
from hf_reprogram.experiments.job import Job
from hf_reprogram.experiments.memory import Memory
from hf_reprogram.files import write_json
from hf_reprogram.tasks.load import load_task

RULES = {"validation": 0, "folds": sys.maxsize}  # by the number of validation examples below which folds decide


def main() -> None:
    """Choose by both rules."""
    recipe, output = recipe_and_output(__doc__)
    recipe = recipe.with_values(recipe.grid()[0])
    task, memory = load_task(recipe.task_options), Memory()
    splits = task.splits(recipe.seeds[0])
    on_test = {"train": splits["train"], "validation": splits["test"]}
    rows: list[dict[str, Any]] = []
    by_rule: dict[str, list[Any]] = {rule: [] for rule in RULES}
    with tempfile.TemporaryDirectory() as folder:
        job = Job(recipe, task, Path(folder), PartialState(), quiet=True)
        for options in choices.alternatives_of(job):
            try:
                scores = {rule: choices.start_score(job, splits, options, memory, few) for rule, few in RULES.items()}
            except InputError as error:  # an alternative that the data have no room for
                print(options, error)
                continue
            scores["test"] = choices.start_score(job, on_test, options, memory, few=0)
            rows.append({"options": options, **{name: score.validation for name, score in scores.items()}})
            for rule in RULES:
                by_rule[rule].append(scores[rule])
    sizes = {split: len(splits[split]) for split in splits}
    chosen = {rule: rows[choices.best_of(scores)] for rule, scores in by_rule.items()}
    record = {
        "task": {"title": task.title, "metrics": list(task.metrics), "sizes": sizes},
        "chosen": chosen,
        "tried": rows,
    }
    write_json(output, record)
    for rule, row in chosen.items():
        print(f"{rule}: {row['test']} by {row['options']}")


if __name__ == "__main__":
    main()
