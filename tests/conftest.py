"""Fixtures: tiny sources on disk, made once a session. Nothing here needs a network."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from types import SimpleNamespace

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # models are tiny here: threads would only wait for each other
os.environ["HF_DATASETS_CACHE"] = os.environ["HF_HOME"] = _cache = tempfile.mkdtemp(prefix="hf-reprogram-tests-")
os.environ.pop("HF_REPROGRAM_DATA", None)

import pytest
from hypothesis import settings

from tests.support import runs, tiny

settings.register_profile("tests", deadline=None, derandomize=True, database=None)
settings.load_profile("tests")


def pytest_unconfigure():
    """Leave no cache behind."""
    shutil.rmtree(_cache, ignore_errors=True)


@pytest.fixture(scope="module", autouse=True)
def _imports_stay():
    """The Trainer ends every run with a garbage collection, which need not look at what was there before."""
    gc.freeze()


@pytest.fixture(scope="session")
def source_folder(tmp_path_factory):
    """A function from a family's name to the folder of its tiny source."""
    made = {}

    def folder(family: str):
        if family not in made:
            made[family] = tiny.save_source(tmp_path_factory.mktemp("sources") / family, family)
        return str(made[family])

    return folder


@pytest.fixture(scope="session")
def csv_file(tmp_path_factory):
    """240 labelled sentences in one csv file."""
    return runs.write_csv(tmp_path_factory.mktemp("data") / "films.csv")


@pytest.fixture(scope="session")
def finished(source_folder, csv_file, tmp_path_factory):
    """A whole run on a tiny BERT: two seeds and two baselines; what it returned and where it is. Not to be changed."""
    output = tmp_path_factory.mktemp("finished") / "films-adapter"
    beside = {"seeds": [0, 1], "baselines": ["majority", "linear_probe"], "method": {"reads": "mask"}}
    made = runs.recipe(source_folder("bert"), csv_file, output, **beside)
    return SimpleNamespace(folder=output, recipe=made, results=runs.train(made, quiet=True), csv=csv_file)
