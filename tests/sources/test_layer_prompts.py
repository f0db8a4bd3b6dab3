"""Prompts before every layer, compared with the layers of the model called one by one."""

from __future__ import annotations

import pytest
import torch

from hf_reprogram import InputError, reprogram
from hf_reprogram.sources import TextSource
from hf_reprogram.sources.reading import layers_of
from tests.support import tiny, words

TEXTS = ["a lovely film", "no"]


def deep(family, reads=None, seed=0):
    """A model with random prompts before every layer, its tokenizer, and a batch."""
    torch.manual_seed(seed)
    model, tokenizer = reprogram(
        tiny.make_model(family), "warp", ["no", "yes"], num_prompts=3, reads=reads, deep=True, start="none",
        prompt_init="normal", processor=tiny.FAMILIES[family].tokenizer(), source_kind=tiny.FAMILIES[family].kind,
    )  # fmt: skip
    torch.nn.init.normal_(model.transform.layer_prompts, std=0.5)
    return model, tokenizer, dict(tokenizer(TEXTS, padding=True, return_tensors="pt"))


def rows_of(batch):
    """The token ids of each row, without padding."""
    return [ids[kept.bool()] for ids, kept in zip(batch["input_ids"], batch["attention_mask"], strict=True)]


def is_slot(model, ids):
    """Whether each token is a prompt's slot."""
    first = model.transform.options.first_slot_id
    return (ids >= first) & (ids < first + model.transform.num_prompts)


def states_of(model, batch):
    """The last hidden states of each row on its own, computed layer by layer."""
    source, transform = model.source, model.transform
    states = []
    for row in rows_of(batch):
        ids = row[None]
        embeds = transform({"input_ids": ids, "attention_mask": torch.ones_like(ids)}, source)["inputs_embeds"]
        places = [int((ids[0] == transform.options.first_slot_id + k).nonzero()) for k in range(3)]
        caught = []
        handles = [
            layer.register_forward_pre_hook(
                lambda _m, args, kw, caught=caught: caught.append((args, kw)), with_kwargs=True
            )
            for layer in layers_of(source.base)
        ]
        with torch.no_grad():
            extra = {"use_cache": False} if model.source.spec.kind == "causal_lm" else {}
            source.base(inputs_embeds=embeds, attention_mask=torch.ones_like(ids), **extra)
        for handle in handles:
            handle.remove()
        hidden = caught[0][0][0]
        for index, (layer, (args, kwargs)) in enumerate(zip(layers_of(source.base), caught, strict=True)):
            if index:
                hidden = hidden.clone()
                for k, place in enumerate(places):
                    hidden[0, place] += transform.layer_prompts[index - 1, k]
            output = layer(hidden, *args[1:], **kwargs)
            hidden = output[0] if isinstance(output, tuple) else output
        norm = getattr(source.base, "ln_f", getattr(source.base, "norm", None))
        states.append((hidden if norm is None else norm(hidden))[0])
    return states


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "gpt2", "llama"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_the_states_are_those_of_the_layers_called_one_by_one(family, side):
    model, tokenizer, _ = deep(family, "features")
    tokenizer.padding_side = side
    batch = dict(tokenizer(TEXTS, padding=True, return_tensors="pt"))
    with torch.no_grad():
        found = model.source(model.transform(batch, model.source), "features")
        own = (~is_slot(model, row) for row in rows_of(batch))  # the mean leaves the slots out
        expected = torch.stack(
            [states[kept].mean(0) for states, kept in zip(states_of(model, batch), own, strict=True)]
        )
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("family", "reads"), [("bert", "mask"), ("bert", "first"), ("electra", "mask"), ("gpt2", "last")]
)
def test_the_shortcuts_of_one_position_see_the_prompts(family, reads):
    """Electra's embeddings are narrower than its states."""
    model, _, batch = deep(family, reads)
    inputs = model.transform(batch, model.source)
    with torch.no_grad():
        found = model.source(inputs, reads)
        tokens = model.source(inputs, "tokens")
        if reads == "mask":
            plain = model.source.model.get_output_embeddings()
            tokens = model.source(inputs, "decoder") if plain is not None else tokens
            place = inputs["mask_position"]
        else:
            mask = inputs["attention_mask"]
            place = mask.cumsum(1).argmax(1) if reads == "last" else mask.argmax(1)
        expected = tokens[torch.arange(len(tokens)), place]
        none = model.source({**inputs, "layer_prompts": torch.zeros_like(inputs["layer_prompts"])}, reads)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(found, none, atol=1e-3)


def test_zeros_change_nothing_and_every_layer_gets_a_gradient():
    model, _, batch = deep("bert")
    torch.nn.init.zeros_(model.transform.layer_prompts)
    inputs = model.transform(batch, model.source)
    plain = {name: value for name, value in inputs.items() if name not in ("layer_prompts", "slots")}
    assert torch.equal(model.source(inputs, "mask"), model.source(plain, "mask"))
    model(**batch, labels=torch.tensor([0, 1])).loss.backward()
    assert (model.transform.layer_prompts.grad.abs().sum((1, 2)) > 0).all()


def test_an_adapter_keeps_them_and_stays_with_its_source(tmp_path):
    model, _, batch = deep("bert")
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path, source=model.source)
    assert torch.equal(again(**batch).logits, model(**batch).logits)
    shallow = TextSource(tiny.make_model("bert", num_hidden_layers=1), "masked_lm")
    with pytest.raises(InputError, match="prompts before 2 layers of width 32"):
        model.transform.check(shallow.spec)


def test_sources_without_layers_of_their_own_are_refused():
    arguments = {"labels": ["no", "yes"], "processor": words.unigram(), "deep": True}
    with pytest.raises(InputError, match="deep=True needs a source with layers of their own, and albert has none"):
        reprogram(tiny.make_model("albert"), "warp", num_prompts=3, **arguments)
    with pytest.raises(InputError, match="deep is for prompts, and num_prompts is 0"):
        reprogram(tiny.make_model("albert"), "warp", num_prompts=0, **arguments)


def test_the_description_names_the_layers():
    from hf_reprogram.sources.probe import Probe

    model, tokenizer, _ = deep("bert")
    probe = Probe(model.source, tokenizer, ["no", "yes"], lambda batch: model(**batch).logits, model.config.source)
    lines = model.transform.lines(model.transform.inspect(probe))
    assert any(line.startswith("norms of the prompts before layers 2 to 2:") for line in lines.tail)
