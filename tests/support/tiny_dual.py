"""Tiny random text-image dual encoders: CLIP, SigLIP and a `VisionTextDualEncoderModel`, each with a tokenizer of letters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoTokenizer,
    BertConfig,
    CLIPConfig,
    CLIPModel,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipModel,
    VisionTextDualEncoderConfig,
    VisionTextDualEncoderModel,
    ViTConfig,
    set_seed,
)

from tests.support.tiny_vision import MEAN, PATCH, SIDE, STD, processor_of

TOKENS, WIDTH = 40, 32
LETTERS = " abcdefghijklmnopqrstuvwxyz.,"
_BOTH = {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
_IMAGE = {**_BOTH, "image_size": SIDE, "patch_size": PATCH}
FAMILIES = ("clip", "siglip", "vision-text")


def tokenizer() -> PreTrainedTokenizerFast:
    """A token a letter, between a first and a last token."""
    # The end has the largest id, as in CLIP's own vocabulary: old configurations of it look for that.
    vocabulary = {token: i for i, token in enumerate(["[PAD]", "[UNK]", *LETTERS, "[START]", "[END]"])}
    made = Tokenizer(models.WordLevel(vocabulary, "[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    ends = [("[START]", vocabulary["[START]"]), ("[END]", vocabulary["[END]"])]
    made.post_processor = TemplateProcessing(single="[START] $A [END]", special_tokens=ends)
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", bos_token="[START]", eos_token="[END]", unk_token="[UNK]"
    )


def make_model(family: str, seed: int = 0) -> Any:
    """A random model of a family; the same seed makes the same weights."""
    words = tokenizer()
    text = {
        **_BOTH,
        "vocab_size": len(words),
        "max_position_embeddings": TOKENS,
        "bos_token_id": words.bos_token_id,
        "eos_token_id": words.eos_token_id,
        "pad_token_id": words.pad_token_id,
    }
    set_seed(seed)
    if family == "clip":
        model: Any = CLIPModel(CLIPConfig(text_config=text, vision_config=_IMAGE, projection_dim=24))
    elif family == "siglip":
        model = SiglipModel(SiglipConfig(text_config=text, vision_config=_IMAGE))
    else:
        config = VisionTextDualEncoderConfig.from_vision_text_configs(
            ViTConfig(**_IMAGE), BertConfig(**text), projection_dim=24
        )
        model = VisionTextDualEncoderModel(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
            elif parameter.dim() > 1 and "embed" not in name:
                parameter.normal_(std=0.2)
        for table in (model.text_model.get_input_embeddings().weight,):
            table.normal_(std=0.5)
        model.logit_scale.fill_(2.0)
    return model.eval()


def make_source(family: str, seed: int = 0) -> Any:
    """A frozen source of a family, in memory."""
    from hf_reprogram.sources import DualSource

    return DualSource(make_model(family, seed), SIDE, MEAN, STD)


def save_source(folder: Path, family: str, seed: int = 0) -> Path:
    """A folder that transformers loads as a pretrained dual encoder."""
    make_model(family, seed).save_pretrained(folder)
    processor_of().save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    assert AutoTokenizer.from_pretrained(folder)("a b")["input_ids"] == tokenizer()("a b")["input_ids"]
    return folder
