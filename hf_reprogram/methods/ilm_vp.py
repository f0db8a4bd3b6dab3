"""ILM-VP: visual prompting with iterative label mapping (Chen, Yao, Chen, Zhang, Liu 2023, arXiv 2211.11635).

    x~ = place(x) + M * sigmoid(W),  M zero on x;     B_t fitted again to the program before every epoch

theta: a program around the image.  omega: one source label a class, the one that answers the class most.
"""

from __future__ import annotations

from dataclasses import dataclass

from .base import MethodInfo
from .composition import CanvasMethod, CanvasProgramOptions


@dataclass
class ILMVPOptions(CanvasProgramOptions):
    """See `CanvasProgramOptions`; the image lies in the middle of black, and one label a class is fitted every epoch."""

    label_mapping: str = "iterative"
    labels_per_class: int | None = 1
    squash: str = "sigmoid"


class ILMVP(CanvasMethod):
    """A canvas with the program around the image, and an iterative label map."""

    info = MethodInfo(
        title="Understanding and Improving Visual Prompting: A Label-Mapping Perspective",
        authors="Chen, Yao, Chen, Zhang, Liu",
        year=2023,
        arxiv="2211.11635",
        label="ILM-VP",
        source="image classifier",
        transform="canvas",
        mapping="label_map",
        differs="labels are ranked by their mean probability, where the authors count first guesses; chosen on validation, "
        "where they choose on test; 50 epochs of a cosine in place of 200 of a stepped schedule; images of a quarter of the "
        "canvas's side, or of image_size, where theirs have 32 or 128 pixels of 224; batches of 64, not 64 to 128",
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
