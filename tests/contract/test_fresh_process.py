"""Adapters of every source, transform and mapping give the same logits, bit for bit, in a process that made none of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

from tests.contract import training
from tests.contract.matrix import CASES, cover, loaded

ROOT = Path(__file__).parents[2]
RELOAD = """
import sys, torch
import tests.support.toys
from hf_reprogram import ReprogrammedModel
for folder in sys.argv[1:]:
    model = ReprogrammedModel.from_pretrained(folder)
    with torch.no_grad():
        torch.save(model(**torch.load(folder + "/batch.pt")).logits, folder + "/logits.pt")
"""


def test_every_source_transform_and_mapping_reloads_bit_equal_in_a_fresh_process(tmp_path):
    named = [case for case in CASES if loaded(case.source).reference["name"]]
    made = [
        training.trained(case, tmp_path / str(case)) for case in cover("source", "transform", "mapping", among=named)
    ]
    for adapter in made:
        torch.save(adapter.batch, adapter.folder / "batch.pt")
    subprocess.run([sys.executable, "-c", RELOAD, *(str(adapter.folder) for adapter in made)], check=True, cwd=ROOT)
    for adapter in made:
        with torch.no_grad():
            expected = adapter.model(**adapter.batch).logits
        assert torch.equal(torch.load(adapter.folder / "logits.pt"), expected), str(adapter.case)
