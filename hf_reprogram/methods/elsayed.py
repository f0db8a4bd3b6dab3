"""Adversarial reprogramming of image classifiers (Elsayed, Goodfellow, Sohl-Dickstein 2019, arXiv 1806.11146).

    x~ = place(x) + M * tanh(W) / 2 on grey,  M zero on x;     P(t) = mean over B_t of P(s)

theta: a program around the image.  omega: a map of the source's own labels, which has no weights.

In pixels from 0 to 1 the paper's canvas, from -1 to 1 and zero where nothing lies, is grey with half the amplitude.
"""

from __future__ import annotations

from dataclasses import dataclass

from .base import MethodInfo
from .composition import CanvasMethod, CanvasProgramOptions


@dataclass
class ElsayedOptions(CanvasProgramOptions):
    """See `CanvasProgramOptions`; the image lies in the middle of grey and the program around it."""

    label_mapping: str = "identity"
    labels_per_class: int | None = 1
    amplitude: float = 0.5
    background: float = 0.5


class Elsayed(CanvasMethod):
    """A canvas with the program around the image, and the source's first labels."""

    info = MethodInfo(
        title="Adversarial Reprogramming of Neural Networks",
        authors="Elsayed, Goodfellow, Sohl-Dickstein",
        year=2019,
        arxiv="1806.11146",
        label="Elsayed et al.",
        source="image classifier",
        transform="canvas",
        mapping="label_map",
        differs="the loss compares the classes' probabilities, where the paper takes that of the true class among all of "
        "the source's labels; no penalty unless l2 is given; a linear in place of an exponential schedule; clipped to the "
        "pixels' range; images of a quarter of the canvas's side, or of image_size, where the paper has 28 to 36 pixels of 299",
        pipeline_tag="image-classification",
    )
    Options = ElsayedOptions
    training = {
        "learning_rate": 5e-2,
        "weight_decay": 0.0,
        "num_train_epochs": 30,
        "per_device_train_batch_size": 32,
        "lr_scheduler_type": "linear",
    }
