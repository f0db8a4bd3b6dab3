"""Small tables of texts, in files of every format."""

from __future__ import annotations

import json

from datasets import Dataset

from tests.support import words


def columns(count: int = 40, seed: int = 0) -> dict[str, list]:
    texts, labels = words.texts(count, seed)
    return {"sentence": texts, "kind": [("bad", "good")[label] for label in labels], "label": labels}


def write(path, data: dict[str, list]):
    """Write columns as the format that the file's suffix names."""
    table = Dataset.from_dict(data)
    if path.suffix in (".csv", ".tsv"):
        table.to_csv(path, sep="\t" if path.suffix == ".tsv" else ",", index=False)
    elif path.suffix == ".parquet":
        table.to_parquet(path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in table))
    return path
