"""`reprogram`: labels, problem types, processors, and starting from another adapter."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForMaskedLM

from hf_reprogram import InputError, reprogram
from hf_reprogram.methods.reprogramming import start_from
from tests.support import tiny, words


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (["only"], "needs at least 2 labels, not 1"),
        ([], "needs at least 2 labels, not 0"),
        (None, "needs at least 2 labels, not 0"),
        (1, "needs at least 2 labels, not 1"),
        (["yes", "no", "yes"], "holds the name 'yes' twice"),
    ],
)
def test_labels_that_cannot_be_are_refused(labels, sentence, source_folder):
    with pytest.raises(InputError) as refused:
        reprogram(source_folder("bert"), labels=labels)
    assert sentence in str(refused.value)


def test_names_and_numbers_of_labels(source_folder):
    model, _ = reprogram(source_folder("bert"), labels=["no", "yes"])
    assert model.config.id2label == {0: "no", 1: "yes"}
    assert model.config.label2id == {"no": 0, "yes": 1}
    assert model.config.num_labels == 2
    model, _ = reprogram(source_folder("bert"), labels=3)
    assert model.label_names == ["LABEL_0", "LABEL_1", "LABEL_2"]


@pytest.mark.parametrize("labels", [None, 1])
def test_a_regression_takes_no_label_names(labels, source_folder):
    model, _ = reprogram(source_folder("bert"), labels=labels, problem_type="regression")
    assert model.config.num_labels == 1
    with pytest.raises(InputError, match="A regression has one output and no label names"):
        reprogram(source_folder("bert"), labels=["a", "b"], problem_type="regression")


@pytest.mark.parametrize("problem_type", ["ranking", "multi_label_classification", "token_classification", "infilling"])
def test_a_problem_that_the_method_is_not_for_is_refused_with_those_it_is_for(problem_type, source_folder):
    with pytest.raises(InputError) as refused:
        reprogram(source_folder("bert"), labels=2, problem_type=problem_type)
    assert f"'warp' does not support the problem type {problem_type!r}" in str(refused.value)
    assert "choose one of single_label_classification, regression" in str(refused.value)


def test_an_unknown_method_is_refused_with_the_nearest(source_folder):
    with pytest.raises(InputError, match="Unknown method 'wrap': did you mean 'warp'"):
        reprogram(source_folder("bert"), method="wrap", labels=2)


def test_bad_options_are_refused_before_the_source_is_loaded():
    with pytest.raises(InputError, match="did you mean 'num_prompts'"):
        reprogram("nobody/nothing", labels=2, num_prompt=3)
    with pytest.raises(InputError, match="at least 2 labels"):
        reprogram("nobody/nothing", labels=["one"])


def test_a_loaded_model_brings_its_tokenizers_name(source_folder):
    source = AutoModelForMaskedLM.from_pretrained(source_folder("bert"))
    model, processor = reprogram(source, labels=2, num_prompts=2)
    assert model.source.model is source
    assert len(processor) == len(words.wordpiece()) + 2


def test_a_model_without_a_name_needs_its_processor():
    with pytest.raises(InputError, match="tokenizer cannot be found: pass it as processor="):
        reprogram(tiny.make_model("bert"), labels=2)


def test_a_source_without_a_tokenizer_says_so(tmp_path):
    tiny.make_model("bert").save_pretrained(tmp_path)
    with pytest.raises(InputError) as refused:
        reprogram(str(tmp_path), labels=2)
    assert "processor=" in str(refused.value)


# --------------------------------------------------------------------------------------------- two-stage training


@pytest.fixture
def first_stage(source_folder, tmp_path):
    """A trained adapter for three labels, saved."""
    torch.manual_seed(0)
    model, processor = tiny.make_adapter(
        source_folder("bert"), labels=["neutral", "entailment", "contradiction"], prompt_init="normal"
    )
    tiny.trainer_for(model, processor, tiny.tokenized(processor), tmp_path / "run").train()
    model.save_pretrained(tmp_path / "first")
    return model, tmp_path / "first"


def test_prompts_and_rows_of_the_same_name_are_taken_over(first_stage, source_folder):
    theirs, folder = first_stage
    labels = ["entailment", "not_entailment"]
    torch.manual_seed(1)
    fresh, _ = tiny.make_adapter(source_folder("bert"), labels=labels)
    torch.manual_seed(1)
    model, _ = tiny.make_adapter(source_folder("bert"), labels=labels, init_from=folder)
    assert torch.equal(model.transform.prompts, theirs.transform.prompts)
    assert torch.equal(model.mapping.weight[0], theirs.mapping.weight[1])
    assert torch.equal(model.mapping.bias[0], theirs.mapping.bias[1])
    assert torch.equal(model.mapping.weight[1], fresh.mapping.weight[1])
    assert not model.source.embedding.weight.requires_grad
    assert start_from(fresh, folder) == ["entailment"]


def test_a_regression_takes_the_prompts_alone(first_stage, source_folder):
    theirs, folder = first_stage
    model, _ = tiny.make_adapter(source_folder("bert"), labels=None, problem_type="regression", init_from=folder)
    assert torch.equal(model.transform.prompts, theirs.transform.prompts)
    assert start_from(model, folder) == []


def test_a_class_takes_nothing_from_a_regression_that_has_its_name(source_folder, tmp_path):
    first, _ = tiny.make_adapter(source_folder("bert"), labels=None, problem_type="regression")
    first.save_pretrained(tmp_path)
    (name,) = first.label_names
    second, _ = tiny.make_adapter(source_folder("bert"), labels=[name, "other"])
    assert start_from(second, tmp_path) == []
    assert not torch.equal(second.mapping.weight[0], first.mapping.weight[0])


def test_another_number_of_prompts_is_refused_with_both_numbers(first_stage, source_folder):
    with pytest.raises(InputError, match=r"'prompts', 3 x 32 there and 5 x 32 here: .* as many prompts"):
        tiny.make_adapter(source_folder("bert"), num_prompts=5, init_from=first_stage[1])


def test_what_holds_no_adapter_is_refused(source_folder, tmp_path):
    for folder in (str(tmp_path), source_folder("bert"), "nobody/nothing"):
        with pytest.raises(InputError) as refused:
            tiny.make_adapter(source_folder("bert"), init_from=folder)
        assert folder in str(refused.value)
        assert "\n" not in str(refused.value)


def test_another_source_is_refused(first_stage, source_folder):
    with pytest.raises(InputError, match="use an adapter of the same source"):
        tiny.make_adapter(source_folder("roberta"), init_from=first_stage[1])
