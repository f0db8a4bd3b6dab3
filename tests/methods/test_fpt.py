"""FPT by hand: patches, the linear layer, the last position, and what of the source is trained."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hf_reprogram import InputError, ReprogrammedModel, reprogram
from hf_reprogram.experiments.recipe import make_recipe
from hf_reprogram.experiments.run import train
from hf_reprogram.tasks.builtin import bit_memory, bit_xor
from hf_reprogram.tasks.load import load_task
from hf_reprogram.tasks.options import TaskOptions
from hf_reprogram.tasks.problems import score_logits
from hf_reprogram.transforms.patch_sequence import (
    NumberSequence,
    NumberSequenceOptions,
    PixelSequence,
    PixelSequenceOptions,
)
from tests.support import tiny

BITS = 2.0 * np.random.default_rng(0).integers(2, size=(40, 6)) - 1


def test_a_row_is_cut_from_the_left_and_filled_up_with_zeros():
    sequence = NumberSequence(NumberSequenceOptions(width=2, num_features=3, patch=2, standardize=False))
    with torch.no_grad():
        sequence.weight.copy_(torch.tensor([[1.0, 10.0], [0.0, 1.0]]))
        sequence.bias.copy_(torch.tensor([0.0, 100.0]))
    source = tiny.make_model("gpt2")
    source.embedding = source.get_input_embeddings()
    made = sequence({"table_values": torch.tensor([[1.0, 2.0, 3.0]])}, source)
    assert made["inputs_embeds"].tolist() == [[[21.0, 102.0], [3.0, 100.0]]]
    assert made["attention_mask"].tolist() == [[1, 1]]


def test_columns_are_centred_and_scaled_by_the_training_rows():
    sequence = NumberSequence(NumberSequenceOptions(width=4, num_features=2))
    rows = torch.tensor([[1.0, 7.0], [3.0, 7.0]])
    with pytest.raises(InputError, match="call fit"):
        sequence.check_batch({"table_values": rows})
    sequence.fit(rows.numpy())
    assert sequence.patches(rows).tolist() == [[[-1.0], [0.0]], [[1.0], [0.0]]]
    for wrong, said in ((torch.ones(2, 3), "give \\(rows, 2\\) numbers"), (rows / 0, "Number 0 of row 0 is inf")):
        with pytest.raises(InputError, match=said):
            sequence.check_batch({"table_values": wrong})


def test_an_image_is_cut_row_by_row_from_the_top_left():
    sequence = PixelSequence(PixelSequenceOptions(width=4, height=4, columns=4, patch=2, channels=1))
    image = torch.arange(16.0).view(1, 1, 4, 4).expand(1, 3, 4, 4) / 16
    expected = 2 * torch.tensor([[0.0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]) / 16 - 1
    torch.testing.assert_close(sequence.patches(image)[0], expected)
    colour = PixelSequence(PixelSequenceOptions(width=4, height=4, columns=4, patch=2))
    pixels = torch.rand(1, 3, 4, 4)
    torch.testing.assert_close(colour.patches(pixels)[0, 1], 2 * pixels[0, :, :2, 2:].flatten() - 1)
    with pytest.raises(InputError, match="Patches of 3 x 3 pixels do not cover"):
        PixelSequenceOptions(width=4, height=4, columns=4, patch=3)
    with pytest.raises(InputError, match="this adapter takes 3 x 4 x 4"):
        colour.check_batch({"pixel_values": torch.rand(1, 3, 5, 4)})


def test_the_logits_are_the_linear_layer_on_the_last_position(source_folder):
    model, processor = reprogram(source_folder("gpt2"), "fpt_numbers", ["a", "b"], features=BITS, start="none")
    assert processor is None
    rows = torch.tensor(BITS[:3], dtype=torch.float32)
    with torch.no_grad():
        inputs = model.transform({"table_values": rows}, model.source)["inputs_embeds"]
        states = model.source.model.transformer(inputs_embeds=inputs).last_hidden_state[:, -1]
        expected = states @ model.mapping.linear.weight.T + model.mapping.linear.bias
        torch.testing.assert_close(model(table_values=rows).logits, expected, rtol=1e-4, atol=1e-4)
    weight = model.transform.weight.detach()
    torch.testing.assert_close(weight.T @ weight, 1.41**2 * torch.eye(1), rtol=1e-4, atol=1e-4)
    assert not model.transform.bias.any()


def test_norms_and_positions_are_tuned_where_there_are_any(source_folder):
    def tuned(family, **options):
        model, _ = reprogram(source_folder(family), "fpt_numbers", ["a", "b"], features=BITS, **options)
        return model.config.tune, {name.rsplit(".", 2)[-2] for name in model.source.pretrained}

    assert tuned("gpt2") == (["norms", "positions"], {"ln_1", "ln_2", "ln_f", "wpe"})
    assert tuned("llama") == (["norms"], {"input_layernorm", "post_attention_layernorm", "norm"})
    assert tuned("gpt2", tune=[]) == ([], set())


def test_what_fpt_cannot_read_is_refused(source_folder, tmp_path):
    with pytest.raises(InputError, match="has 64 positions: use larger patches"):
        reprogram(source_folder("gpt2"), "fpt", ["a", "b"], image_size=36)
    with pytest.raises(InputError, match="give the training rows as features"):
        reprogram(source_folder("gpt2"), "fpt_numbers", ["a", "b"])


def test_xor_has_every_pair_once_and_the_right_answer():
    data = bit_xor(bits=3, test=10)
    rows = np.array([[*row.values()] for split in data.values() for row in split])
    assert len({*map(tuple, rows)}) == len(rows) == 64
    inputs, answers = rows[:, :6], rows[:, 6:]
    assert np.array_equal(answers, (inputs[:, :3] != inputs[:, 3:]).astype(int))
    assert {*np.unique(inputs)} == {-1, 1}


def test_the_query_is_one_of_the_patterns_with_half_of_its_bits_masked():
    data = bit_memory(patterns=3, bits=40, train=50, test=10)
    rows = np.array([[*row.values()] for row in data["train"]])
    known, query, answer = rows[:, :120].reshape(50, 3, 40), rows[:, 120:160], 2 * rows[:, 160:] - 1
    shown = query != 0
    assert np.array_equal(query[shown], answer[shown])
    assert (known == answer[:, None]).all(2).any(1).all()
    assert 0.45 < shown.mean() < 0.55


def test_the_metric_of_bits_is_the_share_of_right_ones():
    task = load_task(TaskOptions("bit_memory", "small"))
    assert (task.problem_type, task.metrics, len(task.labels)) == ("multi_label_classification", ["bit_accuracy"], 20)
    logits, labels = np.array([[2.0, -1.0], [0.5, 3.0]]), np.array([[1.0, 1.0], [np.nan, 1.0]])
    assert score_logits(["bit_accuracy"], logits, labels, "multi_label_classification")["bit_accuracy"] == 2 / 3


def test_a_run_on_bits_ships_norms_and_reloads(source_folder, tmp_path):
    values = {
        "source": source_folder("gpt2"),
        "method": {"name": "fpt_numbers", "standardize": False},
        "task": {"dataset": "bit_xor"},
        "training": {"num_train_epochs": 2, "per_device_train_batch_size": 32, "source_learning_rate": 1e-2},
        "baselines": ["majority"],
        "output": str(tmp_path / "run"),
    }
    results = train(make_recipe(values), quiet=True)
    assert results["test"]["bit_accuracy"]["mean"] > 0.5
    again = ReprogrammedModel.from_pretrained(tmp_path / "run")
    assert again.config.tune == results["tune"] == ["norms", "positions"]
