"""Training the whole network, in the source's tokens and in the method's."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import AutoModel, AutoModelForMaskedLM

from hf_reprogram import InputError
from hf_reprogram.baselines import BASELINES, finetuning, search
from hf_reprogram.baselines.base import Setting
from hf_reprogram.experiments.recipe import make_recipe
from hf_reprogram.experiments.seed_runs import untrained_model
from hf_reprogram.options import from_dict
from hf_reprogram.tasks.load import load_task
from hf_reprogram.tasks.problems import IGNORE
from tests.support import words

VOWELS = "aeiou"


def labels_of(problem, texts, labels):
    """Labels of synthetic texts, for every kind of problem."""
    if problem == "regression":
        return {"label": [float(len(text)) for text in texts]}
    if problem == "multi_label_classification":  # every third one is missing, and row 0 has none
        rows = [[label, int("film" in text)] for text, label in zip(texts, labels, strict=True)]
        rows = [[None if (i + j) % 3 == 0 or i == 0 else y for j, y in enumerate(row)] for i, row in enumerate(rows)]
        return {"good": [row[0] for row in rows], "film": [row[1] for row in rows]}
    if problem == "single_label_classification":
        return {"label": labels}
    return {"label": ["".join(str(int(letter in VOWELS)) for letter in text) for text in texts]}


@pytest.fixture
def setting(source_folder, tmp_path):
    """A function from a kind of problem to the setting of one seed."""

    def make(problem, family="bert", method="r2dl", count=48, chosen=None, **changes):
        texts, labels = words.texts(count)
        columns = labels_of(problem, texts, labels)
        Dataset.from_dict({"text": texts, **columns}).to_parquet(tmp_path / f"{problem}.parquet")
        task = {"dataset": str(tmp_path / f"{problem}.parquet"), "text": ["text"], "label": list(columns)}
        if problem != "multi_label_classification":
            task |= {"problem": problem, "label": "label"}
        recipe = make_recipe(
            {
                "source": source_folder(family),
                "method": {"name": method, "tokenizer": "characters", "sparsity": 4},
                "task": task,
                "training": {"num_train_epochs": 1, "per_device_train_batch_size": 16},
                "output": str(tmp_path / "run"),
                **changes,
            }
        )
        task = load_task(recipe.task_options)
        splits = task.splits(0)
        untrained = partial(untrained_model, recipe, task, 0, splits)
        return Setting(recipe, task, splits, 0, tmp_path / "scratch", True, 0, untrained, chosen)

    return make


@pytest.fixture
def run(monkeypatch):
    """Runs a baseline; what it returned, and the model that it trained with the weights it started from."""

    def start(name, made, rate=1e-3, **options):
        kind, kept = BASELINES[name], {}
        fit = search.fit

        def watched(model, *arguments, **others):
            kept.update(model=model, start={n: p.detach().clone() for n, p in model.named_parameters()})
            return fit(model, *arguments, **others)

        monkeypatch.setattr(search, "fit", watched)
        options = {"learning_rate": rate, "tokens": "target", **options}
        outcome = kind(from_dict(kind.Options, options, f"option of {name}")).run(made)
        monkeypatch.setattr(search, "fit", fit)
        return outcome, kept["model"], kept["start"]

    return start


UNUSED = {"base.embeddings.word_embeddings.weight", "base.wte.weight", "base.embed_tokens.weight"}


def moved(model, start):
    return {name for name, p in model.named_parameters() if not torch.equal(p.detach().cpu(), start[name])}


@pytest.mark.parametrize("name", ["from_scratch", "fine_tuning"])
@pytest.mark.parametrize("family", ["bert", "bert-encoder", "albert", "gpt2", "llama", "bert-classifier"])
def test_every_weight_is_trained_but_the_words_and_the_pooler_that_are_not_used(name, family, setting, run):
    outcome, model, start = run(name, setting("single_label_classification", family))
    expected = {n for n in start if n not in UNUSED and ".pooler." not in n}
    still = expected - moved(model, start)
    assert all(name.endswith("key.bias") for name in still), (
        still
    )  # which a soft-max has no gradient for but by rounding
    counted = sum(p.numel() for n, p in model.named_parameters() if n in expected)
    assert outcome.trainable == counted
    assert not UNUSED & moved(model, start)


def test_the_adapters_source_is_untouched_and_so_are_its_bytes(setting, run, source_folder):
    made = setting("single_label_classification")
    before = AutoModelForMaskedLM.from_pretrained(source_folder("bert")).state_dict()
    adapter, _ = made.make()
    _, model, _ = run("fine_tuning", made)
    own = adapter.source.model.state_dict()
    for name, value in before.items():
        assert torch.equal(own[name], value), name
    assert not any(p.requires_grad for p in adapter.source.parameters())
    again = AutoModelForMaskedLM.from_pretrained(source_folder("bert")).state_dict()
    assert all(torch.equal(again[name], value) for name, value in before.items())
    assert any(p.requires_grad for p in model.base.parameters())


def test_fine_tuning_starts_from_the_source_and_the_methods_table_and_from_scratch_does_not(
    setting, run, source_folder
):
    made = setting("single_label_classification")
    pretrained = AutoModelForMaskedLM.from_pretrained(source_folder("bert")).bert.state_dict()
    adapter, tokenizer = made.make()
    with torch.no_grad():
        table = adapter.transform.folded(adapter.source)
    _, _, start = run("fine_tuning", made)
    for name, value in pretrained.items():
        assert torch.equal(start[f"base.{name}"], value), name
    torch.testing.assert_close(start["embedding.weight"][: len(table)], table)
    assert len(start["embedding.weight"]) == len(tokenizer)
    _, _, fresh = run("from_scratch", made)
    shared = [name for name, value in pretrained.items() if value.std() > 0 and "LayerNorm" not in name]
    assert not any(torch.equal(fresh[f"base.{name}"], pretrained[name]) for name in shared if "bias" not in name)
    assert (
        fresh["base.embeddings.word_embeddings.weight"].shape == start["base.embeddings.word_embeddings.weight"].shape
    )
    assert not torch.allclose(fresh["embedding.weight"][: len(table)], table)


def test_its_logits_are_the_mean_state_through_a_linear_layer(setting, run):
    made = setting("single_label_classification")
    outcome, model, _ = run("fine_tuning", made)
    _, tokenizer = made.make()
    model.eval().cpu()
    for text, found in zip(made.splits["test"]["text"][:4], outcome.test, strict=False):
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            states = model.base(inputs_embeds=model.embedding.weight[ids]).last_hidden_state[0]
            expected = model.head.weight @ states.mean(0) + model.head.bias
        np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-4)


def test_the_methods_tokenizer_reads_the_text(setting, run):
    """One letter of a text is one token: a word's letters in another order are another input."""
    made = setting("single_label_classification")
    _, model, _ = run("from_scratch", made)
    _, tokenizer = made.make()
    assert model.embedding.num_embeddings == len(tokenizer)
    assert len(tokenizer("good film")["input_ids"]) == 11


@pytest.mark.parametrize(
    ("problem", "family"), [("token_classification", "bert"), ("token_classification", "gpt2"), ("infilling", "bert")]
)
def test_a_label_a_token_lines_up_with_its_logits(problem, family, setting, run):
    made = setting(problem, family, "reprogbert" if problem == "infilling" else "r2dl", count=80)
    outcome, _, _ = run("fine_tuning", made, rate=5e-3)
    for split, logits in (("validation", outcome.validation), ("test", outcome.test)):
        labels, texts = outcome.labels[split], made.splits[split]["text"]
        assert logits.shape[:2] == labels.shape
        frame = 1 if family == "bert" else 0
        for row, text in zip(labels, texts, strict=True):
            inner = row[frame : frame + len(text)]
            if problem == "infilling":
                assert [int(label != IGNORE) for label in inner] == [int(letter in VOWELS) for letter in text]
            else:
                assert inner.tolist() == [int(letter in VOWELS) for letter in text]
            assert (np.delete(row, range(frame, frame + len(text))) == IGNORE).all()
        assert np.isfinite(made.task.score(logits, labels)[made.task.metrics[0]])


def test_a_letters_own_label_is_learned_from_its_token(setting, run):
    made = setting(
        "token_classification", count=160, training={"num_train_epochs": 8, "per_device_train_batch_size": 8}
    )
    outcome, _, _ = run("fine_tuning", made, rate=5e-3)
    assert made.task.score(outcome.test, outcome.labels["test"])["accuracy"] > 0.95


@pytest.mark.parametrize("name", ["from_scratch", "fine_tuning"])
def test_a_head_reads_the_neighbours_of_a_token(name, setting, run):
    made = setting("token_classification", training={"num_train_epochs": 1, "per_device_train_batch_size": 16})
    outcome, model, _ = run(name, made, context=2)
    assert outcome.chosen == {"learning_rate": 1e-3, "context": 2}
    model = model.eval().cpu()
    _, tokenizer = made.make()
    batch = tokenizer(["good film", "dull"], padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = model(batch["input_ids"], batch["attention_mask"]).logits
        hidden = model.base(
            inputs_embeds=model.embedding(model.row_ids(batch["input_ids"])), attention_mask=batch["attention_mask"]
        ).last_hidden_state
        padded = torch.nn.functional.pad(hidden * batch["attention_mask"][..., None], [0, 0, 2, 2])
        beside = torch.cat([padded[:, offset : offset + hidden.shape[1]] for offset in range(5)], -1)
        torch.testing.assert_close(logits, model.head(beside), rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match="context of from scratch is 2, and the problem 'regression' has no label per"):
        setting("regression", baselines=[{"from_scratch": {"context": 2}}])


@pytest.mark.parametrize("tokens", ["source", "target"])
@pytest.mark.parametrize("problem", ["regression", "multi_label_classification"])
def test_numbers_and_labels_that_are_missing_train_to_finite_weights(tokens, problem, setting, run):
    made = setting(problem, training={"num_train_epochs": 1, "per_device_train_batch_size": 1, "max_steps": 4})
    made.splits["validation"] = made.splits["test"] = made.splits["train"]
    outcome, model, start = run("from_scratch", made, tokens=tokens)
    assert np.isfinite(outcome.test).all()
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert moved(model, start)
    assert outcome.test.shape == (len(made.splits["test"]), 1 if problem == "regression" else 2)


def test_missing_labels_count_for_nothing_in_the_source_tokens_loss(setting):
    made = setting("multi_label_classification")
    tokenizer, make_model = finetuning._on_source_tokens(made, pretrained=False)
    torch.manual_seed(0)
    model = make_model({}).eval()
    batch = tokenizer(["good film", "dull plot"], padding=True, return_tensors="pt")
    nan = float("nan")
    with torch.no_grad():
        logits = model(**batch).logits
        loss = model(**batch, labels=torch.tensor([[1.0, nan], [nan, 0.0]])).loss
    by_hand = -(logits[0, 0].sigmoid().log() + (1 - logits[1, 1].sigmoid()).log()) / 4
    torch.testing.assert_close(loss, by_hand)


def test_an_empty_text_of_a_source_without_special_tokens_is_defined(setting, run):
    made = setting("single_label_classification", "gpt2")
    splits = made.splits
    splits["test"] = splits["test"].map(lambda row, i: {**row, "text": "" if i % 2 else row["text"]}, with_indices=True)
    outcome, _, _ = run("from_scratch", made)
    assert np.isfinite(outcome.test).all()


@pytest.mark.parametrize("name", ["from_scratch", "fine_tuning"])
def test_the_sources_tokens_are_refused_where_each_letter_has_a_label(name, setting):
    for problem, method in (("token_classification", "r2dl"), ("infilling", "reprogbert")):
        with pytest.raises(InputError, match=f"In the problem {problem!r} the method's tokens have the labels"):
            setting(problem, method=method, baselines=[{name: {"tokens": "source"}}])
        setting(problem, method=method, baselines=[{name: {"tokens": "target"}}])


def test_options_that_cannot_work_are_refused():
    with pytest.raises(InputError, match="tokens 'traget': did you mean 'target'"):
        finetuning.FineTuningOptions(tokens="traget")
    assert finetuning.FineTuningOptions(learning_rate=0.5).learning_rate == [0.5]


def test_an_encoder_with_a_pooler_is_trained_without_it(setting, run, source_folder):
    assert hasattr(AutoModel.from_pretrained(source_folder("bert-encoder")), "pooler")
    _, model, start = run("from_scratch", setting("single_label_classification", "bert-encoder"))
    pooler = [name for name in start if "pooler" in name]
    assert not set(pooler) & moved(model, start)
