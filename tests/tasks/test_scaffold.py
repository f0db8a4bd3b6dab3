"""Molecules are split by scaffold, or by seed where that was asked for or rdkit is missing."""

from __future__ import annotations

import pytest

from hf_reprogram import InputError
from hf_reprogram.tasks import load as module
from hf_reprogram.tasks.load import load_task
from hf_reprogram.tasks.options import TaskOptions
from tests.support.tables import write

RINGS = ["c1ccccc1", "C1CCCCC1", "c1ccncc1", "c1ccoc1", "c1ccsc1", "C1CCNCC1", "c1cc[nH]c1", "C1CCOC1", "c1cncnc1"]
MOLECULES = {
    "smiles": [f"{chain}{ring}" for ring in RINGS for chain in ("C", "CC", "CCC", "CCCC", "N", "O")],
    "p_np": [0, 1] * (3 * len(RINGS)),
}


def rings_of(data):
    return {text.lstrip("CNO") for text in data["text"]}


@pytest.mark.parametrize("known", [True, False])
def test_molecules_are_split_by_scaffold_for_test_and_for_validation(known, mirror, tmp_path):
    pytest.importorskip("rdkit")
    if known:
        mirror("moleculenet/bbbp", "train", MOLECULES)
        task = load_task(TaskOptions(dataset="moleculenet", name="bbbp", validation_share=0.2))
        assert task.labels == ["not_permeable", "permeable"]
    else:
        path = str(write(tmp_path / "data.csv", MOLECULES))
        task = load_task(TaskOptions(dataset=path, text="smiles", label="p_np", split="scaffold", validation_share=0.2))
    splits = task.splits(0)
    rings = {name: rings_of(split) for name, split in splits.items()}
    assert sum(map(len, rings.values())) == len(set.union(*rings.values())) == len(RINGS)
    assert all(rings.values())
    assert sum(len(split) for split in splits.values()) == len(MOLECULES["smiles"])
    assert splits["train"]["text"] == task.splits(7)["train"]["text"]
    assert any("carved by Murcko scaffold" in note for note in task.notes)
    assert any("by scaffold" in note and "Validation" in note for note in task.notes)


def without_rdkit(monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)


def test_a_split_by_scaffold_that_was_asked_for_needs_rdkit(tmp_path, monkeypatch):
    without_rdkit(monkeypatch)
    path = str(write(tmp_path / "data.csv", MOLECULES))
    with pytest.raises(InputError, match=r"scaffold needs rdkit: pip install 'hf_reprogram\[molecules\]'"):
        load_task(TaskOptions(dataset=path, text="smiles", label="p_np", split="scaffold"))


def test_a_known_set_of_molecules_is_split_by_seed_without_rdkit_and_a_note_says_so(mirror, monkeypatch):
    without_rdkit(monkeypatch)
    mirror("moleculenet/bbbp", "train", MOLECULES)
    task = load_task(TaskOptions(dataset="moleculenet", name="bbbp"))
    assert "rdkit is not installed, so the split is seeded and not by scaffold." in task.notes
    assert len(rings_of(task.train) & rings_of(task.test)) > 1


def test_a_known_set_of_molecules_can_be_split_by_seed(mirror):
    mirror("moleculenet/bbbp", "train", MOLECULES)
    task = load_task(TaskOptions(dataset="moleculenet", name="bbbp", split="seeded", split_seed=3))
    assert "20 % of train was carved with seed 3" in task.notes[0]
