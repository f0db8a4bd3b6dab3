"""What a source returns equals the full computation, in value and in gradient: nothing is approximated."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from hf_reprogram import InputError
from hf_reprogram.sources import TextSource
from hf_reprogram.sources.reading import can_read_last_layer
from tests.support import tiny

LENGTHS = [9, 4, 12, 1, 7]
POSITIONS = [3, 0, 11, 0, 6]


def inputs_for(source, on_the_left: bool = False):
    """Word embeddings that ask for a gradient, the mask, and a mask position a row; padding is random, not zero."""
    torch.manual_seed(1)
    width, longest = source.spec.embedding_width, max(LENGTHS)
    embeds = torch.randn(len(LENGTHS), longest, width).mul(source.embedding.weight.std())
    mask = (torch.arange(longest) < torch.tensor(LENGTHS)[:, None]).long()
    position = torch.tensor(POSITIONS)
    if on_the_left:
        mask, position = mask.flip(1), position + longest - torch.tensor(LENGTHS)
    return {"inputs_embeds": embeds.requires_grad_(), "attention_mask": mask, "mask_position": position}


def run_naively(source, inputs, reads):
    """Every row alone, without padding, through the whole model; then what was asked for is picked out."""
    rows = []
    for row, mask, position in zip(
        inputs["inputs_embeds"], inputs["attention_mask"], inputs["mask_position"], strict=True
    ):
        alone = row[mask == 1][None]
        if reads == "mask" and source.spec.kind == "masked_lm":
            states, logits = through_decoder(source.model, alone)
            torch.testing.assert_close(source.model.get_output_embeddings()(states), logits)
        else:
            states = source.model.base_model(inputs_embeds=alone).last_hidden_state
        at = int(position) - int((mask == 1).nonzero()[0])
        rows.append({"mask": lambda s, i: s[0, i], "first": lambda s, i: s[0, 0], "last": lambda s, i: s[0, -1],
                     "features": lambda s, i: s[0].mean(0)}[reads](states, at))  # fmt: skip
    return torch.stack(rows)


def through_decoder(model, embeds):
    """The states that the vocabulary decoder gets at every position, and the logits over the vocabulary."""
    caught = []
    hook = model.get_output_embeddings().register_forward_pre_hook(lambda _, args: caught.append(args[0]))
    logits = model(inputs_embeds=embeds).logits
    hook.remove()
    return caught[0], logits


def assert_equal_in_value_and_gradient(found, naive, embeds):
    torch.testing.assert_close(found, naive, rtol=1e-5, atol=1e-5)
    direction = torch.randn(found.shape, generator=torch.Generator().manual_seed(2))
    (ours,) = torch.autograd.grad((found * direction).sum(), embeds, retain_graph=True)
    (theirs,) = torch.autograd.grad((naive * direction).sum(), embeds)
    assert theirs.abs().max() > 0.1
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5 * float(theirs.abs().max()))


def source_of(family: str, attention: str = "sdpa") -> TextSource:
    model = tiny.make_model(family)
    model.set_attn_implementation(attention)
    return TextSource(model, tiny.FAMILIES[family].kind)


READABLE = [(family, reads) for family, made in tiny.FAMILIES.items() for reads in tiny.READS[made.kind]]
ATTENTION = [(f, a) for f in tiny.FAMILIES for a in ("eager", "sdpa") if (f, a) != ("deberta-v2", "sdpa")]


@pytest.mark.parametrize(("family", "reads"), READABLE)
def test_what_is_read_equals_every_row_run_alone_through_the_whole_model(family, reads):
    source = source_of(family, "eager" if family == "deberta-v2" else "sdpa")
    inputs = inputs_for(source)
    found = source(inputs, reads)
    assert found.shape == (len(LENGTHS), source.spec.widths[reads])
    assert_equal_in_value_and_gradient(found, run_naively(source, inputs, reads), inputs["inputs_embeds"])


@pytest.mark.parametrize(("family", "attention"), ATTENTION)
def test_reading_one_position_is_exact_under_both_attention_implementations(family, attention):
    source = source_of(family, attention)
    inputs = inputs_for(source)
    reads = tiny.READS[source.spec.kind][0]
    found = source(inputs, reads)
    assert_equal_in_value_and_gradient(found, run_naively(source, inputs, reads), inputs["inputs_embeds"])


@pytest.mark.parametrize(("family", "reads"), READABLE)
def test_padding_on_the_left_moves_no_position(family, reads):
    source = source_of(family, "eager" if family == "deberta-v2" else "sdpa")
    inputs = inputs_for(source, on_the_left=True)
    found = source(inputs, reads)
    assert_equal_in_value_and_gradient(found, run_naively(source, inputs, reads), inputs["inputs_embeds"])


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_tokens_are_all_last_hidden_states(family):
    source = source_of(family, "eager" if family == "deberta-v2" else "sdpa")
    inputs = inputs_for(source)
    tokens = source(inputs, "tokens")
    assert tokens.shape == (len(LENGTHS), max(LENGTHS), source.spec.widths["tokens"])
    for row, length in enumerate(LENGTHS):
        alone = source.model.base_model(inputs_embeds=inputs["inputs_embeds"][row : row + 1, :length])
        torch.testing.assert_close(tokens[row, :length], alone.last_hidden_state[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_embedding_tokens_ourselves_changes_nothing(family):
    source = source_of(family, "eager" if family == "deberta-v2" else "sdpa")
    ids = torch.randint(5, source.spec.vocab_size, (2, 9), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    ours = source({"inputs_embeds": source.embed(ids), "attention_mask": mask}, "tokens")
    assert torch.equal(ours, source.model.base_model(input_ids=ids, attention_mask=mask).last_hidden_state)


@pytest.mark.parametrize("family", ["bert", "roberta", "electra", "bert-encoder"])
def test_the_last_layer_is_run_at_one_position_only(family):
    source = source_of(family)
    assert can_read_last_layer(source.base)
    rows = []
    source.base.encoder.layer[-1].intermediate.register_forward_hook(lambda _, args, out: rows.append(out.shape[1]))
    source.base.encoder.layer[0].intermediate.register_forward_hook(lambda _, args, out: rows.append(out.shape[1]))
    source(inputs_for(source), "mask")
    assert rows == [max(LENGTHS), 1]


@pytest.mark.parametrize("family", tiny.MASKED)
def test_the_vocabulary_decoder_is_run_on_no_row(family):
    source = source_of(family, "eager" if family == "deberta-v2" else "sdpa")
    rows = []
    source.model.get_output_embeddings().register_forward_hook(lambda _, args, out: rows.append(out.shape[:2].numel()))
    source(inputs_for(source), "mask")
    assert rows == [0]


def test_a_bf16_source_reads_as_the_whole_model_does_up_to_its_precision():
    source = TextSource(tiny.make_model("bert").bfloat16(), "masked_lm")
    inputs = inputs_for(source)
    inputs["inputs_embeds"] = inputs["inputs_embeds"].bfloat16()
    found = source(inputs, "mask")
    assert found.dtype == torch.bfloat16
    exact = source_of("bert")
    exact_inputs = {**inputs, "inputs_embeds": inputs["inputs_embeds"].float()}
    with torch.no_grad():
        reference = run_naively(exact, exact_inputs, "mask")
    torch.testing.assert_close(found.float(), reference, rtol=0.1, atol=0.15)


@pytest.mark.parametrize("change", [{"is_decoder": True}, {"position_embedding_type": "relative_key"}])
def test_the_shortcut_is_left_to_layers_it_computes(change):
    model = tiny.make_model("bert-encoder")
    assert can_read_last_layer(model)
    for name, value in change.items():
        setattr(model.config, name, value)
    assert not can_read_last_layer(model)


def test_calls_from_several_threads_take_turns():
    """The shortcuts put hooks on the shared model for one call: another call must not meet them."""
    source = source_of("bert")
    inputs = [{name: value[row : row + 1] for name, value in inputs_for(source).items()} for row in range(5)] * 8
    with torch.no_grad():
        expected = [source(one, "mask") for one in inputs]
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(torch.no_grad()(lambda one: source(one, "mask")), inputs))
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


def test_the_shortcut_leaves_no_trace_when_the_source_fails():
    source = source_of("bert")
    layer = source.base.encoder.layer[-1]
    decoder = source.model.get_output_embeddings()
    beyond = {**inputs_for(source), "mask_position": torch.full((len(LENGTHS),), 99)}
    with pytest.raises(RuntimeError, match="out of bounds"):
        source(beyond, "mask")
    assert "forward" not in layer.__dict__
    assert not decoder._forward_pre_hooks


def test_a_source_that_cannot_read_something_says_what_it_can():
    source = source_of("gpt2")
    with pytest.raises(InputError, match="causal_lm source cannot read 'mask': choose one of"):
        source(inputs_for(source), "mask")
