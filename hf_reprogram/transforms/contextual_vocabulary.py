"""Contextual vocabulary: a target token and its neighbours decide which source token takes its place.

    l = Conv1d(one-hot target tokens)             (batch, N_S, positions)
    E(ids)_t = soft-max((l_t + g) / tau) V_S      in training, with Gumbel noise g
               V_S[argmax l_t]                    afterwards

N_S and N_T are the numbers of source and target tokens, and V_S (N_S, width) is the source's embedding table. Theta is the
convolution's kernel (N_S, N_T, k) and its bias (N_S,). The temperature tau falls linearly over the first epochs. Special tokens
keep the source's embeddings. For the convolution, special tokens, unknown tokens and places outside the text are zeros.

A source that takes texts alone gets the ids argmax l_t, also in training. Its gradient comes from tokens that are drawn from
soft-max(l_t), through `choices` and `written` ("reinforce" of `hf_reprogram.gradients`).

Source: Neekhara et al. 2019 (arXiv 1809.01829), equations 2 to 4, the white-box attack, and the black-box attack.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InputError
from ..options import check_whole
from ..sources.base import Source, SourceSpec
from .base import InputTransform
from .target_ids import check_special_ids, check_special_keys, check_target_ids, ids_and_mask, occurring


@dataclass
class ContextualVocabularyOptions:
    """Options of `contextual_vocabulary`.

    Attributes:
        num_tokens: N_T, the number of the target's ordinary tokens, whose ids are 0 to N_T - 1.
        vocab_size: N_S, the number of source tokens.
        special_ids: the source's id of each special token of the target, by the target's id as text (JSON keys are texts).
        kernel_size: k, the odd number of target tokens that decide one source token.
        temperature: the first and the last tau.
        temperature_epochs: the number of epochs over which tau falls.
        begins_with, ends_with: the id of the target's token before and after every text; None if there is none.
    """

    num_tokens: int
    vocab_size: int
    special_ids: dict[str, int] = field(default_factory=dict)
    kernel_size: int = 5
    temperature: tuple[float, float] = (2.0, 0.01)
    temperature_epochs: int = 15
    begins_with: int | None = None
    ends_with: int | None = None

    def __post_init__(self) -> None:
        check_whole(num_tokens=self.num_tokens, vocab_size=self.vocab_size)
        check_special_keys(self.special_ids)
        check_convolution(self.kernel_size, self.temperature, self.temperature_epochs)
        first, last = self.temperature  # JSON has lists
        self.temperature = (first, last)


def check_convolution(kernel_size: int, temperature: tuple[float, float], temperature_epochs: int) -> None:
    """Raise `InputError` if `ContextualVocabularyOptions` does not allow these values.

    >>> check_convolution(kernel_size=5, temperature=(2.0, 0.01), temperature_epochs=15)
    >>> check_convolution(kernel_size=4, temperature=(2.0, 0.01), temperature_epochs=15)
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: kernel_size is 4: give an odd number, so that one token is in the middle.
    """
    if type(kernel_size) is not int or kernel_size % 2 == 0 or kernel_size < 1:
        raise InputError(f"kernel_size is {kernel_size!r}: give an odd number, so that one token is in the middle.")
    pair = isinstance(temperature, list | tuple) and len(temperature) == 2
    if not pair or not all(type(t) in (int, float) and t > 0 for t in temperature):
        raise InputError(f"temperature is {temperature!r}: give two numbers above 0, the first and the last.")
    check_whole(temperature_epochs=temperature_epochs)


class ContextualVocabulary(InputTransform):
    """Maps target tokens to source tokens by a convolution. Theta is `weight` (N_S, N_T, k) and `bias` (N_S,).

    Attributes:
        tau: the temperature of the current epoch.

    >>> transform = ContextualVocabulary(ContextualVocabularyOptions(num_tokens=4, vocab_size=112, special_ids={"4": 0}))
    >>> transform.reset()
    >>> transform({"input_ids": torch.tensor([[0, 1, 2, 3]])}, text_source)["inputs_embeds"].shape
    torch.Size([1, 4, 32])
    """

    Options = ContextualVocabularyOptions
    options: ContextualVocabularyOptions
    per_token = True

    special: Tensor

    def __init__(self, options: ContextualVocabularyOptions) -> None:
        super().__init__(options)
        self.weight = nn.Parameter(torch.zeros(options.vocab_size, options.num_tokens, options.kernel_size))
        self.bias = nn.Parameter(torch.zeros(options.vocab_size))
        self.tau = options.temperature[0]
        special = torch.full((max([options.num_tokens, *map(int, options.special_ids)]) + 1,), -1)
        for ours, theirs in options.special_ids.items():
            special[int(ours)] = theirs
        self.register_buffer("special", special, persistent=False)  # the config holds it

    def reset(self) -> None:
        """Start as a fresh convolution."""
        bound = (self.options.num_tokens * self.options.kernel_size) ** -0.5
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def check(self, spec: SourceSpec) -> None:
        """Raise `InputError` unless the source takes tokens, N_S of them, and has the special tokens."""
        spec.check_tokens(embedded=False)
        check_special_ids(self.options.special_ids, spec)
        if spec.vocab_size != self.options.vocab_size:
            raise InputError(
                f"The vocabulary map is for {self.options.vocab_size:,} source tokens, but the source has "
                f"{spec.vocab_size:,}: this adapter belongs to another source."
            )

    def begin_epoch(self, epoch: float) -> None:
        """Set tau, which falls from the first to the last temperature over `temperature_epochs`."""
        first, last = self.options.temperature
        share = min(1.0, epoch / max(1, self.options.temperature_epochs - 1))
        self.tau = first + (last - first) * share

    def logits(self, ids: Tensor) -> Tensor:
        """Logits over the source's tokens (batch, tokens, N_S) for target ids (batch, tokens).

        A convolution of one-hot vectors is a sum of k columns of the kernel. Only the columns of tokens that occur are read.
        """
        size = self.options.kernel_size
        ordinary = ids < self.options.num_tokens
        used, column = occurring(ids.masked_fill(~ordinary, 0), self.options.num_tokens)
        column = F.pad(column.masked_fill(~ordinary, -1), (size // 2, size // 2), value=-1).unfold(1, size, 1)
        nothing = size * len(used)
        column = (column + len(used) * torch.arange(size, device=ids.device)).masked_fill(column < 0, nothing)
        table = F.pad(self.weight[:, used].permute(2, 1, 0).flatten(0, 1), (0, 0, 0, 1))  # (k * used + 1, N_S)
        sums = F.embedding_bag(column.flatten(0, 1), table, mode="sum", padding_idx=nothing)
        logits: Tensor = (sums + self.bias).unflatten(0, ids.shape)
        return logits

    def check_batch(self, batch: dict[str, Tensor]) -> None:
        """See `hf_reprogram.transforms.target_ids.check_target_ids`."""
        check_target_ids(batch, len(self.special), self.options.begins_with, self.options.ends_with)

    def scheduled(self) -> list[str]:
        """See `InputTransform.scheduled`."""
        return ["temperature_epochs"]

    def forward(self, batch: dict[str, Tensor], source: Source) -> dict[str, Any]:
        """`inputs_embeds` (batch, tokens, width) and `attention_mask` from `input_ids` and `attention_mask` (batch, tokens).

        A source that takes texts alone gets `input_ids` (batch, tokens) in place of embeddings. If all sequences are empty,
        each becomes one padding token, which is not attended to.

        Raises:
            InputError: see `check_batch`.
        """
        logits, _ = self.choices(batch)
        if not self.training or not source.spec.embedding_width:
            return self.written(logits.argmax(-1), batch, source)
        every = source.embed(torch.arange(source.spec.vocab_size, device=logits.device))
        soft = F.gumbel_softmax(logits.float(), tau=self.tau, dim=-1)
        return self._embedded(soft.to(every.dtype) @ every, batch, source)

    def choices(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The logits (batch, tokens, N_S) of the source token at each place, and which places (batch, tokens) have one.

        Special tokens and padding have none.

        Raises:
            InputError: see `check_batch`.
        """
        self.check_first(batch)
        ids, mask = ids_and_mask(batch, self.options.special_ids)
        return self.logits(ids), (self.special[ids] < 0) & (mask != 0)

    def written(self, tokens: Tensor, batch: dict[str, Tensor], source: Source) -> dict[str, Any]:
        """The source's inputs, as in `forward`, with these source tokens (batch, tokens) at the places that have one."""
        if source.spec.embedding_width:
            return self._embedded(source.embed(tokens), batch, source)
        ids, mask = ids_and_mask(batch, self.options.special_ids)
        theirs = self.special[ids]
        return {"input_ids": torch.where(theirs >= 0, theirs, tokens), "attention_mask": mask}

    def _embedded(self, embeds: Tensor, batch: dict[str, Tensor], source: Source) -> dict[str, Any]:
        """The source's inputs with these vectors (batch, tokens, width), but its own at special tokens."""
        ids, mask = ids_and_mask(batch, self.options.special_ids)
        theirs = self.special[ids]
        embeds = torch.where((theirs >= 0)[..., None], source.embed(theirs.clamp(min=0)).to(embeds.dtype), embeds)
        return {"inputs_embeds": embeds, "attention_mask": mask}
