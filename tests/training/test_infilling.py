"""Filling masks: what changes, in which order, and what sampling depends on."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import pytest
import torch

from hf_reprogram import InputError, reprogram
from hf_reprogram.training.infilling import infill
from tests.support import tiny

MASK = "<|mask|>"
RESIDUES = "ACDEFGHIKLMNPQRSTVWY"
HIDDEN = [f"AC{MASK}EF{MASK}", f"{MASK}{MASK}{MASK}KLW{MASK}", f"W{MASK}", "ACD", ""]


@pytest.fixture
def made(source_folder):
    """An untrained adapter with opinions of its own, and its processor."""
    torch.manual_seed(0)
    model, processor = reprogram(source_folder("bert"), "reprogbert", problem_type="infilling", tokenizer="residues")
    with torch.no_grad():
        for parameter in model.mapping.parameters():
            parameter.mul_(30)
    assert processor.mask_token == MASK
    return model.eval(), processor


def shares(model, processor, texts):
    """Probabilities at every position, from the model alone."""
    with torch.no_grad():
        return model(**processor(texts, return_tensors="pt")).logits.softmax(-1)


def one_by_one(model, processor, text):
    """The hand loop: always the mask whose best residue is the most probable."""
    order = []
    while MASK in text:
        pieces = text.split(MASK)
        places = [sum(len(piece) + 1 for piece in pieces[: i + 1]) for i in range(len(pieces) - 1)]  # [CLS] is at 0
        found = shares(model, processor, [text])[0]
        best = max(range(len(places)), key=lambda i: float(found[places[i]].max()))
        order.append(best)
        letter = RESIDUES[int(found[places[best]].argmax())]
        text = MASK.join(pieces[: best + 1]) + letter + MASK.join(pieces[best + 1 :])
    return text, order


def test_only_masks_change(made):
    for options in ({}, {"one_at_a_time": False}, {"temperature": 1.0, "seed": 0}):
        for before, after in zip(HIDDEN, infill(*made, HIDDEN, **options), strict=True):
            kept = before.replace(MASK, "?")
            assert len(after) == len(kept)
            assert all(old in ("?", new) for old, new in zip(kept, after, strict=True))
            assert all(new in RESIDUES for old, new in zip(kept, after, strict=True) if old == "?")


def test_texts_come_back_as_they_were_written(made):
    """Unknown letters, spaces, lower case and rare residues are read as others, and yet stay."""
    texts = ["ACDX", "mk v", " A C ", "UOB*", "", "W\nK"]
    assert infill(*made, texts) == texts
    assert infill(*made, [f"{text}{MASK}" for text in texts], temperature=0)[0][:-1] == "ACDX"
    masked = infill(*made, [f"x {MASK}u{MASK}"])[0]
    assert (masked[:2], masked[3], len(masked)) == ("x ", "u", 5)


def test_greedy_takes_the_most_probable_residue_and_is_deterministic(made):
    model, processor = made
    text = f"AC{MASK}EF{MASK}KL"
    found = shares(model, processor, [text])[0].argmax(-1)
    assert infill(*made, [text], one_at_a_time=False) == [f"AC{RESIDUES[found[3]]}EF{RESIDUES[found[6]]}KL"]
    state = torch.get_rng_state()
    assert infill(*made, HIDDEN) == infill(*made, HIDDEN)
    assert torch.equal(torch.get_rng_state(), state)


def test_one_at_a_time_fills_the_surest_first_as_the_loop_by_hand(made):
    """Which is not from left to right, nor what all at once gives."""
    model, processor = made
    texts = [f"{a}{MASK}{b}{MASK}{MASK}{c}{MASK}" for a in "ACW" for b in "DKY" for c in "EL"]
    by_hand = [one_by_one(model, processor, text) for text in texts]
    assert infill(model, processor, texts) == [text for text, _ in by_hand]
    assert any(order[0] != 0 for _, order in by_hand)
    assert infill(model, processor, texts, one_at_a_time=False) != [text for text, _ in by_hand]


def test_a_text_is_filled_alone_as_in_a_batch(made):
    assert infill(*made, HIDDEN) == [infill(*made, [text])[0] for text in HIDDEN]


def test_sampling_depends_on_its_seed(made):
    texts = [f"A{MASK * 8}C"] * 3
    first = infill(*made, texts, temperature=2.0, seed=1)
    torch.manual_seed(7)
    assert infill(*made, texts, temperature=2.0, seed=1) == first
    assert infill(*made, texts, temperature=2.0, seed=2) != first
    assert len(set(first)) == 3


def test_a_sample_of_one_position_is_drawn_from_its_probabilities(made):
    model, processor = made
    text = f"ACD{MASK}EFG"
    count = 2000
    expected = (shares(model, processor, [text])[0, 4].log() / 1.5).softmax(-1)
    drawn = Counter(filled[3] for filled in infill(model, processor, [text] * count, temperature=1.5, seed=0))
    found = torch.tensor([drawn[letter] / count for letter in RESIDUES])
    assert expected.max() < 0.9
    assert (found - expected).abs().max() < 4 * (0.25 / count) ** 0.5


def test_the_order_of_sampling_does_not_depend_on_what_is_drawn():
    """Positions filled when luck drew their likely token would be filled too often with it."""
    logits = torch.tensor([[[2.0, 0.0], [2.2, 0.0]]])
    second = []

    class Model:
        mapping = SimpleNamespace(reads="decoder")
        source = SimpleNamespace(device=logits.device)

        def __call__(self, input_ids, attention_mask):
            second.append(input_ids[:, 1].clone())
            return SimpleNamespace(logits=logits.expand(len(input_ids), 2, 2))

    class Processor:
        mask_token, mask_token_id, model_max_length = "?", 9, 10

        def __call__(self, texts, **_):
            from transformers import BatchEncoding

            return BatchEncoding(
                {"input_ids": torch.full((len(texts), 2), 9), "attention_mask": torch.ones(len(texts), 2)}
            )

        def decode(self, ids):
            return "ab"[ids[0]]

    infill(Model(), Processor(), ["??"] * 200, temperature=1.0, seed=0)
    assert (second[1] != 9).all()  # the surer position came first in every row


def test_kmers_are_filled_whole(source_folder):
    torch.manual_seed(0)
    model, processor = reprogram(
        source_folder("roberta"), "reprogbert", problem_type="infilling", tokenizer="kmers", k=2
    )
    (filled,) = infill(model.eval(), processor, [f"ACGT{MASK}AC"])
    assert filled.startswith("ACGT")
    assert filled.endswith("AC")
    assert 7 <= len(filled) <= 8


def test_nothing_to_fill():
    model = SimpleNamespace(mapping=SimpleNamespace(reads="decoder"))
    assert infill(model, SimpleNamespace(mask_token_id=1), []) == []


def test_an_adapter_that_does_not_predict_tokens_is_refused(source_folder):
    for family in ("gpt2", "bert"):  # without and with a mask token
        model, processor = reprogram(source_folder(family), "r2dl", ["a", "b"], tokenizer="residues", sparsity=2)
        with pytest.raises(InputError, match="does not predict tokens: train one for infilling"):
            infill(model, processor, ["A"])


@pytest.mark.parametrize(
    ("texts", "options", "sentence"),
    [
        (
            ["A" * tiny.MAX_TOKENS],
            {},
            f"A sequence has {tiny.MAX_TOKENS + 2} tokens, and the source takes {tiny.MAX_TOKENS}",
        ),
        (["A"], {"temperature": -1}, "temperature is -1: give 0 or more"),
        (f"A{MASK}", {}, "texts is a single text: give a list of texts"),
    ],
)
def test_what_cannot_be_filled_is_refused(texts, options, sentence, made):
    with pytest.raises(InputError) as refused:
        infill(*made, texts, **options)
    assert sentence in str(refused.value)
