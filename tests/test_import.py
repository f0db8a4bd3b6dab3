"""Importing costs nothing, and the auto classes know adapters whatever is imported first."""

from __future__ import annotations

import subprocess
import sys

import pytest

import hf_reprogram


def python(code: str, *arguments: str) -> str:
    """Run code in a fresh process; returns what it prints."""
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_importing_loads_neither_torch_nor_transformers():
    heavy = "{'torch', 'transformers', 'datasets', 'evaluate', 'sklearn', 'accelerate', 'numpy'} & set(sys.modules)"
    assert python(f"import sys, hf_reprogram, hf_reprogram.cli; print({heavy})") == "set()"


def test_the_command_line_answers_for_help_without_torch():
    code = "import sys\nfrom hf_reprogram.cli import main\nfor command in ([], ['predict'], ['inspect']):\n"
    code += "    try: main([*command, '--help'])\n    except SystemExit: pass\n"
    assert python(code + "print('torch' in sys.modules)").endswith("False")


OURS_FIRST = """
import sys, hf_reprogram
from transformers import AutoConfig
print(type(AutoConfig.from_pretrained(sys.argv[1])).__name__)
from transformers import AutoTokenizer
print(type(AutoTokenizer.from_pretrained(sys.argv[1])).__name__)
from transformers import AutoModelForSequenceClassification
print(type(AutoModelForSequenceClassification.from_pretrained(sys.argv[1])).__name__)
from transformers import pipeline
print(type(pipeline("text-classification", model=sys.argv[1]).model).__name__)
"""
THEIRS_FIRST = """
import sys
from transformers import AutoModelForSequenceClassification
import hf_reprogram
print(type(AutoModelForSequenceClassification.from_pretrained(sys.argv[1])).__name__)
"""


def test_an_adapter_loads_when_we_are_imported_first(finished):
    names = python(OURS_FIRST, str(finished.folder)).splitlines()
    assert names == ["ReprogramConfig", "TokenizersBackend", "ReprogrammedModel", "ReprogrammedModel"]


@pytest.mark.slow
def test_an_adapter_loads_when_the_auto_classes_are_imported_first(finished):
    assert python(THEIRS_FIRST, str(finished.folder)) == "ReprogrammedModel"


def test_registering_again_is_harmless():
    hf_reprogram.auto.register_when_imported()
    hf_reprogram.auto.register_when_imported()


def test_the_public_names_are_there_and_no_others():
    assert hf_reprogram.__all__ == ["InputError", "Programs", "ReprogramConfig", "ReprogrammedModel", "reprogram"]
    assert set(hf_reprogram.__all__) <= set(dir(hf_reprogram))
    assert all(getattr(hf_reprogram, name).__module__.startswith("hf_reprogram.") for name in hf_reprogram.__all__)
    with pytest.raises(AttributeError, match="no attribute 'reprogramm'"):
        hf_reprogram.reprogramm  # noqa: B018
