"""A source with random weights is drawn again by its seed, and is never taken for the pretrained one."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModel

from hf_reprogram import InputError, ReprogrammedModel, reprogram
from hf_reprogram.sources import load_source
from hf_reprogram.sources.fresh import random_model
from tests.support import tiny
from tests.support.frozen import bytes_of


def adapter(source: str, random, **options):
    torch.manual_seed(0)
    kwargs = {"source_kwargs": {"random": random}}
    return reprogram(source, "warp", ["a", "b"], num_prompts=2, **kwargs, **options)


def test_the_seed_decides_the_weights_and_the_caller_keeps_its_random_numbers(source_folder):
    drawn = {seed: bytes_of(load_source(source_folder("bert"), random=seed)[0]) for seed in (0, 1)}
    config = tiny.make_model("bert").config
    torch.manual_seed(5)
    random_model(AutoModel, "", config, 0, {})
    after = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(3), after)
    again, reference = load_source(source_folder("bert"), random=True)
    assert bytes_of(again) == drawn[0] != drawn[1]
    assert reference["random"] == 0
    pretrained, plain = load_source(source_folder("bert"), random=False)
    assert bytes_of(pretrained) not in drawn.values()
    assert "random" not in plain


@pytest.mark.parametrize("tune", [[], ["norms"]])
def test_an_adapter_draws_its_source_again(tune, source_folder, tmp_path):
    model, processor = adapter(source_folder("bert"), 3, tune=tune)
    model.eval().save_pretrained(tmp_path)
    batch = tiny.batch_of(processor)
    for options in ({}, {"source": source_folder("bert")}, {"source": model.source}):
        again = ReprogrammedModel.from_pretrained(tmp_path, **options)
        assert again.source.random == 3
        with torch.no_grad():
            assert torch.equal(again(**batch).logits, model(**batch).logits)
    with pytest.raises(InputError, match="trained on another source"):
        ReprogrammedModel.from_pretrained(tmp_path, source=load_source(source_folder("bert"))[0])
    other = reprogram(model.source, "warp", ["a", "b"], num_prompts=2)[0]
    assert other.config.source["random"] == 3


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({"random": -1}, "random is -1"),
        ({"random": "x"}, "random is 'x'"),
        ({"random": 1, "device_map": "cpu"}, "'device_map' is for weights that are read"),
    ],
)
def test_what_has_no_meaning_for_random_weights_is_refused(kwargs, said, source_folder):
    with pytest.raises(InputError, match=said):
        load_source(source_folder("bert"), **kwargs)


def test_the_dtype_is_that_of_the_recipe(source_folder):
    assert load_source(source_folder("bert"), random=1, dtype="bfloat16")[0].entry.dtype == torch.bfloat16
    assert load_source(source_folder("gpt2"), random=1)[1]["dtype"] == "float32"
