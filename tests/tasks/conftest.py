"""Fixtures of tasks."""

from __future__ import annotations

import pytest

from tests.support.tables import write


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A folder in the Hub's shape, taken for the Hub; returns a function that writes one split."""
    monkeypatch.setenv("HF_REPROGRAM_DATA", str(tmp_path))

    def add(folder: str, split: str, data: dict[str, list]):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        write(tmp_path / folder / f"{split}.parquet", data)

    return add
