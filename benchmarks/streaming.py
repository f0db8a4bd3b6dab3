"""Memory and waiting time against the number of training rows, streamed and not.

    python benchmarks/streaming.py --rows 10000 200000 1000000

A csv file of random words, 4 to 20 per row. A recipe trains 20 steps of WARP on a tiny random BERT, each time in a process of
its own; then the batches of a whole epoch are read without training, so that a stream goes through the whole file.

Per number of rows: the peak memory of the process (MiB), and its CPU seconds up to the first training step.
A stream that loses rows of an epoch fails.
"""

from __future__ import annotations

import csv
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from common import parser, start

from hf_reprogram.files import write_json

WORDS = [f"w{number}" for number in range(5000)]
RUN = """
import json, resource, sys, time
from transformers import Trainer
from hf_reprogram.experiments.recipe import make_recipe
from hf_reprogram.experiments.run import train
first, step = [], Trainer.training_step

def timed(self, *args, **kwargs):
    first.append(time.process_time())
    if len(first) == 1:
        kept.append(self)
    return step(self, *args, **kwargs)

kept = []
Trainer.training_step = timed
train(make_recipe(json.loads(sys.argv[1])), quiet=True)
rows = sum(len(batch["labels"]) for batch in kept[0].get_train_dataloader())
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"cpu_seconds_to_first_step": round(first[0], 1), "peak_mib": round(peak), "rows_of_an_epoch": rows}))
"""


def main() -> None:
    """Measure, print, write."""
    arguments = parser(__doc__, layers=1, width=64, rounds=1)
    arguments.add_argument(
        "--rows", type=int, nargs="+", default=[1000], help="rows of the files (default: %(default)s)"
    )
    options = start(arguments)
    found: dict[str, dict[str, dict[str, float]]] = {"streamed": {}, "in memory": {}}
    with TemporaryDirectory() as name:
        source = write_source(Path(name) / "source", options.layers, options.width)
        for rows in options.rows:
            data = write_rows(Path(name) / f"{rows}.csv", rows)
            for way, results in found.items():
                recipe = {
                    "source": str(source),
                    "method": {"name": "warp", "num_prompts": 4},
                    "task": {"dataset": str(data), "text": "text", "streaming": way == "streamed"},
                    "training": {"max_steps": 20, "per_device_train_batch_size": 32},
                    "output": f"{name}/{way}-{rows}",
                }
                command = [sys.executable, "-c", RUN, json.dumps(recipe)]
                environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
                results[str(rows)] = json.loads(done.stdout.splitlines()[-1])
                print(f"{way}, {rows:,} rows: {results[str(rows)]}", flush=True)
    if options.json:
        write_json(options.json, {"name": "streaming", **found})
    for rows, result in found["streamed"].items():
        if not 0.6 * int(rows) < result["rows_of_an_epoch"] < int(rows):
            sys.exit("An epoch has lost rows.")


def write_source(folder: Path, layers: int, width: int) -> Path:
    """A tiny BERT of random numbers, and the tokenizer of the words."""
    import torch
    from transformers import BertConfig, BertForMaskedLM, BertTokenizer

    folder.mkdir()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "."]
    (folder / "vocab.txt").write_text("\n".join([*special, *WORDS]), encoding="utf-8")
    BertTokenizer(str(folder / "vocab.txt"), model_max_length=128).save_pretrained(folder)
    torch.manual_seed(0)
    shape = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": 2, "intermediate_size": width}
    BertForMaskedLM(BertConfig(vocab_size=len(WORDS) + len(special), **shape)).save_pretrained(folder)
    return folder


def write_rows(path: Path, rows: int) -> Path:
    """A csv file of random texts and labels."""
    draw = random.Random(0)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for _ in range(rows):
            writer.writerow([" ".join(draw.choices(WORDS, k=draw.randint(4, 20))), draw.choice(["no", "yes"])])
    return path


if __name__ == "__main__":
    main()
