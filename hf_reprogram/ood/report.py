"""The evaluation of a classifier in and out of distribution from its logits: accuracy under shift, and OOD detection.

    report = ood_report(id_logits, id_labels, covariate={"sketches": (logits, labels)}, semantic={"textures": logits})

A report is plain data. Its numbers are between 0 and 1:

    score, tpr                        the name of the score, and the TPR at which FPR is read
    images                            the number of images of each set, nested like the numbers
    id                                accuracy in distribution
    covariate    {name: ...}          accuracy on other images of the same classes
    corruptions  {kind: {level: ...}} accuracy on corrupted ID images
    semantic     {name: {...}}        `detection_metrics` of images of other classes against all ID images
    mean                              over `covariate`; over levels, then kinds of `corruptions`; each metric over `semantic`
    aggregate                         mean of those of these numbers that exist: ID accuracy, mean accuracy under covariate
                                      shift, mean accuracy on corruptions, 1 - mean FPR, mean AUROC, mean AUPR with OOD as the
                                      positive class

The aggregate gives equal weight to numbers of different meaning, and AUPR depends on the number of images of each side:
compare aggregates only within one table. `average` combines several reports, for example of several seeds: each number
becomes a mean, a sample deviation and a count. The tables take such reports too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..arrays import Array, array, number, same
from ..errors import InputError, unknown
from . import scores
from .calibration import accuracy
from .metrics import METRICS, detection_metrics, rate, roc_curve

LogitScore = Callable[[Any], Array]  # logits (n, classes) to scores (n,)
TEMPERED: dict[str, Callable[..., Array]] = {"msp": scores.msp, "energy": scores.energy}
LOGIT_SCORES: dict[str, LogitScore] = {
    **TEMPERED,
    "max_logit": scores.max_logit,
    "entropy": scores.entropy,
    "margin": scores.margin,
    "generalized_entropy": scores.generalized_entropy,
}
Labelled = tuple[Any, Any]  # logits (n, classes) and labels (n,)
NUMBERS = ("id", "covariate", "corruptions", "semantic", "mean", "aggregate")


def score_of(name: str, temperature: float = 1.0) -> LogitScore:
    """A score of logits (n, classes) alone, by its name in `hf_reprogram.ood.scores`.

    Args:
        name: a key of `LOGIT_SCORES`.
        temperature: T > 0 that logits are divided by, of the scores in `TEMPERED`. With T the scale of a text-image encoder
            (100 of CLIP), "msp" of its zero-shot logits is MCM at the paper's temperature, 1: see `scores.mcm`.

    Raises:
        InputError: there is no score of this name, or it has no temperature.

    >>> score_of("max_logit")([[1.0, 3.0]]).tolist()
    [-3.0]
    """
    if name == "mcm":
        raise InputError(
            "MCM of logits is msp with a temperature: give the score msp, and the scale of the encoder as temperature."
        )
    if name in scores.OF_FEATURES:
        raise InputError(
            f"The score {name!r} needs features and training images, and a report only has logits: choose one of "
            f"{', '.join(LOGIT_SCORES)}, or compute it with hf_reprogram.ood."
        )
    if name not in LOGIT_SCORES:
        raise unknown("score", name, LOGIT_SCORES)
    if number(temperature, "temperature", 0, open_low=True) == 1:
        return LOGIT_SCORES[name]
    if name not in TEMPERED:
        raise InputError(
            f"The score {name!r} has no temperature: leave temperature={temperature!r} out, or choose "
            f"{' or '.join(TEMPERED)}."
        )
    return partial(TEMPERED[name], temperature=temperature)


def title_of(name: str, temperature: float = 1.0) -> str:
    """The name of a score in tables: "msp", or "msp at temperature 100".

    >>> title_of("msp", 100)
    'msp at temperature 100'
    """
    return name if temperature == 1 else f"{name} at temperature {temperature:g}"


class Scored(NamedTuple):
    """The values that a report needs from a set's logits.

    Attributes:
        scores: the out-of-distribution scores (n,), which are larger for examples that are more likely out of distribution.
        accuracy: the share of correct predictions, from 0 to 1; None for a set without labels.

    >>> scored([[1.0, 3.0], [2.0, 0.0]], [1, 1], score_of("max_logit")).accuracy
    0.5
    """

    scores: Array
    accuracy: float | None


def scored(logits: Any, labels: Any | None, score: LogitScore) -> Scored:
    """Reduce logits (n, classes) and labels (n,) to scores and accuracy; without labels the accuracy is None.

    Raises:
        InputError: a label is not a class index, or the numbers of labels and logits differ.

    >>> scored([[1.0, 3.0], [2.0, 0.0]], [1, 1], score_of("max_logit"))
    Scored(scores=array([-3., -2.]), accuracy=0.5)
    """
    rows = array(logits, "logits", 2)
    if labels is None:
        return Scored(score(rows), None)
    classes = array(labels, "labels", 1)
    outside = (classes < 0) | (classes >= rows.shape[1])
    if outside.any():
        raise InputError(
            f"There is a label {classes[outside][0]}, and the logits are of {rows.shape[1]} classes: give indices from 0 to "
            f"{rows.shape[1] - 1}, and leave samples of no class out."
        )
    return Scored(score(rows), accuracy(rows.argmax(1), classes))


def ood_report(
    id_logits: Any,
    id_labels: Any,
    covariate: Mapping[str, Labelled] | None = None,
    corruptions: Mapping[str, Mapping[int, Labelled]] | None = None,
    semantic: Mapping[str, Any] | None = None,
    score: str = "msp",
    tpr: float = 0.95,
    temperature: float = 1.0,
) -> dict[str, Any]:
    """The report of the module's docstring.

    Args:
        id_logits, id_labels: (n, classes) and (n,), in distribution.
        covariate: logits and labels of each shifted set.
        corruptions: logits and labels by kind and level.
        semantic: logits (m, classes) of each set of images of other classes.
        score, temperature: see `score_of`.
        tpr: the share of OOD images that must be detected where FPR is read.

    Raises:
        InputError: there is no set at all, something is empty, NaN or infinite, or shapes do not fit.

    >>> logits, labels = [[9.0, 0.0], [0.0, 9.0]], [0, 1]
    >>> ood_report(logits, labels, semantic={"textures": [[0.1, 0.0], [0.0, 0.2]]})["mean"]["auroc"]
    1.0
    """
    function = score_of(score, temperature)
    shifted = {name: pair[0] for name, pair in (covariate or {}).items()}
    corrupted = {
        f"{kind} {level}": pair[0] for kind, levels in (corruptions or {}).items() for level, pair in levels.items()
    }
    classes = array(id_logits, "logits", 2).shape[1]
    for name, logits in {**shifted, **corrupted, **(semantic or {})}.items():
        width = array(logits, f"logits of {name}", 2).shape[1]
        same(width, classes, f"The number of classes in the logits of {name}", "that in distribution")
    return report_of_scored(
        scored(id_logits, id_labels, function),
        {name: scored(*pair, function) for name, pair in (covariate or {}).items()},
        {
            kind: {level: scored(*pair, function) for level, pair in levels.items()}
            for kind, levels in (corruptions or {}).items()
        },
        {name: scored(logits, None, function) for name, logits in (semantic or {}).items()},
        title_of(score, temperature),
        tpr,
    )


def report_of_scored(
    inside: Scored,
    covariate: Mapping[str, Scored],
    corruptions: Mapping[str, Mapping[int, Scored]],
    semantic: Mapping[str, Scored],
    score: str = "msp",
    tpr: float = 0.95,
) -> dict[str, Any]:
    """The same report of sets whose logits are not kept; see `ood_report`.

    Args:
        inside: in distribution.
        covariate, corruptions, semantic: as for `ood_report`, all of the same score.
        score: the name of the score, see `title_of`.
        tpr: as for `ood_report`.

    Raises:
        InputError: there is no set at all, or `tpr` is no rate.

    >>> inside, outside = Scored(np.array([0.1, 0.2]), 0.9), Scored(np.array([0.7, 0.8]), None)
    >>> report_of_scored(inside, {}, {}, {"textures": outside})["semantic"]["textures"]["fpr"]
    0.0
    """
    if not (covariate or corruptions or semantic):
        raise InputError("There is nothing to compare with: give a covariate set, a corruption or a semantic set.")
    report: dict[str, Any] = {
        "score": score,
        "tpr": rate(tpr),
        "images": {
            "id": len(inside.scores),
            "covariate": {name: len(one.scores) for name, one in covariate.items()},
            "corruptions": {
                kind: {str(level): len(one.scores) for level, one in levels.items()}
                for kind, levels in corruptions.items()
            },
            "semantic": {name: len(one.scores) for name, one in semantic.items()},
        },
        "id": inside.accuracy,
        "covariate": {name: one.accuracy for name, one in covariate.items()},
        "corruptions": {
            kind: {str(level): one.accuracy for level, one in levels.items()} for kind, levels in corruptions.items()
        },
        "semantic": {name: detection_metrics(inside.scores, one.scores, tpr) for name, one in semantic.items()},
    }
    mean: dict[str, float] = {}
    if covariate:
        mean["covariate"] = _mean(report["covariate"].values())
    if corruptions:
        mean["corruptions"] = _mean(_mean(levels.values()) for levels in report["corruptions"].values())
    if semantic:
        mean |= {metric: _mean(row[metric] for row in report["semantic"].values()) for metric in METRICS}
    parts = [report["id"], *(mean[name] for name in ("covariate", "corruptions", "auroc", "aupr_out") if name in mean)]
    parts += [1 - mean["fpr"]] if semantic else []
    return {**report, "mean": mean, "aggregate": _mean(parts)}


def _mean(values: Any) -> float:
    return float(np.mean([*values]))


def curves(inside: Array, outside: Mapping[str, Array], points: int = 200, bins: int = 40) -> dict[str, Any]:
    """The data of the plots of detection: the ROC curve of each set, and histograms of the scores.

    Args:
        inside: scores (n,) in distribution.
        outside: scores (m,) of each set of images of other classes.
        points: the largest number of points of a ROC curve, spaced evenly among all of its points, with both ends.
        bins: the number of bins of equal width over the scores of all sets.

    Returns:
        `roc`: by set, `fpr` and `tpr`. `scores`: `edges` (bins + 1,) and by set, "id" included, the share of its images in
        each bin (bins,).

    >>> data = curves(np.array([0.0, 0.0]), {"textures": np.array([1.0])}, bins=2)
    >>> data["scores"]["shares"]
    {'id': [1.0, 0.0], 'textures': [0.0, 1.0]}
    """
    roc = {}
    for name, scores_of in outside.items():
        fpr, tpr, _ = roc_curve(inside, scores_of)
        kept = np.unique(np.linspace(0, len(fpr) - 1, points).round().astype(int))
        roc[name] = {"fpr": fpr[kept].tolist(), "tpr": tpr[kept].tolist()}
    sides = {"id": inside, **outside}
    edges = np.histogram_bin_edges(np.concatenate([*sides.values()]), bins)
    shares = {name: (np.histogram(side, edges)[0] / len(side)).tolist() for name, side in sides.items()}
    return {"roc": roc, "scores": {"edges": edges.tolist(), "shares": shares}}


def average(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Average reports on the same sets; each number becomes {"mean": ..., "std": ..., "n": ...}, with std 0 for one report.

    >>> inside = Scored(np.array([0.1, 0.2]), 0.5)
    >>> one = report_of_scored(inside, {"sketches": Scored(inside.scores, 0.25)}, {}, {})
    >>> average([one, one])["id"]
    {'mean': 0.5, 'std': 0.0, 'n': 2}
    """
    numbers = {key: _average([report[key] for report in reports]) for key in NUMBERS}
    return {**{key: reports[0][key] for key in ("score", "tpr", "images")}, **numbers}


def _average(values: Sequence[Any]) -> Any:
    if isinstance(values[0], Mapping):
        return {key: _average([value[key] for value in values]) for key in values[0]}
    std = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return {"mean": float(np.mean(values)), "std": std, "n": len(values)}


# ------------------------------------------------------------------------------------------------------------- tables


def rows(reports: Mapping[str, Mapping[str, Any]]) -> list[dict[str, str]]:
    """The rows of a table, in percent, one per report.

    Args:
        reports: reports of `ood_report` by title.

    >>> report = ood_report([[0.0, 2.0], [2.0, 0.0]], [1, 0], semantic={"noise": [[1.0, 0.0]]})
    >>> rows({"ours": report})[0]["ID"]
    '100.0'
    """
    table = []
    for title, report in reports.items():
        mean = report["mean"]
        row = {"": title, "ID": cell(report["id"])}
        row |= {name: cell(value) for name, value in report["covariate"].items()}
        if len(report["covariate"]) > 1:
            row["covariate mean"] = cell(mean["covariate"])
        if report["corruptions"]:
            row["corruptions"] = cell(mean["corruptions"])
        if report["semantic"]:
            row |= {name: cell(mean[key]) for name, key in _detection(report).items()}
        table.append({**row, "aggregate": cell(report["aggregate"])})
    return table


def semantic_rows(report: Mapping[str, Any]) -> list[dict[str, str]]:
    """The rows of a table of semantic sets, one per set and one for their mean; empty without such sets.

    >>> report = ood_report([[0.0, 2.0], [2.0, 0.0]], [1, 0], semantic={"noise": [[1.0, 0.0]]})
    >>> [row["AUROC"] for row in semantic_rows(report)]
    ['100.0', '100.0']
    """
    names = {**_detection(report), "AUPR of ID": "aupr_in", "detection error": "detection_error"}
    sets = {**report["semantic"], "mean": report["mean"]} if report["semantic"] else {}
    return [{"": name, **{head: cell(values[key]) for head, key in names.items()}} for name, values in sets.items()]


def corruption_rows(report: Mapping[str, Any]) -> list[dict[str, str]]:
    """The rows of a table of corruptions, with one row per kind and one column per level; empty without corruptions.

    >>> sets = {"noise": {1: ([[0.0, 2.0], [2.0, 0.0]], [1, 1])}}
    >>> corruption_rows(ood_report([[0.0, 2.0], [2.0, 0.0]], [1, 0], corruptions=sets))
    [{'': 'noise', 'level 1': '50.0'}]
    """
    levels = sorted({level for values in report["corruptions"].values() for level in values})
    return [
        {"": kind, **{f"level {level}": cell(values[level]) if level in values else "" for level in levels}}
        for kind, values in report["corruptions"].items()
    ]


def note(report: Mapping[str, Any]) -> str:
    """A sentence that explains the columns of `rows`.

    >>> report = ood_report([[0.0, 2.0], [2.0, 0.0]], [1, 0], covariate={"sketches": ([[0.0, 1.0]], [1])})
    >>> note(report)
    'In percent. The aggregate is the mean of ID accuracy and accuracy under covariate shift.'
    """
    parts = ["ID accuracy"]
    parts += ["accuracy under covariate shift"] if report["covariate"] else []
    parts += ["accuracy on corruptions"] if report["corruptions"] else []
    text = "In percent."
    if report["semantic"]:
        fpr = next(iter(_detection(report)))
        parts += [f"100 - {fpr}", "AUROC", "AUPR"]
        text += (
            f" The OOD score is {report['score']}, and OOD is the positive class: {fpr} is the share of ID images that are "
            f"classified as OOD at the threshold that detects {100 * report['tpr']:g} % of the OOD images."
        )
    return f"{text} The aggregate is the mean of {', '.join(parts[:-1])} and {parts[-1]}."


def _detection(report: Mapping[str, Any]) -> dict[str, str]:
    """Column heads with the metrics they show."""
    return {f"FPR{100 * report['tpr']:g}": "fpr", "AUROC": "auroc", "AUPR": "aupr_out"}


def cell(value: Any) -> str:
    """A number or a mean and a deviation in percent, such as "71.2 ± 0.8".

    >>> cell(0.5), cell({"mean": 0.5, "std": 0.01, "n": 3})
    ('50.0', '50.0 ± 1.0')
    """
    entry = value if isinstance(value, Mapping) else {"mean": value, "n": 1}
    spread = f" ± {100 * entry['std']:.1f}" if entry["n"] > 1 else ""
    return f"{100 * entry['mean']:.1f}{spread}"
