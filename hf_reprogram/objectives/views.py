"""Views: other forms of an input that should keep its label, made before the input transform places it.

kind               weak                                      strong
words              5 % of the tokens left out                30 % of them
DNA, proteins      2 % of the letters replaced               10 % of them
SMILES             another SMILES of the same molecule       that, and 10 % of its tokens left out
images             moved by up to 1/8                        that, turned, sheared, other light and colours, a square of grey
sounds             louder or softer, moved by up to 1/20     that, noise, and a tenth of it silenced
series             noise of 3 % of its deviation             noise of 10 %, and stretched by about a fifth

Special tokens and those of a template are never left out. With `mirror`, half of the images are mirrored and half of the DNA is
read from the other strand, in both views: that keeps the label of a cat, and not that of a digit or of a splice junction.
Rows of a table have no views.

The numbers for strong views are multiplied by `strength`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import InputError
from ..modalities.alphabets import alphabet_of
from ..training.encode import encode

if TYPE_CHECKING:
    from ..modalities.base import Modality
    from .base import TrainingData

Inputs = dict[str, Tensor]
_LETTERS = {"DNA": "ACGT", "protein or peptide": "ACDEFGHIKLMNPQRSTVWY"}
_COMPLEMENT = str.maketrans("ACGTacgt", "TGCAtgca")


@dataclass
class ViewOptions:
    """Options of objectives with views.

    Attributes:
        mirror: also mirror images, and read DNA from the other strand, where that leaves the label as it is.
        strength: a factor of how strong the strong views are.
    """

    mirror: bool = False
    strength: float = 1.0

    def __post_init__(self):
        if not 0 < self.strength <= 2:
            raise InputError(f"strength is {self.strength!r}: give a number above 0 and at most 2.")


class Views:
    """Plain, weak and strong forms of prepared rows as inputs of a model.

    Args:
        data: what an objective may see; its unlabelled rows are those that are read.
        options: of the views.
    """

    def __init__(self, data: TrainingData, options: ViewOptions):
        self.options = options
        task = data.task
        rows = encode({"unlabelled": data.unlabelled}, data.processor, task.options.max_length, task.problem_type)
        self.examples = rows["unlabelled"]

    def plain(self, rows: Sequence[int]) -> Inputs:
        """The inputs of some rows as they are."""
        return {name: torch.from_numpy(values) for name, values in self.examples.inputs(rows).items()}

    def weak(self, rows: Sequence[int], random: torch.Generator) -> Inputs:
        """Weak views of some rows."""
        return self._seen(rows, random, strong=False)

    def strong(self, rows: Sequence[int], random: torch.Generator) -> Inputs:
        """Strong views of some rows."""
        return self._seen(rows, random, strong=True)

    def _seen(self, rows: Sequence[int], random: torch.Generator, strong: bool) -> Inputs:
        values = torch.from_numpy(np.ascontiguousarray(self.examples.read(rows)))
        factor = self.options.strength if strong else 0.0
        return {self.examples.takes: self.change(values, random, factor)}

    def change(self, values: Tensor, random: torch.Generator, strong: float) -> Tensor:
        """A view (batch, ...) of inputs (batch, ...); `strong` is 0 for a weak one, else the strength."""
        raise NotImplementedError


def _uniform(size: Sequence[int], low: float, high: float, random: torch.Generator) -> Tensor:
    return torch.rand(tuple(size), generator=random) * (high - low) + low


class ImageViews(Views):
    """Images (batch, 3, height, width) from 0 to 1."""

    def change(self, values: Tensor, random: torch.Generator, strong: float) -> Tensor:
        """See `Views.change`."""
        batch, _, height, width = values.shape
        angle = _uniform((batch,), -0.26, 0.26, random) * strong  # 15 degrees
        shear = _uniform((batch,), -0.2, 0.2, random) * strong
        flip = torch.where(torch.rand(batch, generator=random) < (0.5 if self.options.mirror else 0.0), -1.0, 1.0)
        moved = _uniform((batch, 2), -0.25, 0.25, random)  # of half the side, which is 1 here: an eighth
        grid = torch.zeros(batch, 2, 3)
        grid[:, 0, 0], grid[:, 0, 1] = angle.cos() * flip, -angle.sin() + shear
        grid[:, 1, 0], grid[:, 1, 1] = angle.sin() * flip, angle.cos()
        grid[:, :, 2] = moved
        places = F.affine_grid(grid, list(values.shape), align_corners=False)
        seen = F.grid_sample(values.float(), places, padding_mode="border", align_corners=False)
        if not strong:
            return seen.clamp(0, 1)
        mean = seen.mean((1, 2, 3), keepdim=True)
        contrast = 1 + _uniform((batch, 1, 1, 1), -0.5, 0.5, random) * strong
        colour = 1 + _uniform((batch, 3, 1, 1), -0.2, 0.2, random) * strong
        light = _uniform((batch, 1, 1, 1), -0.2, 0.2, random) * strong
        seen = ((seen - mean) * contrast + mean) * colour + light
        half = _uniform((batch, 1), 0.0, 0.25, random) * min(strong, 1.0)
        centre = torch.rand(batch, 2, generator=random)
        down = (torch.arange(height)[None] + 0.5) / height - centre[:, :1]
        across = (torch.arange(width)[None] + 0.5) / width - centre[:, 1:]
        hidden = (down.abs() < half)[:, None, :, None] & (across.abs() < half)[:, None, None, :]
        return torch.where(hidden, 0.5, seen).clamp(0, 1)


def _rolled(values: Tensor, random: torch.Generator, share: float) -> Tensor:
    """Rows (batch, samples) moved by up to a share of their length, with zeros where they came from."""
    length = values.shape[1]
    most = int(share * length)
    by = torch.randint(-most, most + 1, (len(values), 1), generator=random)
    places = torch.arange(length)[None] - by
    inside = (places >= 0) & (places < length)
    return torch.where(inside, values.gather(1, places.clamp(0, length - 1)), 0.0)


class SoundViews(Views):
    """Sounds (batch, samples) from -1 to 1."""

    def change(self, values: Tensor, random: torch.Generator, strong: float) -> Tensor:
        """See `Views.change`."""
        batch, length = values.shape
        decibels = _uniform((batch, 1), -3, 3, random) * (1 + strong)
        seen = _rolled(values.float(), random, 0.05 * (1 + strong)) * 10 ** (decibels / 20)
        if strong:
            loud = seen.square().mean(1, keepdim=True).sqrt()
            share = _uniform((batch, 1), 0.03, 0.3, random) * strong  # 30 to 10 dB below the sound
            seen = seen + torch.randn(seen.shape, generator=random) * loud * share
            begin = _uniform((batch, 1), 0, 0.9, random) * length
            place = torch.arange(length)[None]
            seen = torch.where((place >= begin) & (place < begin + 0.1 * length * strong), 0.0, seen)
        return seen.clamp(-1, 1)


class SeriesViews(Views):
    """Time series (batch, length)."""

    def change(self, values: Tensor, random: torch.Generator, strong: float) -> Tensor:
        """See `Views.change`."""
        values = values.float()
        mean, deviation = values.mean(1, keepdim=True), values.std(1, keepdim=True, correction=0)
        noise = torch.randn(values.shape, generator=random) * deviation * (0.1 * strong or 0.03)
        factor = 1 + 0.2 * strong * torch.randn(len(values), 1, generator=random)
        return mean + (values - mean) * factor + noise


class TextViews(Views):
    """Texts, and strings of letters that are no words."""

    def __init__(self, data: TrainingData, options: ViewOptions):
        self.options, self.processor = options, data.processor
        rows = data.unlabelled
        self.columns = [rows[name][:] for name in ("text", "text_pair") if name in rows.column_names]
        limit = data.processor.model_max_length
        self.limit = min(data.task.options.max_length or limit, limit)
        alphabet = alphabet_of(self.columns[0][:1000])
        self.alphabet = alphabet.name if alphabet else ""
        if self.alphabet == "SMILES" and find_spec("rdkit") is None:
            raise InputError("Views of SMILES need rdkit: pip install 'hf_reprogram[molecules]'.")

    def plain(self, rows: Sequence[int]) -> Inputs:
        """See `Views.plain`."""
        return self._encoded([[column[row] for row in rows] for column in self.columns], None, 0.0)

    def _seen(self, rows: Sequence[int], random: torch.Generator, strong: bool) -> Inputs:
        texts = [[self._read(column[row], random, strong) for row in rows] for column in self.columns]
        if self.alphabet in _LETTERS:
            return self._encoded(texts, random, 0.0)
        usual = 0.1 if self.alphabet else 0.3
        share = usual * self.options.strength if strong else 0.0 if self.alphabet else 0.05
        return self._encoded(texts, random, share)

    def _read(self, text: str, random: torch.Generator, strong: bool) -> str:
        """Another string that means the same."""
        if self.alphabet == "SMILES":
            return other_smiles(text, int(torch.randint(2**31 - 1, (), generator=random)))
        if self.alphabet in _LETTERS:
            if self.alphabet == "DNA" and self.options.mirror and torch.rand((), generator=random) < 0.5:
                text = text[::-1].translate(_COMPLEMENT)
            share = 0.1 * self.options.strength if strong else 0.02
            return replaced(text, _LETTERS[self.alphabet], share, random)
        return text

    def _encoded(self, texts: list[list[str]], random: torch.Generator | None, share: float) -> Inputs:
        """Padded tokens, of which a share is left out."""
        found = self.processor(*texts, truncation=True, max_length=self.limit, return_special_tokens_mask=True)
        ids = [
            row if random is None or not share else thinned(row, special, share, random)
            for row, special in zip(found["input_ids"], found["special_tokens_mask"], strict=True)
        ]
        batch = self.processor.pad({"input_ids": ids}, return_tensors="pt")
        return {name: batch[name] for name in ("input_ids", "attention_mask")}


def thinned(ids: Sequence[int], special: Sequence[int], share: float, random: torch.Generator) -> list[int]:
    """Token ids of which a share is left out; special ones stay, and one other stays at least.

    Args:
        ids: of a text with its template.
        special: 1 where a token belongs to the template.
        share: the chance of each other token to be left out.
        random: the random numbers.

    >>> thinned([2, 70, 71, 72, 3], [1, 0, 0, 0, 1], 1.0, torch.Generator().manual_seed(0))
    [2, 70, 3]
    """
    chances = torch.rand(len(ids), generator=random).masked_fill(torch.tensor(special).bool(), 2.0)
    kept = chances >= share
    if not (kept & (chances < 2)).any() and (chances < 2).any():
        kept[int(chances.masked_fill(chances == 2, -1).argmax())] = True
    return [token for token, keep in zip(ids, kept.tolist(), strict=True) if keep]


def replaced(text: str, letters: str, share: float, random: torch.Generator) -> str:
    """A string in which a share of the letters is replaced by drawn ones, which may be the same.

    >>> len(replaced("ACGT" * 5, "ACGT", 0.5, torch.Generator().manual_seed(0)))
    20
    """
    chosen = torch.rand(len(text), generator=random) < share
    drawn = torch.randint(len(letters), (len(text),), generator=random).tolist()
    return "".join(
        letters[new] if change else letter for letter, new, change in zip(text, drawn, chosen.tolist(), strict=True)
    )


def other_smiles(text: str, seed: int) -> str:
    """Another SMILES string of the same molecule; a string that is none is returned as it is.

    >>> other_smiles("OCC", 0) in ("OCC", "CCO", "C(C)O", "C(O)C")
    True
    """
    from rdkit import Chem, RDLogger

    RDLogger.DisableLog("rdApp.*")  # type: ignore[attr-defined]  # strings that are no molecule are expected here
    molecule = Chem.MolFromSmiles(text)
    if molecule is None or not molecule.GetNumAtoms():
        return text
    return str(Chem.MolToRandomSmilesVect(molecule, 1, randomSeed=seed or 1)[0])


VIEWS: dict[str, type[Views]] = {
    "text": TextViews,
    "image": ImageViews,
    "audio": SoundViews,
    "series": SeriesViews,
}


def read_views(data: TrainingData, options: ViewOptions) -> Views:
    """The unlabelled rows of a task with their views; rows of a modality without views have plain inputs alone."""
    return VIEWS.get(data.task.modality.name, Views)(data, options)


def check_views(modality: Modality) -> None:
    """Raise `InputError` if examples of a modality have no views.

    >>> from hf_reprogram.modalities import MODALITIES
    >>> check_views(MODALITIES["table"])
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: There are no views of rows of numbers that keep the label: use information or pseudo_labels.
    """
    if modality.name not in VIEWS:
        raise InputError(
            f"There are no views of {modality.noun} that keep the label: use information or pseudo_labels."
        )
