"""The callback of alignment in the stock Trainer."""

import pytest
import torch
from torch.utils.data import DataLoader

from hf_reprogram import InputError, reprogram
from hf_reprogram.alignment import gradient_alignment, mean_risk, wasserstein
from hf_reprogram.diagnostics import Alignment, per_sample_gradients, source_outputs, target_outputs
from hf_reprogram.diagnostics.measures import agreement, distances, risk
from hf_reprogram.training.encode import collator
from tests.contract.matrix import batch_of, loaded, rows
from tests.contract.training import trainer_for

METHOD = {"method": "ilm_vp", "labels": ["bad", "good"], "mapping": "dense", "reads": "logits"}


def made():
    torch.manual_seed(0)
    return reprogram(loaded("vit").source, **METHOD)


def own_outputs(count=40):
    source = loaded("vit").source
    pixels = torch.rand(count, 3, *source.spec.canvas(), generator=torch.Generator().manual_seed(1))
    return source_outputs(source, [{"pixel_values": part} for part in pixels.split(16)])


def test_outputs_of_the_source_are_those_of_its_plain_forward():
    source = loaded("vit").source
    batch = source.plain_example()
    expected = source(source.plain_inputs(batch), "logits")
    assert torch.equal(source_outputs(source, [{**batch, "labels": torch.zeros(1)}]), expected)


def test_every_epoch_has_a_record_and_training_is_the_same_without(tmp_path):
    states = []
    for callback in (Alignment(own_outputs(), rows=12, examples=6), None):
        model, processor = made()
        trainer = trainer_for(model, processor, tmp_path, max_steps=4, eval_strategy="epoch")
        if callback is not None:
            trainer.add_callback(callback)
        trainer.train()
        states.append({name: value.clone() for name, value in model.state_dict().items()})
        if callback is not None:
            history, logged = callback.history, trainer.state.log_history
    assert [record["step"] for record in history] == [0, 2, 4]
    assert [record for record in logged if "w1" in record] == history
    assert {*history[0]} == {
        "epoch",
        "step",
        "w1",
        "w1_null",
        "sliced",
        "sliced_null",
        "risk",
        "alignment",
        "unrelated",
    }
    assert len({record["w1"] for record in history}) == 3  # theta moves
    assert len({record["w1_null"] for record in history}) == 1
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_records_are_what_the_functions_of_alignment_give():
    model, processor = made()
    data = rows(model.transform.takes, processor, 16)
    loader, reference = DataLoader(data, 4, collate_fn=collator(processor)), own_outputs()
    outputs, labels = target_outputs(model, loader, 100)
    batch, expected_labels = batch_of(model.transform.takes, processor, 16)
    assert torch.equal(labels, expected_labels)
    with torch.no_grad():
        expected = model.source(model.transform(batch, model.source), "logits")
        logits = model.eval()(**batch).logits
    torch.testing.assert_close(outputs, expected)
    found = distances(outputs, reference)
    assert found["w1"] == pytest.approx(wasserstein(outputs, reference[:16]))
    assert found["w1_null"] < found["w1"]
    assert risk(model, outputs, labels) == pytest.approx(mean_risk(logits, labels), rel=1e-5)
    gradients = per_sample_gradients(model, {**batch, "labels": labels})
    assert agreement(model, loader, 16)["alignment"] == pytest.approx(gradient_alignment(gradients), rel=1e-4)
    assert agreement(model, loader, 16, shuffled=True)["alignment"] != agreement(model, loader, 16)["alignment"]


def test_without_source_data_there_are_no_distances(tmp_path):
    model, processor = made()
    callback = Alignment(rows=8, examples=0)
    trainer = trainer_for(model, processor, tmp_path, max_steps=2)
    trainer.add_callback(callback)
    trainer.train()
    assert [{*record} for record in callback.history] == [{"epoch", "step", "risk"}] * 2


def test_a_black_box_has_distances_and_no_gradients(tmp_path):
    source = loaded("image_black_box").source
    model, processor = reprogram(source, "bar", ["bad", "good"], gradients={"rgf": {"q": 2}})
    callback = Alignment(source_outputs(source, [source.plain_example()] * 4), rows=4)
    trainer = trainer_for(model, processor, tmp_path, max_steps=1)
    trainer.add_callback(callback)
    trainer.train()
    assert "alignment" not in callback.history[0]
    assert callback.history[0]["w1_null"] == 0  # the same example four times


def test_too_few_rows_are_refused():
    with pytest.raises(InputError, match="There are 3 target and 1 source examples"):
        distances(torch.ones(3, 2), torch.ones(1, 2))
    with pytest.raises(InputError, match="rows is 0"):
        Alignment(rows=0)
