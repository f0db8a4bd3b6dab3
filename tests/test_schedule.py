"""What happens between epochs, with a stock Trainer, in a loop of one's own, and where nobody does it."""

from __future__ import annotations

import pytest
import torch
from datasets import Dataset
from torch.utils.data import DataLoader, IterableDataset
from transformers import DataCollatorWithPadding

from hf_reprogram import InputError, ReprogrammedModel, reprogram
from hf_reprogram.readings import reader
from hf_reprogram.schedule import Schedule, begin_epoch, end_epoch, end_training, target_values
from tests.support import tiny

LETTERS = {"tokenizer": "residues", "sparsity": 4}
PEPTIDES = ["ACDEF", "WYWYW", "KLMNP", "AAAA"] * 4


def regression(source, targets, folder, **arguments):
    """A stock Trainer on peptides with numbers, after training."""
    torch.manual_seed(0)
    model, processor = reprogram(source, "r2dl", problem_type="regression", **LETTERS)
    data = Dataset.from_dict({**processor(PEPTIDES), "label": targets})
    trainer = tiny.trainer_for(model, processor, data, folder, max_steps=8, **arguments)
    trainer.train()
    return trainer


def test_a_regression_on_a_shifted_target_is_the_same_model_in_scaled_units(source_folder, tmp_path):
    targets = [0.5, -1.0, 2.0, 0.25] * 4
    plain = regression(source_folder("bert"), targets, tmp_path)
    moved = regression(source_folder("bert"), [300 + 32 * value for value in targets], tmp_path)
    for name, value in plain.model.trainable().items():
        torch.testing.assert_close(value, moved.model.trainable()[name], rtol=1e-3, atol=1e-5)
    ours, theirs = (trainer.predict(trainer.train_dataset).predictions for trainer in (plain, moved))
    torch.testing.assert_close(torch.tensor(theirs), 300 + 32 * torch.tensor(ours), rtol=1e-4, atol=1e-2)
    scale = moved.model.mapping.target
    assert (scale.mean.item(), scale.count.item()) == pytest.approx((314, 16))
    moved.model.save_pretrained(tmp_path / "adapter")
    again = ReprogrammedModel.from_pretrained(tmp_path / "adapter").mapping.target
    assert (again.mean, again.deviation, again.count) == (scale.mean, scale.deviation, scale.count)


def test_an_adapter_that_is_trained_further_keeps_its_scale(source_folder, tmp_path):
    trainer = regression(source_folder("bert"), [1.0, 3.0] * 8, tmp_path)
    begin_epoch(trainer.model, 0, DataLoader([{"labels": torch.tensor(90.0)}]))
    assert trainer.model.mapping.target.mean == 2


def test_equal_targets_are_learnt_exactly(source_folder, tmp_path):
    scale = regression(source_folder("bert"), [7.0] * 16, tmp_path).model.mapping.target
    assert (scale.mean.item(), scale.deviation.item()) == (7, 1)


def test_targets_are_read_from_columns_from_batches_and_never_from_a_stream():
    column = Dataset.from_dict({"x": [[1], [2]], "label": [1.0, None]}).with_format("torch")
    assert target_values(DataLoader(column)).nan_to_num(-1).tolist() == [1, -1]
    rows = [{"x": torch.zeros(1), "labels": torch.tensor([value])} for value in (1.0, 2.0, 3.0)]
    assert target_values(DataLoader(rows)).tolist() == [1, 2, 3]
    with pytest.raises(InputError, match="have no labels"):
        target_values(DataLoader([{"x": torch.zeros(1)}]))

    class Stream(IterableDataset):
        def __iter__(self):
            yield from rows

    with pytest.raises(InputError, match=r"are a stream.*call model\.mapping\.target\.fit"):
        target_values(DataLoader(Stream()))


def test_a_stream_without_end_is_read_in_part(source_folder, monkeypatch):
    monkeypatch.setattr("hf_reprogram.readings._STREAMED", 20)
    model, processor = reprogram(source_folder("bert"), "warp", ["no", "yes"], num_prompts=2)
    row = processor("a film", return_tensors="pt")

    class Endless(IterableDataset):
        def __iter__(self):
            while True:
                yield {"input_ids": row["input_ids"][0], "attention_mask": row["attention_mask"][0], "labels": 1}

    outputs, labels = reader(model, DataLoader(Endless(), 4), 8)("features")
    assert len(outputs) == len(labels) == 20


OPTIONS = {
    "standardize": ("r2dl", {**LETTERS, "standardize": True, "start": "none"}, "bert"),
    "alternating": ("r2dl", {**LETTERS, "alternating": True}, "bert"),
    "warmup_epochs": ("r2dl", {**LETTERS, "warmup_epochs": 1}, "bert"),
    "temperature_epochs": ("neekhara", {"tokenizer": "residues", "temperature_epochs": 2}, "bert-classifier"),
    "the mean and deviation of the target": ("r2dl", {**LETTERS, "problem_type": "regression"}, "bert"),
}


def data_for(name, source_folder):
    method, options, family = OPTIONS[name]
    labels = None if "problem_type" in options else 2
    model, processor = reprogram(source_folder(family), method, labels=labels, **options)
    values = [0.5, 1.5] * 8 if labels is None else [0, 1] * 8
    return model, processor, Dataset.from_dict({**processor(PEPTIDES), "label": values})


@pytest.mark.parametrize("name", OPTIONS)
def test_a_stock_trainer_carries_out_what_the_options_ask_for(name, source_folder, tmp_path):
    model, processor, data = data_for(name, source_folder)
    tiny.trainer_for(model, processor, data, tmp_path, max_steps=-1, num_train_epochs=2).train()
    done = {
        "standardize": lambda: model.mapping.mean.any(),
        "alternating": lambda: model.transform.offset is None,
        "warmup_epochs": lambda: model.transform.offset is None,
        "temperature_epochs": lambda: model.transform.tau == pytest.approx(0.01),
    }
    assert done.get(name, lambda: model.mapping.target.is_fitted())()
    assert not model.in_schedule


@pytest.mark.parametrize("name", OPTIONS)
def test_without_the_schedule_the_first_step_is_refused_and_a_loop_of_ones_own_can_call_it(name, source_folder):
    model, processor, data = data_for(name, source_folder)
    columns = data.select_columns(["input_ids", "attention_mask", "label"])
    loader = DataLoader(columns, 4, collate_fn=DataCollatorWithPadding(processor))
    batch = next(iter(loader))
    model.train()
    with pytest.raises(InputError, match=f"This training leaves out {name}: train with the Trainer"):
        model(**batch)
    with torch.no_grad():
        model(**batch)  # a loss that nothing is trained by
    begin_epoch(model, 0, loader)
    assert model(**batch).loss.isfinite()
    end_epoch(model)
    end_training(model)


def test_a_second_schedule_does_nothing(source_folder, tmp_path, monkeypatch):
    begun = []
    monkeypatch.setattr("hf_reprogram.schedule.begin_epoch", lambda *_, **__: begun.append(1))
    model, processor = tiny.make_adapter(source_folder("bert"))
    trainer = tiny.trainer_for(model, processor, tiny.tokenized(processor), tmp_path, max_steps=-1, num_train_epochs=2)
    trainer.add_callback(Schedule())
    trainer.train()
    assert len(begun) == 2


def test_the_schedule_finds_a_model_inside_another(source_folder, tmp_path):
    class Outer(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.inner, self.config = model, model.config

        def forward(self, input_ids=None, attention_mask=None, labels=None):
            return self.inner(input_ids=input_ids, attention_mask=attention_mask, labels=labels)

    model, processor, data = data_for("standardize", source_folder)
    tiny.trainer_for(Outer(model), processor, data, tmp_path).train()
    assert model.mapping.mean.any()
