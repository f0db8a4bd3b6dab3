"""Tiny random image sources of every family, and images to classify.

As in `tests.support.tiny`, weights are drawn wide and no bias is zero, so that a wrong shortcut changes the numbers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import AutoConfig, AutoModel, AutoModelForImageClassification, set_seed
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

SIDE, PATCH, LABELS = 32, 8, 12
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)

_VIT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "image_size": SIDE,
    "patch_size": PATCH,
    "initializer_range": 0.3,
}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "vit": ("vit", _VIT),
    "dinov2": ("dinov2", {**_VIT, "layerscale_value": 1.0}),
    "beit": ("beit", {**_VIT, "use_relative_position_bias": True, "layer_scale_init_value": 1.0}),
    "swin": (
        "swin",
        {"image_size": SIDE, "patch_size": 4, "embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4},
    ),
    "convnext": ("convnext", {"image_size": SIDE, "hidden_sizes": [16, 32], "depths": [1, 1], "num_stages": 2}),
    "resnet": ("resnet", {"embedding_size": 8, "hidden_sizes": [16, 32], "depths": [1, 1], "layer_type": "basic"}),
}
PATCHED = ["vit", "dinov2", "beit", "swin", "convnext"]  # whose first layer projects patches


def make_model(family: str, seed: int = 0, head: bool = True, **config: Any) -> Any:
    """A random model of a family; the same seed makes the same weights."""
    model_type, sizes = FAMILIES[family]
    configuration = AutoConfig.for_model(
        model_type,
        **{
            "num_labels": LABELS,
            **sizes,
            "id2label": {i: f"thing {i}" for i in range(LABELS)},
            "label2id": {f"thing {i}": i for i in range(LABELS)},
            **config,
        },
    )
    set_seed(seed)
    model = (AutoModelForImageClassification if head else AutoModel).from_config(configuration)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
            elif "classifier" in name:
                parameter.normal_(std=0.5)
        for name, buffer in model.named_buffers():
            if name.endswith("running_var"):
                buffer.add_(0.5 * torch.rand_like(buffer))
    return model.eval()


def processor_of(side: int = SIDE) -> ViTImageProcessorPil:
    """An image processor that resizes and normalises."""
    return ViTImageProcessorPil(size={"height": side, "width": side}, image_mean=list(MEAN), image_std=list(STD))


def save_source(folder: Path, family: str, **options: Any) -> Path:
    """A folder that transformers loads as a pretrained image model."""
    make_model(family, **options).save_pretrained(folder)
    processor_of().save_pretrained(folder)
    return folder


def make_source(family: str, **options: Any) -> Any:
    """A frozen source of a family, in memory."""
    from hf_reprogram.sources import VisionSource

    kind = "image_classifier" if options.get("head", True) else "image_encoder"
    return VisionSource(make_model(family, **options), SIDE, MEAN, STD, kind=kind)


def images(count: int = 16, seed: int = 0, side: int = 8, mode: str = "RGB") -> tuple[list[Image.Image], list[int]]:
    """Noisy squares, which are bright above (label 0) or below (label 1)."""
    random = np.random.default_rng(seed)
    labels = [index % 2 for index in range(count)]
    made = []
    for label in labels:
        pixels = random.integers(0, 120, (side, side, 3))
        half = slice(0, side // 2) if label == 0 else slice(side // 2, side)
        pixels[half] += 130
        made.append(Image.fromarray(pixels.astype(np.uint8)).convert(mode))
    return made, labels
