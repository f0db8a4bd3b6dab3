"""SimCLR: theta learns without labels that two views of an input look alike to the frozen source.

    L = weight / 2B sum_i -log( exp(cos(z_i, z_i') / temperature) / sum_{j != i} exp(cos(z_i, z_j) / temperature) )

z are the source's features of the strong views of B inputs, 2B in all, and z_i' is the other view of z_i: NT-Xent of Chen et
al. 2020 (arXiv 2002.05709), but without their projection head, since the features themselves are what omega reads. The
features are the output that omega reads, or `features` if that is logits.

The loss of labelled examples does not count, and omega has no gradient. Before each validation a linear omega is fitted to
the labelled examples again, as a probe of the new features; a label map follows its own schedule. So one run gives an
adapter, the untrained start is its first candidate, and validation chooses the epoch. To go on with labels, start a second
recipe from it with `init_from`.

With several processes, the other inputs of a row are those of its own process.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import InputError
from ..mappings.linear import LinearMapping
from .base import TrainingData
from .unlabelled import OnUnlabelled, ViewedOptions

if TYPE_CHECKING:
    from ..losses import Batch
    from ..mappings.base import Reader
    from ..model import ReprogrammedModel


@dataclass
class SimCLROptions(ViewedOptions):
    """Options of `simclr`.

    Attributes:
        temperature: of the cosines; the smaller, the more the nearest other rows count.
        ratio: rows per labelled example of a step; the more, the more rows each is told from.
    """

    temperature: float = 0.5
    ratio: int = 4

    def __post_init__(self):
        super().__post_init__()
        if not 0.01 <= self.temperature <= 10:
            raise InputError(f"temperature is {self.temperature!r}: give a number from 0.01 to 10.")


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """The mean loss of both views of every row.

    Args:
        first, second: features (batch, width) of two views of the same rows.
        temperature: see the module's docstring.

    >>> views = torch.eye(2)
    >>> round(float(nt_xent(views, views, 1.0)), 4)  # -log(e / (e + 2))
    0.5514
    """
    both = F.normalize(torch.cat([first, second]).float(), dim=-1)
    cosines = (both @ both.T / temperature).fill_diagonal_(float("-inf"))
    partners = torch.arange(len(both), device=both.device).roll(len(first))
    return F.cross_entropy(cosines, partners)


class SimCLR(OnUnlabelled):
    """See the module's docstring."""

    name = "simclr"
    without_labels = True
    with_views = True
    classes_only = False
    Options = SimCLROptions
    fresh: Callable[[], Reader] | None = None

    def prepare(self, model: ReprogrammedModel, data: TrainingData) -> None:
        """See `Objective.prepare`."""
        super().prepare(model, data)
        linear = isinstance(model.mapping, LinearMapping)
        self.reads = model.mapping.reads if linear and model.mapping.reads not in ("logits", "tokens") else "features"
        if self.reads not in model.source.spec.widths:
            raise InputError(
                f"simclr compares features, and a source of kind {model.source.spec.kind!r} has none: choose another source."
            )

    def begin_epoch(self, model: ReprogrammedModel, epoch: float, fresh: Callable[[], Reader]) -> None:
        """See `Objective.begin_epoch`."""
        self.fresh = fresh

    def end_epoch(self, model: ReprogrammedModel) -> None:
        """Fit omega to the labelled examples, whose features have changed with theta."""
        if self.fresh is not None and isinstance(model.mapping, LinearMapping):
            model.mapping.fit_start(self.fresh(), None, model.config.problem_type, model.source)

    def loss(self, model: ReprogrammedModel, batch: Batch) -> Tensor:
        """See `Objective.loss`."""
        drawn, device = self.draw(), model.source.device
        features = []
        for _ in range(2):
            inputs = drawn.share(self.views.strong(drawn.rows, drawn.random), device)
            features.append(model.source(model.transform(inputs, model.source), self.reads))
        return self.options.weight * nt_xent(features[0], features[1], self.options.temperature)
