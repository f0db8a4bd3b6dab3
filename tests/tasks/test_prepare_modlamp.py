"""The script that gets antimicrobial peptides from a package: its functions on text, without a network."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from hf_reprogram.tasks.load import load_task
from hf_reprogram.tasks.options import TaskOptions

SCRIPT = Path(__file__).parents[2] / "recipes" / "peptides" / "prepare_modlamp.py"


@pytest.fixture
def script(monkeypatch):
    """The script as a module, for a file of four sequences."""
    spec = importlib.util.spec_from_file_location("prepare_modlamp", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "SIZE", 4)
    monkeypatch.setattr(module, "HEADER", ["4", "1", "UniProt", "AMP"])
    return module


def test_the_file_is_read(script):
    content = "4,1,UniProt,AMP\nGLWSK, 1\nYVPLP, 1\nMKK,0\nMA, 0\n"
    assert script.parse(content) == [("GLWSK", 1), ("YVPLP", 1), ("MKK", 0), ("MA", 0)]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("4,1,UniProt,AMP\nA,1\n", "is not what was expected: 1 rows"),
        ("4,1,TM,AMP\nA,1\nC,1\nD,0\nE,0\n", "under the header 4,1,TM,AMP"),
        ("4,1,UniProt,AMP\nA,1\nC,1\nDX,0\nE,0\n", "line 4 of .* is 'DX,0'"),
        ("4,1,UniProt,AMP\nA,1\nC,1\nD,0\nE,2\n", "line 5 of .* is 'E,2'"),
        ("4,1,UniProt,AMP\nA,1\nC\nD,0\nE,0\n", "line 3 of .* is 'C'"),
    ],
)
def test_another_file_is_refused(content, sentence, script):
    with pytest.raises(SystemExit, match=sentence):
        script.parse(content)


def test_repetitions_are_kept_once_and_contradictions_not_at_all(script):
    peptides = [("AC", 1), ("DE", 0), ("AC", 1), ("FG", 1), ("FG", 0), ("HI", 0)]
    assert script.unique(peptides) == [("AC", 1), ("DE", 0), ("HI", 0)]


def test_the_split_keeps_the_share_of_each_class_and_the_seed_fixes_it(script):
    peptides = [(f"A{'C' * i}", int(i < 30)) for i in range(50)]
    train, test = script.split(peptides)
    assert sorted([*train, *test]) == sorted(peptides)
    assert (len(test), sum(label for _, label in test)) == (10, 6)
    assert script.split(peptides[::-1]) == (train, test)
    assert script.split(peptides, seed=1) != (train, test)


def test_what_is_written_is_a_task(script, tmp_path):
    peptides = [(f"A{'C' * i}", i % 2) for i in range(50)]
    for name, part in zip(("train", "test"), script.split(peptides), strict=True):
        script.write(part, tmp_path / f"{name}.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["test.csv", "train.csv"]
    task = load_task(TaskOptions(dataset=str(tmp_path), text=["sequence"], labels=["other", "antimicrobial"]))
    assert {name: len(split) for name, split in task.splits(0).items()} == {"train": 36, "validation": 4, "test": 10}
    assert {*zip(task.test["text"], task.test["label"], strict=True)} < {*peptides}
