"""Every benchmark whose peers are installed here runs, at a size that measures nothing, and finds both sides equal."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"
SMALL = ["--rounds", "1", "--layers", "1", "--width", "128"]
# dictionary and ood_metrics compare with dictlearn and pytorch-ood, time_to_accuracy takes a real source and SST-2
NOT_HERE = {"common", "table", "dictionary", "ood_metrics", "time_to_accuracy"}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({path.stem for path in FOLDER.glob("*.py")} - NOT_HERE))
def test_it_runs_and_both_sides_agree(name):
    command = [sys.executable, f"{name}.py", *([] if name == "adapter_size" else SMALL)]
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
