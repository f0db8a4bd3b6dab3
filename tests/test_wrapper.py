"""The wrapper where people put it: inside another module, in a notebook, and with the arguments of other models."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from hf_reprogram import InputError
from tests.support import tiny


@pytest.fixture(scope="module")
def adapter(source_folder):
    return tiny.make_adapter(source_folder("bert"), prompt_init="normal")


class Lit(nn.Module):
    """A parent as of Lightning, which has a part of its own too."""

    def __init__(self, model):
        super().__init__()
        self.model, self.head = model, nn.Linear(2, 2)


PARENTS = {
    "lightning": Lit,
    "averaged": AveragedModel,
    "compiled": torch.compile,
    "data parallel": nn.DataParallel,
    "dictionary": lambda model: nn.ModuleDict({"a": model, "b": deepcopy(model)}),
    "nested": lambda model: nn.Sequential(nn.ModuleDict({"source": Lit(model)})),
}


@pytest.mark.parametrize("parent", PARENTS)
def test_a_parent_saves_and_loads_theta_and_omega_alone(adapter, parent, tmp_path):
    outer = PARENTS[parent](deepcopy(adapter[0]))
    state = outer.state_dict()
    assert not any(".model.embeddings" in name or ".encoder." in name for name in state)
    assert sum("transform.prompts" in name for name in state) == (2 if parent == "dictionary" else 1)
    torch.save(state, tmp_path / "state.pt")
    again = PARENTS[parent](deepcopy(adapter[0]))
    with torch.no_grad():
        for value in again.state_dict().values():
            value.zero_()
    again.load_state_dict(torch.load(tmp_path / "state.pt"))
    for name, value in again.state_dict().items():
        assert torch.equal(value, state[name]), name
    del state[next(name for name in state if name.endswith("mapping.bias"))]
    with pytest.raises(RuntimeError, match=r"mapping\.bias"):
        again.load_state_dict(state)


def test_return_dict_gives_a_tuple_when_it_is_false(adapter):
    model, processor = adapter
    batch = tiny.batch_of(processor, 3)
    with torch.no_grad():
        expected = model(**batch, return_dict=True).logits
        (logits,) = model(**batch, return_dict=False)
        assert torch.equal(logits, expected)
        loss, logits = model(**batch, labels=torch.tensor([0, 1, 0]), return_dict=False)
    assert loss.dim() == 0
    assert torch.equal(logits, expected)


@pytest.mark.parametrize("asked", ["output_hidden_states", "output_attentions"])
def test_states_of_the_source_are_refused(adapter, asked):
    with pytest.raises(InputError, match=f"{asked}=True is not supported"):
        adapter[0](**tiny.batch_of(adapter[1], 1), **{asked: True})


def test_the_input_embedding_is_the_sources_and_stays(adapter):
    model, _ = adapter
    assert model.get_input_embeddings() is model.source.embedding
    with pytest.raises(InputError, match="embedding of a frozen source cannot be"):
        model.resize_token_embeddings(200)


def test_the_trained_parameters_are_printed_as_peft_does(adapter, capsys):
    adapter[0].print_trainable_parameters()
    assert capsys.readouterr().out.startswith("trainable params: 162 || all params: ")


def test_a_notebook_shows_a_short_table(adapter):
    shown = adapter[0]._repr_html_()
    for part in ("warp", "prompt_slots", "verbalizer", "bad, good", "162"):
        assert part in shown
    assert len(shown) < 1000


def test_noise_on_frozen_embeddings_is_refused(adapter, tmp_path):
    model, processor = adapter
    with pytest.raises(InputError, match="neftune_noise_alpha is 5"):
        tiny.trainer_for(model, processor, tiny.tokenized(processor), tmp_path, neftune_noise_alpha=5)


def test_a_batch_with_a_label_that_is_none_is_refused(adapter):
    model, processor = adapter
    with pytest.raises(InputError, match=r"The label 0\.7 is no class"):
        model(**tiny.batch_of(processor, 2), labels=torch.tensor([0.7, 1.0]))
