"""Series patches: a time series as input embeddings of a text source, each of them a mixture of the source's own words.

    z = (x - mean(x)) / deviation(x)                                  x (T,), one series; its own mean and deviation
    P = conv( z[i s : i s + p], i = 1 ... n )                         n patches of p numbers, one in s; P (n, d_model)
    E' = B V_S / scale                                                K prototypes (K, width), mixtures of source words
    e = scale W_o concat_h softmax( Q_h K_h^T / sqrt(d_ff) ) V_h      Q_h = P W_q,  K_h = E' W_k,  V_h = E' W_v;  e (n, width)

Before the patches are cut, the last number is repeated s times, so n = (T - p) // s + 2. The convolution has 3 neighbours and
is circular. V_S (N_S, width) is the source's embedding table, and `scale` its deviation. B (K, N_S) is dense, or s-sparse as in
R2DL: `hf_reprogram.transforms.vocabulary` holds K rows of `sparsity` codes each. Theta is B, the convolution and the attention.

Keys and values are the same for every series. Without gradients they are computed once, until theta changes.

With a prompt, its words stand before the patches (`hf_reprogram.transforms.series_prompt`).

Source: Time-LLM (Jin et al. 2024, arXiv 2310.01728). The scale is ours: with the small numbers of an embedding table, attention
would begin almost uniform. B has no bias, and neither have the keys, where a bias changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import pi
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InputError
from ..options import check_indices, check_whole
from ..sources.base import Source, SourceSpec
from ..sources.probe import Example, Lines, Probe, nearest_tokens
from .base import InputTransform, ParameterCache
from .drawing import parse_example
from .series_prompt import SLOT, written
from .vocabulary import Vocabulary, VocabularyOptions, source_table

NEIGHBOURS = 3  # of the convolution


@dataclass
class SeriesPatchesOptions:
    """Options of `series_patches`.

    Attributes:
        width: the width of the source's input embeddings.
        length: T, the numbers of a series.
        patch: p, the numbers of a patch.
        stride: s, the numbers from one patch to the next.
        d_model: the width of a patch after the convolution.
        heads: the number of attention heads.
        d_ff: the width of the keys and values of a head.
        prototypes: K, the number of prototypes.
        sparsity: the largest number of source tokens in a prototype; None for all of them, a dense B.
        vocab_size: N_S, the number of rows of the source's embedding.
        scale: the deviation of the source's embedding table.
        prompt: the ids of the tokens before the patches, with -1 where the series decides; empty for none.
        digits: the ids of 0 to 9, + and -, of a prompt.
        trends: the ids of a rising and of a falling series, of a prompt.
        restores: whether the model predicts numbers in the units of each series, as a forecast does.
    """

    width: int
    length: int
    vocab_size: int
    patch: int = 16
    stride: int = 8
    d_model: int = 32
    heads: int = 8
    d_ff: int = 128
    prototypes: int = 1000
    sparsity: int | None = 16
    scale: float = 1.0
    prompt: list[int] = field(default_factory=list)
    digits: list[int] = field(default_factory=list)
    trends: list[list[int]] = field(default_factory=list)
    restores: bool = False

    def __post_init__(self) -> None:
        names = ("width", "length", "vocab_size", "patch", "stride", "d_model", "heads", "d_ff", "prototypes")
        check_whole(**{name: getattr(self, name) for name in names})
        if self.sparsity is not None:
            check_whole(sparsity=self.sparsity)
        if self.patch > self.length:
            raise InputError(
                f"A patch has {self.patch} numbers and a series {self.length}: give longer series or smaller patches."
            )
        if not 0 < self.scale < 1e6:
            raise InputError(f"scale is {self.scale!r}: give the deviation of the source's embedding table, above 0.")
        if self.prompt and (len(self.digits) != 12 or len(self.trends) != 2):
            raise InputError(
                "A prompt needs the ids of 0 to 9, + and - as digits, and of two trends: give all of them."
            )

    @property
    def number(self) -> int:
        """The number of patches."""
        return (self.length - self.patch) // self.stride + 2


class SeriesPatches(InputTransform):
    """Time series as embeddings of words.

    >>> options = SeriesPatchesOptions(width=32, length=24, vocab_size=112, patch=8, stride=4, prototypes=20, d_ff=8)
    >>> patches = SeriesPatches(options)
    >>> patches.reset(text_source)
    >>> patches({"past_values": torch.rand(5, 24)}, text_source)["inputs_embeds"].shape  # 6 patches
    torch.Size([5, 6, 32])
    """

    Options = SeriesPatchesOptions
    options: SeriesPatchesOptions
    takes = "past_values"

    prompt: Tensor
    digits: Tensor
    trends: Tensor

    def __init__(self, options: SeriesPatchesOptions) -> None:
        super().__init__(options)
        inner = options.heads * options.d_ff
        if options.sparsity is None:
            self.dense_codes = nn.Parameter(torch.zeros(options.prototypes, options.vocab_size))
        else:
            self.codes = Vocabulary(VocabularyOptions(options.prototypes, options.width, sparsity=options.sparsity))
        self.convolution = nn.Conv1d(
            options.patch, options.d_model, NEIGHBOURS, padding=NEIGHBOURS // 2, padding_mode="circular", bias=False
        )
        self.query = nn.Linear(options.d_model, inner)
        self.key = nn.Linear(options.width, inner, bias=False)
        self.value = nn.Linear(options.width, inner)
        self.out = nn.Linear(inner, options.width)
        for name in ("prompt", "digits", "trends"):
            values = torch.tensor(getattr(options, name), dtype=torch.long)
            self.register_buffer(name, values, persistent=False)  # the config holds it
        self._words: ParameterCache[tuple[Tensor, Tensor]] = ParameterCache()
        self._table: ParameterCache[Tensor] = ParameterCache()

    @torch.no_grad()
    def reset(self, source: Source) -> None:
        """Start with fresh layers, and prototypes that are source tokens drawn at random, or with a dense B random mixtures."""
        nn.init.kaiming_normal_(self.convolution.weight, mode="fan_in", nonlinearity="leaky_relu")
        for layer in (self.query, self.key, self.value, self.out):
            layer.reset_parameters()
        if self.options.sparsity is None:
            nn.init.uniform_(self.dense_codes, -(self.options.vocab_size**-0.5), self.options.vocab_size**-0.5)
            return
        table = source_table(source)
        drawn = torch.randperm(len(table))[: self.options.prototypes].to(table.device)
        self.codes.fit_table(table[drawn], source)

    def check(self, spec: SourceSpec) -> None:
        """Raise `InputError` unless the source takes embeddings of this width, has these tokens, and has the positions."""
        spec.check_tokens()
        options = self.options
        if spec.embedding_width != options.width or spec.vocab_size != options.vocab_size:
            raise InputError(
                f"The patches are mixtures of {options.vocab_size} words {options.width} wide, but the source has "
                f"{spec.vocab_size} of width {spec.embedding_width}: this adapter belongs to another source."
            )
        if options.prototypes > spec.vocab_size or (options.sparsity or 0) > spec.vocab_size:
            raise InputError(
                f"There are {options.prototypes} prototypes of at most {options.sparsity} words, but {spec.family} has "
                f"{spec.vocab_size} words: give at most as many."
            )
        if (positions := options.number + len(options.prompt)) > spec.max_tokens:
            raise InputError(
                f"{options.number} patches after a prompt of {len(options.prompt)} tokens take {positions} positions, but "
                f"{spec.family} has {spec.max_tokens}: use a larger stride, or prompt=False."
            )
        check_indices("prompt", SLOT, spec.vocab_size, self.prompt)
        for name in ("digits", "trends"):
            check_indices(name, 0, spec.vocab_size, getattr(self, name))

    def check_state(self, spec: SourceSpec) -> None:
        """Raise `InputError` if a code belongs to no word."""
        if self.options.sparsity is not None:
            self.codes.check_state(spec)

    def fit(self, features: np.ndarray) -> None:
        """Nothing is fitted: each series is brought to mean 0 and deviation 1 by itself."""

    def check_batch(self, batch: dict[str, Tensor]) -> None:
        """Raise `InputError` unless the series are finite and have the adapter's length."""
        series = batch[self.takes]
        if series.dim() != 2 or series.shape[1] != self.options.length:
            raise InputError(
                f"The series are {' x '.join(map(str, series.shape))}, and this adapter takes (series, "
                f"{self.options.length}): use the processor that came with it."
            )
        if not bool(series.isfinite().all()):
            raise InputError("A series holds NaN or infinities: use the processor that came with the adapter.")

    def target_scale(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor] | None:
        """The mean and the deviation of each series, if the model predicts in their units."""
        return scale_of(batch[self.takes]) if self.options.restores else None

    def prototypes(self, source: Source) -> Tensor:
        """E' (K, width), in units of the deviation of the source's embeddings."""
        if self.options.sparsity is not None:
            return self.codes.table(source) / self.options.scale
        table = self._table.get(self, (source.device, *source.versions()), lambda: source_table(source))
        return (self.dense_codes @ table) / self.options.scale

    def words(self, source: Source) -> tuple[Tensor, Tensor]:
        """The keys and the values (heads, K, d_ff) of all prototypes; without gradients they are kept until theta changes."""

        def compute() -> tuple[Tensor, Tensor]:
            rows = self.prototypes(source)
            return self._by_head(self.key(rows)), self._by_head(self.value(rows))

        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            self._words.forget()
            return compute()
        state = [*self.parameters(), *self.buffers()]
        mixed = torch.is_autocast_enabled(source.device.type)
        key = [mixed, *((value.data_ptr(), value._version, value.device) for value in state), *source.versions()]
        return self._words.get(self, key, compute)

    def _by_head(self, rows: Tensor) -> Tensor:
        heads: Tensor = rows.unflatten(-1, (self.options.heads, self.options.d_ff)).transpose(0, 1)
        return heads

    def patches(self, series: Tensor) -> Tensor:
        """Patches (batch, n, p) of series (batch, T) at mean 0 and deviation 1."""
        options = self.options
        longer: Tensor = F.pad(series[:, None], (0, options.stride), mode="replicate")[:, 0]
        cut: Tensor = longer.unfold(1, options.patch, options.stride)
        return cut

    def embedded(self, patches: Tensor, source: Source) -> Tensor:
        """Embeddings (batch, n, width) of patches (batch, n, p)."""
        states = self.convolution(patches.transpose(1, 2)).transpose(1, 2)
        queries = self._by_head(self.query(states).flatten(0, 1))  # (heads, batch n, d_ff): all read the same words
        keys, values = self.words(source)
        mixed = F.scaled_dot_product_attention(queries, keys.to(queries.dtype), values.to(queries.dtype))
        rows: Tensor = self.options.scale * self.out(mixed.transpose(0, 1).flatten(1))
        embeds: Tensor = rows.unflatten(0, states.shape[:2])
        return embeds

    def forward(self, batch: dict[str, Tensor], source: Source) -> dict[str, Any]:
        """`inputs_embeds` (batch, prompt + n, width) and an `attention_mask` of ones, from `past_values` (batch, T)."""
        self.check_first(batch)
        series = batch[self.takes].to(self.query.weight.dtype)
        mean, deviation = scale_of(series)
        series = (series - mean) / deviation
        dtype = source.embedding.weight.dtype
        embeds = self.embedded(self.patches(series), source).to(dtype)
        if len(self.prompt):
            embeds = torch.cat([source.embed(self.prompt_ids(series)).to(dtype), embeds], dim=1)
        mask = torch.ones(embeds.shape[:2], dtype=torch.long, device=embeds.device)
        return {"inputs_embeds": embeds, "attention_mask": mask}

    def prompt_ids(self, series: Tensor) -> Tensor:
        """The prompt's tokens (batch, tokens) for series (batch, T) at mean 0 and deviation 1."""
        slots = self.prompt == SLOT
        ids = self.prompt.expand(len(series), -1).clone()
        ids[:, slots] = written(series, self.digits, self.trends)
        return ids

    # ------------------------------------------------------------------------------------------------- inspection

    @torch.no_grad()
    def inspect(self, probe: Probe) -> dict[str, Any]:
        """`patches`, their number and size; `words`, the source tokens nearest to each patch of the example."""
        options = self.options
        layout = {"number": options.number, "patch": options.patch, "stride": options.stride}
        found: dict[str, Any] = {"patches": {**layout, "prototypes": options.prototypes, "prompt": len(options.prompt)}}
        if probe.example is not None and probe.source_tokenizer is not None:
            inputs = self({self.takes: probe.example.data.to(probe.source.device)}, probe.source)
            rows = inputs["inputs_embeds"][0, -options.number :].float()
            table = probe.source.embedding.weight
            found["words"] = nearest_tokens(rows, table, probe.source_tokenizer, probe.top)
            found["patches"]["example"] = probe.example.name
        return found

    def lines(self, description: dict[str, Any]) -> Lines:
        """The size of the patches, and a line of words per patch of the example."""
        patches = description["patches"]
        head = (
            f"series: {patches['number']} patches of {patches['patch']} numbers, one in {patches['stride']}, as mixtures of "
            f"{patches['prototypes']} prototypes, after a prompt of {patches['prompt']} tokens"
        )
        if "words" not in description:
            return Lines([head])
        rows = [
            f"  {place + 1:>3} {'  '.join(f'{value:+.2f} {token}' for token, value in tokens)}"
            for place, tokens in enumerate(description["words"])
        ]
        return Lines([head], [f"source tokens nearest to each patch (of {patches['example']}):", *rows])

    def default_example(self, processor: Any) -> Example:
        """A wave of two turns."""
        turns = torch.linspace(0, 4 * pi, self.options.length)
        return Example(torch.sin(turns)[None], "a wave of two turns")

    def read_example(self, processor: Any, text: str) -> Example:
        """Numbers separated by commas."""
        return parse_example(self.takes, processor, text)


def scale_of(series: Tensor) -> tuple[Tensor, Tensor]:
    """The mean and the deviation (batch, 1) of series (batch, T); of a constant one the deviation is 1.

    >>> scale_of(torch.tensor([[1.0, 3.0], [5.0, 5.0]]))
    (tensor([[2.],
            [5.]]), tensor([[1.],
            [1.]]))
    """
    mean, deviation = series.mean(1, keepdim=True), series.std(1, keepdim=True, correction=0)
    least = 1e-6 * series.abs().amax(1, keepdim=True)
    return mean, torch.where(deviation > least, deviation, 1.0)
