"""Progress in a log that is no terminal: a line per tenth, and no bar."""

from __future__ import annotations

import subprocess
import sys

from hf_reprogram.progress import progress
from tests.support import runs


def test_a_line_per_tenth(capsys):
    assert list(progress(range(40), "reading", 40)) == list(range(40))
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"reading: {done} of 40" for done in range(4, 41, 4)]


def test_a_short_way_and_a_quiet_one_say_nothing(capsys):
    assert list(progress(range(5), "reading", 5)) == list(range(5))
    assert list(progress(range(40), "reading", 40, quiet=True)) == list(range(40))
    assert capsys.readouterr().err == ""


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
