"""The options of mappings of source labels: which labels stand for which class, and how they are chosen."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

from ..errors import InputError, unknown
from ..options import check_whole
from . import assignment

DECIDED = ("given", "random", "identity")
SIMILAR = ("similarity", "similarity_in_order", "similarity_optimal")
SETS = (*DECIDED, "frequency", "optimal", "iterative", *SIMILAR)
WEIGHTS = ("blm", "blm_plus")
AGGREGATES = ("mean_probability", "sum_probability", "max_logit", "mean_logit")


@dataclass
class SetOptions:
    """The options that all mappings of source labels share: which source labels stand for which class.

    Attributes:
        num_labels: the number of target classes.
        width: the number of source labels.
        assignment: the indices of each class's source labels, with how="given".
        how: "given"; "random" (drawn with `seed`); "identity" (in order); "frequency" (greedy, by mean probability); "optimal"
            (the largest total mean probability); "iterative" ("frequency", fitted before every epoch); "similarity",
            "similarity_in_order" or "similarity_optimal" (by
            features); "blm" or "blm_plus" (Bayesian weights).
        labels_per_class: m, the number of source labels per class; by default min(10, width // num_labels), 1 for "identity",
            and at most 3 for a similarity.
        seed: the seed of how="random".
        reads: "logits".
    """

    num_labels: int
    width: int
    assignment: list[list[int]] = field(default_factory=list)
    how: str = "given"
    labels_per_class: int | None = None
    seed: int = field(default=0, metadata={"most": 2**63 - 1})
    reads: str = "logits"

    def __post_init__(self) -> None:
        check_whole(num_labels=self.num_labels, width=self.width)
        if self.reads != "logits":
            raise InputError(f"A label map reads the source's logits, not {self.reads!r}: use a dense mapping.")
        if self.assignment and self.how != "given":
            raise InputError(
                f"assignment names the sets, and how={self.how!r} would choose them: leave one of the two out."
            )
        if self.labels_per_class is not None and self.how in ("given", *WEIGHTS):
            raise InputError(f"labels_per_class does not apply to how={self.how!r}: leave it out.")
        if self.how == "given":
            assignment.check_sets(self.assignment, self.num_labels, self.width)
        else:
            self.set_size()

    @property
    def is_fitted(self) -> bool:
        """Whether the map is fitted to the source's outputs."""
        return self.how not in DECIDED

    def set_size(self) -> int:
        """The largest number of source labels in a class's set.

        Raises:
            InputError: the source has fewer labels than the classes need.
        """
        if self.how == "given":
            return max(map(len, self.assignment))
        requested = self.labels_per_class
        if self.how in SIMILAR:
            assignment.labels_per_class(self.num_labels, self.width, 1)
            return min(3, self.width) if requested is None else assignment.labels_per_class(1, self.width, requested)
        if requested is None and self.how in ("identity", *WEIGHTS):
            requested = 1
        return assignment.labels_per_class(self.num_labels, self.width, requested)


@dataclass
class LabelMapOptions(SetOptions):
    """Options of `label_map`, in addition to those of `SetOptions`.

    Attributes:
        aggregate: "mean_probability", "sum_probability", "max_logit" or "mean_logit"; BLM has the first and the last alone. The
            default is that of the paper: "mean_logit" for BLM, "sum_probability" for a similarity, else "mean_probability".
        refit_every: the number of epochs from one fit to the next; by default 1 for "iterative" and BLM, and a single fit for
            the others.
        focal: gamma of the focal loss (`hf_reprogram.losses.focal_loss`); 0 for the cross-entropy.
        share: BLM+ counts the max(1, share * num_labels) most probable source labels of each example.
    """

    aggregate: str | None = None
    refit_every: int | None = None
    share: float = 0.15
    focal: float = 0.0

    def __post_init__(self) -> None:
        aggregates = AGGREGATES if self.how in SETS else ("mean_probability", "mean_logit")
        if self.how not in (*SETS, *WEIGHTS):
            raise unknown("label mapping", self.how, (*SETS, *WEIGHTS))
        if self.aggregate is None:
            own = "mean_logit" if self.how in WEIGHTS else "sum_probability" if self.how in SIMILAR else None
            self.aggregate = own or "mean_probability"
        if self.aggregate not in aggregates:
            raise unknown(f"aggregate of how={self.how!r}", self.aggregate, aggregates)
        if self.refit_every is not None and not self.is_fitted:
            raise InputError(f"refit_every is for maps that are fitted, not for how={self.how!r}: leave it out.")
        if self.refit_every is not None:
            check_whole(1, " of epochs", refit_every=self.refit_every)
        if not 0 <= self.focal < inf:
            raise InputError(f"focal is {self.focal!r}: give 0 or more.")
        if not 0 < self.share <= 1:
            raise InputError(f"share is {self.share!r}: give more than 0 and at most 1.")
        super().__post_init__()

    @property
    def period(self) -> int | None:
        """The number of epochs from one fit to the next; None for a single fit."""
        return self.refit_every or (1 if self.how in ("iterative", *WEIGHTS) else None)
