"""Adversarial reprogramming of image classifiers (Elsayed, Goodfellow, Sohl-Dickstein 2019, arXiv 1806.11146).

    x~ = place(x) + M * tanh(W) / 2 on grey,  M zero on x;     P(t) = mean over B_t of P(s)

Theta is a program around the image. Omega maps the source's own labels and has no weights.

The paper's canvas has pixels from -1 to 1 and is zero outside of the image. In pixels from 0 to 1 this is a grey canvas and
half the amplitude.
"""

from __future__ import annotations

from dataclasses import dataclass

from .base import MethodInfo
from .composition import CanvasMethod, CanvasProgramOptions


@dataclass
class ElsayedOptions(CanvasProgramOptions):
    """Options of Elsayed et al.: those of `CanvasProgramOptions`.

    The canvas is grey. By default the image fills it, with the program on a frame; with an image_size the program surrounds it.
    """

    label_mapping: str = "identity"
    labels_per_class: int | None = 1
    amplitude: float = 0.5
    background: float = 0.5


class Elsayed(CanvasMethod):
    """A canvas with the program around the image, and the source's first labels.

    >>> from hf_reprogram import reprogram
    >>> model, processor = reprogram(image_source, "elsayed", ["cat", "dog"], image_size=8)
    >>> model(pixel_values=torch.rand(5, 3, 8, 8)).logits.shape
    torch.Size([5, 2])
    """

    info = MethodInfo(
        title="Adversarial Reprogramming of Neural Networks",
        authors="Elsayed, Goodfellow, Sohl-Dickstein",
        year=2019,
        arxiv="1806.11146",
        label="Elsayed et al.",
        source="image classifier",
        transform="canvas",
        mapping="label_map",
        differs="the loss compares the probabilities of the classes, where the paper takes that of the true class among all of "
        "the source's labels; there is no penalty unless l2 is set; the schedule is linear, where the paper's is exponential; "
        "pixels are clipped to their range; images fill the canvas, with the program on a frame, or have image_size, where "
        "the paper has 28 to 36 of 299 pixels",
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
