"""Progress in a log that is no terminal: a line per tenth, and no bar."""

from __future__ import annotations

import subprocess
import sys

import datasets
import pytest
import transformers

from hf_reprogram import InputError
from hf_reprogram.cli import main
from hf_reprogram.experiments.evaluate import evaluate_adapter, predict_lines
from hf_reprogram.experiments.ood_adapter import ood_adapter
from hf_reprogram.progress import progress, quiet_libraries
from tests.support import runs


@pytest.fixture
def library_bars(monkeypatch):
    """Turns the bars of libraries on, says whether they are, and puts them back as they were."""
    on = datasets.utils.are_progress_bars_disabled, transformers.utils.logging.is_progress_bar_enabled
    before = datasets.utils.are_progress_bars_disabled(), transformers.utils.logging.is_progress_bar_enabled()
    datasets.enable_progress_bars()
    transformers.utils.logging.enable_progress_bar()
    yield lambda: (not on[0](), on[1]())
    (datasets.disable_progress_bars if before[0] else datasets.enable_progress_bars)()
    logging = transformers.utils.logging
    (logging.enable_progress_bar if before[1] else logging.disable_progress_bar)()


def test_bars_of_libraries_stay_in_a_terminal_and_go_elsewhere(library_bars, monkeypatch):
    monkeypatch.setattr("hf_reprogram.progress.in_terminal", lambda: True)
    quiet_libraries()
    assert library_bars() == (True, True)
    monkeypatch.setattr("hf_reprogram.progress.in_terminal", lambda: False)
    quiet_libraries()
    assert library_bars() == (False, False)


@pytest.mark.parametrize(
    "command",
    [
        lambda: evaluate_adapter("no-adapter", None, [], "test", None, quiet=False),
        lambda: predict_lines("no-adapter", ["a text"], None, quiet=False),
        lambda: ood_adapter("no-adapter"),
    ],
    ids=["evaluate", "predict", "ood"],
)
def test_a_command_without_a_terminal_turns_the_bars_of_libraries_off(command, library_bars):
    with pytest.raises(InputError, match="no-adapter"):
        command()
    assert library_bars() == (False, False)


def test_evaluating_and_predicting_draw_no_bar_without_a_terminal(finished, library_bars, capsys):
    for command in (["evaluate", str(finished.folder)], ["predict", str(finished.folder), "a text"]):
        with pytest.raises(SystemExit, match="0"):
            main(command)
    assert "\r" not in capsys.readouterr().err


def test_a_line_per_tenth(capsys):
    assert list(progress(range(40), "reading", 40)) == list(range(40))
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"reading: {done} of 40" for done in range(4, 41, 4)]


def test_a_short_way_and_a_quiet_one_say_nothing(capsys):
    assert list(progress(range(5), "reading", 5)) == list(range(5))
    assert list(progress(range(40), "reading", 40, quiet=True)) == list(range(40))
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_a_run_whose_log_is_a_file_writes_few_lines(source_folder, csv_file, tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        f"source: {source_folder('bert')}\nmethod: {{name: warp, num_prompts: 2}}\nbaselines: [majority]\n"
        f"task: {{dataset: {csv_file}, text: sentence, label: kind, max_train: 64}}\n"
        "training: {num_train_epochs: 5, per_device_train_batch_size: 8, learning_rate: 0.03}\n"
    )
    command = [sys.executable, "-m", "hf_reprogram", "train", str(recipe), "--output", str(tmp_path / "run")]
    with (tmp_path / "log").open("w") as log:
        subprocess.run(command, stderr=log, stdout=subprocess.DEVNULL, check=True)
    text = (tmp_path / "log").read_text()
    assert text.count("training: ") == 10
    assert "\r" not in text
    assert "it/s" not in text
    assert len(runs.weights(tmp_path / "run")) > 0
