"""A source that is shared out over processes computes what a whole one computes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hf_reprogram import InputError, reprogram
from hf_reprogram.sources import sharding
from hf_reprogram.sources.loading import load_source
from tests.support import tiny

ROOT = Path(__file__).parents[2]


@pytest.fixture
def launched(monkeypatch):
    """The environment of a config of `accelerate launch`, which is read anew."""
    sharding._accelerate_shards.cache_clear()
    yield monkeypatch.setenv
    sharding._accelerate_shards.cache_clear()


@pytest.mark.parametrize(
    "families",
    [
        pytest.param(("bert",), marks=pytest.mark.slow),
        pytest.param(
            ("vit", "roberta", "distilbert", "gpt2", "llama", "deberta-v2", "modernbert"), marks=pytest.mark.slow
        ),
    ],
)
def test_logits_and_gradients_are_those_of_a_whole_source(families):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [*command, "-m", "tests.sources.sharded", *families],
        env=environment, cwd=ROOT, timeout=300, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip().endswith("all equal")


def test_one_process_has_nothing_to_share_out(launched):
    launched("ACCELERATE_USE_FSDP", "true")
    launched("FSDP_VERSION", "2")
    source, record = load_source(tiny.make_model("bert"), shard=True)
    assert not sharding.is_sharded(source)
    assert "shard" not in record
    assert os.environ["ACCELERATE_USE_FSDP"] == "false"  # theta and omega are for DDP


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ACCELERATE_USE_FSDP": "true"}, "asks for the first version of FSDP: set fsdp_version: 2"),
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, "asks for DeepSpeed, which would partition theta and omega"),
    ],
)
def test_configs_that_would_shard_theta_are_refused(values, message, launched):
    for name, value in values.items():
        launched(name, value)
    with pytest.raises(InputError, match=message):
        reprogram(tiny.make_model("bert"), "warp", 2, processor=tiny.FAMILIES["bert"].tokenizer())


def test_shard_is_true_or_false():
    with pytest.raises(InputError, match="shard is 'yes': give true or false"):
        load_source(tiny.make_model("bert"), shard="yes")
