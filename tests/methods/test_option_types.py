"""The types of `reprogram`'s options: up to date, and a type checker refuses a wrong name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TYPED = ("hf_reprogram/__init__.py", "hf_reprogram/methods/option_types.py")
CALLS = """
from hf_reprogram import reprogram
reprogram("source", "warp", labels=2, num_prompts=3)
reprogram("source", labels=2, num_prompts=3)
reprogram("source", method="blm", labels=2, problem_type="regression", border=3)
reprogram("source", method="warp", labels=2, num_promts=3)
reprogram("source", method="blm", labels=2, num_prompts=3)
reprogram("source", method="warp", labels=2, num_prompts="three")
"""


def test_they_are_up_to_date():
    command = [sys.executable, str(ROOT / "tools" / "option_types.py"), "--check"]
    checked = subprocess.run(command, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr


def test_a_type_checker_accepts_right_options_and_refuses_wrong_ones(tmp_path):
    path = tmp_path / "calls.py"
    path.write_text(CALLS, encoding="utf-8")
    # Other modules are skipped: to follow torch takes minutes.
    options = ["--follow-imports=skip", "--config-file=", f"--cache-dir={tmp_path}"]
    command = [sys.executable, "-m", "mypy", *options, str(path), *TYPED]
    checked = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    errors = [line for line in checked.stdout.splitlines() if ": error:" in line]
    assert {int(line.split("calls.py:")[1].split(":")[0]) for line in errors} == {6, 7, 8}, checked.stdout
