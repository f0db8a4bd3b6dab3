"""SPSA-GC: a program from answers alone, by simultaneous perturbation (Oh et al. 2023, BlackVIP, arXiv 2303.14773).

    x~ = clip(place(x) + M * tanh(W))        P(t) = mean over B_t of P(s)
    m = .9 m + g,   W = W - a (g + .9 m)     g from "spsa" of `hf_reprogram.gradients`

BlackVIP estimates the gradient of a small decoder after a frozen encoder of its own. Here theta is a program of few numbers, as
in BAR. The correction of the gradient is the Nesterov momentum of `torch.optim.SGD`. Omega maps the source's own labels.
"""

from __future__ import annotations

from dataclasses import dataclass

from .base import MethodInfo
from .composition import CanvasMethod, CanvasProgramOptions


@dataclass
class SPSAGCOptions(CanvasProgramOptions):
    """Options of SPSA-GC: those of `CanvasProgramOptions`."""


class SPSAGC(CanvasMethod):
    """A canvas with a program of few numbers and a label map by frequency, from answers alone.

    >>> from hf_reprogram import reprogram
    >>> model, processor = reprogram(image_source, "spsa_gc", ["cat", "dog"], image_size=24, cell=4)
    >>> model.config.gradients, model.num_trainable()  # a frame of 8 x 8 cells without the 6 x 6 of the image
    ({'spsa': {'q': 5, 'c': 0.01, 'decay': 0.1}}, 84)
    """

    info = MethodInfo(
        title="BlackVIP: Black-Box Visual Prompting for Robust Transfer Learning",
        authors="Oh, Hwang, Lee, Lim, Jung, Jung, Choi, Song",
        year=2023,
        arxiv="2303.14773",
        label="SPSA-GC",
        source="image classifier, also one that only answers",
        transform="canvas",
        mapping="label_map",
        differs="theta is a program on a frame, where theirs is a decoder after an encoder, with a program per image; the "
        "source is a classifier with a label map, where theirs is CLIP; the rate falls as a cosine, where theirs falls as a "
        "power of the step",
        pipeline_tag="image-classification",
    )
    Options = SPSAGCOptions
    gradients = {"spsa": {"q": 5, "c": 0.01, "decay": 0.1}}
    training = {
        "learning_rate": 1e-2,
        "optim": "sgd",
        "optim_args": "momentum=0.9,nesterov=True",
        "weight_decay": 0.0,
        "num_train_epochs": 30,
        "per_device_train_batch_size": 32,
        "lr_scheduler_type": "cosine",
    }
