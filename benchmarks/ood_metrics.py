"""AUROC, both AUPR, FPR at 95 % TPR and the detection error, against scikit-learn and pytorch-ood.

    scikit-learn               `roc_auc_score`, `average_precision_score` for either class, `roc_curve`
    pytorch-ood, OODMetrics    its class for all at once (one sort; AUTC too, but no detection error)
    pytorch-ood, one sort      only its AUROC, AUPR and FPR from the counts that class shares; not public
    hf_reprogram               `detection_metrics`

Half of the scores are ID and half OOD, normal around 0 and 1 in float64: a million distinct ones, a million rounded to two
decimals so that nearly all tie, and ten million distinct ones (timed once). The peers get scores and labels in one array or
tensor, made before the clock starts.

Equality: every metric against scikit-learn's, AUROC and FPR against pytorch-ood's too; its AUPR is the area by trapezoids, and
so another number, given in the report. pytorch-ood is loaded without its model registry, which needs torchvision
(`pip install --no-deps pytorch-ood`); where it is missing it is left out, and the report says so. NumPy sorts with AVX-512 or
AVX2 where the processor has it, which is most of the gain: with both switched off (NPY_DISABLE_CPU_FEATURES) a million distinct
scores came to 8x against scikit-learn, and 1.7x and 1.3x against the two of pytorch-ood.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from common import alternate, parser, report, start
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from hf_reprogram.ood import detection_metrics

TPR = 0.95


def load_pytorch_ood() -> tuple[Any, str]:
    """Its metrics without the package's own `__init__`, or None and the reason."""
    spec = find_spec("pytorch_ood")
    if spec is None or spec.submodule_search_locations is None:
        return None, "pytorch-ood is not installed (pip install --no-deps pytorch-ood)"
    package = types.ModuleType("pytorch_ood")
    package.__path__ = list(spec.submodule_search_locations)
    sys.modules["pytorch_ood"] = package
    try:
        return import_module("pytorch_ood.metrics"), ""
    except ImportError as error:
        return None, f"pytorch-ood's metrics cannot be loaded: {error}"


def by_scikit_learn(scores: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """All five with OOD, the positive class, labelled 1."""
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    return {
        "auroc": roc_auc_score(labels, scores),
        "aupr_in": average_precision_score(1 - labels, -scores),
        "aupr_out": average_precision_score(labels, scores),
        "fpr": fpr[np.argmax(tpr >= TPR)],
        "detection_error": ((1 - tpr + fpr) / 2).min(),
    }


def by_pytorch_ood(peer: Any, scores: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """What its class for all metrics gives; OOD is labelled -1."""
    return peer.OODMetrics(fpr_at=TPR).update(scores, labels).compute()


def by_its_counts(peer: Any, scores: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """The same four metrics without the others and without buffers."""
    functional = peer.functional
    counts = functional._counts(scores, labels)
    return {
        "AUROC": float(functional._area(*functional._roc(counts))),
        "AUPR-IN": float(functional._aupr(counts, "id")),
        "AUPR-OUT": float(functional._aupr(counts, "ood")),
        "FPR95TPR": float(functional._fpr_at_tpr(counts, TPR)),
    }


def drawn(size: int, decimals: int | None) -> tuple[np.ndarray, np.ndarray]:
    """ID and OOD scores, `size` of both together."""
    random = np.random.default_rng(0)
    sides = random.normal(0, size=size // 2), random.normal(1, size=size - size // 2)
    return sides if decimals is None else tuple(side.round(decimals) for side in sides)


def main() -> None:
    """Compare, print, write."""
    arguments = parser(__doc__, layers=0, width=0, rounds=5)
    arguments.add_argument("--size", type=int, default=10**6, help="scores (default: %(default)s)")
    arguments.add_argument("--large", type=int, default=10**7, help="scores of the run that is timed once")
    options = start(arguments)
    peer, reason = load_pytorch_ood()
    cpu, wall, ratios, checks, others = {}, {}, {}, {}, {}
    for what, size, decimals, rounds in (
        (f"{options.size:.0e}", options.size, None, options.rounds),
        (f"{options.size:.0e} tied", options.size, 2, options.rounds),
        (f"{options.large:.0e}", options.large, None, 1),
    ):
        what = what.replace("e+0", "e")
        inside, outside = drawn(size, decimals)
        scores, labels = np.concatenate([inside, outside]), np.repeat([0, 1], [len(inside), len(outside)])
        results: dict[str, dict[str, float]] = {}
        paths: dict[str, Callable[[], dict[str, float]]] = {
            "scikit-learn": lambda scores=scores, labels=labels: by_scikit_learn(scores, labels)
        }
        if peer is not None:
            tensors = torch.from_numpy(scores), torch.from_numpy(-labels)
            paths["pytorch-ood, OODMetrics"] = lambda tensors=tensors: by_pytorch_ood(peer, *tensors)
            paths["pytorch-ood, one sort"] = lambda tensors=tensors: by_its_counts(peer, *tensors)
        paths["hf_reprogram"] = lambda sides=(inside, outside): detection_metrics(*sides, tpr=TPR)
        named = {
            f"{path}, {what}": lambda path=path, run=run, results=results: results.__setitem__(path, run())
            for path, run in paths.items()
        }
        for total, seconds in zip((cpu, wall), alternate(named, rounds, warmup=int(rounds > 1)), strict=True):
            total.update(seconds)
        ours = results.pop("hf_reprogram")
        ratios |= {f"{what}, against {path}": (f"{path}, {what}", f"hf_reprogram, {what}") for path in results}
        expected = results["scikit-learn"]
        checks[f"{what}: all metrics, against scikit-learn"] = (
            max(abs(ours[name] - expected[name]) for name in ours),
            1e-12,
        )
        if peer is not None:
            for path in ("pytorch-ood, OODMetrics", "pytorch-ood, one sort"):
                theirs = results[path]
                error = max(abs(ours["auroc"] - theirs["AUROC"]), abs(ours["fpr"] - theirs["FPR95TPR"]))
                checks[f"{what}: AUROC and FPR, against {path}"] = error, 1e-12
            others[f"aupr_out_{what.replace(' ', '_')}"] = {"ours": ours["aupr_out"], "trapezoids": theirs["AUPR-OUT"]}
    peers = ("scikit-learn", "numpy", *(("pytorch-ood",) if peer is not None else ()))
    report(
        "ood_metrics",
        f"AUROC, AUPR-in, AUPR-out, FPR at {TPR:.0%} TPR and detection error of {options.size:,} and {options.large:,} scores",
        options,
        cpu,
        wall,
        ratios,
        checks,
        **others,
        peers={name: version(name) for name in peers},
        **({"left_out": reason} if reason else {}),
    )


if __name__ == "__main__":
    main()
