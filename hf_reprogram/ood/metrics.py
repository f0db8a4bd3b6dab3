"""Metrics of OOD detection: how well scores separate OOD from ID samples. Ties are handled exactly.

A larger score means more OOD, and OOD is the positive class. At a threshold t a sample counts as detected if its score is at
least t. For m ID scores a and n OOD scores b

    TPR(t) = #{b >= t} / n        FPR(t) = #{a >= t} / m

so that samples with equal scores are detected together. Each side is sorted once and the two are merged. The metrics only need
the numbers of ID and OOD samples below and up to every distinct score (`Counts`). The area under the ROC curve and both average
precisions are defined as in `roc_auc_score` and `average_precision_score` of scikit-learn, and FPR is read from its
`roc_curve(..., drop_intermediate=False)`. All agree with those to 1e-12, also with ties.

Papers that call ID the positive class ("FPR95: 95 % of ID kept") report `fpr_at_tpr(-ood_scores, -id_scores)`, sides swapped.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..arrays import Array, array, finite, number

METRICS = ("auroc", "aupr_in", "aupr_out", "fpr", "detection_error")


class Counts(NamedTuple):
    """Numbers of samples at the distinct scores of each side, ascending; a leading axis holds resamples if there are any.

    `ood_*` are at the distinct OOD scores, (..., distinct OOD), `id_*` at the distinct ID scores, (..., distinct ID).

    >>> counts = count([0.1, 0.2], [0.2, 0.9])
    >>> counts.ood_id_below.tolist(), counts.ood_id_upto.tolist()
    ([1, 2], [2, 2])
    """

    num_id: int
    num_ood: int
    ood_id_below: Array  # ID samples below each distinct OOD score
    ood_id_upto: Array  # ID samples below or equal
    ood_below: Array  # OOD samples below
    ood_upto: Array
    id_below: Array  # ID samples below each distinct ID score
    id_upto: Array
    id_ood_upto: Array  # OOD samples below or equal

    def resampled(self, id_totals: Array, ood_totals: Array) -> Counts:
        """The same where the sorted samples occur several times or never.

        Args:
            id_totals: (resamples, num_id + 1), how often the first 0, 1, 2, ... sorted ID samples occur together.
            ood_totals: (resamples, num_ood + 1), the same of OOD.
        """
        of_id, of_ood = id_totals.take, ood_totals.take
        return Counts(
            self.num_id,
            self.num_ood,
            of_id(self.ood_id_below, axis=1),
            of_id(self.ood_id_upto, axis=1),
            of_ood(self.ood_below, axis=1),
            of_ood(self.ood_upto, axis=1),
            of_id(self.id_below, axis=1),
            of_id(self.id_upto, axis=1),
            of_ood(self.id_ood_upto, axis=1),
        )


def count(id_scores: Any, ood_scores: Any) -> Counts:
    """Sort both sides and count.

    Args:
        id_scores: (m,) scores of samples in distribution, m at least 1.
        ood_scores: (n,) scores of samples out of distribution, n at least 1.

    Raises:
        InputError: a side is empty, or is not one finite number per sample.

    >>> count([1, 2, 3], [4]).num_id
    3
    """
    inside, outside = _sorted(id_scores, ood_scores)
    id_below, id_upto = _runs(inside)
    ood_below, ood_upto = _runs(outside)
    distinct = outside if len(ood_below) == len(outside) else outside[ood_below]
    ood_id_below = inside.searchsorted(distinct)
    tied = inside.take(ood_id_below, mode="clip") == distinct
    ood_id_upto = ood_id_below
    if tied.any():
        ood_id_upto = ood_id_below.copy()
        ood_id_upto[tied] = inside.searchsorted(distinct[tied], side="right")
    # a distinct OOD score is at most the i-th ID score where no more than i ID scores lie below it
    reached = np.bincount(ood_id_below, minlength=len(inside)).cumsum()[id_below]
    id_ood_upto = np.concatenate([[0], ood_upto])[reached]
    return Counts(
        len(inside), len(outside), ood_id_below, ood_id_upto, ood_below, ood_upto, id_below, id_upto, id_ood_upto
    )


def _sorted(id_scores: Any, ood_scores: Any) -> tuple[Array, Array]:
    """Both sides ascending and of one dtype."""
    sides = [array(id_scores, "ID scores", 1), array(ood_scores, "OOD scores", 1)]
    dtype = np.result_type(*sides, np.float32)
    ordered = [np.sort(side.astype(dtype, copy=False)) for side in sides]
    for side, name in zip(ordered, ("ID scores", "OOD scores"), strict=True):
        if not np.isfinite(side[[0, -1]]).all():  # NaN and infinities are at the ends
            finite(side, name)
    return ordered[0], ordered[1]


def _runs(ordered: Array) -> tuple[Array, Array]:
    """Where each run of equal numbers starts and where it has ended, both (distinct,)."""
    last = np.flatnonzero(ordered[1:] != ordered[:-1])
    upto = np.append(last, len(ordered) - 1) + 1
    return np.concatenate([[0], upto[:-1]]), upto


# ----------------------------------------------------------------------------------------------------------- metrics


def detection_metrics(id_scores: Any, ood_scores: Any, tpr: float = 0.95) -> dict[str, float]:
    """All metrics of OOD detection from one sort.

    Args:
        id_scores: (m,) scores of samples in distribution.
        ood_scores: (n,) scores of samples out of distribution, which should be larger.
        tpr: the share of OOD samples, in [0, 1], that must be detected where "fpr" is read.

    Returns:
        Numbers in [0, 1]: `auroc`, `aupr_in`, `aupr_out`, `fpr` and `detection_error`, each as the function of its name says
        (`fpr` as `fpr_at_tpr`).

    Raises:
        InputError: a side is empty, has NaN or infinities, or is not one number per sample; or `tpr` is out of range.

    >>> values = detection_metrics([0.1, 0.2, 0.3], [0.8, 0.9])
    >>> values["auroc"], values["fpr"]
    (1.0, 0.0)
    """
    return {name: float(value) for name, value in every(count(id_scores, ood_scores), rate(tpr)).items()}


def auroc(id_scores: Any, ood_scores: Any) -> float:
    """Area under the ROC curve: the chance that an OOD sample scores above an ID one, where ties count half.

    AUROC = sum over OOD scores b of (#{a < b} + #{a <= b}) / (2 m n). Arguments and errors as for `detection_metrics`.

    >>> auroc([0.1, 0.5], [0.5, 0.9])
    0.875
    """
    return float(_auroc(count(id_scores, ood_scores)))


def aupr_out(id_scores: Any, ood_scores: Any) -> float:
    """Average precision with OOD as the positive class; arguments and errors as for `detection_metrics`.

    The mean over OOD scores b of the precision at threshold b, #{b' >= b} / (#{b' >= b} + #{a >= b}): sum of precision times
    the step in recall, as `average_precision_score` has it. The trapezoidal rule, which others use,
    interpolates where no threshold is (Davis & Goadrich 2006).

    >>> aupr_out([0.1, 0.6], [0.5, 0.9])
    0.8333333333333333
    """
    return float(_aupr_out(count(id_scores, ood_scores)))


def aupr_in(id_scores: Any, ood_scores: Any) -> float:
    """Average precision with ID as the positive class and scores negated; arguments as for `detection_metrics`.

    The mean over ID scores a of #{a' <= a} / (#{a' <= a} + #{b <= a}).

    >>> aupr_in([0.1, 0.6], [0.5, 0.9])
    0.8333333333333333
    """
    return float(_aupr_in(count(id_scores, ood_scores)))


def fpr_at_tpr(id_scores: Any, ood_scores: Any, tpr: float = 0.95) -> float:
    """The smallest FPR of a threshold whose TPR is at least `tpr`: the first such point of the ROC curve, not interpolated.

    Arguments and errors as for `detection_metrics`. For `tpr=0` it is 0.

    >>> fpr_at_tpr([0.1, 0.6], [0.5, 0.9], tpr=1.0)
    0.5
    """
    return float(_fpr(count(id_scores, ood_scores), rate(tpr)))


def detection_error(id_scores: Any, ood_scores: Any) -> float:
    """The smallest share of errors of any threshold if ID and OOD are equally likely; arguments as for `detection_metrics`.

    min over t of (1 - TPR(t)) / 2 + FPR(t) / 2, at most 1/2: one minus the detection accuracy of Lee et al. 2018 (arXiv
    1807.03888). The code of ODIN (Liang et al. 2018, arXiv 1706.02690) computes the same. ODIN's text takes it at TPR = 95 %
    instead, where it is a function of the FPR: (1 - 0.95) / 2 + FPR / 2.

    >>> detection_error([0.1, 0.6], [0.5, 0.9])
    0.25
    """
    return float(_detection_error(count(id_scores, ood_scores)))


def roc_curve(id_scores: Any, ood_scores: Any) -> tuple[Array, Array, Array]:
    """The ROC curve, for plots: FPR, TPR and threshold, each (distinct scores + 1,), from (0, 0, infinity) to (1, 1, lowest).

    As `sklearn.metrics.roc_curve(..., drop_intermediate=False)`. Arguments and errors as for `detection_metrics`.

    >>> fpr, tpr, thresholds = roc_curve([0.1], [0.9])
    >>> fpr.tolist(), tpr.tolist(), thresholds.tolist()
    ([0.0, 0.0, 1.0], [0.0, 1.0, 1.0], [inf, 0.9, 0.1])
    """
    inside, outside = _sorted(id_scores, ood_scores)
    thresholds = np.unique(np.concatenate([inside, outside]))[::-1]
    fpr, tpr = ((len(side) - side.searchsorted(thresholds)) / len(side) for side in (inside, outside))
    return np.append(0.0, fpr), np.append(0.0, tpr), np.append(np.inf, thresholds)


def rate(tpr: float) -> float:
    """A share in [0, 1], or `InputError`.

    >>> rate(0.95)
    0.95
    """
    return number(tpr, "tpr", 0, 1)


def every(counts: Counts, tpr: float) -> dict[str, Array]:
    """All metrics, numbers or one for each resample (resamples,).

    >>> float(every(count([1, 2], [3, 4]), tpr=0.95)["auroc"])
    1.0
    """
    values = _auroc(counts), _aupr_in(counts), _aupr_out(counts), _fpr(counts, tpr), _detection_error(counts)
    return dict(zip(METRICS, values, strict=True))


def _auroc(counts: Counts) -> Array:
    weights = counts.ood_upto - counts.ood_below
    twice = (weights * (counts.ood_id_below + counts.ood_id_upto)).sum(-1)
    area: Array = twice / (2 * counts.num_id * counts.num_ood)
    return area


def _aupr_out(counts: Counts) -> Array:
    true, false = counts.num_ood - counts.ood_below, counts.num_id - counts.ood_id_below
    return _average_precision(true, false, counts.ood_upto - counts.ood_below, counts.num_ood)


def _aupr_in(counts: Counts) -> Array:
    return _average_precision(counts.id_upto, counts.id_ood_upto, counts.id_upto - counts.id_below, counts.num_id)


def _average_precision(true: Array, false: Array, weights: Array, positives: int) -> Array:
    precision = true / np.maximum(true + false, 1)  # a resample may have no sample here, and the weight is then 0
    average: Array = (weights * precision).sum(-1) / positives
    return average


def _fpr(counts: Counts, tpr: float) -> Array:
    if tpr == 0:
        return np.zeros(counts.ood_below.shape[:-1])
    enough = (counts.num_ood - counts.ood_below) / counts.num_ood >= tpr  # at low thresholds; always at the lowest
    highest = enough.sum(-1, keepdims=True) - 1
    below = np.take_along_axis(counts.ood_id_below, highest, -1)[..., 0]
    share: Array = (counts.num_id - below) / counts.num_id
    return share


def _detection_error(counts: Counts) -> Array:
    missed, alarms = counts.ood_below / counts.num_ood, 1 - counts.ood_id_below / counts.num_id
    lowest: Array = ((missed + alarms) / 2).min(-1)
    return np.minimum(0.5, lowest)  # 0.5 where nothing is detected
