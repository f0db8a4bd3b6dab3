"""Tiny random sources of every family with tokenizers of their own, and adapters on them.

Weights are drawn wide enough that attention is far from uniform and no bias is zero: a wrong shortcut, mask or position
then changes the numbers by far more than rounding does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    DistilBertTokenizer,
    ElectraTokenizer,
    set_seed,
)

from tests.support import words
from tests.support.words import texts

MAX_TOKENS = 64
WIDTH, NARROW = 32, 16


@dataclass(frozen=True)
class Family:
    """How to make one: its model type, kind, tokenizer and the sizes that are called differently in its config."""

    kind: str
    model_type: str
    tokenizer: Any
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def has_mask(self) -> bool:
        """Whether its tokenizer has a mask token."""
        return self.kind != "causal_lm"


_BERT = {
    "hidden_size": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": MAX_TOKENS,
    "initializer_range": 0.3,
}
_DISTIL = {"dim": WIDTH, "n_layers": 2, "n_heads": 2, "hidden_dim": 48, "max_position_embeddings": MAX_TOKENS}
_GPT2 = {"n_embd": WIDTH, "n_layer": 2, "n_head": 2, "n_positions": MAX_TOKENS, "initializer_range": 0.3}
_DEBERTA = {
    "relative_attention": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_buckets": 8,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
}
_MODERN = {"global_attn_every_n_layers": 2, "local_attention": 8, "bos_token_id": 0, "eos_token_id": 1}

FAMILIES = {
    "bert": Family("masked_lm", "bert", words.wordpiece, _BERT),
    "roberta": Family("masked_lm", "roberta", words.roberta_bpe, {**_BERT, "max_position_embeddings": MAX_TOKENS + 2}),
    "albert": Family("masked_lm", "albert", words.unigram, {**_BERT, "embedding_size": NARROW}),
    "distilbert": Family(
        "masked_lm", "distilbert", lambda: words.wordpiece(DistilBertTokenizer), {**_DISTIL, "initializer_range": 0.3}
    ),
    "electra": Family(
        "masked_lm", "electra", lambda: words.wordpiece(ElectraTokenizer), {**_BERT, "embedding_size": NARROW}
    ),
    "deberta-v2": Family("masked_lm", "deberta-v2", words.deberta_unigram, {**_BERT, **_DEBERTA}),
    "modernbert": Family("masked_lm", "modernbert", words.modernbert_bpe, {**_BERT, **_MODERN}),
    "bert-encoder": Family("encoder", "bert", words.wordpiece, _BERT),
    "gpt2": Family("causal_lm", "gpt2", words.gpt2_bpe, _GPT2),
    "llama": Family("causal_lm", "llama", words.llama_bpe, {**_BERT, "num_key_value_heads": 1, "head_dim": WIDTH // 2}),
}
CLASSIFIERS = {"bert-classifier": Family("classifier", "bert", words.wordpiece, {**_BERT, "num_labels": 6})}
MASKED = [name for name, family in FAMILIES.items() if family.kind == "masked_lm"]
CAUSAL = [name for name, family in FAMILIES.items() if family.kind == "causal_lm"]
READS = {
    "masked_lm": ["mask", "first", "last", "features"],
    "encoder": ["mask", "first", "last", "features"],
    "causal_lm": ["last", "features"],
}


def make_model(family: str, seed: int = 0, **config: Any) -> Any:
    """A random model of a family; the same seed makes the same weights."""
    made = {**FAMILIES, **CLASSIFIERS}[family]
    tokenizer = made.tokenizer()
    special = {
        name: value
        for name in ("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id")
        if (value := getattr(tokenizer, name)) is not None
    }
    configuration = AutoConfig.for_model(
        made.model_type, vocab_size=len(tokenizer), **{**made.config, **special, **config}
    )
    auto = {
        "masked_lm": AutoModelForMaskedLM,
        "encoder": AutoModel,
        "causal_lm": AutoModelForCausalLM,
        "classifier": AutoModelForSequenceClassification,
    }[made.kind]
    set_seed(seed)
    model = auto.from_config(configuration)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:  # biases and norms, which start at 0 and 1
                parameter.add_(0.2 * torch.randn_like(parameter))
        table = model.get_input_embeddings().weight
        opinion = 0.3 * torch.randn(table.shape[1])  # what pretraining would have taught: good words are alike
        for sign, group in ((1, words.GOOD), (-1, words.BAD)):
            table[[tokenizer(f" {word}", add_special_tokens=False)["input_ids"][0] for word in group]] += sign * opinion
    return model.eval()


def make_adapter(
    source: Any,
    mapping: str = "verbalizer",
    transform: str = "prompt_slots",
    labels: Any = ("bad", "good"),
    **options: Any,
) -> tuple[Any, Any]:
    """WARP's adapter, with its mapping or its transform exchanged for another one that takes the same options."""
    from hf_reprogram import ReprogramConfig, ReprogrammedModel, reprogram

    model, processor = reprogram(source, labels=labels, **{"num_prompts": 3, **options})
    if (mapping, transform) == ("verbalizer", "prompt_slots"):
        return model, processor
    plain = model.config.to_dict()
    plain["mapping"]["type"] = mapping
    if transform != "prompt_slots":
        plain["transform"] = {"type": transform, "width": plain["transform"]["width"]}
    made = ReprogrammedModel(ReprogramConfig(**plain), model.source)
    if transform == "prompt_slots" and made.transform.num_prompts:
        made.transform.load_state_dict(model.transform.state_dict())
    made.mapping.reset()
    return made, processor


def tokenized(processor: Any, count: int = 16, seed: int = 0) -> Any:
    """A `datasets.Dataset` of tokenized synthetic texts with labels, of mixed lengths."""
    from datasets import Dataset

    sentences, labels = texts(count, seed)
    return Dataset.from_dict({**processor(sentences), "labels": labels})


def batch_of(processor: Any, count: int = 5, seed: int = 1) -> dict[str, torch.Tensor]:
    """A padded batch of synthetic texts."""
    return dict(processor(texts(count, seed)[0], padding=True, return_tensors="pt"))


def on_the_left(batch: Any) -> dict[str, torch.Tensor]:
    """A batch that is padded on the right, with its padding moved to the left."""
    missing = batch["attention_mask"].shape[1] - batch["attention_mask"].sum(1)
    return {
        name: torch.stack([row.roll(int(shift)) for row, shift in zip(rows, missing, strict=True)])
        for name, rows in batch.items()
    }


def trainer_for(model: Any, processor: Any, data: Any, folder: Path, eval_dataset: Any = None, **arguments: Any) -> Any:
    """The stock Trainer, as a user would write it."""
    from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

    defaults = {
        "max_steps": 3,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-2,
        "use_cpu": True,
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "save_strategy": "no",
        "logging_strategy": "no",
    }
    return Trainer(
        model,
        TrainingArguments(output_dir=str(folder), **{**defaults, **arguments}),
        train_dataset=data,
        eval_dataset=eval_dataset,
        processing_class=processor,
        data_collator=DataCollatorWithPadding(processor),
    )


def save_source(folder: Path, family: str, seed: int = 0, **config: Any) -> Path:
    """Save a random model and its tokenizer, as a user would have them from the Hub."""
    make_model(family, seed, **config).save_pretrained(folder)
    {**FAMILIES, **CLASSIFIERS}[family].tokenizer().save_pretrained(folder)
    return folder
