"""Vocabulary: target token embeddings as sparse combinations of source token embeddings.

    V_T = Theta D            Theta (N_T, atoms), with at most s non-zeros per row;  D (atoms, width)
    E(ids)_t = V_T[ids_t]    for the target's own tokens
               V_S[...]      for special tokens, which keep the source's embeddings
               mean of V_T   for the unknown token

N_T is the number of the target's ordinary tokens, and N_S that of the source's tokens. With a window w > 1 a row stands for w
letters, and V_T has N_T ** w rows. Position t gets the row of its letter and the w - 1 next letters. So overlapping k-mers need
no tokenizer of their own, and there is one token per letter. A position gets the mean if its window reaches past the end or
contains an unknown letter.

The atoms D are the rows of the source's embedding table V_S (N_S, width), or a smaller dictionary that is learned from it.
Theta is stored as `codes` (N_T, s) on a fixed `support` (N_T, s) of atoms, and the codes are trained. During a dense warm-up,
or in all epochs when alternating, a table `offset` (N_T, width) is trained as well. After each such epoch, codes and offset
are replaced by the nearest s-sparse Theta. So every checkpoint is s-sparse, and the offset is removed when training ends.

We train a dense table V_T in place of a dense Theta (N_T, N_S). As V_S has full column rank, Theta V_S can be any table, and
the table has N_S / width times fewer numbers. `sparsity=None` is this free table alone. The offset is in units of `scale`, the
deviation of V_S, so that one learning rate suits codes and offset, and sources of any scale.

Source: R2DL (Vinod et al. 2020, arXiv 2012.03460; 2023, arXiv 2301.02120). A survey writes V_T = V_S theta with theta (width,
width). No working version computes this.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..options import check_indices, check_whole
from ..sources.base import Source, SourceSpec
from ..sources.probe import Lines, Numbered, Probe, nearest_tokens
from .base import InputTransform, ParameterCache
from .drawing import HeatMap
from .target_ids import check_special_ids, check_special_keys, check_target_ids, ids_and_mask


@dataclass
class VocabularyOptions:
    """Options of `vocabulary`.

    Attributes:
        num_tokens: N_T, the number of the target's ordinary tokens, whose ids are 0 to N_T - 1.
        width: the width of the source's word embedding.
        special_ids: the source's id of each special token of the target, by the target's id as text (JSON keys are texts).
        unknown_id: the id of the target's unknown token, whose embedding is the mean of all rows.
        sparsity: s, the largest number of atoms in a row of Theta; None for a free table.
        num_atoms: the number of atoms of a learned dictionary; None if the atoms are the source's tokens.
        window: w, the number of letters that a row stands for.
        warmup_epochs: the number of epochs of dense training before the support is computed.
        alternating: whether every epoch trains densely and is sparsified again at its end.
        begins_with, ends_with: the id of the target's token before and after every text; None if there is none.
    """

    num_tokens: int
    width: int
    special_ids: dict[str, int] = field(default_factory=dict)
    unknown_id: int | None = None
    sparsity: int | None = 16
    num_atoms: int | None = None
    window: int = 1
    warmup_epochs: int = 0
    alternating: bool = False
    begins_with: int | None = None
    ends_with: int | None = None

    def __post_init__(self) -> None:
        check_whole(num_tokens=self.num_tokens, width=self.width)
        check_whole(0, warmup_epochs=self.warmup_epochs)
        if self.num_atoms is not None:
            check_whole(num_atoms=self.num_atoms)
        if self.unknown_id is not None:
            check_whole(0, unknown_id=self.unknown_id)
        check_special_keys(self.special_ids)
        if self.sparsity is not None and self.sparsity < 1:
            raise InputError(f"sparsity is {self.sparsity}: give at least 1 atom per token, or null for a free table.")
        if not 1 <= self.window <= 16 or (self.window > 1 and self.unknown_id is None):
            raise InputError(f"window is {self.window}: give 1, or more where the tokenizer has an unknown token.")
        if self.num_rows > 2**16:
            raise InputError(
                f"A window of {self.window} over {self.num_tokens} tokens takes {self.num_rows:,} rows: use a smaller one."
            )

    @property
    def num_rows(self) -> int:
        """The number of rows of V_T."""
        rows: int = self.num_tokens**self.window
        return rows


class Vocabulary(InputTransform):
    """Replaces the embedding table by `table(source)` (N_T, width). Theta is `codes` (N_T, s), `offset` (N_T, width) or both.

    >>> vocabulary = Vocabulary(VocabularyOptions(num_tokens=4, width=32, special_ids={"4": 0}, sparsity=2))
    >>> error = vocabulary.fit_table(text_source.embed(torch.arange(60, 64)), text_source)
    >>> round(error, 4)  # these rows are atoms themselves
    0.0
    >>> vocabulary({"input_ids": torch.tensor([[0, 1, 2, 3]])}, text_source)["inputs_embeds"].shape
    torch.Size([1, 4, 32])
    """

    Options = VocabularyOptions
    drawing = "a heat map of the target's tokens over the source's"
    options: VocabularyOptions
    per_token = True
    transient = ("offset", "scale")  # of the dense phase; removed when training ends

    support: Tensor
    atoms: Tensor
    extra: Tensor
    unknown: Tensor
    scale: Tensor | None
    offset: nn.Parameter | None

    def __init__(self, options: VocabularyOptions) -> None:
        super().__init__(options)
        n, s = options.num_rows, options.sparsity
        if s is not None:
            self.codes = nn.Parameter(torch.zeros(n, s))
            self.register_buffer("support", torch.zeros(n, s, dtype=torch.long))
        self.dense_phase = options.alternating or options.warmup_epochs > 0
        dense = s is None or self.dense_phase
        self.register_parameter("offset", nn.Parameter(torch.zeros(n, options.width)) if dense else None)
        self.register_buffer("scale", torch.ones(()) if dense else None)
        if options.num_atoms is not None:
            self.register_buffer("atoms", torch.zeros(options.num_atoms, options.width))
        special = {int(ours) - options.num_tokens: theirs for ours, theirs in options.special_ids.items()}
        count = max([0, *(place + 1 for place in special), (options.unknown_id or 0) + 1 - options.num_tokens])
        extra, unknown = torch.zeros(count, dtype=torch.long), torch.ones(count, dtype=torch.bool)
        for place, theirs in special.items():
            if place >= 0:
                extra[place], unknown[place] = theirs, False
        # the source's ids of the tokens after the ordinary ones, and whether the source has none; the config holds both
        self.register_buffer("extra", extra, persistent=False)
        self.register_buffer("unknown", unknown, persistent=False)
        self._folded: ParameterCache[Tensor] = ParameterCache()

    def check(self, spec: SourceSpec) -> None:
        """Raise `InputError` unless the source takes tokens and has the table's width, the special tokens and s atoms."""
        spec.check_tokens()
        options = self.options
        if spec.embedding_width != options.width:
            raise InputError(
                f"The vocabulary is {options.width} wide, but the source embeds {spec.embedding_width} wide: this adapter "
                "belongs to another source."
            )
        check_special_ids(options.special_ids, spec)
        atoms = options.num_atoms or spec.vocab_size
        if options.sparsity is not None and options.sparsity > atoms:
            raise InputError(f"sparsity is {options.sparsity}, but there are only {atoms} atoms: give at most as many.")

    def check_state(self, spec: SourceSpec) -> None:
        """Raise `InputError` if a code belongs to no atom."""
        if self.options.sparsity is not None:
            check_indices("support", 0, self.options.num_atoms or spec.vocab_size, self.support)

    def dictionary(self, source: Source) -> Tensor:
        """The dictionary D (atoms, width) in float32, scaled as the source scales its embeddings."""
        return self.atoms if self.options.num_atoms is not None else source_table(source)

    def _atoms_of_support(self, source: Source) -> Tensor:
        if self.options.num_atoms is not None:
            return self.atoms[self.support]
        return source.embed(self.support).float()

    def table(self, source: Source) -> Tensor:
        """The table V_T (N_T, width) in float32, also under autocast, with a gradient to theta."""
        parts = []
        if self.options.sparsity is not None:
            atoms = self._atoms_of_support(source)
            with torch.autocast(atoms.device.type, enabled=False):  # so that the cached table fits every later call
                parts.append(torch.einsum("ns,nsw->nw", self.codes, atoms))
        if self.offset is not None and self.scale is not None:
            # After the warm-up the offset stays in the graph without effect, so that it has a gradient in every process.
            active = self.dense_phase or not parts
            parts.append(self.scale * self.offset if active else 0 * self.offset)
        return sum(parts[1:], parts[0])

    def _whole_table(self, source: Source) -> Tensor:
        """The rows for every id of the target's tokenizer: ordinary tokens, the unknown token, special tokens."""
        table = self.table(source)
        if not len(self.extra):
            return table
        rows = source.embed(self.extra).float()
        return torch.cat([table, torch.where(self.unknown[:, None], table.mean(0, keepdim=True), rows)])

    def folded(self, source: Source) -> Tensor:
        """The table for every id of the target's tokenizer; without gradients it is cached until theta changes."""
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            self._folded.forget()
            return self._whole_table(source)
        state = [*self.parameters(), *self.buffers()]
        key = [*((value.data_ptr(), value._version, value.device) for value in state), *source.versions()]
        return self._folded.get(self, key, lambda: self._whole_table(source))

    @torch.no_grad()
    def token_rows(self, source: Source) -> Tensor | None:
        """See `InputTransform.token_rows`; a window of several letters has no row for each id."""
        return self.folded(source) if self.options.window == 1 else None

    def check_batch(self, batch: dict[str, Tensor]) -> None:
        """See `hf_reprogram.transforms.target_ids.check_target_ids`."""
        options = self.options
        known = max([options.num_tokens - 1, *map(int, options.special_ids), options.unknown_id or 0]) + 1
        check_target_ids(batch, known, options.begins_with, options.ends_with)

    def scheduled(self) -> list[str]:
        """See `InputTransform.scheduled`."""
        return [name for name in ("warmup_epochs", "alternating") if getattr(self.options, name)]

    def forward(self, batch: dict[str, Tensor], source: Source) -> dict[str, Any]:
        """`inputs_embeds` (batch, tokens, width) and `attention_mask` from `input_ids` and `attention_mask` (batch, tokens).

        If all sequences are empty, each becomes one padding token, which is not attended to.

        Raises:
            InputError: see `check_batch`.
        """
        self.check_first(batch)
        ids, mask = ids_and_mask(batch, self.options.special_ids)
        table = self.folded(source)
        embeds = nn.functional.embedding(self.row_ids(ids), table).to(source.embedding.weight.dtype)
        return {"inputs_embeds": embeds, "attention_mask": mask}

    def row_ids(self, ids: Tensor) -> Tensor:
        """The index into the rows of `folded` of every position (batch, tokens); the module's docstring explains windows."""
        count, window = self.options.num_tokens, self.options.window
        if window == 1:
            return ids
        first_extra = self.options.num_rows
        unknown = first_extra + (self.options.unknown_id or 0) - count
        index, whole = torch.zeros_like(ids), torch.ones_like(ids, dtype=torch.bool)
        for step in range(window):
            letter = nn.functional.pad(ids[:, step:], (0, min(step, ids.shape[1])), value=count)
            whole &= letter < count
            index = index * count + letter.clamp(max=count - 1)
        index = torch.where(whole, index, unknown)
        return torch.where(ids < count, index, first_extra + ids - count)

    # ------------------------------------------------------------------------------------------------- inspection

    def inspect(self, probe: Probe) -> dict[str, Any]:
        """`sparsity`, and `vocabulary`: the source tokens that each target token combines (`combinations`)."""
        return {"sparsity": self.options.sparsity, "vocabulary": self.combinations(probe)}

    def lines(self, description: dict[str, Any]) -> Lines:
        """One line per target token."""
        sparsity, rows = description["sparsity"], description["vocabulary"].items()
        how = f"at most {sparsity} source tokens each" if sparsity else "nearest source tokens"
        table = [
            f"  {name:<12} {'  '.join(f'{value:+.2f} {token}' for token, value in tokens)}" for name, tokens in rows
        ]
        return Lines(body=[f"source tokens of each target token ({how}):", *table])

    def picture(self, probe: Probe) -> HeatMap:
        """A table of target tokens (rows) and source tokens (columns)."""
        return HeatMap(self.combinations(probe), "coefficient" if self.options.sparsity else "cosine")

    @torch.no_grad()
    def combinations(self, probe: Probe) -> dict[str, list[tuple[str, float]]]:
        """The source tokens that each target token combines, with the largest coefficients first.

        Returns:
            {target token: [(source token, coefficient), ...]}, with at most `probe.top` pairs; for a free table the nearest
            source tokens with their cosine. A learned atom is called "atom 17", and a source token without a name "#17".
        """
        letters = probe.processor.convert_ids_to_tokens(list(range(self.options.num_tokens)))
        names = ["".join(word) for word in product(letters, repeat=self.options.window)]
        tokenizer = probe.source_tokenizer
        if self.options.sparsity is None:
            table = probe.source.embedding.weight
            rows = nearest_tokens(self.table(probe.source), table, tokenizer or Numbered(len(table)), probe.top)
            return dict(zip(names, rows, strict=True))
        combinations = {}
        for name, support, codes in zip(names, self.support.tolist(), self.codes.tolist(), strict=True):
            merged: dict[int, float] = {}
            for atom, code in zip(support, codes, strict=True):
                merged[atom] = merged.get(atom, 0.0) + code
            order = sorted((atom for atom in merged if merged[atom]), key=lambda atom: -abs(merged[atom]))
            combinations[name] = [(self._name(atom, tokenizer), round(merged[atom], 3)) for atom in order[: probe.top]]
        return combinations

    def _name(self, atom: int, tokenizer: Any) -> str:
        if self.options.num_atoms is not None:
            return f"atom {atom}"
        name = tokenizer.convert_ids_to_tokens(atom) if tokenizer is not None else None
        return name or f"#{atom}"  # a source may have more rows than its tokenizer has tokens

    # ------------------------------------------------------------------------------------------------- sparsity

    @torch.no_grad()
    def fit_table(self, target: Tensor, source: Source) -> float:
        """Approximate a table by an s-sparse Theta with orthogonal matching pursuit. The offset becomes zero.

        Args:
            target: the table to approximate (N_T, width).
            source: the frozen source, whose tokens are the atoms.

        Returns:
            The relative error `|V_T - target| / |target|`; 0 for a free table.
        """
        if self.offset is not None and self.scale is not None:
            self.scale.copy_(source_table(source).std())
            if self.options.sparsity is None:
                self.offset.copy_(target / self.scale)
                return 0.0
        assert self.options.sparsity is not None  # a free table has an offset
        from ..dictionary import orthogonal_matching_pursuit

        atoms, target = self.dictionary(source), target.float()
        sparse = orthogonal_matching_pursuit(atoms, target, self.options.sparsity)
        self.codes.copy_(sparse.codes)
        self.support.copy_(_spare_atoms(sparse.support, sparse.codes, atoms, target))
        if self.offset is not None:
            self.offset.zero_()
        return float((self.table(source) - target).norm() / target.norm().clamp(min=1e-12))

    def begin_epoch(self, epoch: float) -> None:
        """Train densely in the warm-up, or in every epoch when alternating."""
        self.dense_phase = self.options.alternating or epoch < self.options.warmup_epochs

    def end_epoch(self, source: Source) -> None:
        """Sparsify theta again after an epoch of dense training, so that its checkpoint is s-sparse."""
        if self.options.sparsity is None or self.offset is None:
            return
        if self.dense_phase:
            self.fit_table(self.table(source).detach(), source)
        else:
            with torch.no_grad():
                self.offset.zero_()

    def end_training(self, source: Source) -> None:
        """Remove the offset, so that theta is `codes` alone."""
        if self.options.sparsity is not None and self.offset is not None:
            if self.offset.any():
                self.fit_table(self.table(source).detach(), source)
            self.offset, self.scale = None, None
            self.options.alternating, self.options.warmup_epochs, self.dense_phase = False, 0, False


def source_table(source: Source) -> Tensor:
    """The table V_S (N_S, width) in float32, scaled as the source scales its embeddings.

    >>> source_table(text_source).shape == (text_source.spec.vocab_size, text_source.spec.embedding_width)
    True
    """
    ids = torch.arange(source.spec.vocab_size, device=source.device)
    return source.embed(ids).detach().float()


def _spare_atoms(support: Tensor, codes: Tensor, atoms: Tensor, target: Tensor) -> Tensor:
    """A support (N_T, s) whose unused places (code 0) hold the nearest unused atoms of the row, so that training can use them.

    A target that is an atom itself uses one place. Otherwise the other s - 1 places of its row would all hold the same atom.
    """
    unused = codes == 0
    if not unused.any():
        return support
    cosine = nn.functional.normalize(target, dim=1) @ nn.functional.normalize(atoms, dim=1).T
    rows, places = (~unused).nonzero(as_tuple=True)
    cosine[rows, support[rows, places]] = -2.0
    nearest = cosine.topk(support.shape[1], dim=1).indices
    place = unused.long().cumsum(1) - 1
    return torch.where(unused, nearest.gather(1, place.clamp(min=0)), support)
