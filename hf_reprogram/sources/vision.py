"""Frozen image models: an image classifier, an image encoder, or any `nn.Module` from pixels to logits or features.

Pixels are numbers from 0 to 1 everywhere outside of this file. The source normalises them with its mean and deviation.

The first layer of a ViT (and of Swin or ConvNeXt) divides the image into square patches and projects each with one linear map.
A transform that makes patches may project them with `project_patches`, and pass the projections in place of the pixels. The
numbers are the same, and no image is built.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from contextlib import ExitStack
from operator import attrgetter
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InputError, shown
from ..modalities.pixels import image_processor
from .base import Source, SourceSpec, fingerprint
from .checks import check_independent, check_repeatable
from .families import SourceFamily, architecture_in
from .heads import last_linear
from .image_settings import image_settings
from .mixing import form_of
from .quantized import plain
from .reading import PATCHING, input_of, instead_of, takes_argument, with_part

LARGEST_SIDE = 4096  # of an image in pixels: attention over the patches of a larger one takes all memory


class VisionSource(Source):
    """A frozen model of images.

    Args:
        model: a model of `AutoModelForImageClassification` or `AutoModel`, or any module that takes pixels (batch, 3, height,
            width) and returns logits or features (batch, width).
        image_size: the side of the image in pixels, or (height, width).
        mean, std: mean and deviation of the three channels, for pixels from 0 to 1.
        kind: "image_classifier" or "image_encoder" of transformers, or "dual" (`hf_reprogram.sources.dual`); by default
            "image_module".
        gives: the meaning of a module's output, "logits" or "features".
        labels: the names of a module's labels.
        bgr: whether the model takes the channels as blue, green, red. Then `mean` and `std` are in this order too. Pixels are
            red, green, blue everywhere else.

    `source(inputs, reads)` takes either `pixels` (batch, 3, height, width) from 0 to 1, or `patches` (batch, number, width):
    projected patches in rows, from the top left.

    Raises:
        InputError: the model does not take such images, or its output has another shape than (batch, logits or features).

    >>> network = nn.Sequential(nn.Conv2d(3, 4, 8, stride=8), nn.Flatten(), nn.Linear(64, 10))
    >>> source = VisionSource(network, image_size=32, mean=[0.5, 0.5, 0.5], std=[0.5, 0.5, 0.5])
    >>> source.spec.widths
    {'logits': 10, 'features': 64}
    >>> source({"pixels": torch.rand(5, 3, 32, 32)}, "logits").shape
    torch.Size([5, 10])
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        model: nn.Module,
        image_size: int | Sequence[int],
        mean: Sequence[float],
        std: Sequence[float],
        kind: str = "image_module",
        gives: str = "logits",
        labels: Sequence[str] | None = None,
        bgr: bool = False,
    ):
        super().__init__(model)
        size = tuple(image_size) if isinstance(image_size, Sequence) else (image_size, image_size)
        if len(size) != 2 or not all(type(side) is int and 0 < side <= LARGEST_SIDE for side in size):
            raise InputError(
                f"image_size is {shown(image_size)}: give the side in pixels, at most {LARGEST_SIDE}, or height and width."
            )
        for name, values in (("mean", mean), ("std", std)):
            if not isinstance(values, Sequence) or not all(type(value) in (int, float) for value in values):
                raise InputError(f"{name} is {shown(values)}: give a number for each of the three channels.")
            if len(values) != 3:
                raise InputError(f"{name} has {len(values)} values: give one for each of the three channels.")
        if not all(value > 0 for value in std):
            raise InputError(f"std is {list(std)}: give deviations of more than 0.")
        config = getattr(model, "config", None)
        self.settings = {"image_size": list(size), "mean": list(mean), "std": list(std)}
        if bgr:
            self.settings["bgr"] = True
        self._bgr = bgr
        if kind == "image_module":
            self.settings |= {"gives": gives, "labels": list(labels or ())}
        self._kind, self._size, self._gives = kind, size, "features" if kind == "image_encoder" else gives
        self._interpolates = takes_argument(self._tower, "interpolate_pos_encoding")
        self._masks = getattr(config, "model_type", None) == "vit_mae"
        if self._masks:
            model.config.mask_ratio = 0.0  # type: ignore[union-attr]
        self._class_token = any(name.endswith("cls_token") for name, _ in model.named_parameters())
        if next(model.parameters(), None) is None:
            raise InputError(f"{type(model).__name__} has no weights: give a trained model.")
        convolutions = (name for name, module in model.named_modules() if isinstance(module, nn.Conv2d))
        self._stem_name: str | None = next(convolutions, None)  # names, since a copy of the source has other layers
        first = next(name for name, _ in model.named_parameters())
        self._entry_name = first if self._stem_name is None else f"{self._stem_name}.weight".removeprefix(".")
        self._head_name: str | None = None
        for name, values in (("mean", mean), ("std", std)):
            value = torch.tensor(values, dtype=torch.float32, device=self.device).view(3, 1, 1)
            self.register_buffer(name, value, persistent=False)
        widths, projects = self._probe()
        # for compiled models; in a list, since it is no part of the source
        self._headless = [] if self._head is None else [with_part(model, self._head, nn.Identity())]
        names = list(labels or ())
        if config is not None and kind == "image_classifier":
            names = [config.id2label[index] for index in range(config.num_labels)]
        if names and len(names) != widths.get("logits"):
            raise InputError(
                f"There are {len(names)} labels for {widths.get('logits', 0)} logits: give one label for each logit."
            )
        self.spec = SourceSpec(
            kind=kind,
            family=getattr(config, "model_type", None) or type(model).__name__,
            widths=widths,
            image_size=size,
            patch_size=self._stem.kernel_size[0] if projects else None,
            labels=tuple(names),
            takes="pixel_values",
        )

    def plain_processor(self, name: str, hub: dict[str, Any]) -> Any:
        """An image processor for the source's image size, with the source's own `resample` and `crop` if it has them."""
        settings = self.settings or {}
        return image_processor(self.spec.canvas(), **{n: settings[n] for n in ("resample", "crop") if n in settings})

    def plain_inputs(self, batch: dict[str, Tensor]) -> dict[str, Any]:
        """The pixels without a change."""
        return {"pixels": batch["pixel_values"]}

    def plain_example(self) -> dict[str, Tensor]:
        """One grey image."""
        return {"pixel_values": torch.full((1, 3, *self.spec.canvas()), 0.5, device=self.device)}

    @property
    def _tower(self) -> nn.Module:
        """The part of the model that takes images."""
        model: nn.Module = self.model
        return model

    @property
    def _stem(self) -> Any:
        """The first convolution, or None."""
        return None if self._stem_name is None else self.model.get_submodule(self._stem_name)

    @property
    def _head(self) -> Any:
        """The linear layer whose output is the logits, or None."""
        return None if self._head_name is None else self.model.get_submodule(self._head_name)

    @property
    def entry(self) -> Tensor:
        """The weights of the first convolution, or the model's first weights if it has no convolution."""
        weight: Tensor = attrgetter(self._entry_name)(self.model)
        return weight

    def label_embeddings(self) -> Tensor:
        """The rows of the last linear layer (labels, width)."""
        return super().label_embeddings() if self._head is None else plain(self._head.weight)

    def fingerprint(self) -> dict[str, Any]:
        """The digest of the first weights and of the last layer's, whose rows belong to the source's labels."""
        weights = [self.entry] if self._head is None else [self.entry, self._head.weight]
        return fingerprint(torch.cat([plain(weight).flatten().to(self.device) for weight in weights]))

    @torch.no_grad()
    def _probe(self) -> tuple[dict[str, int], bool]:
        """The width of each output, and whether the first layer projects patches. This sets the name of the head."""
        name, size = type(self.model).__name__, self._size
        pixels = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0)).to(self.device)
        stem: list[tuple[Tensor, Tensor]] = []
        normalised = self._normalised(pixels)
        handle = None
        if self._stem is not None:
            handle = self._stem.register_forward_hook(lambda _, args, out: stem.append((args[0], out)))
        try:
            output, head = last_linear(self.model, lambda: self._run(normalised))
        except (RuntimeError, ValueError, TypeError) as error:
            raise InputError(
                f"{name} does not take images of 3 x {size[0]} x {size[1]}: {str(error).strip().splitlines()[0]}"
            ) from error
        finally:
            if handle is not None:
                handle.remove()
        if not isinstance(output, Tensor) or output.dim() != 2 or len(output) != 2:
            shape = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else f"type {type(output).__name__}"
            raise InputError(
                f"{name} returns an output of {shape} for 2 images: use a model that returns (batch, logits or features)."
            )
        if not pixels.is_meta:
            check_repeatable(name, output, self._run(normalised))
            alone = self._run(normalised[1:])
            check_independent(name, output[1:], alone, "model whose output for an image depends on this image alone")
        if self._gives == "features":
            return {"features": output.shape[1]}, self._projects(stem, normalised, output)
        self._head_name = head
        widths = {"logits": output.shape[1]}
        if self._head is not None:
            widths["features"] = self._head.in_features
        return widths, self._projects(stem, normalised, output)

    def _projects(self, stem: list[tuple[Tensor, Tensor]], pixels: Tensor, output: Tensor) -> bool:
        """Whether the first convolution is a patch embedding and the only path from the pixels to the output.

        Args:
            stem: the inputs and outputs of the convolution's calls.
            pixels: the model's input, normalised.
            output: the model's output.
        """
        layer = self._stem
        if len(stem) != 1 or stem[0][0].shape != pixels.shape or not self._makes_patches(layer):
            return False
        if pixels.is_meta:
            return True
        with instead_of(layer, stem[0][1]) as blank:
            return torch.equal(stem[0][0], pixels) and torch.allclose(self._run(blank), output)

    def _makes_patches(self, layer: nn.Conv2d) -> bool:
        """Whether a convolution has one square kernel per patch, and the patches cover the image without overlap."""
        side = layer.kernel_size[0]
        return (
            type(layer) is nn.Conv2d
            and layer.kernel_size == layer.stride == (side, side)
            and layer.padding in ((0, 0), "valid")
            and layer.dilation == (1, 1)
            and layer.groups == 1
            and all(length % side == 0 for length in self._size)
        )

    def _normalised(self, pixels: Tensor) -> Tensor:
        turned = pixels.flip(-3) if self._bgr else pixels
        return ((turned - self.mean) / self.std).to(self.entry.dtype)

    def project_patches(self, patches: Tensor) -> Tensor:
        """The first layer's output (..., width) for each patch (..., 3, side, side) of pixels from 0 to 1.

        Raises:
            InputError: the first layer of this source does not project patches.
        """
        if self.spec.patch_size is None:
            raise InputError(f"{self.spec.family} does not project patches in its first layer: pass it pixels.")
        layer = self._stem
        return F.linear(self._normalised(patches).flatten(-3), layer.weight.flatten(1), layer.bias)

    def _run(self, pixels: Tensor, view: Any = None) -> Any:
        """The output of the model, or of a view of it (`with_part`), for normalised pixels."""
        model = self.model if view is None else view
        if self._kind == "image_module":
            output = model(pixels)
        else:
            arguments: dict[str, Any] = {"interpolate_pos_encoding": True} if self._interpolates else {}
            if self._masks:
                arguments["noise"] = _in_order(pixels, self.model.config.patch_size)
            output = model(pixel_values=pixels, **arguments)
        if self._kind != "image_encoder":
            output = output[0] if isinstance(output, tuple | list) else output
            return getattr(output, "logits", output)
        hidden = output.last_hidden_state
        if hidden.dim() == 4:
            return hidden.mean((2, 3))
        return hidden[:, 0] if self._class_token else hidden.mean(1)

    def mixes_as(self, inputs: dict[str, Any], reads: str) -> Hashable | None:
        """See `Source.mixes_as`: pixels with pixels, and patches with patches."""
        return form_of(inputs)

    def forward(self, inputs: dict[str, Any], reads: str) -> Tensor:
        """See `hf_reprogram.sources.base` for `reads` and the shapes."""
        if reads not in self.spec.widths:
            raise InputError(
                f"The {self.spec.kind} source cannot read {reads!r}: choose one of {', '.join(sorted(self.spec.widths))}."
            )
        if torch.compiler.is_compiling():
            if "patches" in inputs:
                raise InputError("Projected patches cannot be compiled or exported: pass pixels.")
            view = self._headless[0] if reads == "features" and self._headless else self.model
            features: Tensor = self._run(self._normalised(self._checked(inputs["pixels"])), view)
            return features
        with PATCHING, ExitStack() as patches:
            if "patches" in inputs:
                pixels = patches.enter_context(instead_of(self._stem, self._as_map(inputs["patches"])))
            else:
                pixels = self._normalised(self._checked(inputs["pixels"]))
            if reads == "features" and self._head is not None:
                caught = patches.enter_context(input_of(self._head))
                self._run(pixels)
                return caught[0].to(self.device)  # the head may be on another device
            output: Tensor = self._run(pixels)
            return output

    def _checked(self, pixels: Tensor) -> Tensor:
        if tuple(pixels.shape[1:]) != (3, *self._size):
            raise InputError(
                f"The pixels are {' x '.join(map(str, pixels.shape[1:]))}, but this source takes "
                f"3 x {self._size[0]} x {self._size[1]}: put them on its canvas first."
            )
        return pixels

    def _as_map(self, patches: Tensor) -> Tensor:
        """Projected patches (batch, number, width) as the first layer's output (batch, width, rows, columns)."""
        side = self.spec.patch_size
        if side is None:
            raise InputError(f"{self.spec.family} does not project patches in its first layer: pass it pixels.")
        rows, columns = (length // side for length in self._size)
        if patches.shape[1] != rows * columns:
            raise InputError(
                f"There are {patches.shape[1]} patches, but the canvas of this source has {rows * columns}."
            )
        grid: Tensor = patches.transpose(1, 2).unflatten(2, (rows, columns))
        return grid


def _in_order(pixels: Tensor, side: int) -> Tensor:
    """The `noise` (batch, patches) by which ViT-MAE sorts its patches, so that they stay in their order."""
    count = (pixels.shape[-2] // side) * (pixels.shape[-1] // side)
    return torch.arange(count, device=pixels.device).expand(len(pixels), count)


class VisionFamily(SourceFamily):
    """Image models of transformers.

    >>> VisionFamily().kind_of_architecture("ViTForImageClassification", image_source.model.config)
    'image_classifier'
    """

    kinds = {"image_classifier": "AutoModelForImageClassification", "image_encoder": "AutoModel"}
    takes = "pixel_values"
    noun = "image models"
    example = "an image classifier or encoder"
    options: ClassVar[tuple[str, ...]] = ("image_size", "mean", "std", "bgr")

    def kind_of_architecture(self, architecture: str, config: Any) -> str | None:
        """See `SourceFamily.kind_of_architecture`."""
        from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES

        known = architecture_in(MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES, config)
        return "image_classifier" if architecture in known else None

    def kind_of_config(self, config: Any) -> str | None:
        """See `SourceFamily.kind_of_config`."""
        from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_MAPPING_NAMES

        return "image_encoder" if config.model_type in MODEL_FOR_IMAGE_MAPPING_NAMES else None

    def settings(
        self, name: str, config: Any, kind: str, chosen: dict[str, Any], hub: dict[str, Any]
    ) -> dict[str, Any]:
        """See `SourceFamily.settings`. The options are those of the image processor."""
        if {"image_size", "mean", "std"} <= {*chosen}:
            return chosen
        own = image_settings(name, config, hub)
        return {**{key: value for key, value in own.items() if key in self.options}, **chosen}

    def build(self, model: Any, kind: str, settings: dict[str, Any]) -> VisionSource:
        """See `SourceFamily.build`."""
        return VisionSource(model, kind=kind, **settings)


class VisionModuleFamily(SourceFamily):
    """Modules of images, which are passed as a `VisionSource`.

    >>> VisionModuleFamily().options
    ('image_size', 'mean', 'std', 'bgr', 'gives', 'labels')
    """

    kinds = {"image_module": None}
    takes = "pixel_values"
    noun = "image models"
    options = ("image_size", "mean", "std", "bgr", "gives", "labels")

    def build(self, model: Any, kind: str, settings: dict[str, Any]) -> VisionSource:
        """See `SourceFamily.build`."""
        if not {"image_size", "mean", "std"} <= {*settings}:
            raise InputError("A module of images needs image_size, mean and std: pass it as VisionSource(model, ...).")
        return VisionSource(model, **settings)
