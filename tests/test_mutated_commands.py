"""A command line that was changed at random does what it says, or ends with one sentence, and leaves nothing half-written."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hf_reprogram.cli import main

VALUES = [
    *("", "x", "-1", "0", "nan", "1e400", "9" * 5000, "é" * 300, "a\nb", "{", "[", "[1, 2]", "{a: 1}", "null", "true"),
    *(
        "nowhere",
        "nowhere.yaml",
        "FOLDER",
        "FILE",
        "EMPTY",
        "BINARY",
        "LOOP",
        "CLOSED",
        "/",
        ".",
        "..",
        "/dev/null",
        "~",
    ),
    *("a=b", "=", "a=", "--", "-", "nobody/nothing", "../../x", "warp", "test", "validation", "5", "2**3"),
    "!!python/object/apply:os.system [x]",
]
KEYS = [
    "method.num_prompts",
    "training.learning_rate",
    "training.num_train_epochs",
    "training.max_steps",
    "training.report_to",
    "training.output_dir",
    "task.max_test",
    "task.text",
    "task.label",
    "task.dataset",
    "task.sep",
    "task.columns",
    "task.metrics",
    "task.few_shot",
    "task.encoding",
    "task.problem",
    "task.labels",
    "task.",
    ".",
    "x",
    "a.b.c",
    "source",
    "source.dtype",
    "source.trust_remote_code",
    "trusts_code",
    "method",
    "baselines",
    "sweep",
    "ood",
    "output",
    "init_from",
    "cache_text",
    "seeds",
]
COMMANDS = {
    "methods": [[]],
    "recipes": [[], ["show", "molecules/bbbp"], ["copy", "molecules/bbbp", "NEW"]],
    "init": [["CSV", "--output", "NEW.yaml"], ["CSV", "--output", "NEW.yaml", "--source", "SOURCE"]],
    "train": [["RECIPE", "--output", "NEW", "--quiet"], ["RECIPE", "--output", "NEW", "--set", "seeds=[1]", "--quiet"]],
    "evaluate": [["ADAPTER", "--quiet"], ["ADAPTER", "--split", "validation", "--set", "task.max_test=5", "--quiet"]],
    "predict": [["ADAPTER", "the film", "--quiet"], ["ADAPTER", "--file", "LINES", "--quiet"]],
    "inspect": [["ADAPTER", "--json"], ["ADAPTER", "--top", "2", "--example", "the film"]],
    "ood": [["ADAPTER", "--id", "CSV", "--semantic", "a=CSV", "--output", "NEW", "--quiet"]],
    "push": [["ADAPTER", "me/adapter", "--source", "owner/name"]],
    "export": [["ADAPTER", "NEW"], ["ADAPTER", "NEW", "--form", "plain"]],
}
FLAGS = [
    "--set",
    "--output",
    "--source",
    "--split",
    "--file",
    "--top",
    "--example",
    "--id",
    "--semantic",
    "--covariate",
    "--recipe",
    "--plot",
    "--resume",
    "--json",
    "--quiet",
    "-q",
    "--version",
    "--unknown",
    "--help",
    "--trust-remote-code",
]


@pytest.fixture(scope="module")
def world(source_folder, finished, csv_file, tmp_path_factory):
    """What the words in capital letters stand for; everything lies in one folder, which no command may change."""
    folder = tmp_path_factory.mktemp("world")
    shutil.copytree(finished.folder, folder / "adapter")
    shutil.copytree(source_folder("bert"), folder / "source")
    shutil.copy(csv_file, folder / "films.csv")
    values = {
        "source": str(folder / "source"),
        "method": {"name": "warp", "num_prompts": 2},
        "task": {"dataset": str(folder / "films.csv"), "text": ["sentence"], "label": "kind", "max_train": 32},
        "training": {"learning_rate": 3e-2, "max_steps": 1, "per_device_train_batch_size": 16},
        "baselines": ["majority"],
    }
    (folder / "mine.yaml").write_text(yaml.safe_dump(values))
    (folder / "lines.txt").write_text("the film was good\nthe plot was bad\n")
    (folder / "empty").write_text("")
    (folder / "binary").write_bytes(bytes(range(256)))
    (folder / "folder").mkdir()
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "closed").write_text("x")
    (folder / "closed").chmod(0)
    names = {"CSV": "films.csv", "RECIPE": "mine.yaml", "ADAPTER": "adapter", "SOURCE": "source", "LINES": "lines.txt"}
    names |= {
        "EMPTY": "empty",
        "BINARY": "binary",
        "FOLDER": "folder",
        "LOOP": "loop",
        "CLOSED": "closed",
        "FILE": "lines.txt",
    }
    return SimpleNamespace(folder=folder, names={key: str(folder / name) for key, name in names.items()})


@st.composite
def command_line(draw: st.DrawFn) -> list[str]:
    """The words of a command with one to three words replaced, left out, doubled, moved or added."""
    command = draw(st.sampled_from([*COMMANDS, "init", "train", "evaluate", "predict", "train", "evaluate"]))
    words = [command, *draw(st.sampled_from(COMMANDS[command]))]
    letters = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
    value = st.one_of(st.sampled_from(VALUES), st.sampled_from(VALUES), st.text(letters, max_size=8))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(words)))
        how = draw(st.sampled_from(["replace"] * 4 + ["set"] * 6 + ["drop", "double", "move", "flag", "value"]))
        if how == "replace" and 0 < at < len(words):
            words[at] = draw(value)
        elif how == "drop" and at < len(words):
            del words[at]
        elif how == "double" and at < len(words):
            words[at:at] = words[at : at + 2]
        elif how == "move" and at < len(words):
            words.insert(draw(st.integers(0, len(words) - 1)), words.pop(at))
        elif how == "flag":
            words[at:at] = [draw(st.sampled_from(FLAGS)), *([draw(value)] if draw(st.booleans()) else [])]
        elif how == "set" and command in ("train", "evaluate", "ood"):
            words += ["--set", f"{draw(st.sampled_from(KEYS))}={draw(value)}"]
        elif how == "value":
            words.insert(at, draw(value))
    return words


def state(folder: Path) -> dict[str, Any]:
    """Every file below a folder with its size and time of change."""
    return {
        str(path): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in folder.rglob("*") if not path.is_dir()
    }


def check_command(words: list[str], world: Any) -> None:
    here = Path(tempfile.mkdtemp(prefix="commands-"))
    before, start = state(world.folder), os.getcwd()
    given = [world.names.get(word, word) for word in words]
    out, err = io.StringIO(), io.StringIO()
    os.chdir(here)
    code: Any = 0
    try:
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            mock.patch.object(sys, "stdin", io.StringIO("the film\n")),
            mock.patch("os.system", side_effect=AssertionError("a command was run")),
        ):
            main(given)
    except SystemExit as end:
        code = end.code or 0
    finally:
        os.chdir(start)
        left = sorted(path.relative_to(here).as_posix() for path in here.rglob("*") if not path.is_dir())
        shutil.rmtree(here)
    changed = {path for path, value in state(world.folder).items() if before.get(path) != value}
    message = err.getvalue()
    assert "Traceback" not in message
    assert not [path for path in left if path.endswith(".tmp") or ".partial-" in path], left
    own = {path for path in changed if "/adapter/ood" not in path}
    assert "train" in words or not own, changed
    if code == 0:
        return
    assert code == 2, (code, message)
    if message.startswith("hf-reprogram: "):
        assert message.count("\n") == 1, message
        assert len(message) < 3000 + max(map(len, words))
        assert out.getvalue() == ""
    else:  # typer's box for a wrong option, or its help for no command at all
        assert "─ Error ─" in message or "Usage: " in out.getvalue(), message


SETTINGS = settings(suppress_health_check=list(HealthCheck))


def test_a_changed_command_line_works_or_ends_with_a_sentence(world):
    settings(SETTINGS, max_examples=60)(given(command_line())(lambda words: check_command(words, world)))()


@pytest.mark.slow
def test_many_changed_command_lines_work_or_end_with_a_sentence(world):
    many = settings(SETTINGS, max_examples=2500, derandomize=False)
    many(given(command_line())(lambda words: check_command(words, world)))()
