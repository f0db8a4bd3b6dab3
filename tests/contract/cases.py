"""How to build a tiny offline case of every registered part: one table per registry, one line per part.

`tests.contract.test_registries` fails for a registered name that has no line here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from hf_reprogram import InputError
from hf_reprogram.methods import METHODS
from hf_reprogram.methods.base import Target
from hf_reprogram.options import from_dict
from hf_reprogram.sources import Source, SourceSpec, VisionSource
from hf_reprogram.transforms.template import Template, apply_template
from tests.support import black_boxes, modules, tiny, tiny_audio, tiny_dual, tiny_vision, words

LABELS = ["bad", "good"]
TEXTS = words.texts(50)[0]
FEATURES = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
SERIES = tiny_audio.series(30)[0]

# ------------------------------------------------------------------------------------------------------------ sources


def _convolutions(_: Path) -> Source:
    return VisionSource(modules.Convolutions(), tiny_vision.SIDE, tiny_vision.MEAN, tiny_vision.STD)


FAMILIES = {  # a source of every registered family, by which the family is covered
    "text": "bert",
    "module": "lstm",
    "vision": "vit",
    "vision_module": "convolutions",
    "dual": "clip",
    "audio": "wav2vec2",
    "audio_module": "bands",
    "image_black_box": "image_black_box",
    "audio_black_box": "audio_black_box",
    "text_black_box": "text_black_box",
}
SOURCES: dict[str, Callable[[Path], Any]] = {  # a folder to write into -> what `load_source` takes
    **{name: partial(tiny.save_source, family=name) for name in (*tiny.FAMILIES, *tiny.CLASSIFIERS)},
    "lstm": lambda _: modules.Recurrent(),
    "lstm-classifier": lambda _: modules.Classifier(),
    **{name: partial(tiny_vision.save_source, family=name) for name in tiny_vision.FAMILIES},
    "vit-encoder": partial(tiny_vision.save_source, family="vit", head=False),
    "convolutions": _convolutions,
    **{name: partial(tiny_dual.save_source, family=name) for name in tiny_dual.FAMILIES},
    **{name: partial(tiny_audio.save_source, family=name) for name in tiny_audio.FAMILIES},
    "whisper-encoder": partial(tiny_audio.save_source, family="whisper", head=False),
    "bands": lambda _: tiny_audio.make_module(),
    "image_black_box": lambda _: black_boxes.of_images(),
    "audio_black_box": lambda _: black_boxes.of_sounds(),
    "text_black_box": lambda _: black_boxes.of_texts(),
}

# ---------------------------------------------------------------------------------------------------------- modalities


def _texts(processor: Any, count: int) -> tuple[list[dict[str, Any]], list[int]]:
    texts, labels = words.texts(count, seed=3)
    return [dict(processor(text, truncation=True)) for text in texts], labels


def _images(processor: Any, count: int) -> tuple[list[dict[str, Any]], list[int]]:
    images, labels = tiny_vision.images(count)
    return [{"pixel_values": torch.as_tensor(pixels)} for pixels in processor(images)["pixel_values"]], labels


def _table(_: Any, count: int) -> tuple[list[dict[str, Any]], list[int]]:
    rows = FEATURES[:count]
    return [{"table_values": row} for row in rows], [int(row[0] > 0) for row in rows]


def _sounds(extractor: Any, count: int) -> tuple[list[dict[str, Any]], list[int]]:
    sounds, labels = tiny_audio.sounds(count)
    return [{"input_values": clip} for clip in extractor(sounds)["input_values"]], labels


def _series(processor: Any, count: int) -> tuple[list[dict[str, Any]], list[int]]:
    rows, labels = tiny_audio.series(count)
    return [{"past_values": row} for row in processor(rows)["past_values"]], labels


MODALITIES: dict[str, Callable[[Any, int], tuple[list[dict[str, Any]], list[int]]]] = {
    "text": _texts,
    "image": _images,
    "table": _table,
    "audio": _sounds,
    "series": _series,
}

# ---------------------------------------------------------------------------------------------------------- transforms


class Start(NamedTuple):
    """A transform's options on a source, the processor of its data, and what sets theta (and resets omega)."""

    options: dict[str, Any]
    processor: Any
    initialize: Callable[[Any], Any]


def _of_method(name: str, source: Source, own: Any, reads: str, features: Any = FEATURES, **options: Any) -> Start:
    """The transform that a method composes for a source."""
    kind = METHODS[name]
    if options.get("mapping") == "dense" and "features" not in source.spec.widths:
        options["reads"] = "logits"
    method = kind(from_dict(kind.Options, options, f"option of {name}"))
    parts = method.compose(source, own, Target(2, texts=TEXTS, features=features, labels=LABELS))

    def initialize(model: Any) -> None:
        if parts.processor is None:  # a table
            model.transform.fit(features)
        method.initialize(model, parts.processor)

    return Start(parts.transform, parts.processor, initialize)


def _prompt_slots(source: Source, tokenizer: Any, reads: str) -> Start:
    if tokenizer is None:
        raise InputError("A template needs the source's tokenizer.")
    template = Template.default(3, reads)
    templated, first = apply_template(tokenizer, template, source.spec.max_tokens)
    mask = templated.mask_token_id if template.has_mask else None
    options = {
        "template": str(template),
        "width": source.spec.embedding_width,
        "first_slot_id": first,
        "mask_token_id": mask,
        "averaged": False,
    }

    def initialize(model: Any) -> None:
        nn.init.normal_(model.transform.prompts, std=0.3)
        model.mapping.reset()

    return Start({"type": "prompt_slots", **options}, templated, initialize)


def _toy_shift(source: Source, tokenizer: Any, reads: str) -> Start:
    start = _prompt_slots(source, tokenizer, reads)
    options = {"type": "toy_shift", "width": source.spec.embedding_width}
    return Start(options, start.processor, lambda model: model.mapping.reset())


_SMALL = {"patch": 8, "stride": 4, "prototypes": 20, "sparsity": 4, "heads": 2, "d_ff": 8, "prompt": False}


def _dual(source: Source, tokenizer: Any, reads: str) -> Start:
    compared = reads in ("pair", "residual")  # only then does a program of the texts decide anything
    return _of_method("reprogrammer", source, tokenizer, reads, text_program="low_rank" if compared else "none")


TRANSFORMS: dict[str, Callable[[Source, Any, str], Start]] = {
    "prompt_slots": _prompt_slots,
    "toy_shift": _toy_shift,
    "vocabulary": partial(_of_method, "r2dl", tokenizer="characters", sparsity=4),
    "contextual_vocabulary": partial(_of_method, "neekhara", tokenizer="characters"),
    "canvas": partial(_of_method, "elsayed", mapping="dense", image_size=16),
    "sample_mask": partial(_of_method, "smm", mapping="dense"),
    "feature_overlay": partial(_of_method, "fraud", mapping="dense"),
    "pixel_sequence": partial(_of_method, "fpt", image_size=16),
    "number_sequence": partial(_of_method, "fpt_numbers"),
    "token_patches": partial(_of_method, "cross_modal", mapping="dense"),
    "dual": _dual,
    "waveform": partial(_of_method, "ar_scr", mapping="dense", dropout=0.0),
    "series_waveform": lambda source, own, reads: _of_method(
        "voice2series", source, own, reads, features=SERIES, mapping="dense", copies=4
    ),
    "series_patches": lambda source, own, reads: _of_method("time_llm", source, own, reads, features=SERIES, **_SMALL),
}

# ------------------------------------------------------------------------------------------------------------ mappings


class Reading(NamedTuple):
    """What a mapping may read of a source, and its options for one of these."""

    reads: tuple[str, ...]
    options: Callable[[SourceSpec, str], dict[str, Any]] = lambda spec, reads: {}


VECTORS = ("mask", "first", "last", "features")
MAPPINGS: dict[str, Reading] = {
    "verbalizer": Reading(VECTORS, lambda spec, reads: {"reads": reads}),
    "dense": Reading((*VECTORS, "tokens", "decoder", "logits"), lambda spec, reads: {"reads": reads}),
    "toy_cosine": Reading(VECTORS, lambda spec, reads: {"reads": reads}),
    "positions": Reading(("tokens",), lambda spec, reads: {"max_tokens": 16}),
    "window": Reading(("tokens",), lambda spec, reads: {"window": 2}),
    "last_states": Reading(("tokens",), lambda spec, reads: {"states": 3, "kept": 8}),
    "token_map": Reading(("decoder",), lambda spec, reads: {"vocab_size": spec.vocab_size}),
    "label_map": Reading(("logits",), lambda spec, reads: {"how": "frequency"}),
    "rvp": Reading(("logits",), lambda spec, reads: {"how": "frequency", "labels_per_class": 2}),
    "similarity": Reading(("pair",)),
}

# ------------------------------------------------------------------------------------------------------------- methods


class Chosen(NamedTuple):
    """A source and a method's options on it."""

    source: str
    options: dict[str, Any] = {}


_LETTERS = {"tokenizer": "characters"}
_SURROUND = {"image_size": 16}
_PER_TOKEN = {"problem_type": "token_classification"}
_INFILLING = {"problem_type": "infilling", "labels": None}
METHOD_CASES: dict[str, list[Chosen]] = {
    "warp": [
        Chosen("bert", {"num_prompts": 3}),
        Chosen("bert", {"num_prompts": 3, "deep": True}),
        Chosen("gpt2", {"num_prompts": 3}),
        Chosen("bert", {"num_prompts": 3, "tune": ["norms", "positions"]}),
        Chosen("bert", {"num_prompts": 3, "subspace": 5}),
        Chosen("llama", {"num_prompts": 3, "tune": "norms"}),
        Chosen("bert", {"num_prompts": 3, "tune": [{"lora": {"r": 2, "target_modules": ["query", "value"]}}]}),
    ],
    "r2dl": [
        Chosen("bert", {**_LETTERS, **_PER_TOKEN, "sparsity": None}),
        Chosen("gpt2", {**_LETTERS, **_PER_TOKEN, "sparsity": None}),
        Chosen("bert", {**_LETTERS, **_PER_TOKEN, "mapping": "window"}),
        Chosen("bert", {**_LETTERS, "mapping": "positions"}),
        Chosen("llama", {**_LETTERS, "mapping": "positions"}),
        Chosen("bert-classifier", {**_LETTERS, "mapping": "label_map"}),
        Chosen("bert-classifier", {**_LETTERS, "reads": "logits"}),
    ],
    "reprogbert": [Chosen(name, {**_LETTERS, **_INFILLING}) for name in ("bert", "deberta-v2")],
    "neekhara": [
        *(Chosen(name, _LETTERS) for name in ("bert-classifier", "roberta", "llama", "text_black_box")),
        Chosen("bert-classifier", {**_LETTERS, "gradients": {"reinforce": {"samples": 3}}}),
        Chosen("text_black_box", {**_LETTERS, "label_mapping": "frequency"}),
    ],
    "elsayed": [
        *(
            Chosen("vit", {**_SURROUND, "label_mapping": how})
            for how in ("random", "identity", "optimal", "iterative", "similarity")
        ),
        *(
            Chosen("vit", {**_SURROUND, "aggregate": aggregate, "labels_per_class": 2})
            for aggregate in ("sum_probability", "max_logit", "mean_logit")
        ),
        Chosen("vit", {**_SURROUND, "mapping": "rvp", "labels_per_class": 3}),
        Chosen("clip", {**_SURROUND, "mapping": "dense"}),
    ],
    "bar": [
        Chosen("image_black_box"),
        Chosen("vit", {"image_size": 16, "cell": 5, "gradients": "exact"}),
        Chosen("resnet", {"mapping": "dense", "gradients": {"rgf": {"q": 3}}}),
        Chosen("image_black_box", {"gradients": {"cma_es": {"popsize": 4}}}),
    ],
    "bbt": [
        Chosen("bert", {"num_prompts": 3, "subspace": 5, "verbalizer": {"bad": "bad", "good": "good"}}),
        *(Chosen(name, {"num_prompts": 3, "subspace": 5}) for name in ("bert-encoder", "gpt2")),
    ],
    "spsa_gc": [Chosen("image_black_box", {"cell": 1}), Chosen("vit", {"mapping": "rvp"})],
    "blm": [Chosen("dinov2", _SURROUND), Chosen("vit", {**_SURROUND, "label_mapping": "blm"})],
    "ilm_vp": [
        Chosen("vit", {**_SURROUND, "learn_scale": True}),
        Chosen("vit", {"image_size": 10, "copies": 4}),
        Chosen("vit", {**_SURROUND, "place": [0, 3]}),
    ],
    "kloberdanz": [
        *(Chosen(name, {"reads": "features"}) for name in ("vit", "swin")),
        Chosen("resnet", {"mask": "border", "border": 4, "l2": 0.01}),
        Chosen("vit", {"reads": "probabilities"}),
    ],
    "smm": [Chosen("vit"), Chosen("resnet", {"mapping": "dense"})],
    "cross_modal": [
        Chosen("vit", {"tokenizer": "characters"}),
        Chosen("vit", {"bounded": True}),
        Chosen("resnet", {"patch_size": 4}),
        Chosen("vision-text", {"mapping": "dense"}),
    ],
    "voice2series": [
        Chosen("keyword_spotter"),
        Chosen("keyword_spotter", {"placing": "frequency", "learn_scale": True}),
        Chosen("ast", {"placing": "stretched", "copies": 2, "domain": "spectrogram"}),
        Chosen("bands", {"placing": "amplitude", "mask": "full", "l2": 0.01}),
    ],
    "ar_scr": [
        Chosen("keyword_spotter"),
        Chosen("wav2vec2", {"mapping": "dense"}),
        Chosen("whisper-encoder", {"mapping": "dense", "domain": "spectrogram"}),
    ],
    "fpt": [
        Chosen("gpt2", {"image_size": 16}),
        Chosen("llama", {"image_size": 8, "channels": 1}),
        Chosen("bert-encoder", {"image_size": 16, "patch": 8, "tune": []}),
    ],
    "fpt_numbers": [
        Chosen("gpt2", {"standardize": False}),
        Chosen("bert-encoder", {"patch": 2, "tune": ["positions"], "start": "none"}),
    ],
    "time_llm": [
        Chosen("gpt2", _SMALL),
        Chosen("llama", {**_SMALL, "prototype_codes": "dense", "start": "none"}),
        Chosen("bert-encoder", {**_SMALL, "use_source": False, "dropout": 0.1}),
        Chosen("lstm", {**_SMALL, "use_source": False}),
        Chosen("albert", {**_SMALL, "labels": None, "problem_type": "regression"}),
    ],
    "fraud": [Chosen("vit"), Chosen("convnext", {"mapping": "dense"})],
    "reprogrammer": [
        *(Chosen(name) for name in tiny_dual.FAMILIES),
        *(Chosen(name, {"text_program": "context", "size": 3}) for name in tiny_dual.FAMILIES),
        Chosen("clip", {"text_program": "table", "alpha": 0.4}),
        Chosen("vision-text", {"alpha": 0.4, "learn_alpha": True, "resolution": 16}),
        Chosen("siglip", {"loss": "contrastive", "templates": ["a {}", "one {}."]}),
        Chosen("clip", {"image_program": "full", "text_program": "none"}),
    ],
}
