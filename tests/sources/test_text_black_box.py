"""A model of texts that only answers: what is sent of a program's tokens, its ledger, and adapters of it."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoTokenizer

from hf_reprogram import InputError, ReprogrammedModel, reprogram
from hf_reprogram.errors import BudgetSpent
from hf_reprogram.sources.answers import FIXED, FIXED_TEXTS
from tests.support.black_boxes import WORDS, CountedTexts, of_texts


def asked_texts(source, rows, mask=None):
    inputs = {"input_ids": torch.tensor(rows), "attention_mask": torch.tensor(mask) if mask else None}
    return source({name: value for name, value in inputs.items() if value is not None}, "logits")


def test_tokens_are_sent_as_texts_without_padding_and_special_tokens():
    ask = CountedTexts()
    source = of_texts(ask)
    unknown, padding = len(WORDS), len(WORDS) + 1
    logits = asked_texts(source, [[0, 1, 2], [unknown, 4, padding], [3, 3, 3]], [[1, 1, 1], [1, 1, 1], [1, 0, 1]])
    assert ask.calls[0] == list(FIXED_TEXTS)
    assert ask.calls[1] == ["alpha beta gamma", "omega", "delta delta"]
    torch.testing.assert_close(logits.softmax(1), ask(ask.calls[1]))
    assert source.spec.vocab_size == len(WORDS) + 2
    with pytest.raises(InputError, match="has no input embedding"):
        source.embed(torch.tensor([0]))


def test_a_tokenizer_joins_pieces_of_words(source_folder):
    ask = CountedTexts()
    for tokenizer in (source_folder("bert"), AutoTokenizer.from_pretrained(source_folder("bert"))):
        source = of_texts(ask, tokenizer=tokenizer)
        ids = source.load_processor("", {})("the film was good")["input_ids"]
        asked_texts(source, [ids])
        assert ask.calls[-1] == ["the film was good"]
        assert source.spec.max_tokens == source.settings["max_tokens"]


def test_equal_texts_are_sent_once_whatever_their_tokens_and_never_again(tmp_path):
    ask = CountedTexts()
    source = of_texts(ask, ledger=tmp_path / "ledger.sqlite", budget=FIXED + 2)
    padding = len(WORDS) + 1
    first = asked_texts(source, [[0, 1, padding], [0, padding, 1], [2, 2, 2]])
    assert torch.equal(first[0], first[1])
    assert ask.calls[1:] == [["alpha beta", "gamma gamma gamma"]]
    with pytest.raises(BudgetSpent):
        asked_texts(source, [[5]])
    silent = CountedTexts()
    offline = of_texts(silent, ledger=tmp_path / "ledger.sqlite", offline=True, tokenizer=[*WORDS, "more"])
    assert torch.equal(asked_texts(offline, [[0, 1]]), first[:1])  # the same text, of another vocabulary
    assert silent.calls == []


def test_of_texts_too_the_most_probable_labels_may_be_answered_alone():
    source = of_texts(lambda texts: [[{"label": "cat", "score": 0.6}] for _ in texts])
    assert asked_texts(source, [[0]]).exp()[0].tolist() == pytest.approx([0.1, 0.1, 0.6, 0.1, 0.1])


def test_texts_without_a_program_are_what_the_tokenizer_reads():
    ask = CountedTexts()
    source = of_texts(ask, max_tokens=3)
    processor = source.plain_processor("", {})
    batch = processor(["zeta  alpha", "beta beta beta beta"], padding=True, truncation=True, return_tensors="pt")
    source(source.plain_inputs(dict(batch)), "logits")
    assert ask.calls[-1] == ["zeta alpha", "beta beta beta"]
    with pytest.raises(InputError, match="The inputs of the text_black_box source have no fixed size"):
        source.plain_example()
    with pytest.raises(InputError, match="The texts have 4 tokens, but this source takes 3: truncate them"):
        asked_texts(source, [[0, 1, 2, 3]])


def test_an_adapter_of_texts_is_bound_to_the_answers_and_the_vocabulary(tmp_path):
    model, processor = reprogram(of_texts(), "neekhara", ["no", "yes"], alphabet=["A", "C"])
    for part in (model, processor):
        part.save_pretrained(tmp_path)
    batch = dict(processor(["ACCA", "C"], padding=True, return_tensors="pt"))
    again = ReprogrammedModel.from_pretrained(tmp_path, source=of_texts())
    assert torch.equal(again.eval()(**batch).logits, model.eval()(**batch).logits)
    for other in (of_texts(CountedTexts(seed=1)), of_texts(tokenizer=[*WORDS[::-1]]), of_texts(version="2")):
        with pytest.raises(InputError, match="was trained on another source"):
            ReprogrammedModel.from_pretrained(tmp_path, source=other)
    with pytest.raises(InputError, match="whose max_tokens is 65536, and this source has 9: use the recorded value"):
        ReprogrammedModel.from_pretrained(tmp_path, source=of_texts(max_tokens=9))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"image_size": 8},
            "takes images, sounds or texts: give image_size, or samples and sampling_rate, or tokenizer",
        ),
        ({"tokenizer": None}, "for one of them alone"),
        ({"tokenizer": None, "image_size": 8, "max_tokens": 5}, "for one of them alone"),
        ({"tokenizer": 5}, "tokenizer is 5: give a Hub id, a folder, a tokenizer, or a list of words"),
        ({"tokenizer": ["one"]}, "give at least 2 words without spaces, each of them once"),
        ({"tokenizer": ["one", "one", "two"]}, "has 3 words, some of them twice"),
        ({"tokenizer": ["one", "two words"]}, "holds 'two words'"),
        ({"tokenizer": "/no/such/folder"}, "There is no tokenizer for '/no/such/folder'"),
        ({"max_tokens": 0}, "max_tokens is 0: give a whole number of tokens from 1 to 65536"),
    ],
)
def test_arguments_of_texts_that_cannot_work_are_refused_in_one_sentence(options, message):
    with pytest.raises(InputError) as refused:
        of_texts(**options)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("method", ["r2dl", "fpt"])
def test_programs_of_embeddings_are_refused(method):
    with pytest.raises(InputError, match="takes texts and has no embeddings, which this input transform needs"):
        reprogram(of_texts(), method, ["no", "yes"], texts=["AC", "CA"])
