"""Training arguments are checked when the recipe is read: what passes, transformers takes too."""

from __future__ import annotations

import math
import warnings
from contextlib import suppress

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import TrainingArguments

from hf_reprogram import InputError
from hf_reprogram.experiments.training_arguments import _known, check_training, warn_of_emulated_bf16
from hf_reprogram.methods import METHODS
from tests.support.refusals import refusal

REFUSED = [
    ("learning_rate", -1.0, "give a number above 0"),
    ("learning_rate", 0, "give a number above 0"),
    ("learning_rate", math.nan, "give finite numbers"),
    ("learning_rate", math.inf, "give finite numbers"),
    ("learning_rate", [1e-3], "give a number"),
    ("learning_rate", True, "give a number"),
    ("learning_rate", None, "give a number"),
    ("learning_rate", "fast", "give a number such as 5e-05"),
    ("num_train_epochs", 0, "give a number above 0"),
    ("max_steps", 3.5, "give a whole number"),
    ("max_steps", 0, "give a whole number of at least 1, or -1 for no limit"),
    ("per_device_train_batch_size", 0, "give a number of at least 1"),
    ("per_device_train_batch_size", 8.0, "give a whole number"),
    ("per_device_train_batch_size", 10**30, "give a whole number of at most"),
    ("adam_beta1", 1.0, "give a number of at least 0 and below 1"),
    ("weight_decay", -0.1, "give a number of at least 0"),
    ("bf16", "yes", "give true or false"),
    ("bf16", 1, "give true or false"),
    ("lr_scheduler_type", "linaer", "did you mean 'linear'"),
    ("optim", "adam", "did you mean"),
    ("lr", 1e-3, "Unknown key of training 'lr'"),
    ("bf16_full_eval", True, "would round the trained parameters"),
    ("hub_token", "secret", "training.hub_token is set by the run itself"),
]


@pytest.mark.parametrize(("key", "value", "message"), REFUSED)
def test_a_value_that_no_run_could_use_is_refused(key, value, message):
    with pytest.raises(InputError) as error:
        check_training({key: value})
    assert message in str(error.value)
    assert key in str(error.value)
    assert "\n" not in str(error.value)


def test_a_secret_is_not_repeated():
    with pytest.raises(InputError) as error:
        check_training({"hub_token": "secret"})
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("name", METHODS.names())
def test_the_papers_own_arguments_pass(name):
    check_training(METHODS[name].training)


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 100),
    st.floats(),
    st.sampled_from(["linear", "no", "epoch", "x", ""]),
    st.lists(st.integers(0, 3), max_size=2),
    st.dictionaries(st.sampled_from("ab"), st.integers(0, 3), max_size=1),
)


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.sampled_from(sorted(_known()[0])), value=VALUES)
def test_what_passes_is_taken_by_transformers_or_refused_with_its_reason(key, value, tmp_path):
    if (message := refusal(check_training, {key: value})) is not None:
        assert "\n" not in message
        return
    with suppress(
        ValueError, TypeError, ImportError, FutureWarning
    ):  # which `fit` tells, such as a setting that needs another
        TrainingArguments(str(tmp_path), **{"use_cpu": True, key: value})


@pytest.mark.parametrize(("capability", "bf16", "warned"), [("AVX2", True, 1), ("AVX2", False, 0), ("AVX512", True, 0)])
def test_bfloat16_without_instructions_for_it_is_named(monkeypatch, capability, bf16, warned):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        warn_of_emulated_bf16({"bf16": bf16})
    assert len(told) == warned
    assert all("--set training.bf16=false" in str(each.message) for each in told)
