"""Any module as a source: an LSTM as in the paper, what is read of it, and what cannot be one."""

from __future__ import annotations

import json

import pytest
import torch
from datasets import Dataset
from torch import nn

from hf_reprogram import InputError, ReprogrammedModel, reprogram
from hf_reprogram.modalities.processors import LONGEST
from hf_reprogram.sources.base import SourceSpec
from hf_reprogram.sources.module import ModuleSource
from tests.support import tiny
from tests.support.frozen import bytes_of
from tests.support.modules import Classifier, Recurrent

SEQUENCES = ["ACDEFGHIKL", "MNPQRSTVWY", "AAAA", "WWWW", "K", "LLKKA"]


class Packing(Recurrent):
    """Measures its input by the ids that are not padding, as many do."""

    def forward(self, ids):
        packed = nn.utils.rnn.pack_padded_sequence(
            self.embedding(ids), (ids != 0).sum(1), batch_first=True, enforce_sorted=False
        )
        return nn.utils.rnn.pad_packed_sequence(self.rnn(packed)[0], batch_first=True)[0]


def bidirectional(seed=0):
    return Recurrent(nn.GRU, bidirectional=True, seed=seed)


def inputs_of(source, lengths, longest=7, left=False):
    """Random embeddings of rows of some lengths, with noise in place of padding."""
    torch.manual_seed(3)
    embeds = torch.randn(len(lengths), longest, source.spec.embedding_width)
    place = torch.arange(longest)
    mask = torch.stack([(place >= longest - n) if left else (place < n) for n in lengths]).long()
    return {"inputs_embeds": embeds, "attention_mask": mask}


def states(model, embeds):
    """What the module makes of embeddings (batch, tokens, width)."""
    return model.rnn(embeds)[0]


# ------------------------------------------------------------------------------------------------- what is read


@pytest.mark.parametrize("left", [False, True])
def test_a_row_among_padding_is_the_row_alone(left):
    """A bidirectional network would read padding from its other end."""
    model = bidirectional()
    source = ModuleSource(model)
    lengths = [7, 2, 4, 2, 1]
    inputs = inputs_of(source, lengths, left=left)
    found = {reads: source(inputs, reads) for reads in source.spec.widths}
    for row, n in enumerate(lengths):
        kept = inputs["attention_mask"][row].bool()
        alone = states(model, inputs["inputs_embeds"][row, kept][None])[0]
        assert len(alone) == n
        torch.testing.assert_close(found["tokens"][row, kept], alone)
        torch.testing.assert_close(found["last"][row], alone[-1])
        torch.testing.assert_close(found["features"][row], alone.mean(0))
        assert (found["tokens"][row, ~kept] == 0).all()


def test_masked_tokens_in_the_middle_are_left_out():
    model = bidirectional()
    source = ModuleSource(model)
    inputs = inputs_of(source, [6])
    inputs["attention_mask"][0, 2] = 0
    kept = inputs["attention_mask"][0].bool()
    alone = states(model, inputs["inputs_embeds"][0, kept][None])[0]
    torch.testing.assert_close(source(inputs, "tokens")[0, kept], alone)


def test_a_row_of_no_tokens_is_read_as_one_of_padding():
    model = bidirectional()
    source = ModuleSource(model)
    inputs = inputs_of(source, [3, 0])
    first = states(model, inputs["inputs_embeds"][1:, :1])
    torch.testing.assert_close(source(inputs, "features")[1], first[0, 0])
    torch.testing.assert_close(source(inputs, "last")[1], first[0, 0])


def test_a_module_that_returns_logits_is_read_at_them():
    model = Classifier()
    source = ModuleSource(model)
    assert source.spec.widths == {"logits": 5}
    inputs = inputs_of(source, [7, 3])
    alone = model.head(states(model, inputs["inputs_embeds"][1:, :3])[:, -1])
    torch.testing.assert_close(source(inputs, "logits")[1:], alone)


def test_a_module_that_measures_its_input_by_the_ids_is_given_none_that_are_padding():
    model = Packing(padding_idx=0)
    source = ModuleSource(model)
    inputs = inputs_of(source, [5, 2])
    torch.testing.assert_close(source(inputs, "last")[1], states(model, inputs["inputs_embeds"][1:, :2])[0, -1])


def test_it_says_what_it_is():
    assert ModuleSource(bidirectional(), max_tokens=50).spec == SourceSpec(
        kind="module",
        family="Recurrent",
        embedding_width=8,
        vocab_size=30,
        max_tokens=50,
        widths={"features": 24, "last": 24, "tokens": 24},
    )


def test_the_module_is_left_without_hooks_and_called_as_before():
    model = bidirectional()
    ids = torch.tensor([[3, 4, 5]])
    expected = model(ids)[0]
    source = ModuleSource(model)
    source(inputs_of(source, [3]), "last")
    assert not model.embedding._forward_hooks
    torch.testing.assert_close(model(ids)[0], expected)


def test_gradients_reach_the_embeddings_of_every_token_and_of_nothing_else():
    source = ModuleSource(bidirectional())
    inputs = inputs_of(source, [7, 2])
    inputs["inputs_embeds"].requires_grad_()
    source(inputs, "features").sum().backward()
    moved = inputs["inputs_embeds"].grad.abs().sum(-1) > 0
    assert torch.equal(moved, inputs["attention_mask"].bool())
    assert all(parameter.grad is None for parameter in source.parameters())


# ------------------------------------------------------------------------------------------------- what cannot be


class Two(Recurrent):
    def __init__(self):
        super().__init__()
        self.positions = nn.Embedding(10, 8)

    def forward(self, ids):
        return self.rnn(self.embedding(ids) + self.positions(torch.arange(ids.shape[1])))


class ByHand(Recurrent):
    def forward(self, ids):
        return self.rnn(nn.functional.embedding(ids, self.embedding.weight))


class Named(Recurrent):
    def forward(self, ids):
        return {"states": super().forward(ids)[0]}


class Whole(Recurrent):
    def forward(self, ids):
        return super().forward(ids)[0].sum()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (Two, "Two has 2 nn.Embedding modules: name its input embedding with ModuleSource(model, embedding=...)"),
        (lambda: nn.Linear(3, 2), "Linear has 0 nn.Embedding modules"),
        (ByHand, "ByHand does not call its embedding as a module"),
        (Named, "Named returns a dict: use a module that returns a tensor"),
        (Whole, "Whole returns a tensor of shape () for ids of shape (2, 3)"),
        (lambda: Recurrent(batch_first=False), "Recurrent mixes the rows of a batch"),
    ],
)
def test_what_cannot_be_a_source_is_refused_with_one_sentence(make, sentence):
    with pytest.raises(InputError) as refused:
        ModuleSource(make())
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU, nn.RNN])
def test_rounding_is_not_taken_for_mixing(cell, dtype):
    for seed in range(5):
        assert ModuleSource(Recurrent(cell, bidirectional=True, seed=seed).to(dtype)).spec.widths["last"] == 24


def test_an_embedding_that_changes_when_it_is_looked_up_is_refused():
    model = Recurrent()
    model.embedding.max_norm = 1.0
    with pytest.raises(InputError, match="max_norm"):
        ModuleSource(model)


def test_one_of_two_embeddings_can_be_named_and_only_the_one_that_is_called():
    model = Two()
    assert ModuleSource(model, embedding=model.embedding).spec.vocab_size == 30
    with pytest.raises(InputError, match="does not call its embedding"):
        ModuleSource(model, embedding=nn.Embedding(30, 8))


def test_what_it_does_not_offer_and_what_is_too_long_is_refused():
    source = ModuleSource(Recurrent(), max_tokens=5)
    with pytest.raises(InputError, match="cannot be read at 'mask': choose one of features, last, tokens"):
        source(inputs_of(source, [3], longest=3), "mask")
    with pytest.raises(InputError, match="7 tokens long, but this source takes 5"):
        source(inputs_of(source, [7]), "last")


# ------------------------------------------------------------------------------------------------- R2DL on an LSTM


def train(model, processor, folder):
    data = Dataset.from_dict({**processor(SEQUENCES), "labels": [0, 1] * 3})
    trainer = tiny.trainer_for(model, processor, data, folder, learning_rate=3e-2)
    trainer.train()
    return model.eval()


@pytest.fixture(params=["features", "last"])
def trained(request, tmp_path):
    """An LSTM, an adapter trained on it with the stock Trainer and its folder."""
    lstm = Recurrent()
    before = bytes_of(lstm)
    options = {"tokenizer": "residues", "sparsity": 3, "reads": request.param}
    model, processor = reprogram(lstm, "r2dl", ["no", "yes"], **options)
    start = {name: value.detach().clone() for name, value in model.trainable().items()}
    train(model, processor, tmp_path / "run")
    assert bytes_of(lstm) == before
    for folder in (model, processor):
        folder.save_pretrained(tmp_path / "adapter")
    return lstm, model, processor, start, tmp_path / "adapter"


def test_theta_and_omega_train_and_the_lstm_stays(trained):
    _, model, _, start, _ = trained
    assert set(start) == {"transform.codes", "mapping.linear.weight", "mapping.linear.bias"}
    assert all(not torch.equal(value, start[name]) for name, value in model.trainable().items())
    assert not any(parameter.requires_grad for parameter in model.source.parameters())


def test_the_saved_adapter_on_the_same_lstm_is_bit_equal(trained):
    lstm, model, processor, _, folder = trained
    batch = processor(SEQUENCES, padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = model(**batch).logits
        assert torch.equal(ReprogrammedModel.from_pretrained(folder, source=lstm)(**batch).logits, expected)
        source = ModuleSource(lstm)
        assert torch.equal(ReprogrammedModel.from_pretrained(folder, source=source)(**batch).logits, expected)
    assert json.loads((folder / "config.json").read_text())["source"]["name"] == ""


def test_another_lstm_is_refused_and_so_is_none(trained):
    *_, folder = trained
    with pytest.raises(InputError, match="trained on another source"):
        ReprogrammedModel.from_pretrained(folder, source=Recurrent(seed=1))
    with pytest.raises(InputError, match=r"trained on a model without a name: pass the model with .*source=model"):
        ReprogrammedModel.from_pretrained(folder)


def test_a_row_does_not_depend_on_its_batch_and_left_padding_changes_nothing(trained):
    _, model, processor, _, _ = trained
    right = processor(SEQUENCES, padding=True, return_tensors="pt")
    with torch.no_grad():
        together = model(**right).logits
        alone = [model(**processor(text, return_tensors="pt")).logits[0] for text in SEQUENCES]
        torch.testing.assert_close(together, torch.stack(alone), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(model(**tiny.on_the_left(right)).logits, together, rtol=1e-5, atol=1e-6)
    assert together.std(0).min() > 1e-3


def test_an_empty_sequence_is_defined_alone_and_in_a_batch(trained):
    _, model, processor, _, _ = trained
    with torch.no_grad():
        together = model(**processor(["", "ACD"], padding=True, return_tensors="pt")).logits
        alone = model(**processor([""], return_tensors="pt")).logits
    assert torch.isfinite(together).all()
    torch.testing.assert_close(together[0], alone[0])


def test_a_label_a_token_on_an_lstm(tmp_path):
    model, processor = reprogram(
        Recurrent(), "r2dl", ["a", "b", "c"], problem_type="token_classification", tokenizer="residues", sparsity=2
    )
    batch = processor(SEQUENCES, padding=True, return_tensors="pt")
    assert model(**batch).logits.shape == (*batch["input_ids"].shape, 3)


def test_a_label_map_on_a_module_that_returns_logits(tmp_path):
    lstm = Classifier()
    model, processor = reprogram(
        lstm, "r2dl", ["no", "yes"], tokenizer="residues", sparsity=3, mapping="label_map", labels_per_class=2
    )
    start = model.transform.codes.detach().clone()
    train(model, processor, tmp_path)
    assert set(model.trainable()) == {"transform.codes"}
    assert not torch.equal(model.transform.codes, start)
    batch = processor(SEQUENCES, padding=True, return_tensors="pt")
    with torch.no_grad():
        shares = model.source(model.transform(batch, model.source), "logits").softmax(-1)
        expected = torch.stack([shares[:, group].mean(1) for group in model.mapping.options.assignment], 1)
        torch.testing.assert_close(model(**batch).logits.exp(), expected)


@pytest.mark.parametrize(
    ("problem", "mapping", "sentence"),
    [
        ("token_classification", "dense", "One label per token needs one state per token"),
        ("multi_label_classification", "label_map", "use mapping='dense'"),
    ],
)
def test_what_a_module_of_logits_cannot_do_is_refused(problem, mapping, sentence):
    with pytest.raises(InputError, match=sentence):
        reprogram(Classifier(), "r2dl", ["a", "b"], problem_type=problem, tokenizer="residues", mapping=mapping)


def test_texts_are_padded_to_a_length_that_fits_into_memory_where_the_source_has_no_limit():
    options = {"tokenizer": "residues", "sparsity": None, "processor": tiny.FAMILIES["gpt2"].tokenizer()}
    model, processor = reprogram(Recurrent(), "r2dl", labels=2, **options)
    assert model.source.spec.max_tokens > processor.model_max_length
    assert len(processor("ACD", padding="max_length", truncation=True)["input_ids"]) == LONGEST
