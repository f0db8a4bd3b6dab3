"""From its second step on, training asks an accelerator for no value: that would wait until everything before is computed."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.utils.data import DataLoader

from hf_reprogram.schedule import begin_epoch
from hf_reprogram.training.encode import collator
from hf_reprogram.transforms.target_ids import occurring
from tests.contract.matrix import CASES, Case, cover, loaded, rows
from tests.contract.training import per_token
from tests.support.accelerator import Cuda, Imitated, noted

ACCELERATORS = [Imitated, *([Cuda] if torch.cuda.is_available() else [])]
BY_LENGTH = "hf_reprogram/sources/reading.py by_length"
LETTERS = ("tokenizer", "characters")
FURTHER = [
    Case("bert", method="warp", options=(("problem_type", "regression"), ("labels", None))),
    Case(
        "bert", method="r2dl", options=(LETTERS, ("problem_type", "multi_label_classification"), ("warmup_epochs", 1))
    ),
    Case(
        "vit",
        method="elsayed",
        options=(("label_mapping", "blm"), ("aggregate", "mean_probability"), ("image_size", 16)),
    ),
    Case("vit", method="cross_modal", options=(LETTERS, ("l2", 0.1))),
]
# a black box is asked on the CPU, and a search wants plain steps and the losses
THERE = [case for case in CASES if loaded(case.source).source.differentiable and case.method != "bbt"]
FEW = [*FURTHER, *cover("source", "transform", "mapping", among=THERE)]


def marked(case):
    return pytest.param(case, marks=() if case in FEW else pytest.mark.slow, id=str(case))


def prepared(case):
    """A model where its first step of training begins, and two batches."""
    torch.manual_seed(0)
    model, processor = case.make(copy.deepcopy(loaded(case.source).source))
    a_token = per_token(model)
    several = model.config.problem_type == "multi_label_classification"
    data = rows(model.transform.takes, processor, 12, a_token)
    if several:
        data = [{**row, "labels": [float(row["labels"]), float("nan")]} for row in data]
    join = collator(processor, a_token)
    begin_epoch(model.train(), 0, DataLoader(data, 4, collate_fn=join))
    return model, [dict(join(data[start : start + 4])) for start in (0, 4)]


def step(model, optimizer, batch):
    """The loss and the gradients of a step of training."""
    torch.manual_seed(0)
    loss = model(**batch).loss
    if optimizer is None:  # a label map with nothing to train
        return loss.detach(), {}
    loss.backward()
    optimizer.step()
    gradients = {name: parameter.grad for name, parameter in model.trainable().items()}
    optimizer.zero_grad()
    return loss.detach(), gradients


def optimizer_of(model):
    return torch.optim.AdamW(model.trainable().values(), lr=0.01)


def waits_of(model, batches, accelerator):
    """What waits in the last step of training, and the loss and the gradients there."""
    accelerator.put(model)
    with accelerator.watched() as waits:
        optimizer = optimizer_of(model)
        for batch in batches:
            batch = accelerator.copied(batch)
            waits.clear()
            found = step(model, optimizer, batch)
        waits = list(waits)
        loss, gradients = found
        return waits, loss.cpu(), {name: gradient.cpu() for name, gradient in gradients.items()}


@pytest.mark.parametrize("accelerator", ACCELERATORS)
@pytest.mark.parametrize("case", [marked(case) for case in THERE + FURTHER])
def test_a_step_of_training_waits_for_nothing_and_is_the_one_of_a_cpu(case, accelerator):
    waits, loss, gradients = waits_of(*prepared(case), accelerator)
    ours = [who for who, _ in waits if "/transformers/" not in who]
    assert ours == ([BY_LENGTH] if loaded(case.source).source.spec.kind == "module" else [])

    model, batches = prepared(case)
    optimizer = optimizer_of(model)
    for batch in batches:
        expected_loss, expected = step(model, optimizer, batch)
    torch.testing.assert_close(loss, expected_loss, rtol=1e-4, atol=1e-4)
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-3, atol=1e-4)


# ------------------------------------------------------------------------------------- what waits by design, and in others


def test_a_source_that_keeps_its_text_asks_for_the_texts_ids_once_a_step():
    model, (batch, _) = prepared(Case("gpt2", method="warp", options=(("template", "$A $B 3"),)))
    model.source.cache_text(2**20)
    waits, _, _ = waits_of(model, [batch, batch], Imitated)
    ours = [who for who, _ in waits if "/transformers/" not in who]
    assert ours == ["hf_reprogram/sources/text_cache.py TextCache.read_last"]
    assert len(model.source.text_cache) == len(batch["input_ids"])


@pytest.mark.parametrize(
    ("name", "attention", "files"),
    [
        ("bert", "sdpa", {"masking_utils.py"}),
        ("gpt2", "sdpa", {"masking_utils.py"}),
        ("gpt2", "eager", set()),
    ],
)
def test_transformers_itself_asks_whether_there_is_padding(name, attention, files):
    model, batches = prepared(Case(name, "prompt_slots", "dense", "last"))
    model.source.model.set_attn_implementation(attention)
    waits, _, _ = waits_of(model, batches, Imitated)
    assert {who.rpartition("/")[2].split()[0] for who, _ in waits} == files


@pytest.mark.parametrize(("num_tokens", "found"), [(6, 6), (50, 6)], ids=["few", "many"])
def test_the_tokens_that_occur_are_found_without_their_number(num_tokens, found):
    tokens = torch.tensor([[5, 2, 5], [2, 0, 2]])
    with Imitated.watched() as waits:
        ids, index = occurring(Imitated.copied({"tokens": tokens})["tokens"], num_tokens)
        assert not waits
        assert len(ids) == found  # no more than there are places
        assert torch.equal(ids[index].cpu(), tokens)


# ----------------------------------------------------------------------------------------------------- the accelerator itself

WAITING = {
    "item": lambda x: x.sum().item(),
    "bool": lambda x: bool((x > 0).any()),
    "int": lambda x: int(x[0]),
    "float": lambda x: float(x[0]),
    "tolist": lambda x: x.tolist(),
    "cpu": lambda x: x.cpu(),
    "to": lambda x: x.to("cpu"),
    "nonzero": lambda x: (x > 0).nonzero(),
    "mask": lambda x: x[x > 0],
    "setting by a mask": lambda x: x.clone().__setitem__(x > 0, x[:2]),
    "masked_select": lambda x: x.masked_select(x > 0),
    "unique": lambda x: x.unique(),
    "equal": lambda x: torch.equal(x, x),
    "allclose": lambda x: torch.allclose(x, x),
    "bincount": lambda x: x.long().clamp(0).bincount(),
    "repeat_interleave": lambda x: x.repeat_interleave(x.long().clamp(0)),
    "tensor": lambda x: torch.tensor([1.0, 2.0], device=x.device),
    "arange": lambda x: torch.arange(3).to(x.device),
    "number": lambda x: torch.where(x > 0, x, torch.tensor(0.0)),
    "index on the CPU": lambda x: x[torch.tensor([0, 1])],
}
GOING_ON = {
    "arange": lambda x: x + torch.arange(3, device=x.device),
    "zeros": lambda x: x.new_zeros(4).scatter_(0, x.long().clamp(0), x),
    "index": lambda x: x[x.long().clamp(0, 2)],
    "setting a number": lambda x: torch.zeros(3, device=x.device).__setitem__(x.long().clamp(0, 2), 1.0),
    "where": lambda x: torch.where(x > 0, x, 0.0),
    "masked_fill": lambda x: x.masked_fill(x > 0, 0.0),
    "number": lambda x: x * torch.tensor(2.0),
    "shape": lambda x: x.view(len(x), 1).expand(-1, 2).sum(1),
    "dtype": lambda x: x.double().to(x.device).float(),
    "CPU": lambda x: torch.arange(3).tolist(),
}


@pytest.mark.parametrize("accelerator", ACCELERATORS)
@pytest.mark.parametrize("ask", WAITING.values(), ids=WAITING)
def test_what_waits_is_noted_with_who_asked(ask, accelerator):
    x = accelerator.copied({"x": torch.tensor([1.0, -2.0, 3.0])})["x"]
    with accelerator.watched() as waits:
        ask(x)
    assert waits
    assert all(who == "tests/test_hot_path.py <lambda>" for who, _ in waits)


@pytest.mark.parametrize("accelerator", ACCELERATORS)
@pytest.mark.parametrize("go_on", GOING_ON.values(), ids=GOING_ON)
def test_what_does_not_wait_is_not_noted(go_on, accelerator):
    x = accelerator.copied({"x": torch.tensor([1.0, -2.0, 3.0])})["x"]
    with accelerator.watched() as waits:
        go_on(x)
    assert not waits


def test_a_warning_of_torch_is_noted_with_who_caused_it():
    """By such a warning torch reports what waited for a GPU."""
    waits = []
    with noted(waits):
        torch._C._warn()
    assert [who for who, _ in waits] == ["tests/test_hot_path.py test_a_warning_of_torch_is_noted_with_who_caused_it"]
