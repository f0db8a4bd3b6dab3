"""The demo: reprogram a BERT encoder for tweet sentiment, without any hub.

python demo/run.py FOLDER                     FOLDER as written by demo/prepare.py
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from hf_reprogram.experiments.recipe import load_recipe
from hf_reprogram.experiments.run import train
from hf_reprogram.experiments.training_arguments import emulates_bf16
from hf_reprogram.reports.results import markdown, rows

SENTENCES = ["I love how easy this was, thank you!", "Worst flight ever, three hours late and they lost my bag."]


def main(folder: Path) -> None:
    """Train, print the table, then load the saved folder as any user would."""
    output = folder / "warp_tweets"
    recipe = load_recipe(
        Path(__file__).with_name("warp_tweets.yaml"),
        [
            f"source={folder / 'all-MiniLM-L6-v2'}",
            f"task.dataset={folder / 'tweets.csv'}",
            f"output={output}",
            *(["training.bf16=false"] if emulates_bf16() else []),
        ],
    )
    results = train(recipe, resume=output.exists())
    print(f"\n{markdown(rows(results))}\n")
    for name in ("learning_curve.png", "confusion_matrix.png", "results.json", "README.md"):
        print(output / name)

    from transformers import pipeline
    from transformers.utils import logging

    logging.disable_progress_bar()
    classify = pipeline("text-classification", model=str(output))
    print(f'\npipeline("text-classification", model="{output}")')
    for sentence in SENTENCES:
        answer = classify(sentence)[0]
        print(f"  {sentence}\n    -> {answer['label']} ({answer['score']:.2f})")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo_output"))
