"""ILM-VP: visual prompting with iterative label mapping (Chen, Yao, Chen, Zhang, Liu 2023, arXiv 2211.11635).

    x~ = place(x) + M * sigmoid(W),  M zero on x;     P(t) = mean over B_t of P(s)

Theta is a program around the image. Omega has no weights. It gives each class a source label, by a greedy choice of the largest
mean probabilities, and is fitted again before every epoch.
"""

from __future__ import annotations

from dataclasses import dataclass

from .base import MethodInfo
from .composition import CanvasMethod, CanvasProgramOptions


@dataclass
class ILMVPOptions(CanvasProgramOptions):
    """Options of ILM-VP: those of `CanvasProgramOptions`.

    The canvas is black, and one source label per class is fitted before every epoch.
    """

    label_mapping: str = "iterative"
    labels_per_class: int | None = 1
    papers_squash = "sigmoid"


class ILMVP(CanvasMethod):
    """A canvas with the program around the image, and an iterative label map.

    >>> from hf_reprogram import reprogram
    >>> model, processor = reprogram(image_source, "ilm_vp", ["cat", "dog"], image_size=8)
    >>> model.num_trainable()  # 3 * (32 * 32 - 8 * 8)
    2880
    """

    info = MethodInfo(
        title="Understanding and Improving Visual Prompting: A Label-Mapping Perspective",
        authors="Chen, Yao, Chen, Zhang, Liu",
        year=2023,
        arxiv="2211.11635",
        label="ILM-VP",
        source="image classifier",
        transform="canvas",
        mapping="label_map",
        differs="labels are ranked by their mean probability, where the authors count how often a label is the most probable; "
        "the best epoch is selected on validation, where theirs is selected on test; training has 50 epochs with a cosine "
        "schedule, where theirs has 200 with a stepped one; images fill the canvas, with the program on a frame, or have "
        "image_size, where theirs have 32 or 128 of 224 pixels; batches have 64 images, where theirs have 64 to 128",
        pipeline_tag="image-classification",
    )
    Options = ILMVPOptions
    training = {
        "learning_rate": 1e-2,
        "weight_decay": 0.0,
        "num_train_epochs": 50,
        "per_device_train_batch_size": 64,
        "lr_scheduler_type": "cosine",
    }
