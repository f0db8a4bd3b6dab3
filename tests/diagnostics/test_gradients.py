"""Gradients of single examples beside one backward pass per example."""

import pytest
import torch
from torch.utils.data import DataLoader

from hf_reprogram import InputError, reprogram
from hf_reprogram.diagnostics import per_sample_gradients
from hf_reprogram.diagnostics.measures import agreement
from hf_reprogram.gradients import ROW_INPUTS
from hf_reprogram.training.encode import collator
from tests.contract.matrix import CASES, batch_of, cover, loaded, rows
from tests.contract.training import per_token
from tests.support.frozen import bytes_of

CONTINUOUS = [case for case in CASES if case.transform != "contextual_vocabulary" and not case.method]
ONE_LABEL = [case for case in CONTINUOUS if loaded(case.source).source.differentiable]


def by_a_loop(model, batch, labels):
    """The gradient of each example's loss."""
    theta = [parameter for parameter in model.transform.parameters() if parameter.requires_grad]
    rows = []
    for i in range(len(labels)):
        model.zero_grad()
        model.eval()(
            **{name: value[i : i + 1] for name, value in batch.items()}, labels=labels[i : i + 1]
        ).loss.backward()
        rows.append(torch.cat([torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in theta]))
    return torch.stack(rows)


@pytest.mark.parametrize("case", cover("transform", among=ONE_LABEL), ids=str)
def test_gradients_are_those_of_a_backward_pass_per_example(case):
    torch.manual_seed(0)
    model, processor = case.make()
    if per_token(model):
        pytest.fail("choose a case with one label per example")
    batch, labels = batch_of(model.transform.takes, processor, 5)
    before = bytes_of(model.source)
    found = per_sample_gradients(model, {**batch, "labels": labels})
    expected = by_a_loop(model, batch, labels)
    assert found.shape == expected.shape == (5, expected.shape[1])
    torch.testing.assert_close(found, expected, atol=1e-5 * float(expected.abs().max()), rtol=1e-4)
    assert float(expected.abs().max()) > 0
    assert bytes_of(model.source) == before


def test_the_source_runs_once_for_all_examples(monkeypatch):
    case = next(case for case in ONE_LABEL if case.transform == "prompt_slots")
    model, processor = case.make()
    batch, labels = batch_of(model.transform.takes, processor, 6)
    assert {*model.transform(batch, model.source)} <= ROW_INPUTS
    calls, forward = [], model.source.forward
    monkeypatch.setattr(model.source, "forward", lambda *args: calls.append(1) or forward(*args))
    per_sample_gradients(model, {**batch, "labels": labels})
    assert len(calls) == 1


def test_the_model_stays_in_training_mode_and_without_gradients():
    case = next(case for case in ONE_LABEL if case.transform == "prompt_slots")
    model, processor = case.make()
    batch, labels = batch_of(model.transform.takes, processor, 2)
    per_sample_gradients(model.train(), {**batch, "labels": labels})
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_black_box_and_an_empty_theta_are_refused():
    model, _ = reprogram(loaded("image_black_box").source, "bar", ["no", "yes"])
    with pytest.raises(InputError, match="cannot be differentiated"):
        per_sample_gradients(model, {"pixel_values": torch.rand(1, 3, 32, 32), "labels": torch.tensor([0])})
    model, processor = reprogram(loaded("bert").source, "warp", ["no", "yes"], num_prompts=0)
    with pytest.raises(InputError, match="Theta has no numbers"):
        per_sample_gradients(model, {**processor(["a"], return_tensors="pt"), "labels": torch.tensor([0])})


def test_a_choice_of_tokens_has_no_gradient_outside_training():
    case = next(case for case in CASES if case.transform == "contextual_vocabulary")
    model, processor = case.make()
    batch, labels = batch_of(model.transform.takes, processor, 2)
    with pytest.raises(InputError, match="chooses by its largest numbers"):
        per_sample_gradients(model, {**batch, "labels": labels})
    loader = DataLoader(rows(model.transform.takes, processor, 4), 2, collate_fn=collator(processor))
    assert agreement(model, loader, 4) is None
