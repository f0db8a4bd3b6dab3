"""RVP: a label map with trained weights, within the sets of source labels and between the classes.

    logits = (I + E) A logits_S        A(t, s) = soft-max over B_t of w_t at s; A(t, s) = 0 outside of B_t

B_t are the sets of a label map, which stay fixed. w (classes, m) holds the weights within the sets, and E (classes, classes)
mixes logits across classes. Training starts at w = 0 and E = 0, which is the label map of mean logits. `forward` folds both
into one matrix (classes, source labels).

The start "probe" keeps w = 0 and fits I + E, by logistic regression without a bias on the logits of that label map. The
strength of its L2 penalty is chosen as in `hf_reprogram.mappings.linear_fit`.

The formula comes from a manuscript that we could not verify. Nothing else is taken from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import unknown
from ..losses import IGNORE
from ..sources.base import Source, SourceSpec
from ..sources.probe import Lines, Probe
from .base import OutputMapping, Reader
from .label_map import LabelMap
from .label_map_options import SETS, LabelMapOptions, SetOptions
from .label_table import describe_map, map_lines, table
from .linear import MOST_EXAMPLES
from .linear_fit import STRENGTHS, mean_loss

HOW = tuple(how for how in SETS if how != "iterative")


@dataclass
class ReweightedMapOptions(SetOptions):
    """Options of `rvp`: those of `SetOptions`, without BLM and without "iterative".

    The sets are fitted once, since the trained weights belong to their labels.

    Attributes:
        start: E before training: "probe" or "none", where E = 0.
    """

    start: str = "none"

    def __post_init__(self) -> None:
        if self.start not in ReweightedMap.starts:
            raise unknown("start", self.start, ReweightedMap.starts)
        if self.how not in HOW:
            raise unknown("label mapping of rvp", self.how, HOW)
        super().__post_init__()


class ReweightedMap(OutputMapping):
    """A label map with trained weights. Omega is w, `within` (classes, m), and E, `between` (classes, classes).

    >>> mapping = ReweightedMap(ReweightedMapOptions(num_labels=2, width=12, how="identity", labels_per_class=3))
    >>> mapping(torch.zeros(5, 12), image_source).shape
    torch.Size([5, 2])
    """

    Options = ReweightedMapOptions
    starts = ("probe", "none")
    options: ReweightedMapOptions
    row_per_class = False  # a row belongs to a set of source labels

    def __init__(self, options: ReweightedMapOptions) -> None:
        super().__init__(options)
        self.label_map = LabelMap(
            LabelMapOptions(**{name: value for name, value in asdict(options).items() if name != "start"})
        )
        self.within = nn.Parameter(torch.zeros(self.label_map.sets.shape))
        self.between = nn.Parameter(torch.zeros(options.num_labels, options.num_labels))

    def reset(self) -> None:
        """Start at the label map of mean logits, and forget its sets if they are fitted."""
        self.label_map.reset()
        nn.init.zeros_(self.within)
        nn.init.zeros_(self.between)

    def check(self, spec: SourceSpec) -> None:
        """See `LabelMap.check`."""
        self.label_map.check(spec)

    def check_state(self, spec: SourceSpec) -> None:
        """Raise `InputError` if a set holds no label of the source."""
        self.label_map.check_state(spec)

    def begin_epoch(self, epoch: float, read: Reader, source: Source) -> None:
        """See `LabelMap.begin_epoch`."""
        self.label_map.begin_epoch(epoch, read, source)

    @torch.no_grad()
    def fit_start(self, read: Reader, validation: Reader | None, problem_type: str | None, source: Source) -> None:
        """Set E by the logits of the label map; see the module's docstring and `OutputMapping.begin`."""
        rows = []
        for each in (read, validation or read):
            logits, labels = each("logits", MOST_EXAMPLES)
            known = labels != IGNORE
            rows.append((self(logits[known].to(self.between.device), source).cpu().double(), labels[known]))
        from sklearn.linear_model import LogisticRegression

        (values, classes), (held, held_classes) = rows
        best = (float("inf"), torch.eye(len(self.between), dtype=torch.double))
        for strength in STRENGTHS if len(classes.unique()) > 1 else ():
            fit = LogisticRegression(C=strength, fit_intercept=False, max_iter=2000).fit(
                values.numpy(), classes.numpy()
            )
            weight = torch.zeros_like(best[1])
            found = torch.from_numpy(fit.coef_)
            weight[fit.classes_] = torch.cat([-found, found]) / 2 if len(found) == 1 else found
            loss = mean_loss((held @ weight.T).numpy(), held_classes.numpy(), problem_type)
            best = min(best, (loss, weight), key=lambda each: each[0])
        self.between.copy_(best[1] - torch.eye(len(self.between), dtype=torch.double))

    def fit(self, outputs: Tensor, labels: Tensor, source: Source | None = None) -> None:
        """See `LabelMap.fit`."""
        self.label_map.fit(outputs, labels, source)

    def matrix(self) -> Tensor:
        """The matrix (I + E) A of shape (classes, source labels)."""
        self.label_map.check_fitted()
        sets = self.label_map.sets
        shares = self.within.masked_fill(sets < 0, -torch.inf).softmax(-1)
        spread = shares.new_zeros(len(sets), self.options.width).scatter_add(1, sets.clamp(min=0).long(), shares)
        return spread + self.between @ spread

    def table(
        self, source_labels: Sequence[str], target_labels: Sequence[str], most: int = 10
    ) -> list[tuple[str, str, float]]:
        """The source labels of each class by name; see `hf_reprogram.mappings.label_table.table`."""
        return table(self.matrix(), source_labels, target_labels, most)

    @torch.no_grad()
    def inspect(self, probe: Probe) -> dict[str, Any]:
        """See `hf_reprogram.mappings.label_table.describe_map`."""
        return describe_map(self.matrix, self.options.how, probe)

    def lines(self, description: dict[str, Any]) -> Lines:
        """One line per class."""
        return Lines(body=map_lines(description))

    def forward(self, outputs: Tensor, source: Source) -> Tensor:
        """Logits (batch, labels) from the source's logits (batch, source labels), in the weights' dtype also under autocast."""
        with torch.autocast(outputs.device.type, enabled=False):
            matrix = self.matrix()
            return F.linear(outputs.to(matrix.dtype), matrix)
