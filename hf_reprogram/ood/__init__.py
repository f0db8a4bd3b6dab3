"""Out-of-distribution detection and shift: scores, metrics and confidence intervals of arrays. It only needs NumPy.

    from hf_reprogram.ood import KNN, detection_metrics, scores
    detection_metrics(scores.energy(id_logits), scores.energy(ood_logits))    # {"auroc": ..., "fpr": ..., ...}
    knn = KNN(k=50).fit(train_features)
    detection_metrics(knn.score(id_features), knn.score(ood_features))

Everywhere a larger score means more out of distribution (OOD), and OOD is the positive class. `scores` has pure functions of
logits or features. The classes hold the statistics of training data that some scores need. The functions take arrays and
tensors and return float64. Empty, NaN or infinite input raises `InputError`. `ood_report` combines accuracy under shift and
detection. `load_metric` returns modules of `evaluate`, which it imports when it is called.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import scores
from .calibration import accuracy, accuracy_under_shift, adaptive_ece, brier, ece, nll, reliability
from .intervals import bootstrap_intervals
from .metrics import (
    aupr_in,
    aupr_out,
    auroc,
    detection_error,
    detection_metrics,
    fpr_at_tpr,
    roc_curve,
)
from .report import ood_report

if TYPE_CHECKING:
    from .fitted import KNN as KNN
    from .fitted import Mahalanobis as Mahalanobis
    from .fitted import ReAct as ReAct
    from .fitted import RelativeMahalanobis as RelativeMahalanobis
    from .fitted import ViM as ViM
    from .modules import load_metric as load_metric

_HOMES = {
    "KNN": "fitted",
    "Mahalanobis": "fitted",
    "ReAct": "fitted",
    "RelativeMahalanobis": "fitted",
    "ViM": "fitted",
    "load_metric": "modules",
}
__all__ = [
    "KNN",
    "Mahalanobis",
    "ReAct",
    "RelativeMahalanobis",
    "ViM",
    "accuracy",
    "accuracy_under_shift",
    "adaptive_ece",
    "aupr_in",
    "aupr_out",
    "auroc",
    "bootstrap_intervals",
    "brier",
    "detection_error",
    "detection_metrics",
    "ece",
    "fpr_at_tpr",
    "load_metric",
    "nll",
    "ood_report",
    "reliability",
    "roc_curve",
    "scores",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    return value
