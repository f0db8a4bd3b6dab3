"""What the tests of baselines share."""

from __future__ import annotations

import gc

import pytest


@pytest.fixture(scope="module", autouse=True)
def _imports_stay():
    """The Trainer ends every run with a garbage collection, which need not look at what was imported."""
    from transformers import Trainer  # noqa: F401 - so that it is

    gc.freeze()
