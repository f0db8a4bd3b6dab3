"""Neekhara 2019: its composition for classifiers and other sources, and a recipe."""

from __future__ import annotations

import pytest
import torch
from datasets import Dataset
from transformers import pipeline

from hf_reprogram import InputError, ReprogrammedModel, reprogram
from hf_reprogram.experiments.recipe import make_recipe
from hf_reprogram.experiments.run import train
from tests.support import tiny

SEQUENCES = ["ACDEFGHIKL", "MNPQRSTVWY", "AAAA", "WXW", "K"]


def make(source, labels=("bad", "good"), **options):
    torch.manual_seed(0)
    return reprogram(source, "neekhara", labels, **{"tokenizer": "residues", **options})


def batch_of(processor, texts=SEQUENCES):
    return dict(processor(texts, padding=True, return_tensors="pt"))


def test_a_class_is_the_sources_label_of_the_same_index(source_folder):
    model, processor = make(source_folder("bert-classifier"), ["a", "b", "c"])
    model.eval()
    assert model.mapping.options.assignment == [[0], [1], [2]]
    assert set(model.trainable()) == {"transform.weight", "transform.bias"}
    batch = batch_of(processor)
    with torch.no_grad():
        chosen = model.transform.logits(batch["input_ids"]).argmax(-1)
        for ours, theirs in model.transform.options.special_ids.items():
            chosen[batch["input_ids"] == int(ours)] = theirs
        own = model.source.model(input_ids=chosen, attention_mask=batch["attention_mask"]).logits
        torch.testing.assert_close(model(**batch).logits, own.log_softmax(-1)[:, :3], rtol=1e-4, atol=1e-5)


def test_random_sets_have_as_many_labels_as_asked_for(source_folder):
    model, _ = make(source_folder("bert-classifier"), label_mapping="random", labels_per_class=2)
    assert [len(group) for group in model.mapping.options.assignment] == [2, 2]
    model, _ = make(source_folder("bert-classifier"), label_mapping="random")
    assert [len(group) for group in model.mapping.options.assignment] == [3, 3]


@pytest.mark.parametrize(
    ("family", "problem", "labels", "outputs"),
    [
        ("roberta", "single_label_classification", ["a", "b", "c"], 3),
        ("gpt2", "single_label_classification", ["a", "b"], 2),
        ("bert", "regression", None, 1),
        ("bert-classifier", "regression", None, 1),
    ],
)
def test_without_labels_to_map_a_dense_layer_reads_the_features(family, problem, labels, outputs, source_folder):
    model, processor = make(source_folder(family), labels, problem_type=problem)
    assert (model.config.mapping["type"], model.mapping.reads) == ("dense", "features")
    assert model(**batch_of(processor)).logits.shape == (len(SEQUENCES), outputs)


def test_the_kernel_is_as_large_as_the_two_vocabularies(source_folder):
    model, processor = make(source_folder("bert-classifier"), tokenizer="kmers", k=2, kernel_size=3)
    assert model.transform.weight.shape == (model.source.spec.vocab_size, 20, 3)
    assert processor.tokenize("ACGTA") == ["AC", "GT", "A"]


def test_a_given_tokenizer_is_read_through_the_convolution(source_folder):
    model, processor = make(source_folder("bert-classifier"), tokenizer=source_folder("gpt2"), kernel_size=1)
    theirs = tiny.FAMILIES["gpt2"].tokenizer()
    assert model.transform.options.num_tokens == len(theirs)
    assert torch.isfinite(model(**batch_of(processor, ["the film", "good"])).logits).all()


def test_training_moves_the_convolution_through_the_frozen_classifier(source_folder, tmp_path):
    model, processor = make(source_folder("bert-classifier"))
    start = {name: p.detach().clone() for name, p in model.trainable().items()}
    data = Dataset.from_dict({**processor(["ACDEF", "WYWYW"] * 8), "labels": [0, 1] * 8})
    trainer = tiny.trainer_for(model, processor, data, tmp_path, max_steps=-1, num_train_epochs=2)
    trainer.train()
    assert all(not torch.equal(p, start[name]) for name, p in model.trainable().items())
    assert model.transform.tau < 2.0


def test_the_text_classification_pipeline_gives_the_models_probabilities(source_folder, tmp_path):
    model, processor = make(source_folder("bert-classifier"))
    for part in (model, processor):
        part.save_pretrained(tmp_path)
    with torch.no_grad():
        expected = model.eval()(**batch_of(processor)).logits.softmax(-1)
    classify = pipeline("text-classification", model=str(tmp_path), device="cpu")
    for row, scores in zip(expected, classify(SEQUENCES, top_k=None, batch_size=2), strict=True):
        by_label = {entry["label"]: entry["score"] for entry in scores}
        assert by_label == pytest.approx({"bad": row[0].item(), "good": row[1].item()}, abs=1e-4)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"labels": list("abcdefg")}, "7 classes with 1 source labels each need 7, but the source has 6"),
        ({"label_mapping": "rondom"}, "label_mapping 'rondom': did you mean 'random'"),
        ({"labels_per_class": 2}, "labels_per_class is for label_mapping='random'"),
        ({"label_mapping": "random", "labels_per_class": 4}, "2 classes with 4 source labels each need 8"),
        (
            {"problem_type": "token_classification"},
            "The method 'neekhara' does not support the problem type 'token_classification'",
        ),
        ({"problem_type": "multi_label_classification"}, "choose one of single_label_classification, regression"),
    ],
)
def test_what_it_cannot_do_is_one_sentence(options, sentence, source_folder):
    with pytest.raises(InputError) as refused:
        make(source_folder("bert-classifier"), **options)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_module_of_logits_cannot_do_a_regression():
    from tests.support.modules import Classifier

    assert make(Classifier())[0].config.mapping["type"] == "label_map"
    with pytest.raises(InputError, match="The module source has logits alone"):
        make(Classifier(), None, problem_type="regression")


def test_a_recipe_is_scored_and_saved_without_noise(source_folder, tmp_path):
    texts = [("ACDA" if i % 2 else "WYKW") * (1 + i % 3) for i in range(60)]
    Dataset.from_dict({"text": texts, "label": ["yes" if i % 2 else "no" for i in range(60)]}).to_csv(
        tmp_path / "data.csv"
    )
    recipe = make_recipe(
        {
            "source": source_folder("bert-classifier"),
            "method": {"name": "neekhara", "tokenizer": "residues", "temperature_epochs": 2},
            "task": {"dataset": str(tmp_path / "data.csv"), "text": ["text"]},
            "training": {"num_train_epochs": 3, "per_device_train_batch_size": 8, "learning_rate": 1e-2},
            "output": str(tmp_path / "run"),
        }
    )
    results = train(recipe, quiet=True)
    (record,) = results["seeds"].values()
    assert record["validation"]["accuracy"] == max(entry["accuracy"] for entry in record["history"])
    model = ReprogrammedModel.from_pretrained(tmp_path / "run")
    assert model.config.transform["temperature"] == [2.0, 0.01]
    assert model.label_names == ["no", "yes"]
