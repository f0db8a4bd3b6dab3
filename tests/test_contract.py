"""The promises that every source x transform x mapping keeps (third parties' parts included), after real training."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from hf_reprogram import InputError, ReprogrammedModel, reprogram
from hf_reprogram.training.callbacks import Schedule
from hf_reprogram.training.encode import collator
from tests.support import tiny, toys, words  # noqa: F401 - toys registers the third-party parts
from tests.support.frozen import Watch, bytes_of


class Case(NamedTuple):
    """A source, the two parts on it and what is read; of a method other than WARP also its name and options."""

    family: str
    transform: str
    mapping: str
    reads: str
    method: str = "warp"
    options: dict[str, Any] = {}

    def __str__(self):
        return "-".join([self.family, self.transform, self.mapping, self.reads])

    @property
    def per_token(self) -> bool:
        """Whether it gives logits a token."""
        return self.reads in ("tokens", "decoder") and self.mapping != "positions"

    def make(self, source):
        """An untrained adapter and its processor; WARP's parts may be exchanged for others with the same options."""
        if self.method == "warp":
            return tiny.make_adapter(source, self.mapping, self.transform, reads=self.reads, **self.options)
        problem = "token_classification" if self.per_token else "single_label_classification"
        settings = {"labels": ["bad", "good"], "problem_type": problem, "texts": words.texts(50)[0], **self.options}
        model, processor = reprogram(source, method=self.method, **settings)
        parts = (model.config.transform["type"], model.config.mapping["type"], model.mapping.reads)
        assert parts == (self.transform, self.mapping, self.reads)
        return model, processor

    def data(self, processor):
        """Tokenized texts with a label each, or one a token."""
        data = tiny.tokenized(processor)
        if not self.per_token:
            return data
        return data.map(lambda row: {"labels": [(row["labels"] + i) % 2 for i in range(len(row["input_ids"]))]})


CASES = [
    Case(family, "prompt_slots", mapping, reads)
    for family, made in tiny.FAMILIES.items()
    for mapping in ("verbalizer", "dense")
    for reads in tiny.READS[made.kind]
]
CASES += [
    Case("bert", "prompt_slots", "toy_cosine", "mask"),
    Case("albert", "toy_shift", "verbalizer", "features"),
    Case("gpt2", "toy_shift", "toy_cosine", "last"),
]
CHARACTERS = {"tokenizer": "characters"}
CASES += [
    Case(family, "vocabulary", "dense", reads, "r2dl", {**CHARACTERS, "sparsity": 4, "reads": reads})
    for family, made in tiny.FAMILIES.items()
    for reads in ("features", "last" if made.kind == "causal_lm" else "first")
]
CASES += [
    Case(family, "vocabulary", "dense", "tokens", "r2dl", {**CHARACTERS, "sparsity": None}) for family in tiny.FAMILIES
]
CASES += [
    Case(
        family,
        "vocabulary",
        "token_map",
        "decoder",
        "reprogbert",
        {**CHARACTERS, "labels": None, "problem_type": "infilling"},
    )
    for family in tiny.MASKED
]
CASES += [
    Case("bert", "vocabulary", "positions", "tokens", "r2dl", {**CHARACTERS, "mapping": "positions"}),
    Case("llama", "vocabulary", "positions", "tokens", "r2dl", {**CHARACTERS, "mapping": "positions"}),
    Case("bert-classifier", "vocabulary", "label_map", "logits", "r2dl", {**CHARACTERS, "mapping": "label_map"}),
    Case("bert-classifier", "vocabulary", "dense", "logits", "r2dl", {**CHARACTERS, "reads": "logits"}),
    Case("bert-classifier", "contextual_vocabulary", "label_map", "logits", "neekhara", CHARACTERS),
    Case("roberta", "contextual_vocabulary", "dense", "features", "neekhara", CHARACTERS),
    Case("llama", "contextual_vocabulary", "dense", "features", "neekhara", CHARACTERS),
]
ADAPTER_FILES = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}


def rows_of(logits, batch) -> list[torch.Tensor]:
    """Each row's logits (labels,), or (its tokens, labels) without those of padding."""
    if logits.dim() == 2:
        return list(logits)
    return [row[kept.bool()] for row, kept in zip(logits, batch["attention_mask"], strict=True)]


@pytest.fixture(scope="module", params=CASES, ids=str)
def trained(request, source_folder, tmp_path_factory):
    """An adapter after a few steps of the stock Trainer, saved, with what was seen on the way."""
    case = request.param
    torch.manual_seed(0)
    model, processor = case.make(source_folder(case.family))
    before, start = bytes_of(model.source), {name: p.detach().clone() for name, p in model.trainable().items()}
    trainer = tiny.trainer_for(model, processor, case.data(processor), tmp_path_factory.mktemp("trainer"))
    trainer.data_collator = collator(processor, case.per_token)
    watch = Watch()
    trainer.add_callback(watch)
    trainer.add_callback(Schedule())
    trainer.train()
    folder = tmp_path_factory.mktemp("adapter")
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return SimpleNamespace(
        case=case, model=model.eval(), processor=processor, folder=folder, before=before, start=start, watch=watch
    )


def test_source_bytes_are_unchanged_by_training(trained):
    assert bytes_of(trained.model.source) == trained.before


def test_source_is_never_in_training_mode(trained):
    assert trained.watch.steps == 3
    assert trained.watch.training == set()
    assert trained.watch.mapping_trains  # the flag itself was set: the source kept out of it


def test_only_theta_and_omega_get_gradients_and_all_of_them_move(trained):
    trainable = trained.model.trainable()
    assert trained.watch.gradients == set(trainable)
    assert all(not torch.equal(trainable[name], value) for name, value in trained.start.items())
    assert all(not p.requires_grad for p in trained.model.source.parameters())


def test_reload_gives_the_same_logits_bit_for_bit(trained):
    batch = tiny.batch_of(trained.processor)
    again = ReprogrammedModel.from_pretrained(trained.folder)
    with torch.no_grad():
        assert torch.equal(again(**batch).logits, trained.model(**batch).logits)


def test_saved_folder_holds_theta_and_omega_with_their_buffers_and_nothing_executable(trained):
    assert {path.name for path in trained.folder.iterdir()} == ADAPTER_FILES
    weights = load_file(trained.folder / "model.safetensors")
    state = trained.model.state_dict()
    assert {name: weight.shape for name, weight in weights.items()} == {name: v.shape for name, v in state.items()}
    assert set(trained.model.trainable()) <= set(weights)
    assert not any(name.startswith("source.") for name in weights)
    trained_numbers = sum(weights[name].numel() for name in trained.model.trainable())
    assert trained_numbers == trained.model.num_trainable()
    assert "auto_map" not in json.loads((trained.folder / "config.json").read_text())


def test_batch_composition_and_padding_on_the_right_do_not_change_a_row(trained):
    texts, _ = words.texts(6, seed=3)
    together = trained.processor(texts, padding="max_length", max_length=tiny.MAX_TOKENS, return_tensors="pt")
    with torch.no_grad():
        batched = rows_of(trained.model(**together).logits, together)
        alone = [trained.model(**trained.processor(text, return_tensors="pt")).logits[0] for text in texts]
    torch.testing.assert_close(batched, alone, rtol=1e-4, atol=1e-4)
    one_a_text = torch.stack([row.reshape(-1, row.shape[-1])[-1] for row in batched])
    assert one_a_text.std(0).min() > 1e-4  # the rows differ, so that equality says something


def test_padding_on_the_left_does_not_change_a_row(trained):
    texts, _ = words.texts(6, seed=3)
    right = trained.processor(texts, padding=True, return_tensors="pt")
    left = tiny.on_the_left(right)
    assert not torch.equal(left["attention_mask"], right["attention_mask"])
    with torch.no_grad():
        found, expected = (rows_of(trained.model(**batch).logits, batch) for batch in (left, right))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


# ------------------------------------------------------------------------------------------ once a family


@pytest.fixture(params=tiny.FAMILIES)
def adapter(request, source_folder, tmp_path):
    """A saved adapter with random prompts, its model and processor."""
    return make_saved(source_folder(request.param), tmp_path / "adapter", request.param)


def make_saved(source, folder: Path, family: str = "", **options):
    torch.manual_seed(1)
    model, processor = tiny.make_adapter(source, prompt_init="normal", **options)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return SimpleNamespace(model=model.eval(), processor=processor, folder=folder, family=family)


def test_auto_class_and_pipeline_load_the_folder(adapter):
    texts, _ = words.texts(3, seed=2)
    batch = adapter.processor(texts, padding=True, return_tensors="pt")
    loaded = AutoModelForSequenceClassification.from_pretrained(adapter.folder)
    assert isinstance(loaded, ReprogrammedModel)
    with torch.no_grad():
        expected = adapter.model(**batch).logits
        assert torch.equal(loaded(**batch).logits, expected)
    classify = pipeline("text-classification", model=str(adapter.folder), device="cpu")
    found = classify(texts, top_k=None)
    for row, scores in zip(expected.softmax(-1), found, strict=True):
        by_label = {entry["label"]: entry["score"] for entry in scores}
        assert by_label == pytest.approx({"bad": row[0].item(), "good": row[1].item()}, abs=1e-4)
    pair = adapter.processor(texts[0], texts[1], return_tensors="pt")
    answer = classify({"text": texts[0], "text_pair": texts[1]})
    with torch.no_grad():
        assert answer["score"] == pytest.approx(adapter.model(**pair).logits.softmax(-1).max().item(), abs=1e-4)


def test_another_source_is_refused(adapter, tmp_path):
    other = tiny.save_source(tmp_path / "other", adapter.family, seed=9)
    with pytest.raises(InputError, match="trained on another source") as refused:
        ReprogrammedModel.from_pretrained(adapter.folder, source=other)
    assert str(other) in str(refused.value)


def test_bf16_source_with_fp32_theta_trains_and_reloads(source_folder, tmp_path, adapter):
    source = source_folder(adapter.family)
    model, processor = tiny.make_adapter(source, source_kwargs={"dtype": torch.bfloat16})
    assert {p.dtype for p in model.source.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in model.trainable().values()} == {torch.float32}
    start = {name: p.detach().clone() for name, p in model.trainable().items()}
    tiny.trainer_for(model, processor, tiny.tokenized(processor), tmp_path / "run").train()
    assert all(not torch.equal(p, start[name]) for name, p in model.trainable().items())
    model.save_pretrained(tmp_path / "bf16")
    again = ReprogrammedModel.from_pretrained(tmp_path / "bf16")
    assert {p.dtype for p in again.source.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in again.trainable().values()} == {torch.float32}
    batch = tiny.batch_of(processor)
    with torch.no_grad():
        assert torch.equal(again(**batch).logits, model.eval()(**batch).logits)


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_gradient_accumulation_leaves_loss_and_parameters_unchanged(family, source_folder, tmp_path):
    outcomes = []
    for batch_size, accumulation in ((8, 1), (2, 4)):
        torch.manual_seed(0)
        model, processor = tiny.make_adapter(source_folder(family))
        trainer = tiny.trainer_for(
            model,
            processor,
            tiny.tokenized(processor),
            tmp_path / str(batch_size),
            max_steps=2,
            optim="sgd",
            learning_rate=1.0,
            max_grad_norm=0,
            per_device_train_batch_size=batch_size,
            gradient_accumulation_steps=accumulation,
            logging_strategy="steps",
            logging_steps=1,
        )
        trainer.train()
        losses = [record["loss"] for record in trainer.state.log_history if "loss" in record]
        outcomes.append((losses, {name: p.detach() for name, p in model.trainable().items()}))
    (losses, parameters), (accumulated_losses, accumulated) = outcomes
    assert len(losses) == 2
    assert accumulated_losses == pytest.approx(losses, abs=1e-4)
    for name, value in parameters.items():
        torch.testing.assert_close(accumulated[name], value, rtol=1e-4, atol=1e-5)


def gradients(model, batch) -> dict[str, torch.Tensor]:
    model.zero_grad()
    model(**batch, labels=torch.arange(len(batch["input_ids"])) % 2).loss.backward()
    return {name: p.grad.clone() for name, p in model.trainable().items()}


@pytest.mark.parametrize("family", [name for name in tiny.FAMILIES if name != "albert"])
def test_activation_checkpointing_recomputes_and_leaves_gradients_equal(family, source_folder):
    from transformers.modeling_layers import GradientCheckpointingLayer

    model, processor = tiny.make_adapter(source_folder(family), prompt_init="normal")
    batch = tiny.batch_of(processor)
    first = next(module for module in model.source.modules() if isinstance(module, GradientCheckpointingLayer))
    runs = []
    inner = next(module for module in first.modules() if isinstance(module, torch.nn.LayerNorm | torch.nn.Linear))
    inner.register_forward_hook(lambda *_: runs.append(1))
    plain = gradients(model.train(), batch)
    once, runs[:] = len(runs), []
    model.activation_checkpointing_enable()
    checkpointed = gradients(model, batch)
    assert len(runs) == 2 * once
    for name, gradient in plain.items():
        torch.testing.assert_close(checkpointed[name], gradient, rtol=1e-5, atol=1e-7)
    runs[:] = []
    model.activation_checkpointing_disable()
    gradients(model, batch)
    assert len(runs) == once


def test_activation_checkpointing_through_training_arguments(source_folder, tmp_path):
    weights = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        model, processor = tiny.make_adapter(source_folder("bert"))
        tiny.trainer_for(
            model, processor, tiny.tokenized(processor), tmp_path / "run", activation_checkpointing=checkpointing
        ).train()
        assert any("forward" in module.__dict__ for module in model.source.modules()) == checkpointing
        weights.append(model.transform.prompts.detach())
    torch.testing.assert_close(*weights, rtol=1e-4, atol=1e-5)


def test_activation_checkpointing_of_a_family_without_layers_for_it_is_refused(source_folder):
    model, _ = tiny.make_adapter(source_folder("albert"))
    with pytest.raises(InputError, match="albert has no layers that transformers can checkpoint"):
        model.activation_checkpointing_enable()


RELOAD = """
import sys, torch
import hf_reprogram
from transformers import AutoModelForSequenceClassification
for folder in sys.argv[1:]:
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    with torch.no_grad():
        torch.save(model(**torch.load(folder + "/batch.pt")).logits, folder + "/logits.pt")
"""


def test_every_family_reloads_bit_equal_in_a_fresh_process(source_folder, tmp_path):
    made = {family: make_saved(source_folder(family), tmp_path / family) for family in tiny.FAMILIES}
    for adapter in made.values():
        torch.save(tiny.batch_of(adapter.processor), adapter.folder / "batch.pt")
    subprocess.run([sys.executable, "-c", RELOAD, *(str(a.folder) for a in made.values())], check=True)
    for family, adapter in made.items():
        with torch.no_grad():
            expected = adapter.model(**torch.load(adapter.folder / "batch.pt")).logits
        assert torch.equal(torch.load(adapter.folder / "logits.pt"), expected), family


def test_saved_tokenizer_reloads_with_the_adapter(adapter):
    texts, _ = words.texts(4)
    assert AutoTokenizer.from_pretrained(adapter.folder)(texts, texts[::-1]) == adapter.processor(texts, texts[::-1])


def test_weights_file_names_its_format(adapter):
    with safe_open(adapter.folder / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}
