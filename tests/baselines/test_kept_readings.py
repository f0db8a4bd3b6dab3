"""What the frozen source reads of the same images is computed once for the baselines and seeds of a run."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from hf_reprogram.baselines import linear_probe
from hf_reprogram.baselines.base import Setting
from hf_reprogram.experiments.seed_runs import untrained_model
from hf_reprogram.tasks.load import load_task
from tests.support import runs, tiny_vision
from tests.support.image_settings import make_setting, run


@pytest.fixture
def settings(tmp_path):
    """A function from a way to share what is read to the settings of two seeds of one run."""
    source = tiny_vision.save_source(tmp_path / "source", "vit")
    task = {"dataset": str(tmp_path / "task/halves.parquet"), "image": "image", "label": "half", "few_shot": 8}
    first = make_setting(source, tmp_path / "task", task=task)

    def make(shared):
        second = replace(first, seed=1, splits=first.task.splits(1))
        if not shared:
            return [replace(setting, kept={}) for setting in (first, second)]
        kept = {}
        return [replace(setting, kept=kept) for setting in (first, second)]

    return make


@pytest.fixture
def passes(monkeypatch):
    """Sizes of the splits that went through the source."""
    seen, extract = [], linear_probe.extract

    def watched(source, inputs_of, data, *arguments):
        seen.append(len(data))
        return extract(source, inputs_of, data, *arguments)

    monkeypatch.setattr(linear_probe, "extract", watched)
    return seen


@pytest.mark.parametrize("name", ["linear_probe", "source_labels"])
def test_the_test_split_is_read_once_and_nothing_else_changes(settings, passes, name):
    apart = [run(name, setting) for setting in settings(shared=False)]
    assert len(passes) == 6  # three splits of two seeds
    passes.clear()
    together = [run(name, setting) for setting in settings(shared=True)]
    assert len(passes) == 5  # the seed draws training and validation, and not test
    for one, other in zip(apart, together, strict=True):
        np.testing.assert_array_equal(one.validation, other.validation)
        np.testing.assert_array_equal(one.test, other.test)


def test_another_baseline_takes_over_the_same_reading_alone(settings, passes):
    setting, _ = settings(shared=True)
    run("linear_probe", setting)
    passes.clear()
    run("fine_tuning", setting, learning_rate=[1e-3])
    assert passes == []  # its layer starts from the features that the probe has read
    run("source_labels", setting)
    assert len(passes) == 3  # logits, not features


def test_what_an_untrained_program_makes_of_images_is_not_taken_for_the_source_s(settings, passes):
    setting, _ = settings(shared=True)
    run("linear_probe", setting)
    passes.clear()
    run("linear_probe", setting, tokens="target")
    assert len(passes) == 3


@pytest.mark.parametrize("few_shot", [None, 8])
def test_texts_that_two_seeds_share_are_read_once(few_shot, source_folder, csv_file, tmp_path, passes):
    recipe = runs.recipe(source_folder("bert"), csv_file, tmp_path / "run", task={"few_shot": few_shot})
    task = load_task(recipe.task_options)
    kept, outcomes, read = {}, [], []
    for seed, shared in ((0, kept), (1, kept), (1, {})):
        splits = task.splits(seed)
        make = partial(untrained_model, recipe, task, seed, splits)
        setting = Setting(recipe, task, splits, seed, tmp_path / "scratch", True, 3, make, kept=shared)
        outcomes.append(run("linear_probe", setting))
        read.append(len(passes))
        passes.clear()
    assert read == [3, 0 if few_shot is None else 2, 3]
    np.testing.assert_array_equal(outcomes[1].test, outcomes[2].test)
