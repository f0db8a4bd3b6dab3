"""Token patches: a text as an image, in which every token is a square patch.

    image = clip( base + unpatch( eps * tanh(theta[t_1], ..., theta[t_n], theta[pad], ..., theta[pad]) ), 0, 1 )

Theta (V_T, 3, p, p) has one patch of p x p pixels for each of the V_T tokens of the target's tokenizer. The i-th token of a
text is the i-th patch of the canvas, in rows from the top left. The places after the last token take the patch of the padding
token. The image does not depend on how the batch is padded. The base is grey (0.5), or an image. On grey an eps of 0.5 reaches
every colour, which is the paper's unbounded program. A smaller eps bounds the change of each pixel. It may differ by channel.

Some sources project patches of the same side in their first layer. They need no image. On a base that is the same everywhere,
the projection of a token's patch is a row of a small table:

    F (V_T, width) = project(clip(base + eps * tanh(theta), 0, 1))         first-layer output at place i = F[t_i]

So each token that occurs is projected once, and without gradients the table is cached until theta changes. This is exact. With
a base image, or with patches of another side, the transform builds the image.

Source: Neekhara et al. 2022 (arXiv 2102.07325). Their code applies the tanh in the source's normalised units and clips to
pixels. For a source of mean and deviation 0.5 this is the same; for any other it reaches fewer colours. Their penalty is the
norm of a batch's tanh(theta) images over the batch size. Ours is the squared norm of theta's rows, so that a saturated pixel
can return. It is averaged over the places of the batch's images, so it depends on neither the batch size nor the length. It
does not act on the rows of absent tokens, which Adam would move towards grey by whole steps.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InputError
from ..sources.base import Source, SourceSpec
from ..sources.probe import Example, Lines, Probe
from .base import InputTransform, ParameterCache, check_same_options
from .drawing import Views, describe_program, ordinary_tokens, parse_example, program_lines
from .target_ids import occurring

GREY = 0.5
DRAWN = 10  # the number of tokens whose patches are drawn


@dataclass
class TokenPatchesOptions:
    """Options of `token_patches`.

    Attributes:
        num_tokens: V_T, the number of tokens of the target's tokenizer, special tokens included.
        pad_id: the token whose patch fills the places after a text.
        patch_size: p, the side of a patch in pixels, which divides both sides of the canvas.
        height, width: the size of the canvas, in pixels.
        eps: the largest change of a pixel from the base, for each channel; pixels go from 0 to 1.
        base_image: whether the base is an image, which the checkpoint holds; else it is grey.
        l2: the weight of the penalty, which is the mean squared norm of the patches of a batch in theta.
        frequent: the most frequent tokens of the training texts, whose patches are drawn.
    """

    num_tokens: int
    pad_id: int
    patch_size: int
    height: int
    width: int
    eps: list[float] = field(default_factory=lambda: [0.5, 0.5, 0.5])
    base_image: bool = False
    l2: float = 0.0
    frequent: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        sides = (self.height, self.width)
        if self.patch_size < 1 or any(side % self.patch_size for side in sides):
            common = [p for p in range(1, min(sides) + 1) if not any(side % p for side in sides)]
            raise InputError(
                f"patch_size is {self.patch_size}, which does not divide the canvas of {self.height} x {self.width} "
                f"pixels: choose one of {', '.join(map(str, common))}."
            )
        if not 0 <= self.pad_id < self.num_tokens:
            raise InputError(f"pad_id is {self.pad_id}: it must be one of the {self.num_tokens} tokens.")
        if not all(0 <= token < self.num_tokens for token in self.frequent):
            raise InputError(f"frequent is {self.frequent}: give ids of the {self.num_tokens} tokens.")
        if len(self.eps) != 3 or not all(0 < value <= 1 for value in self.eps):
            raise InputError(f"eps is {self.eps}: give three numbers, one per channel, more than 0 and at most 1.")
        if not 0 <= self.l2 < inf:
            raise InputError(f"l2 is {self.l2}: a penalty is 0 or more.")

    @property
    def places(self) -> int:
        """The number of patches on the canvas, which is the largest number of tokens in a text."""
        return (self.height // self.patch_size) * (self.width // self.patch_size)


class TokenPatches(InputTransform):
    """Draws tokens as patches. Theta is `table` (V_T, 3, p, p).

    A base image is the buffer of bytes `base_image` (3, height, width).

    >>> patches = TokenPatches(TokenPatchesOptions(num_tokens=112, pad_id=0, patch_size=8, height=32, width=32))
    >>> patches.reset()
    >>> ids = torch.tensor([[5, 6, 7]])
    >>> patches({"input_ids": ids}, image_source)["patches"].shape  # 16 projected patches of width 32
    torch.Size([1, 16, 32])
    >>> patches.image(patches.placed({"input_ids": ids})).shape  # the image that these patches form
    torch.Size([1, 3, 32, 32])
    """

    Options = TokenPatchesOptions
    drawing = "patches of tokens, and an example of such patches"
    options: TokenPatchesOptions
    per_token = True

    eps: Tensor
    base_image: Tensor

    def __init__(self, options: TokenPatchesOptions) -> None:
        super().__init__(options)
        side = options.patch_size
        self.table = nn.Parameter(torch.zeros(options.num_tokens, 3, side, side))
        self.register_buffer("eps", torch.tensor(options.eps).view(3, 1, 1), persistent=False)  # the config holds it
        if options.base_image:
            shape = (3, options.height, options.width)
            self.register_buffer("base_image", torch.zeros(shape, dtype=torch.uint8))
        self._tokens: Tensor | None = None  # of the last batch of training, for the penalty
        self._folded: ParameterCache[Tensor] = ParameterCache()

    @torch.no_grad()
    def reset(self, std: float = 0.1) -> None:
        """Start with random patches near the base."""
        self.table.normal_(std=std)

    def start_from(self, other: InputTransform) -> None:
        """See `InputTransform.start_from`. The options must agree, so that the same theta gives the same colours."""
        check_same_options(self.options, other.options, but=("l2", "frequent"))
        super().start_from(other)

    def check(self, spec: SourceSpec) -> None:
        """Raise `InputError` unless the source takes images of the canvas's size."""
        height, width = spec.canvas()
        if (height, width) != (self.options.height, self.options.width):
            raise InputError(
                f"The patches cover {self.options.height} x {self.options.width} pixels, but the source takes {height} x "
                f"{width}: this adapter belongs to another source."
            )

    def folds(self, spec: SourceSpec) -> bool:
        """Whether the source's projection of a patch depends on the token alone, so that no image is needed."""
        return spec.patch_size == self.options.patch_size and not self.options.base_image

    def penalty(self) -> Tensor | float:
        """The penalty: `l2` times the squared norm of a patch in theta, averaged over the places of the last batch."""
        if not self.options.l2 or self._tokens is None:
            return 0.0
        rows, index = occurring(self._tokens, self.options.num_tokens)
        return self.options.l2 * self.table[rows].square().sum((1, 2, 3))[index].mean()

    def forward(self, batch: dict[str, Tensor], source: Source) -> dict[str, Any]:
        """The source's inputs from `input_ids` and `attention_mask` (batch, tokens).

        Returns:
            `patches` (batch, places, width), projected, if the source projects such patches; else `pixels` (batch, 3, height,
            width).

        Raises:
            InputError: a text has more tokens than the canvas has patches, or an id is not in the target's vocabulary.
        """
        self.check_first(batch)
        tokens = self.placed(batch)
        self._tokens = tokens if self.training and self.options.l2 else None
        if not self.folds(source.spec) or torch.compiler.is_compiling():
            return {"pixels": self.image(tokens)}
        if not torch.is_grad_enabled():
            return {"patches": F.embedding(tokens, self.folded(source))}
        self._folded.forget()
        rows, index = occurring(tokens, self.options.num_tokens)
        return {"patches": F.embedding(index, self._projected(rows, source))}

    def check_batch(self, batch: dict[str, Tensor]) -> None:
        """Raise `InputError` if a text has more tokens than the canvas has patches, or an id is not in the vocabulary."""
        ids, mask = batch["input_ids"].long(), batch.get("attention_mask")
        kept = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.bool()
        longest, places = int(kept.sum(1).max()), self.options.places
        if longest > places:
            raise InputError(
                f"A text has {longest} tokens, but the canvas has {places} patches of {self.options.patch_size} x "
                f"{self.options.patch_size} pixels: tokenize with truncation=True, or use a smaller patch_size."
            )
        largest = int(ids.masked_fill(~kept, 0).max()) if ids.numel() else 0
        if largest >= self.options.num_tokens:
            raise InputError(
                f"The batch holds token id {largest}, but the target's vocabulary has {self.options.num_tokens}: tokenize "
                "with the processor that came with this adapter."
            )

    def placed(self, batch: dict[str, Tensor]) -> Tensor:
        """The token at every place of the canvas (batch, places): the text's tokens in their order, then padding."""
        ids, mask = batch["input_ids"].long(), batch.get("attention_mask")
        kept = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.bool()
        places = self.options.places
        place = torch.where(kept, kept.cumsum(1) - 1, places)  # padding goes to a place after the last patch
        canvas = ids.new_full((ids.shape[0], places + 1), self.options.pad_id)
        return canvas.scatter_(1, place, ids)[:, :places]

    def image(self, tokens: Tensor) -> Tensor:
        """The image (batch, 3, height, width), of pixels from 0 to 1, of tokens (batch, places)."""
        rows, index = occurring(tokens, self.options.num_tokens)
        side, across = self.options.patch_size, self.options.width // self.options.patch_size
        base = self.base_image / 255 if self.options.base_image else None
        patches = self.eps * self.table[rows].tanh() if base is not None else self._on_grey(rows)
        laid = F.embedding(index, patches.flatten(1)).view(tokens.shape[0], -1, across, 3, side, side)
        image = laid.permute(0, 3, 1, 4, 2, 5).reshape(tokens.shape[0], 3, self.options.height, self.options.width)
        return image if base is None else (base + image).clamp(0, 1)

    # ------------------------------------------------------------------------------------------------- inspection

    def inspect(self, probe: Probe) -> dict[str, Any]:
        """`canvas` and `program`; see `hf_reprogram.transforms.drawing.describe_program`."""
        options = self.options
        each = [options.patch_size, options.patch_size]
        layout = {"holds": "token", "number": options.places, "each": each, "at": [0, 0]}
        return describe_program(self, self.picture(probe), layout)

    def lines(self, description: dict[str, Any]) -> Lines:
        """The number and place of the patches, and the size of their changes."""
        return Lines(body=program_lines(description))

    @torch.no_grad()
    def picture(self, probe: Probe) -> Views:
        """The example's image, and the patches of the most frequent tokens of the training texts on grey.

        If the most frequent tokens are not known, the first tokens of the vocabulary are drawn.
        """
        assert probe.example is not None  # `default_example` gives one
        ids = probe.example.data.to(self.table.device)
        after = self.image(self.placed({"input_ids": ids}))[0].cpu()
        base = self.base_image / 255 if self.options.base_image else torch.tensor(GREY)
        tokens = self.options.frequent[:DRAWN] or ordinary_tokens(probe.processor, DRAWN)
        patches = (self.eps * self.table[tokens].tanh()).cpu()
        return Views(
            probe.example.name,
            base.cpu().expand_as(after),
            after,
            acts=None,
            added=dict(zip(probe.processor.convert_ids_to_tokens(tokens), patches, strict=True)),
            heading=f"patches of the {'most frequent' if self.options.frequent else 'first'} tokens, on grey",
            reach=max(self.options.eps),
            plain=not self.options.base_image,
        )

    def default_example(self, processor: Any) -> Example:
        """The first tokens of the vocabulary, one per place of the canvas."""
        ids = ordinary_tokens(processor, self.options.places)
        return Example(torch.tensor([ids]), f"the first {len(ids)} tokens of the vocabulary")

    def read_example(self, processor: Any, text: str) -> Example:
        """A text, or a text and its pair with a tab between them."""
        return parse_example(self.takes, processor, text)

    def folded(self, source: Source) -> Tensor:
        """The table F (V_T, width) without gradients, cached until theta changes."""
        key = (self.table.data_ptr(), self.table._version, self.table.device, *source.versions())

        def project() -> Tensor:
            return self._projected(torch.arange(self.options.num_tokens, device=self.table.device), source).detach()

        return self._folded.get(self, key, project)

    def _projected(self, rows: Tensor, source: Source) -> Tensor:
        with torch.autocast(rows.device.type, enabled=False):  # so that the cached table fits every later call
            return source.project_patches(self._on_grey(rows))

    def _on_grey(self, rows: Tensor) -> Tensor:
        """The patches (n, 3, p, p), of pixels from 0 to 1, of tokens `rows` (n,) on grey."""
        return (GREY + self.eps * self.table[rows].tanh()).clamp(0, 1)
