"""The memory of a frozen source's outputs."""

from __future__ import annotations

import pytest
import torch

from hf_reprogram.experiments import memory
from hf_reprogram.sources.loading import load_source
from hf_reprogram.sources.pooling import POOLED
from hf_reprogram.sources.text import TextSource
from tests.support import tiny, tiny_vision


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(tiny_vision.save_source(tmp_path_factory.mktemp("sources") / "vit", "vit"))


def counted(source, calls):
    """The source, which notes every computation."""
    compute = source.forward

    def forward(inputs, reads):
        calls.append(reads)
        return compute(inputs, reads)

    source.forward = forward
    return source


def test_equal_inputs_are_computed_once_by_all_loads_of_a_source(folder):
    calls = []
    first, second = (counted(load_source(folder)[0], calls) for _ in range(2))
    pixels = torch.rand(2, 3, *first.spec.canvas(), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        plain = {reads: first({"pixels": pixels}, reads) for reads in ("features", "logits")}
        calls.clear()
        kept = memory.Memory()
        for source in (first, second):
            kept.attach(source)
            for reads, expected in plain.items():
                assert torch.equal(source({"pixels": pixels}, reads), expected)
                assert torch.equal(source({"pixels": pixels.clone()}, reads), expected)
        assert calls == ["features", "logits"]
        other = second({"pixels": pixels.flip(0)}, "features")
        assert torch.equal(other, plain["features"].flip(0)) or torch.allclose(
            other, plain["features"].flip(0), atol=1e-5
        )
        with torch.autocast("cpu", torch.bfloat16):
            second({"pixels": pixels}, "features")
    assert calls == ["features", "logits", "features", "features"]


def test_gradients_and_outputs_beyond_the_limit_are_computed_again(folder, monkeypatch):
    calls = []
    source = counted(load_source(folder)[0], calls)
    kept = memory.Memory()
    kept.attach(source)
    pixels = torch.zeros(1, 3, *source.spec.canvas(), requires_grad=True)
    for _ in range(2):
        assert source({"pixels": pixels}, "features").requires_grad
    assert len(calls) == 2
    monkeypatch.setattr(memory, "MOST_BYTES", 10)
    with torch.no_grad():
        for _ in range(2):
            source({"pixels": pixels}, "features")
    assert len(calls) == 4


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("prompts", [False, True])
def test_the_states_of_all_tokens_give_every_pooled_output_in_one_pass(family, side, prompts):
    calls = []
    source = counted(TextSource(tiny.make_model(family), tiny.FAMILIES[family].kind), calls)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [0, 0, 0, 0, 0]])
    mask = mask.flip(1) if side == "left" else mask
    embeds = source.embed(torch.randint(60, (3, 5), generator=torch.Generator().manual_seed(0)))
    inputs = {"inputs_embeds": embeds, "attention_mask": mask}
    if prompts:
        inputs["mean_mask"] = mask * torch.tensor([1, 0, 1, 0, 1])
    with torch.no_grad():
        plain = {reads: source(inputs, reads) for reads in POOLED if reads in source.spec.widths}
        calls.clear()
        memory.Memory().attach(source)
        for reads, expected in plain.items():
            torch.testing.assert_close(source(inputs, reads), expected, rtol=1e-5, atol=1e-5)
    assert len(plain) >= 2
    assert calls == ["tokens"]
