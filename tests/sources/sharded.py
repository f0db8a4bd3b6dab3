"""Two processes: the logits and the gradients of a model whose source is sharded, beside those with the source whole.

torchrun --nproc_per_node 2 -m tests.sources.sharded FAMILY ...
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from accelerate import PartialState
from torch.nn.parallel import DistributedDataParallel

from hf_reprogram import InputError, ReprogrammedModel, reprogram
from hf_reprogram.sources.sharding import is_sharded, shard_source
from tests.support import tiny, tiny_vision

TEXTS = ["a lovely film", "no"]


def text_model(family: str, reads: str | None, deep: bool) -> tuple[ReprogrammedModel, dict[str, Any]]:
    """A model with random prompts, and a batch."""
    made = tiny.FAMILIES[family]
    torch.manual_seed(0)
    model, tokenizer = reprogram(
        tiny.make_model(family), "warp", ["no", "yes"], num_prompts=3, reads=reads, start="none", prompt_init="normal",
        processor=made.tokenizer(), source_kind=made.kind, deep=deep,
    )  # fmt: skip
    return model, dict(tokenizer(TEXTS, padding=True, return_tensors="pt"))


def image_model(family: str) -> tuple[ReprogrammedModel, dict[str, Any]]:
    """A model with a program on the canvas, and a batch."""
    torch.manual_seed(0)
    model, _ = reprogram(tiny_vision.make_source(family), "elsayed", ["no", "yes"], image_size=16, start="none")
    return model, {"pixel_values": torch.rand(2, 3, 16, 16)}


def results(model: torch.nn.Module, batch: dict[str, Any]) -> list[torch.Tensor]:
    """The logits and the gradients of all trained weights."""
    model.zero_grad()
    output = model(**batch, labels=torch.tensor([0, 1]))
    output.loss.backward()
    inner = getattr(model, "module", model)
    return [output.logits.detach(), *(p.grad.clone() for p in inner.trainable().values() if p.grad is not None)]


def compare(model: ReprogrammedModel, batch: dict[str, Any]) -> None:
    """Shard the source of a model, and compare."""
    whole = results(model, batch)
    numbers = sum(p.numel() for p in model.source.parameters())
    shard_source(model.source)
    assert is_sharded(model.source)
    own = sum(getattr(p, "to_local", lambda p=p: p)().numel() for p in model.source.parameters())
    assert own < numbers
    for each in (model, DistributedDataParallel(model)):
        for ours, theirs in zip(results(each, batch), whole, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert all(not name.startswith("source.") for name in model.state_dict())
    model.eval()
    with torch.no_grad():
        torch.testing.assert_close(model(**batch).logits, whole[0], rtol=1e-4, atol=1e-5)


if __name__ == "__main__":
    torch.set_num_threads(1)
    state = PartialState(cpu=True)
    assert state.num_processes == 2
    for name in sys.argv[1:]:
        if name in tiny.FAMILIES:
            kind = tiny.FAMILIES[name].kind
            variants = [(None, False), ("features", False), *([(None, True)] if kind != "classifier" else [])]
            for reads, deep in variants:
                compare(*text_model(name, reads, deep))
        else:
            compare(*image_model(name))
    try:
        shard_source(text_model("albert", None, False)[0].source)
    except InputError as error:
        assert "albert has no layers that can be sharded: leave shard out" in str(error)  # noqa: PT017 - in a process
    else:
        raise AssertionError("albert shares its layers")
    if state.is_main_process:
        print("all equal")
