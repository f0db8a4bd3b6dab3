"""The frozen model `f` behind one small interface.

A source describes itself in `spec`. `source(inputs, reads)` computes only the output that the mapping reads:

    "mask"      state at the mask token, after the masked-LM head's transform where there is one   (batch, width)
    "first"     last hidden state at the first token, for example [CLS]                            (batch, width)
    "last"      last hidden state at the last token that is not padding                            (batch, width)
    "features"  last hidden states averaged over the tokens that are not padding                   (batch, width)
    "tokens"    last hidden states of all tokens, zero where there is padding              (batch, tokens, width)
    "decoder"   inputs of the masked-LM head's vocabulary decoder, for all tokens          (batch, tokens, width)
    "logits"    logits of a classifier's own labels                                        (batch, labels)
    "inputs"    input embeddings of a source of tokens: the model itself is left out       (batch, tokens, width)

The "features" of an image source are the inputs of its classifier's last linear layer, or the pooled states of an encoder.
`hf_reprogram.sources.dual` documents the outputs of a dual encoder of images and texts.

Frozen means three things, and `Source` ensures all of them: no weight requires a gradient, no module is ever in training
mode (so there is no dropout and no running statistic changes), and the bytes of the weights never change. An adapter that
tunes some weights does so in a copy of its own (`hf_reprogram.sources.tuning`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import inf
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError, shown
from .checkpointing import checkpoint_layers
from .mixing import outputs_together
from .quantized import plain, prepare_quantized


@dataclass(frozen=True)
class SourceSpec:
    """The properties of a source that transforms and mappings use.

    Attributes:
        kind: "masked_lm", "encoder", "causal_lm", "classifier" or "module" of tokens; "image_classifier", "image_encoder" or
            "image_module" of images, "dual" of images and texts; "text_black_box" and its like for a model that only answers.
        family: the source's own `model_type`, for example "roberta".
        widths: the width of each output that the source has, by its name (`reads`).
        embedding_width: of a source of tokens, the width of its input embedding (in ALBERT and ELECTRA smaller than the
            states'); 0 for one that takes texts alone.
        vocab_size: of a source of tokens, the number of its tokens, which are the rows of its input embedding.
        max_tokens: of a source of tokens, the longest input that its position embeddings allow.
        layers: of a source of tokens, the number of layers before which prompts can be added to the states; 0 if that is not
            possible.
        image_size: of a source of images, the height and width of its input, in pixels.
        patch_size: of a source of images, the side in pixels of the square patches that its first layer projects one by one;
            None if it has no such layer.
        labels: the names of a classifier's own labels, by index; empty if it has none.
        takes: the modality's name of the source's own inputs (`hf_reprogram.modalities.base.Modality.takes`).

    A family whose transforms need more properties extends this class.

    >>> text_source.spec.kind, text_source.spec.widths["mask"]
    ('masked_lm', 32)
    >>> image_source.spec.canvas(), image_source.spec.patch_size
    ((32, 32), 8)
    """

    kind: str
    family: str
    widths: dict[str, int]
    embedding_width: int = 0
    vocab_size: int = 0
    max_tokens: int = 0
    layers: int = 0
    image_size: tuple[int, int] | None = None
    patch_size: int | None = None
    labels: tuple[str, ...] = ()
    takes: str = "input_ids"

    def canvas(self) -> tuple[int, int]:
        """Height and width of the source's image, in pixels.

        Raises:
            InputError: the source does not take images.
        """
        if self.image_size is None:
            raise InputError(f"The {self.kind} source takes no images: use an image classifier.")
        return self.image_size

    def check_tokens(self, embedded: bool = True) -> None:
        """Raise `InputError` unless the target's tokens can be inputs of the source; a dual encoder's are class texts alone.

        Args:
            embedded: whether the inputs are embeddings, which a source that takes texts alone does not have.
        """
        if self.takes != "input_ids":
            raise InputError(f"The {self.kind} source takes no tokens: use a text model.")
        if embedded and not self.embedding_width:
            raise InputError(
                f"The {self.kind} source takes texts and has no embeddings, which this input transform needs: use the method "
                "'neekhara', whose program is made of the source's tokens."
            )


class Source(nn.Module):
    """A frozen pretrained model.

    Args:
        model: the model to freeze. It is not copied: `requires_grad` of its weights becomes False, and it is put in eval mode.

    Attributes:
        spec: the properties of the source.
        settings: the arguments of the source besides the model, which an adapter records; None if there are none.
        pretrained: the values before training of the weights that an adapter tunes in its own copy, by their names there, those
            of LoRA included; empty for a source that is frozen as a whole.
        random: the seed of a source with random weights (`hf_reprogram.sources.fresh`); None for pretrained ones.
        differentiable: whether gradients flow through it; else those of theta are estimated (`hf_reprogram.gradients`).

    >>> inputs = {"inputs_embeds": text_source.embed(torch.tensor([[2, 64, 65, 3]])), "attention_mask": torch.ones(1, 4)}
    >>> text_source(inputs, "features").shape
    torch.Size([1, 32])
    """

    spec: SourceSpec
    model: Any
    settings: dict[str, Any] | None = None
    random: int | None = None
    differentiable: bool = True

    def __init__(self, model: nn.Module):
        super().__init__()
        prepare_quantized(model)
        self.pretrained: dict[str, Tensor] = {}
        self.model = model.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Source:
        """Stay in eval mode, also if the model around the source is put in training mode."""
        return super().train(False)

    def forward(self, inputs: dict[str, Any], reads: str) -> Tensor:
        """One output of `f`.

        Args:
            inputs: the inputs by name, as the transform returns them.
            reads: the name of the output; the module's docstring lists names and shapes.
        """
        raise NotImplementedError  # pragma: no cover - the interface

    def load_processor(self, name: str, hub: dict[str, Any]) -> Any:
        """The source's own processor, for example its tokenizer; None if it has none. Methods derive the target's from it.

        Args:
            name: the Hub id or folder of the source.
            hub: the arguments that locate its files (`hf_reprogram.hub_arguments`).
        """
        return None

    def plain_processor(self, name: str, hub: dict[str, Any]) -> Any:
        """A processor for the source's own inputs, without any input transform; arguments as for `load_processor`.

        Raises:
            InputError: the source has no inputs of its own that a processor could make.
        """
        raise InputError(f"The {self.spec.kind} source has no processor of its own: use the method's input transform.")

    def plain_inputs(self, batch: dict[str, Tensor]) -> dict[str, Any]:
        """The inputs of `forward` from a batch that `plain_processor` encoded."""
        raise InputError(f"The {self.spec.kind} source has no processor of its own: use the method's input transform.")

    def plain_example(self) -> dict[str, Tensor]:
        """A batch of one example of a fixed size, for `plain_inputs`, on the source's device.

        Raises:
            InputError: the source's own inputs have no fixed size.
        """
        raise InputError(f"The inputs of the {self.spec.kind} source have no fixed size: use another source.")

    def embed(self, ids: Tensor) -> Tensor:
        """The input embeddings (..., embedding_width) of token `ids` (...,), scaled as the source scales them."""
        vectors: Tensor = self.embedding(ids)
        return vectors

    @property
    def embedding(self) -> Any:
        """The source's input embedding, a module from token ids to vectors."""
        raise InputError(f"The {self.spec.kind} source has no input embedding: use a source that takes tokens.")

    @property
    def entry(self) -> Tensor:
        """The source's first weight, by which it is recognised."""
        weight: Tensor = self.embedding.weight
        return weight

    @property
    def device(self) -> torch.device:
        """The device of the source's inputs."""
        return self.entry.device

    @property
    def left(self) -> float:
        """The number of samples that may still be asked for; infinity unless the source has a budget."""
        return inf

    @property
    def pads_fully(self) -> bool:
        """Whether the source pads texts to its largest length and attends to the padding."""
        return False

    def label_embeddings(self) -> Tensor:
        """One vector per label of the source (labels, width): the rows of its classifier."""
        raise InputError(f"The {self.spec.kind} source has no labels of its own: use a classifier.")

    def output_rows(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Weights (n, width) and biases (n,) of the vocabulary decoder for token `ids` (n,)."""
        raise InputError(f"The {self.spec.kind} source has no vocabulary decoder: leave the verbalizer's words out.")

    def project_patches(self, patches: Tensor) -> Tensor:
        """The output of an image source's first layer for patches of pixels; see `hf_reprogram.sources.vision`."""
        raise InputError(f"The {self.spec.kind} source does not project patches: use an image model.")

    def fold_output(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Fold the vocabulary decoder and a linear map of its logits into one layer.

        Args:
            weight: the map (vocabulary, n).

        Returns:
            The layer's weight (n, width) and bias (n,).
        """
        raise InputError(f"The {self.spec.kind} source has no vocabulary decoder: use a masked LM.")

    def checkpoint_activations(self, checkpoint: Any, every_n_layers: int = 1) -> None:
        """Recompute every n-th layer in the backward pass, which saves memory.

        transformers does this for layers in training mode only, and a frozen source is never in it.

        Args:
            checkpoint: calls a layer as `checkpoint(function, *args)`; None to stop recomputing.
            every_n_layers: n.
        """
        checkpoint_layers(self.model, self.spec.family, checkpoint, every_n_layers)

    def cache_text(self, max_bytes: int) -> None:
        """Cache the states of the texts before a trailing prompt, up to `max_bytes` bytes; for causal sources only."""
        raise InputError(
            f"Only a causal source can cache its text, and the source's kind is {self.spec.kind}: leave the cache out."
        )

    def towers(self) -> list[nn.Module]:
        """The parts of the model that have layers of their own, one after the other; by default the model is one."""
        return [self.model]

    def versions(self) -> tuple[Any, ...]:
        """A key for what is computed of the source's weights: it changes when a tuned one does; empty if all are frozen.

        The step of a fused optimizer does not change it, so nothing is kept where gradients flow.
        """
        weights = (attrgetter(name)(self) for name in self.pretrained)  # also of a replica, which has no parameters
        return tuple((weight.data_ptr(), weight._version) for weight in weights)

    def together(self, parts: Sequence[dict[str, Any]], reads: str) -> list[Any]:
        """One output of `f` for each of several inputs, such as those of several adapters.

        Those that `mixes_as` gives the same key go through the model as one batch. The others have a call each.

        Args:
            parts: inputs as for `forward`, with any number of rows each.
            reads: the name of the output.
        """
        return outputs_together(self, parts, reads)

    def mixes_as(self, inputs: dict[str, Any], reads: str) -> Hashable | None:
        """A key that is the same for inputs which can be rows of one batch; None for inputs that need a call of their own."""
        return None

    def make_room(self, adapters: int) -> None:
        """Keep what stays the same from one call to the next for so many adapters that take turns."""

    def forget(self) -> None:
        """Drop all outputs that are kept from one call to the next, as for a copy with other weights."""

    def fingerprint(self) -> dict[str, Any]:
        """The digest of the source's first weights; see the function `fingerprint`."""
        return fingerprint(self.entry)


def without_model(inputs: dict[str, Any]) -> Tensor:
    """The output "inputs" of a source of tokens: its input embeddings (batch, tokens, width), with zeros at padding.

    >>> without_model({"inputs_embeds": torch.ones(1, 2, 1), "attention_mask": torch.tensor([[1, 0]])}).flatten()
    tensor([1., 0.])
    """
    embeds, mask = inputs["inputs_embeds"], inputs["attention_mask"]
    kept: Tensor = embeds * mask[..., None].to(embeds.dtype)
    return kept


@dataclass
class Fingerprint:
    """The record of a source's first weights in an adapter; see the function `fingerprint`.

    Attributes:
        dtype, shape, sha256, sample: as in the function `fingerprint`.
        tuner: the digest of the source's LoRA layers (`hf_reprogram.sources.wrapped.tuner_digest`); None without any.
        answers: the probabilities by which a `BlackBox` is recognised, in place of its weights; None for any other source.

    >>> Fingerprint(**fingerprint(torch.ones(2, 3))).shape
    [2, 3]
    """

    dtype: str
    shape: list[int]
    sha256: str
    sample: list[float]
    tuner: str | None = None
    answers: list[float] | None = None

    def __post_init__(self) -> None:
        check_dtype(self.dtype)


def check_dtype(name: Any) -> None:
    """Raise `InputError` if this is not the name of a dtype of torch.

    >>> check_dtype("float31")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: The adapter records the dtype 'float31' of its source, which torch does not have: ...
    """
    if not isinstance(name, str) or not isinstance(getattr(torch, name, None), torch.dtype):
        raise InputError(
            f"The adapter records the dtype {shown(name)} of its source, which torch does not have: take another copy."
        )


def fingerprint(weight: Tensor) -> dict[str, Any]:
    """A digest of a weight, so that an adapter is never used with another source by mistake.

    The hash decides if the dtype is the same. A copy in another dtype has other bytes. For it, eight entries at a fixed stride
    are compared within that dtype's precision.

    Returns:
        `dtype`, `shape`, `sha256` and the `sample` of entries.

    >>> fingerprint(torch.zeros(2, 3))["shape"]
    [2, 3]
    """
    weight = plain(weight)
    sample = weight.flatten()[:: max(1, weight.numel() // 8)][:8]
    return {
        "dtype": str(weight.dtype).removeprefix("torch."),
        "shape": list(weight.shape),
        "sha256": hashlib.sha256(weight.contiguous().view(torch.uint8).cpu().numpy().data).hexdigest(),
        "sample": [round(value, 8) for value in sample.double().tolist()],
    }


def same_fingerprint(recorded: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two fingerprints belong to the same weights, in the same or in another floating dtype.

    >>> weight = torch.linspace(0, 1, 6)
    >>> same_fingerprint(fingerprint(weight), fingerprint(weight.half()))
    True
    >>> same_fingerprint(fingerprint(weight), fingerprint(-weight))
    False
    """
    if recorded["shape"] != other["shape"] or len(recorded["sample"]) != len(other["sample"]):
        return False
    if any((name in recorded) != (name in other) for name in ("tuner", "answers")):
        return False
    if any(abs(a - b) > 1e-3 for a, b in zip(recorded.get("answers", ()), other.get("answers", ()), strict=True)):
        return False
    if recorded["dtype"] == other["dtype"]:
        return all(recorded.get(name) == other.get(name) for name in ("sha256", "tuner"))
    dtypes = [getattr(torch, side["dtype"]) for side in (recorded, other)]
    if not all(dtype.is_floating_point for dtype in dtypes):
        return False
    eps = max(torch.finfo(dtype).eps for dtype in dtypes)
    pairs = zip(recorded["sample"], other["sample"], strict=True)
    return all(abs(a - b) <= 2 * eps * max(abs(a), abs(b)) + 1e-6 for a, b in pairs)
