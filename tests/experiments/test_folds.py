"""Folds of all examples choose between programs where validation is small."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from hf_reprogram import reprogram
from hf_reprogram.experiments.folds import _folds, folded_logits
from hf_reprogram.schedule import begin_epoch
from tests.support import tiny_audio


def loaders_of(rows, targets):
    """Loaders of the first three quarters of the examples and of the others."""
    data = [{"past_values": row, "labels": target} for row, target in zip(rows, targets, strict=True)]
    most = 3 * len(data) // 4
    return [DataLoader(part, 7) for part in (data[:most], data[most:])]


@pytest.mark.parametrize("problem", ["single_label_classification", "regression"])
@pytest.mark.parametrize("mapping", ["dense", "label_map"])
def test_each_example_is_scored_by_an_omega_that_has_not_seen_it(problem, mapping):
    """A fold equals a model that is fitted to the other rows alone."""
    if problem == "regression" and mapping == "label_map":
        mapping = "dense"
    rows, labels = tiny_audio.series(24)
    targets = torch.tensor(labels) if problem != "regression" else torch.from_numpy(rows[:, 3] * 10 + 50)
    how = {} if mapping == "dense" else {"label_mapping": "frequency"}
    source = tiny_audio.make_module()

    def fresh():
        names = None if problem == "regression" else ["a", "b"]
        made, processor = reprogram(
            source, "voice2series", names, problem_type=problem, features=rows, copies=2, mapping=mapping, **how
        )
        return made, processor(rows)["past_values"]

    model, series = fresh()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    task = SimpleNamespace(problem_type=problem)
    logits, found = folded_logits(model, task, loaders_of(series, targets), None)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    np.testing.assert_allclose(found, targets.numpy(), rtol=1e-6)
    held = _folds(targets.numpy(), problem)[0]
    others = np.setdiff1d(np.arange(24), held)
    alone, _ = fresh()
    data = [{"past_values": series[row], "labels": targets[row]} for row in others]
    begin_epoch(alone, 0, DataLoader(data, 64), soften=False)
    with torch.no_grad():
        expected = alone.eval()(past_values=torch.from_numpy(np.stack(series)[held])).logits
    np.testing.assert_allclose(logits[held], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("labels", "folds"), [([0, 0, 0, 1, 1, 1], 3), ([0, 0, 0, 0, 0, 1], 5), ([0] * 9 + [1] * 9, 5)]
)
def test_every_row_is_held_out_once_and_classes_are_shared_out(labels, folds):
    found = _folds(np.array(labels), "single_label_classification")
    assert len(found) == folds
    assert sorted(np.concatenate(found)) == [*range(len(labels))]
    if min(labels.count(0), labels.count(1)) >= 2:
        assert all({*np.array(labels)[held]} == {0, 1} for held in found)
