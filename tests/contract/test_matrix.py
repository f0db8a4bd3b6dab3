"""What every case of the matrix is held to after real training; in one file, so that each case is trained once.

The source stays as it is, but for what a case tunes. A row's logits are its own. What is saved is theta, omega and what is
tuned alone, and gives the same logits.
"""

from __future__ import annotations

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from hf_reprogram import ReprogrammedModel
from hf_reprogram.sources.tuning import untuned
from hf_reprogram.training.encode import collator
from tests.contract import training
from tests.contract.matrix import CASES, rows
from tests.support import tiny
from tests.support.frozen import bytes_of

ALONE = 3  # rows that are compared with themselves in a batch of their own
ADAPTER_FILES = {"config.json", "model.safetensors"}
PROCESSOR_FILES = ({"tokenizer.json", "tokenizer_config.json"}, {"preprocessor_config.json"}, set())


@pytest.fixture(scope="module", params=CASES, ids=str)
def trained(request, tmp_path_factory):
    """See `tests.contract.training.trained`."""
    return training.trained(request.param, tmp_path_factory.mktemp("contract"))


# ---------------------------------------------------------------------------------------------------------- frozen


def test_source_bytes_are_unchanged_by_training(trained):
    assert bytes_of(untuned(trained.model.source)) == trained.before
    after, tuned = bytes_of(trained.model.source), trained.model.source.pretrained
    before = {name: trained.before.get(name.replace(".base_layer.", ".")) for name in after}
    assert {name for name, value in after.items() if value != before[name]} == {*tuned}


def test_source_is_never_in_training_mode(trained):
    assert trained.watch.steps == 3
    assert trained.watch.training == set()
    assert trained.watch.mapping_trains  # the flag itself was set: the source kept out of it


def test_only_theta_omega_and_what_is_tuned_get_gradients_and_all_of_them_move(trained):
    trainable = trained.model.trainable()
    fixed = {name for name in trainable if name.startswith("mapping.") and "cma_es" in trained.model.config.gradients}
    assert {name for name, p in trainable.items() if not p.requires_grad} == fixed
    assert trained.watch.gradients == set(trainable) - fixed
    assert all(not torch.equal(trainable[name], value) for name, value in trained.start.items() if name not in fixed)
    source = trained.model.source
    assert {name for name, p in source.named_parameters() if p.requires_grad} == {*source.pretrained}


# ------------------------------------------------------------------------------------------------------------ rows


def kept(logits, batch) -> list[torch.Tensor]:
    """Each row's logits (labels,), or (its tokens, labels) without those of padding."""
    if logits.dim() == 2:
        return list(logits)
    return [row[mask.bool()] for row, mask in zip(logits, batch["attention_mask"], strict=True)]


@torch.no_grad()
def test_neither_the_batch_nor_padding_on_either_side_changes_a_row(trained):
    takes, processor = trained.model.transform.takes, trained.processor
    alone = [{name: value for name, value in row.items() if name != "labels"} for row in rows(takes, processor, 6)]
    join = collator(processor)
    apart = [trained.model(**join([row])).logits[0] for row in alone[:ALONE]]
    batches = [trained.batch]
    if "attention_mask" in trained.batch:
        wide = dict(processor.pad(alone, padding="max_length", max_length=tiny.MAX_TOKENS, return_tensors="pt"))
        batches += [wide, tiny.on_the_left(trained.batch)]
        assert not torch.equal(batches[-1]["attention_mask"], trained.batch["attention_mask"])
    for batch in batches:
        together = kept(trained.model(**batch).logits, batch)
        torch.testing.assert_close(together[:ALONE], apart, rtol=1e-4, atol=1e-4)
    ends = torch.stack([row.reshape(-1, row.shape[-1])[-1] for row in apart])
    assert ends.std(0).max() > 1e-5  # the rows differ, so that equality says something


@torch.no_grad()
def test_the_source_is_given_what_it_takes(trained):
    """Pixels from 0 to 1, projected patches, clips or spectrograms, the source's tokens or embeddings as wide as its own."""
    spec = trained.model.source.spec
    inputs = trained.model.transform(trained.batch, trained.model.source)
    if "pixels" in inputs:
        assert inputs["pixels"].shape == (6, 3, *spec.image_size)
        assert 0 <= inputs["pixels"].min() <= inputs["pixels"].max() <= 1
    elif "waveform" in inputs:
        assert inputs["waveform"].shape == (6, spec.samples)
    elif "spectrogram" in inputs:
        assert inputs["spectrogram"].shape == (6, *spec.spectrogram)
    elif "patches" in inputs:
        table = trained.model.transform.folded(trained.model.source)
        assert inputs["patches"].shape[-1] == table.shape[-1]
    elif not spec.embedding_width:
        assert inputs["input_ids"].shape == inputs["attention_mask"].shape == trained.batch["input_ids"].shape
        assert 0 <= inputs["input_ids"].min() <= inputs["input_ids"].max() < spec.vocab_size
    else:
        rows = trained.batch.get("input_ids", inputs["attention_mask"])  # patches are not tokens of the batch
        assert inputs["inputs_embeds"].shape == (*rows.shape, spec.embedding_width)


# ---------------------------------------------------------------------------------------------------------- saving


@torch.no_grad()
def test_reload_gives_the_same_logits_bit_for_bit(trained):
    again = ReprogrammedModel.from_pretrained(trained.folder, source=trained.model.source)
    assert torch.equal(again(**trained.batch).logits, trained.model(**trained.batch).logits)


def test_the_folder_holds_theta_and_omega_with_their_buffers_and_nothing_executable(trained):
    names = {path.name for path in trained.folder.iterdir()}
    assert names >= ADAPTER_FILES
    assert names - ADAPTER_FILES in PROCESSOR_FILES
    weights = load_file(trained.folder / "model.safetensors")
    state = trained.model.state_dict()
    assert {name: weight.shape for name, weight in weights.items()} == {name: v.shape for name, v in state.items()}
    assert set(trained.model.trainable()) <= set(weights)
    assert {name for name in weights if name.startswith("source.")} == {
        f"source.{name}" for name in trained.model.source.pretrained
    }
    trained_numbers = sum(weights[name].numel() for name in trained.model.trainable())
    assert trained_numbers == trained.model.num_trainable()
    assert "auto_map" not in json.loads((trained.folder / "config.json").read_text())
    with safe_open(trained.folder / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}
