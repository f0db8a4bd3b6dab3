"""The frozen model `f` behind one small interface.

A source says what it is (`spec`) and answers `source(inputs, reads)`, computing only what the output mapping reads:

    "mask"      state at the mask token, after the masked-LM head's transform where there is one   (batch, width)
    "first"     last hidden state at the first token, for example [CLS]                            (batch, width)
    "last"      last hidden state at the last token that is not padding                            (batch, width)
    "features"  last hidden states averaged over the tokens that are not padding                   (batch, width)
    "tokens"    last hidden states of all tokens, zero where there is padding              (batch, tokens, width)
    "decoder"   what the masked-LM head's vocabulary decoder sees, for all tokens          (batch, tokens, width)
    "logits"    logits of a classifier's own labels                                        (batch, labels)

Of an image source "features" are what its classifier's last linear layer sees, or the pooled states of an encoder. What
a dual encoder of images and texts gives to be compared stands in `hf_reprogram.sources.dual`.

Frozen means three things, and `Source` keeps all of them: no weight requires a gradient, no module is ever in training
mode (so no dropout and no running statistics), and the bytes of the weights never change.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError


@dataclass(frozen=True)
class SourceSpec:
    """What a transform or mapping may know of a source.

    Attributes:
        kind: "masked_lm", "encoder", "causal_lm", "classifier" or "module" of tokens; "image_classifier", "image_encoder" or
            "image_module" of images, "dual" of images and texts.
        family: the source's own `model_type`, for example "roberta".
        widths: for each supported `reads`, the width of what it returns.
        embedding_width: of tokens: width of a row of the input embedding (ALBERT and ELECTRA: smaller than hidden).
        vocab_size: of tokens: rows of the input embedding.
        max_tokens: of tokens: the longest input that the position embeddings allow.
        image_size: of images: height and width of the canvas, in pixels.
        patch_size: of images: side of the square patches that its first layer projects one by one; None if it does not.
        labels: names of a classifier's own labels, by index; empty if it has none.
        takes: what it takes as it is, as a modality calls it (`hf_reprogram.modalities.base.Modality.takes`).

    A family whose transforms need to know more extends this class.
    """

    kind: str
    family: str
    widths: dict[str, int]
    embedding_width: int = 0
    vocab_size: int = 0
    max_tokens: int = 0
    image_size: tuple[int, int] | None = None
    patch_size: int | None = None
    labels: tuple[str, ...] = ()
    takes: str = "input_ids"

    def canvas(self) -> tuple[int, int]:
        """Height and width of the image that this source takes.

        Raises:
            InputError: it takes no image.
        """
        if self.image_size is None:
            raise InputError(f"The {self.kind} source takes no images: use an image classifier.")
        return self.image_size

    def check_tokens(self) -> None:
        """Raise `InputError` unless this source takes tokens: a dual encoder embeds them too, but of its class texts alone."""
        if self.takes != "input_ids":
            raise InputError(f"The {self.kind} source takes no tokens: use a text model.")


class Source(nn.Module):
    """A pretrained model that stays as it is.

    Args:
        model: the model to freeze. It is not copied: its weights lose `requires_grad` and it is put in eval mode.
    """

    spec: SourceSpec
    model: Any
    settings: dict[str, Any] | None = None  # what was given beside the model, which an adapter records

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Source:
        """Stay in eval mode whatever the wrapper does."""
        return super().train(False)

    def forward(self, inputs: dict[str, Any], reads: str) -> Tensor:
        """What the mapping reads of `f(inputs)`; see the module's docstring for `reads` and shapes."""
        raise NotImplementedError  # pragma: no cover - the interface

    def load_processor(self, name: str, hub: dict[str, Any]) -> Any:
        """The source's own processor that methods build the target's from, for example its tokenizer; None if there is none.

        Args:
            name: Hub id or folder of the source.
            hub: arguments that locate its files, see `hf_reprogram.hub_arguments`.
        """
        return None

    def plain_processor(self, name: str, hub: dict[str, Any]) -> Any:
        """A processor for examples as the source itself takes them, without any input transform; arguments as above.

        Raises:
            InputError: the source takes nothing as it is.
        """
        raise InputError(f"A {self.spec.kind} source takes no data as it is: go through the method's input transform.")

    def plain_inputs(self, batch: dict[str, Tensor]) -> dict[str, Any]:
        """Inputs of `forward` from a batch that `plain_processor` encoded."""
        raise InputError(f"A {self.spec.kind} source takes no data as it is: go through the method's input transform.")

    def plain_example(self) -> dict[str, Tensor]:
        """A batch of one example of a fixed size, as `plain_inputs` takes it, on the source's device.

        Raises:
            InputError: the source takes nothing of a fixed size as it is.
        """
        raise InputError(f"A {self.spec.kind} source takes no examples of a fixed size as they are.")

    def embed(self, ids: Tensor) -> Tensor:
        """Input embeddings of token `ids` (...,) as (..., embedding_width), scaled as the source scales them."""
        vectors: Tensor = self.embedding(ids)
        return vectors

    @property
    def embedding(self) -> Any:
        """The source's input embedding, a module from token ids to vectors."""
        raise InputError(f"A {self.spec.kind} source has no input embedding: this needs a source that takes tokens.")

    @property
    def entry(self) -> Tensor:
        """The weight that an input meets first, by which a source is recognised."""
        weight: Tensor = self.embedding.weight
        return weight

    @property
    def device(self) -> torch.device:
        """Where inputs go."""
        return self.entry.device

    @property
    def pads_fully(self) -> bool:
        """Whether texts are padded to the longest that it takes, and the padding is attended to."""
        return False

    def label_embeddings(self) -> Tensor:
        """A vector for each of the source's own labels (labels, width): the rows of its classifier."""
        raise InputError(f"A {self.spec.kind} source has no labels of its own to compare with.")

    def output_rows(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Weights (n, width) and biases (n,) of the vocabulary decoder for token `ids`; see the verbalizer."""
        raise InputError(f"A {self.spec.kind} source has no vocabulary decoder to take class vectors from.")

    def project_patches(self, patches: Tensor) -> Tensor:
        """What an image source's first layer makes of patches of pixels; see `hf_reprogram.sources.vision`."""
        raise InputError(f"A {self.spec.kind} source does not project patches: this needs an image model.")

    def fold_output(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """A map (vocabulary, n) of the vocabulary decoder's logits, folded with the decoder: weight (n, width), bias (n,)."""
        raise InputError(f"A {self.spec.kind} source has no vocabulary decoder to fold a token map with.")

    def checkpoint_activations(self, checkpoint: Any, every_n_layers: int = 1) -> None:
        """Recompute every n-th layer in the backward pass with `checkpoint(function, *args)`; None stops doing so.

        transformers does this only for layers in training mode, which a frozen source never is.
        """
        from transformers.modeling_layers import GradientCheckpointingLayer

        layers = [module for module in self.model.modules() if isinstance(module, GradientCheckpointingLayer)]
        if not layers:
            raise InputError(f"{self.spec.family} has no layers that transformers can checkpoint: leave it off.")
        for index, layer in enumerate(layers):
            if isinstance(ours := layer.__dict__.get("forward"), _Checkpointed):
                ours.undo(layer)
            if checkpoint is not None and index % every_n_layers == 0:
                layer.forward = _Checkpointed(checkpoint, layer)

    def cache_text(self, max_bytes: int) -> None:
        """Keep the states of every text that stands before a trailing prompt, up to `max_bytes` (causal sources only)."""
        raise InputError(f"Only a causal source can cache its text: this is a {self.spec.kind} source.")

    def fingerprint(self) -> dict[str, Any]:
        """Identity of the source's first weights: see `fingerprint`."""
        return fingerprint(self.entry)


class _Checkpointed:
    """`checkpoint(layer.forward, ...)`, in place of the class's forward or of what a device_map has put there."""

    def __init__(self, checkpoint: Any, layer: nn.Module):
        self.replaced = layer.__dict__.get("forward")
        self.checkpoint, self.forward = checkpoint, self.replaced or type(layer).forward.__get__(layer)

    def undo(self, layer: nn.Module) -> None:
        """Put back what was there."""
        del layer.forward
        if self.replaced is not None:
            layer.forward = self.replaced

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.checkpoint(partial(self.forward, **kwargs), *args)


def fingerprint(weight: Tensor) -> dict[str, Any]:
    """Digest of a weight, so that an adapter is never put on another source by mistake.

    The hash decides when the weights are held in the dtype they were trained in. A copy in another dtype cannot have
    the same bytes: eight entries at a fixed stride are then compared within that dtype's precision.
    """
    weight = weight.detach()
    sample = weight.flatten()[:: max(1, weight.numel() // 8)][:8]
    return {
        "dtype": str(weight.dtype).removeprefix("torch."),
        "shape": list(weight.shape),
        "sha256": hashlib.sha256(weight.contiguous().view(torch.uint8).cpu().numpy().data).hexdigest(),
        "sample": [round(value, 8) for value in sample.double().tolist()],
    }


def same_fingerprint(recorded: dict[str, Any], found: dict[str, Any]) -> bool:
    """Whether two fingerprints are of the same weights, held in the same or in another floating dtype."""
    if recorded["shape"] != found["shape"]:
        return False
    if recorded["dtype"] == found["dtype"]:
        return bool(recorded["sha256"] == found["sha256"])
    eps = max(torch.finfo(getattr(torch, side["dtype"])).eps for side in (recorded, found))
    pairs = zip(recorded["sample"], found["sample"], strict=True)
    return all(abs(a - b) <= 2 * eps * max(abs(a), abs(b)) + 1e-6 for a, b in pairs)
