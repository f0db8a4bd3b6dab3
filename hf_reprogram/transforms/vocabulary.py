"""Vocabulary: target token embeddings as sparse combinations of source token embeddings.

    V_T = Theta D            Theta (N_T, atoms), at most s non-zeros a row;  D (atoms, width)
    E(ids)_t = V_T[ids_t]    for the target's own tokens
               V_S[...]      for special tokens, which stay the source's
               mean of V_T   for the unknown token

With a window w > 1 a row stands for w letters, and V_T has N_T ** w of them: position t becomes the row of its letter and the
w - 1 that follow, so that overlapping k-mers need no tokenizer of their own, and there is still a token a letter. A position
whose window meets the end or an unknown letter gets the mean.

The atoms D are the rows of the source's embedding table V_S, or a smaller dictionary learned from it. Theta is held as
`codes` (N_T, s) on a fixed `support` (N_T, s) of atoms, and the codes are trained. During a dense warm-up, or throughout
when alternating, a table `offset` (N_T, width) is trained beside them; after each such epoch codes and offset are put back
to the nearest s-sparse Theta, so that every checkpoint is s-sparse, and when training ends the offset is gone.

In place of a dense Theta (N_T, N_S) we train the table it spans: as V_S has full column rank, Theta V_S is any table, and
the table has N_S / width times fewer numbers. `sparsity=None` is that free table alone. The offset is held in units of
`scale`, the deviation of V_S, so that one learning rate suits codes and offset, and sources of any scale.

Source: R2DL (Vinod et al. 2020, arXiv 2012.03460; 2023, arXiv 2301.02120), whose survey form `V_S theta` with theta
(width, width) is not what any working version computes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..sources.base import Source, SourceSpec
from ..sources.probe import Lines, Numbered, Probe, nearest_tokens
from .base import InputTransform, Kept
from .drawing import HeatMap


@dataclass
class VocabularyOptions:
    """Options of `vocabulary`.

    Attributes:
        num_tokens: N_T, the target's ordinary tokens: ids 0 to N_T - 1.
        width: of the source's word embedding.
        special_ids: the source's id of each special token of the target, by target id as text (JSON has no other keys).
        unknown_id: the target's unknown token, whose embedding is the mean of all.
        sparsity: s, the most atoms a row of Theta may combine; None for a free table.
        num_atoms: rows of a dictionary of its own; None if the atoms are the source's tokens.
        window: w, letters that a row stands for.
        warmup_epochs: epochs of dense training before the support is found.
        alternating: whether every epoch trains densely and is re-sparsified at its end.
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

    def __post_init__(self) -> None:
        if self.sparsity is not None and self.sparsity < 1:
            raise InputError(f"sparsity is {self.sparsity}: give at least 1 atom a token, or null for a free table.")
        if self.window < 1 or (self.window > 1 and self.unknown_id is None):
            raise InputError(f"window is {self.window}: give 1, or more where the tokenizer has an unknown token.")
        if self.num_rows > 2**16:
            raise InputError(
                f"A window of {self.window} over {self.num_tokens} tokens takes {self.num_rows:,} rows: use a smaller one."
            )

    @property
    def num_rows(self) -> int:
        """Rows of V_T."""
        rows: int = self.num_tokens**self.window
        return rows


class Vocabulary(InputTransform):
    """Replaces the embedding table by `self.table()` (N_T, width); theta is `codes`, `offset` or both."""

    Options = VocabularyOptions
    drawing = "a heat map of the target's tokens over the source's"
    options: VocabularyOptions
    per_token = True
    passing = ("offset", "scale")  # of the dense phase: gone when training has ended

    support: Tensor
    atoms: Tensor
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
        self._folded: Kept[Tensor] = Kept()

    def check(self, spec: SourceSpec) -> None:
        """The source must take tokens, embed as wide as the table is, and have the special tokens and atoms it stands on."""
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

    def dictionary(self, source: Source) -> Tensor:
        """D (atoms, width) in float32, scaled as the source scales its embeddings."""
        return self.atoms if self.options.num_atoms is not None else _source_table(source)

    def _atoms_of_support(self, source: Source) -> Tensor:
        if self.options.num_atoms is not None:
            return self.atoms[self.support]
        return source.embed(self.support).detach().float()

    def table(self, source: Source) -> Tensor:
        """V_T (N_T, width) in float32, also under autocast, with a gradient to theta."""
        parts = []
        if self.options.sparsity is not None:
            atoms = self._atoms_of_support(source)
            with torch.autocast(atoms.device.type, enabled=False):  # so that what is kept folded fits every later call
                parts.append(torch.einsum("ns,nsw->nw", self.codes, atoms))
        if self.offset is not None and self.scale is not None:
            # After the warm-up it stays in the graph, without effect, so that processes agree on what has a gradient.
            active = self.dense_phase or not parts
            parts.append(self.scale * self.offset if active else 0 * self.offset)
        return sum(parts[1:], parts[0])

    def _whole_table(self, source: Source) -> Tensor:
        """Rows for every id of the target's tokenizer: ordinary tokens, the unknown one, special tokens."""
        table = self.table(source)
        special = {int(ours): theirs for ours, theirs in self.options.special_ids.items()}
        last = max([self.options.num_tokens - 1, *special, self.options.unknown_id or 0])
        extra = range(self.options.num_tokens, last + 1)
        if not extra:
            return table
        ids = torch.tensor([special.get(i, 0) for i in extra], device=table.device)
        rows = source.embed(ids).detach().float()
        is_unknown = torch.tensor([i not in special for i in extra], device=table.device)[:, None]
        return torch.cat([table, torch.where(is_unknown, table.mean(0, keepdim=True), rows)])

    def folded(self, source: Source) -> Tensor:
        """The whole table; without gradients it is computed once and kept until theta changes."""
        if torch.is_grad_enabled():
            self._folded.forget()
            return self._whole_table(source)
        state = [*self.parameters(), *self.buffers()]
        key = [(value.data_ptr(), value._version, value.device) for value in state]
        return self._folded.get(self, key, lambda: self._whole_table(source))

    def forward(self, batch: dict[str, Tensor], source: Source) -> dict[str, Any]:
        """`input_ids`, `attention_mask` (batch, tokens) to `inputs_embeds` (batch, tokens, width).

        Empty sequences come as one padding token, which is not attended to.

        Raises:
            InputError: an id is past the target's vocabulary, so it did not come from the adapter's tokenizer.
        """
        ids, mask = ids_and_mask(batch, self.options.special_ids)
        table = self.folded(source)
        known = self.options.num_tokens + len(table) - self.options.num_rows
        if ids.numel() and int(ids.max()) >= known:
            raise InputError(
                f"The batch holds token id {int(ids.max())}, but the target's vocabulary has {known}: tokenize with the "
                "processor that came with this adapter."
            )
        embeds = nn.functional.embedding(self.row_ids(ids), table).to(source.embedding.weight.dtype)
        return {"inputs_embeds": embeds, "attention_mask": mask}

    def row_ids(self, ids: Tensor) -> Tensor:
        """The row of the whole table for every position (batch, tokens); see the module's docstring on windows."""
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
        """`sparsity`, and the source tokens that each target token became (`vocabulary`); see `combinations`."""
        return {"sparsity": self.options.sparsity, "vocabulary": self.combinations(probe)}

    def lines(self, found: dict[str, Any]) -> Lines:
        """A line per target token."""
        how = f"at most {found['sparsity']} source tokens each" if found["sparsity"] else "nearest source tokens"
        rows = found["vocabulary"].items()
        table = [
            f"  {name:<12} {'  '.join(f'{value:+.2f} {token}' for token, value in tokens)}" for name, tokens in rows
        ]
        return Lines(body=[f"what the target's tokens became ({how}):", *table])

    def picture(self, probe: Probe) -> HeatMap:
        """Target tokens over source tokens."""
        return HeatMap(self.combinations(probe), "coefficient" if self.options.sparsity else "cosine")

    @torch.no_grad()
    def combinations(self, probe: Probe) -> dict[str, list[tuple[str, float]]]:
        """For each target token the source tokens it is a combination of, the largest coefficient first.

        Returns:
            {target token: [(source token, coefficient), ...]}, at most `probe.top` of them; for a free table the nearest
            source tokens with their cosine. A learned atom is called "atom 17", and a source token without a name "#17".
        """
        letters = probe.processor.convert_ids_to_tokens(list(range(self.options.num_tokens)))
        names = ["".join(word) for word in product(letters, repeat=self.options.window)]
        tokenizer = probe.source_tokenizer
        if self.options.sparsity is None:
            table = probe.source.embedding.weight
            rows = nearest_tokens(self.table(probe.source), table, tokenizer or Numbered(len(table)), probe.top)
            return dict(zip(names, rows, strict=True))
        found = {}
        for name, support, codes in zip(names, self.support.tolist(), self.codes.tolist(), strict=True):
            merged: dict[int, float] = {}
            for atom, code in zip(support, codes, strict=True):
                merged[atom] = merged.get(atom, 0.0) + code
            order = sorted((atom for atom in merged if merged[atom]), key=lambda atom: -abs(merged[atom]))
            found[name] = [(self._name(atom, tokenizer), round(merged[atom], 3)) for atom in order[: probe.top]]
        return found

    def _name(self, atom: int, tokenizer: Any) -> str:
        if self.options.num_atoms is not None:
            return f"atom {atom}"
        name = tokenizer.convert_ids_to_tokens(atom) if tokenizer is not None else None
        return name or f"#{atom}"  # a source may have more rows than its tokenizer has tokens

    # ------------------------------------------------------------------------------------------------- sparsity

    @torch.no_grad()
    def fit_table(self, target: Tensor, source: Source) -> float:
        """Set theta to the nearest s-sparse Theta, found by orthogonal matching pursuit; the offset becomes zero.

        Args:
            target: (N_T, width), the table to come near.
            source: whose tokens are the atoms.

        Returns:
            The relative error `|V_T - target| / |target|`; 0 for a free table.
        """
        if self.offset is not None and self.scale is not None:
            self.scale.copy_(_source_table(source).std())
            if self.options.sparsity is None:
                self.offset.copy_(target / self.scale)
                return 0.0
        assert self.options.sparsity is not None  # a free table has an offset
        from ..dictionary import orthogonal_matching_pursuit

        atoms, target = self.dictionary(source), target.float()
        found = orthogonal_matching_pursuit(atoms, target, self.options.sparsity)
        self.codes.copy_(found.codes)
        self.support.copy_(_spare_atoms(found.support, found.codes, atoms, target))
        if self.offset is not None:
            self.offset.zero_()
        return float((self.table(source) - target).norm() / target.norm().clamp(min=1e-12))

    def begin_epoch(self, epoch: float) -> None:
        """Dense training in the warm-up, or in every epoch when alternating."""
        self.dense_phase = self.options.alternating or epoch < self.options.warmup_epochs

    def end_epoch(self, source: Source) -> None:
        """The nearest s-sparse Theta, when alternating and at every epoch of the warm-up that could be its last."""
        if self.options.sparsity is None or self.offset is None:
            return
        if self.dense_phase:
            self.fit_table(self.table(source).detach(), source)
        else:
            with torch.no_grad():
                self.offset.zero_()

    def end_training(self, source: Source) -> None:
        """From now on codes alone are theta."""
        if self.options.sparsity is not None and self.offset is not None:
            if self.offset.any():
                self.fit_table(self.table(source).detach(), source)
            self.offset, self.scale = None, None
            self.options.alternating, self.options.warmup_epochs, self.dense_phase = False, 0, False


def _source_table(source: Source) -> Tensor:
    """V_S (N_S, width) in float32, scaled as the source scales its embeddings."""
    ids = torch.arange(source.spec.vocab_size, device=source.device)
    return source.embed(ids).detach().float()


def ids_and_mask(batch: dict[str, Tensor], special_ids: dict[str, int]) -> tuple[Tensor, Tensor]:
    """`input_ids` and `attention_mask` (batch, tokens), at least one token long.

    Where all sequences are empty, which needs a source that puts no special token around a text, they become one padding
    token each, as they are in a batch with longer ones: padding is then the first of the special tokens.
    """
    ids, mask = batch["input_ids"], batch.get("attention_mask")
    if ids.shape[1] == 0:
        ids = ids.new_full((len(ids), 1), min(map(int, special_ids), default=0), dtype=torch.long)
        mask = torch.zeros_like(ids)
    return ids, torch.ones_like(ids) if mask is None else mask


def check_special_ids(special_ids: dict[str, int], spec: SourceSpec) -> None:
    """Raise `InputError` if the source has no embedding for a special token."""
    for theirs in special_ids.values():
        if not 0 <= theirs < spec.vocab_size:
            raise InputError(
                f"The source's tokenizer has a special token with the id {theirs}, but the source embeds {spec.vocab_size:,} "
                "tokens: use the tokenizer that belongs to it."
            )


def _spare_atoms(support: Tensor, codes: Tensor, atoms: Tensor, target: Tensor) -> Tensor:
    """A support whose unused places (code 0) hold the nearest atoms that a row does not use yet, for training to take up.

    A target that is an atom itself needs one; the other s - 1 codes of its row would all stand on the same filler.
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
