"""FPT: a frozen pretrained transformer of texts as a computation engine for other data (Lu, Grover, Abbeel, Mordatch 2021).

    x = (p_1, ..., p_n)   ->   e_i = A p_i + b   ->   h = f(e_1, ..., e_n)   ->   y = W h_n + c

The patches p of an image or of a row of numbers become input embeddings, and a linear layer reads the last position. Trained
are A, b, W and c, and of the source the norms and the learned position embeddings, if it has any: `tune=["norms",
"positions"]`. Attention and feed-forward layers stay frozen. `tune` may name other parts, or none.

There are two methods, as their examples differ: `fpt` takes images and `fpt_numbers` takes rows of numbers, such as bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from ..modalities.pixels import image_processor
from ..sources.base import Source
from .base import Method, MethodInfo, MethodOptions, Parts, Target

_PAPER: dict[str, Any] = {
    "title": "Pretrained Transformers as Universal Computation Engines",
    "authors": "Lu, Grover, Abbeel, Mordatch",
    "year": 2021,
    "arxiv": "2103.05247",
    "source": "text model, causal or encoder, in float32",
    "mapping": "dense",
}
_DIFFERS = (
    "there is no dropout, where the authors' source has 0.1; omega starts at a linear probe unless start is none; the best "
    "epoch is selected on validation"
)


@dataclass
class FPTOptions(MethodOptions):
    """Options of FPT on images, in addition to those of `MethodOptions`.

    Attributes:
        image_size: the side in pixels to which images are resized.
        patch: the side of a patch in pixels.
        channels: 3, or 1 for grey images.
    """

    image_size: int = 32
    patch: int = 4
    channels: int = 3


@dataclass
class FPTNumbersOptions(MethodOptions):
    """Options of FPT on rows of numbers, in addition to those of `MethodOptions`.

    Attributes:
        patch: the numbers of a patch, which is one position of the source.
        standardize: whether each column is centred and scaled by its training data. Bits as -1 and 1 need it not.
    """

    patch: int = 1
    standardize: bool = True


class FPTMethod(Method):
    """What both methods share: what is trained, and how.

    >>> FPT(FPTOptions()).arguments()["learning_rate"], FPT.tune
    (0.001, ('norms', 'positions'))
    """

    problem_types = ("single_label_classification", "regression", "multi_label_classification")
    training = {
        "learning_rate": 1e-3,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "num_train_epochs": 10,
        "per_device_train_batch_size": 4,
        "lr_scheduler_type": "constant",
    }
    tune = ("norms", "positions")

    def _parts(self, source: Source, transform: dict[str, Any], target: Target, processor: Any) -> Parts:
        if "last" not in source.spec.widths:
            raise InputError(
                f"FPT reads the last position of a text model, which the {source.spec.kind} source does not have: use a causal "
                "LM or an encoder."
            )
        mapping = {
            "type": "dense",
            "num_labels": target.num_labels,
            "width": source.spec.widths["last"],
            "reads": "last",
        }
        return Parts({**transform, "width": source.spec.embedding_width}, mapping, processor)

    def initialize(self, model: Any, processor: Any) -> None:
        """Start with an orthogonal input layer and a fresh mapping."""
        model.transform.reset()
        model.mapping.reset()


class FPT(FPTMethod):
    """Patches of images through a text model, with its norms and positions tuned.

    >>> from hf_reprogram import reprogram
    >>> model, processor = reprogram(text_source, "fpt", ["cat", "dog"], image_size=16, processor=tokenizer)
    >>> model(pixel_values=torch.rand(2, 3, 16, 16)).logits.shape
    torch.Size([2, 2])
    """

    info = MethodInfo(
        **_PAPER,
        label="FPT",
        transform="pixel_sequence",
        pipeline_tag="image-classification",
        differs=_DIFFERS,
    )
    Options = FPTOptions
    options: FPTOptions

    def compose(self, source: Source, processor: Any, target: Target) -> Parts:
        """The patches, a linear layer on the last position, and an image processor for the images' size."""
        source.spec.check_tokens()
        side, options = self.options.image_size, self.options
        size = {"height": side, "columns": side, "patch": options.patch, "channels": options.channels}
        return self._parts(source, {"type": "pixel_sequence", **size}, target, image_processor((side, side)))


class FPTNumbers(FPTMethod):
    """Patches of rows of numbers through a text model, with its norms and positions tuned.

    >>> from hf_reprogram import reprogram
    >>> bits = 2.0 * np.random.default_rng(0).integers(2, size=(20, 6)) - 1
    >>> model, _ = reprogram(text_source, "fpt_numbers", ["even", "odd"], features=bits, patch=2, processor=tokenizer)
    >>> model(table_values=torch.tensor(bits)).logits.shape
    torch.Size([20, 2])
    """

    info = MethodInfo(
        **_PAPER,
        label="FPT on numbers",
        transform="number_sequence",
        pipeline_tag="tabular-classification",
        differs=f"{_DIFFERS}; each bit of an answer has one logit and its logistic loss, where the authors have the "
        "cross-entropy of two logits, which is the same up to the parametrisation; examples are drawn once, where theirs never "
        "repeat",
    )
    Options = FPTNumbersOptions
    options: FPTNumbersOptions

    def compose(self, source: Source, processor: Any, target: Target) -> Parts:
        """The patches and a linear layer on the last position. A row of numbers needs no processor."""
        source.spec.check_tokens()
        if target.features is None:
            raise InputError("The method 'fpt_numbers' takes rows of numbers: give the training rows as features=...")
        shape = {"num_features": len(target.features[0]), "patch": self.options.patch}
        transform = {"type": "number_sequence", **shape, "standardize": self.options.standardize}
        return self._parts(source, transform, target, None)
