"""Parts of a run that were done elsewhere make the same whole."""

from __future__ import annotations

import json

import pytest

from hf_reprogram import InputError
from hf_reprogram.cli import main
from hf_reprogram.experiments.run import train
from tests.support import runs

SWEPT = {"seeds": [0, 1], "sweep": {"training.learning_rate": [1e-2, 3e-2]}, "baselines": ["majority"]}


def results_of(folder):
    return runs.without_clocks(json.loads((folder / "results.json").read_text()))


def test_seeds_and_trials_of_several_folders_merge_to_the_run_of_one(source_folder, csv_file, tmp_path):
    def recipe(name):
        return runs.recipe(source_folder("bert"), csv_file, tmp_path / name, **SWEPT)

    train(recipe("whole"), quiet=True)
    for trial in (0, 1):
        assert train(recipe(f"trial-{trial}"), quiet=True, only_trial=trial) == {}
        assert [p.name for p in (tmp_path / f"trial-{trial}").glob("runs/*/fit.json")] == ["fit.json"]
    trials = [str(tmp_path / f"trial-{trial}") for trial in (0, 1)]
    for seed in (0, 1):
        assert train(recipe(f"seed-{seed}"), quiet=True, only_seed=seed, merge=trials) == {}
        assert not (tmp_path / f"seed-{seed}" / "results.json").exists()
    train(recipe("merged"), quiet=True, merge=[str(tmp_path / f"seed-{seed}") for seed in (0, 1)])
    assert results_of(tmp_path / "merged") == results_of(tmp_path / "whole")
    for folder in ("", "runs/seed-0", "runs/seed-1"):
        assert runs.weights(tmp_path / "merged" / folder) == runs.weights(tmp_path / "whole" / folder)


def test_the_command_line_says_how_a_part_is_merged(monkeypatch, source_folder, csv_file, tmp_path, capsys):
    asked = {}
    monkeypatch.setattr("hf_reprogram.experiments.run.train", lambda recipe, **options: asked.update(options) or {})
    recipe = runs.recipe(source_folder("bert"), csv_file, tmp_path / "run", **SWEPT)
    values = {"source": recipe.source["name"], "method": recipe.method, "task": recipe.task, "seeds": [0, 1]}
    (tmp_path / "recipe.json").write_text(json.dumps(values))
    arguments = ["train", str(tmp_path / "recipe.json"), "--output", "runs/one"]
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--only-seed", "1", "--merge", "a", "--merge", "b"])
    assert ended.value.code == 0
    assert (asked["only_seed"], asked["only_trial"], asked["merge"]) == (1, None, ["a", "b"])
    assert capsys.readouterr().out.strip() == (
        "Seed 1 is done. The run of the whole recipe takes it over with --merge runs/one."
    )


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"only_seed": 7}, "has no seed 7: choose one of 0, 1"),
        ({"only_trial": 2}, "has 2 trials, and 2 is none: give a number from 0 to 1"),
        ({"only_seed": 0, "only_trial": 0}, "one seed or one trial"),
    ],
)
def test_a_part_that_is_not_there_is_refused(part, message, source_folder, csv_file, tmp_path):
    with pytest.raises(InputError, match=message):
        train(runs.recipe(source_folder("bert"), csv_file, tmp_path / "run", **SWEPT), quiet=True, **part)
    assert not (tmp_path / "run").exists()


def test_a_recipe_without_a_sweep_has_no_trials(source_folder, csv_file, tmp_path):
    with pytest.raises(InputError, match="has no sweep"):
        train(runs.recipe(source_folder("bert"), csv_file, tmp_path / "run"), quiet=True, only_trial=0)


def test_folders_of_another_recipe_or_of_none_are_not_merged(source_folder, csv_file, tmp_path, finished):
    other = runs.recipe(source_folder("bert"), csv_file, tmp_path / "other", **SWEPT)
    with pytest.raises(InputError, match=r"holds the run of another recipe .*sweep.* differ"):
        train(other, quiet=True, merge=[str(finished.folder)])
    with pytest.raises(InputError, match="holds no run: give the output folders"):
        train(other, quiet=True, resume=True, merge=[str(tmp_path)])
