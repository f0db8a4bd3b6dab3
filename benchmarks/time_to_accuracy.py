"""Time to equal validation accuracy on SST-2 with 3,000 training sentences: WARP against PEFT's prompt tuning.

    python benchmarks/time_to_accuracy.py --source FOLDER --data SST2 --json benchmarks/results/time_to_accuracy.json

`--source` is a folder with a BERT-like encoder, such as all-MiniLM-L6-v2, and `--data` one with train.parquet and
validation.parquet, which have the columns `sentence` and `label`. Both ways are the plain Trainer with dynamic padding, 20
prompts in float32 and batches of 32, each in a process of its own; validation (872 sentences) is scored every 15 steps, and
before the first one, since WARP starts as a probe. WARP learns at 1e-2 and PEFT at `--peft-rate`, which is to be tuned.

    peft        `PromptTuningConfig` on AutoModelForSequenceClassification
    warp        `reprogram(source, "warp", num_prompts=20)`

The accuracy to reach is the best of PEFT's in its epochs. Printed are the CPU seconds until a score reaches it, those of
imports, of loading the source and of scoring left out, and the peak memory of the process. WARP's start, a probe that
`reprogram` does not fit but the Trainer does before its first step, counts.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from common import parser, start
from datasets import load_dataset
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
    set_seed,
)

from hf_reprogram import reprogram
from hf_reprogram.files import write_json

PROMPTS, BATCH, RATE, EVERY = 20, 32, 1e-2, 15  # the rate is WARP's


class TimedTrainer(Trainer):
    """A Trainer that notes every validation score with the CPU seconds before it, those of scoring left out.

    Attributes:
        curve: pairs of seconds and accuracy.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.begun, self.curve = time.process_time(), []

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Score, and stop the clock meanwhile."""
        stopped = time.process_time()
        metrics = super().evaluate(*args, **kwargs)
        self.curve.append((stopped - self.begun, metrics["eval_accuracy"]))
        self.begun += time.process_time() - stopped
        return metrics


def model_of(way: str, source: str) -> tuple[Any, Any]:
    """The model to train and its tokenizer."""
    if way == "warp":
        return reprogram(source, "warp", ["negative", "positive"], num_prompts=PROMPTS)
    from peft import PromptTuningConfig, TaskType, get_peft_model

    classifier = AutoModelForSequenceClassification.from_pretrained(source, num_labels=2)
    prompts = PromptTuningConfig(task_type=TaskType.SEQ_CLS, num_virtual_tokens=PROMPTS)
    return get_peft_model(classifier, prompts), AutoTokenizer.from_pretrained(source)


def worker(way: str, options: Any) -> None:
    """Train one way, and print what it took."""
    set_seed(options.seed)
    model, tokenizer = model_of(way, options.source)
    files = {split: str(Path(options.data, f"{split}.parquet")) for split in ("train", "validation")}
    rows = load_dataset("parquet", data_files=files)
    rows["train"] = rows["train"].shuffle(seed=options.seed).select(range(options.train))
    kept = [name for name in rows["train"].column_names if name != "label"]
    rows = rows.map(lambda batch: tokenizer(batch["sentence"], truncation=True), batched=True, remove_columns=kept)
    with TemporaryDirectory() as folder:
        trainer = TimedTrainer(
            model,
            TrainingArguments(
                folder,
                learning_rate=options.peft_rate if way == "peft" else RATE,
                per_device_train_batch_size=BATCH,
                per_device_eval_batch_size=64,
                num_train_epochs=options.epochs,
                eval_strategy="steps",
                eval_steps=EVERY,
                eval_on_start=True,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                seed=options.seed,
                use_cpu=True,
            ),
            train_dataset=rows["train"],
            eval_dataset=rows["validation"],
            processing_class=tokenizer,
            data_collator=DataCollatorWithPadding(tokenizer),
            compute_metrics=lambda found: {"accuracy": float((np.argmax(found[0], -1) == found[1]).mean())},
        )
        trainer.train()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"curve": trainer.curve, "peak_mib": round(peak)}))


def main() -> None:
    """Compare, print, write."""
    arguments = parser(__doc__)
    arguments.add_argument("--data", required=True, help="folder of SST-2")
    arguments.add_argument("--train", type=int, default=3000, help="training sentences (default: %(default)s)")
    arguments.add_argument("--epochs", type=float, default=1, help="epochs of both (default: %(default)s)")
    arguments.add_argument("--peft-rate", type=float, default=RATE, help="learning rate of PEFT (default: %(default)s)")
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--worker", choices=["peft", "warp"], help="for the processes that this starts")
    options = start(arguments)
    if options.worker:
        worker(options.worker, options)
        return
    found = {}
    for way in ("peft", "warp"):
        command = [sys.executable, __file__, *sys.argv[1:], "--worker", way]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found[way] = json.loads(done.stdout.splitlines()[-1])
    wanted = max(accuracy for _, accuracy in found["peft"]["curve"])
    for way, result in found.items():
        reached = [seconds for seconds, accuracy in result["curve"] if accuracy >= wanted]
        result["cpu_seconds"], result["best"] = min(reached, default=None), max(a for _, a in result["curve"])
        print(f"{way}: {wanted:.3f} after {result['cpu_seconds']} CPU seconds, best {result['best']:.3f}, "
              f"{result['peak_mib']:,} MiB, {result['curve'][-1][0]:.0f} CPU seconds in all")  # fmt: skip
    if options.json:
        write_json(
            options.json, {"name": "time_to_accuracy", "source": Path(options.source).name, "accuracy": wanted, **found}
        )


if __name__ == "__main__":
    main()
