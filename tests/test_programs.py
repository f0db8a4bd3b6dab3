"""Adapters of one source in mixed batches give what each gives alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from hf_reprogram import InputError, Programs, reprogram
from hf_reprogram.experiments.predictions import Predictor
from hf_reprogram.sources.base import Source
from tests.support import adapters
from tests.support.frozen import bytes_of

NAMES = [*adapters.ADAPTERS]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A function from a source's name to its folder and to those of its adapters."""
    made = {}

    def of(name):
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            source = adapters.source(folder / "source", name)
            saved = {one: adapters.save(folder / one, source, name, one) for one in adapters.ADAPTERS[name]}
            made[name] = source, saved
        return made[name]

    return of


@pytest.fixture(scope="module", params=NAMES)
def served(request, folders):
    """The name of a source, programs with all of its adapters, and the adapters' folders."""
    source, saved = folders(request.param)
    programs = Programs(source, **adapters.SETTINGS.get(request.param, {}))
    for one, folder in saved.items():
        programs.add(one, folder)
    return request.param, programs, saved


def mixed(name):
    """Requests of all adapters of a source in turn."""
    examples = {one: adapters.ADAPTERS[name][one][3] for one in adapters.ADAPTERS[name]}
    longest = max(map(len, examples.values()))
    return [(one, rows[place]) for place in range(longest) for one, rows in examples.items() if place < len(rows)]


def logits_alone(request):
    """The logits of a model that is called with one example."""
    model, processor = request.program.model, request.program.processor
    if "input_ids" in request.inputs:
        batch = processor.pad({"input_ids": [request.inputs["input_ids"]]}, return_tensors="pt")
        batch = {name: batch[name] for name in ("input_ids", "attention_mask")}
    else:
        batch = {name: torch.from_numpy(values[None]) for name, values in request.inputs.items()}
    with torch.no_grad():
        return model(**batch).logits[0].numpy()


def test_a_mixed_batch_gives_every_adapter_its_own_logits(served):
    name, programs, _ = served
    requests = mixed(name)
    prepared = [programs.prepare(*request) for request in requests]
    for request, values in zip(prepared, programs.logits(prepared), strict=True):
        expected = logits_alone(request)
        assert values.shape == expected.shape
        np.testing.assert_allclose(values, expected, rtol=0, atol=1e-5 * max(1, np.abs(expected).max()))


def test_the_answers_are_those_of_predict(served):
    name, programs, saved = served
    for one, folder in saved.items():
        examples = adapters.ADAPTERS[name][one][3]
        (answer,) = programs.predict([(one, examples[0])])
        predictor = Predictor(folder)
        (record,) = predictor.predict([predictor.modality.row_of(examples[0])])
        for key, value in answer.items():
            expected = pytest.approx(record[key], abs=1e-5) if key in ("score", "scores", "value") else record[key]
            assert value == expected


def test_the_source_keeps_every_byte(served):
    name, programs, _ = served
    before = bytes_of(programs.source)
    programs.predict(mixed(name))
    assert bytes_of(programs.source) == before
    assert not any(weight.requires_grad for weight in programs.source.parameters())


def test_who_shares_the_batch_changes_no_bit(folders):
    source, saved = folders("bert")
    programs = Programs(source)
    programs.add("films", saved["films"])
    for seed in (1, 2):
        programs.add(f"other {seed}", *adapters.make(programs.source, "bert", "films", seed))
    requests = [[("films", "a film"), (f"other {seed}", "a film")] for seed in (1, 2)]
    (first, theirs), (again, others) = (programs.logits([programs.prepare(*one) for one in pair]) for pair in requests)
    assert (first == again).all()
    assert (theirs != others).any()


def test_adapters_that_read_the_same_output_share_one_call(folders, monkeypatch):
    source, saved = folders("bert")
    programs = Programs(source)
    for one in ("films", "topics", "deep"):
        programs.add(one, saved[one])
    rows = []
    forward = type(programs.source).forward

    def counted(self, inputs, reads):
        rows.append(len(inputs["attention_mask"]))
        return forward(self, inputs, reads)

    monkeypatch.setattr(type(programs.source), "forward", counted)
    programs.predict([(one, "a film") for one in ("films", "topics", "deep", "films", "topics")])
    assert sorted(rows) == [1, 4]


def test_a_source_that_does_not_say_how_it_mixes_answers_each_alone(folders, monkeypatch):
    source, saved = folders("bert")
    programs = Programs(source)
    for one in ("films", "topics"):
        programs.add(one, saved[one])
    requests = [("films", "a film"), ("topics", "a film")]
    together = programs.predict(requests)
    monkeypatch.setattr(type(programs.source), "mixes_as", Source.mixes_as)
    for ours, theirs in zip(programs.predict(requests), together, strict=True):
        assert ours["label"] == theirs["label"]
        assert ours["score"] == pytest.approx(theirs["score"], abs=1e-5)


def test_an_adapter_of_another_source_is_refused(folders, tmp_path):
    source, _ = folders("bert")
    other, _ = reprogram(str(adapters.tiny.save_source(tmp_path / "other", "bert", seed=1)), "warp", 2, num_prompts=2)
    other.save_pretrained(tmp_path / "adapter")
    programs = Programs(source)
    for adapter in (tmp_path / "adapter", other):
        with pytest.raises(InputError, match="was trained on another source"):
            programs.add("other", adapter)
    assert len(programs) == 0


def test_adapters_come_and_go(folders):
    source, saved = folders("bert")
    programs = Programs(source)
    with pytest.raises(InputError, match=r"no adapter 'films' here: add it, or .*\(none so far\)"):
        programs.predict([("films", "a film")])
    programs.add("films", saved["films"])
    with pytest.raises(InputError, match="is an adapter 'films' already"):
        programs.add("films", saved["topics"])
    request = programs.prepare("films", "a film")
    programs.remove("films")
    assert programs.names == []
    assert programs.logits([request])[0].shape == (2,)
    with pytest.raises(InputError, match="There is no adapter at"):
        programs.add("films", "no/such/folder")
    with pytest.raises(InputError, match="no adapter 'films'"):
        programs.remove("films")


def test_a_request_that_cannot_be_answered_is_named(folders):
    _, saved = folders("vit")
    programs = Programs.recorded_by(saved["digits"])
    programs.add("digits", saved["digits"])
    programs.add("table", saved["table"])
    with pytest.raises(InputError, match=r"^Request 1 for 'digits': The input is no image that can be read"):
        programs.predict([("digits", adapters.IMAGES[0]), ("digits", b"nothing")])
    with pytest.raises(InputError, match=r"^Request 0 for 'table': The input is no row of numbers"):
        programs.predict([("table", ["a", 1, 2])])


def test_an_adapter_that_fills_in_masks_is_refused(folders):
    source, _ = folders("bert")
    programs = Programs(source)
    model, processor = reprogram(
        programs.source, "reprogbert", None, problem_type="infilling", tokenizer="residues", processor=None
    )
    with pytest.raises(InputError, match="fills in masked tokens"):
        programs.add("fill", model, processor)


def test_threads_may_ask_while_adapters_change(folders):
    source, saved = folders("bert")
    programs = Programs(source)
    programs.add("films", saved["films"])
    (expected,) = programs.predict([("films", "a film")])

    def change(turn):
        programs.add(f"topics {turn}", saved["topics"])
        programs.remove(f"topics {turn}")

    with ThreadPoolExecutor(4) as pool:
        changes = [pool.submit(change, turn) for turn in range(8)]
        answers = [pool.submit(programs.predict, [("films", "a film")]) for _ in range(20)]
        assert all(answer.result() == [expected] for answer in answers)
        assert [done.result() for done in changes] == [None] * 8
