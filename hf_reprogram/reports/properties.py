"""Tables of what is measured beside the task's metrics: gaps between groups, and accuracy under attack; from `results.json`."""

from __future__ import annotations

from typing import Any

from ..methods import METHODS
from ..tasks.fairness import GAPS
from .results import markdown, plus_minus


def group_table(results: dict[str, Any]) -> str:
    """Accuracy, gaps and the accuracy of each group on the test split, of the adapter and its untrained start; in percent.

    Args:
        results: the content of `results.json`; without `fairness` there is no table, and the text is empty.

    >>> entry = {"mean": 0.5, "std": 0.0, "n": 1}
    >>> test = dict.fromkeys(("accuracy", "demographic_parity", "equalized_odds"), entry) | {"accuracies": {"female": entry}}
    >>> print(group_table({"method": {"name": "warp"}, "fairness": {"test": test, "start": {"test": test}}}))
    |  | accuracy | demographic parity gap | equalized odds gap | female |
    |---|---:|---:|---:|---:|
    | WARP, untrained start | 50.0 | 50.0 | 50.0 | 50.0 |
    | WARP | 50.0 | 50.0 | 50.0 | 50.0 |
    """
    if (found := results.get("fairness")) is None:
        return ""
    label = METHODS[results["method"]["name"]].info.label
    table = []
    for title, scores in ((f"{label}, untrained start", found["start"]["test"]), (label, found["test"])):
        row = {"": title, "accuracy": plus_minus(scores["accuracy"], "accuracy")}
        row |= {words: plus_minus(scores[name], "accuracy") for name, words in GAPS.items()}
        table.append({**row, **{name: plus_minus(value, "accuracy") for name, value in scores["accuracies"].items()}})
    return markdown(table)


def attack_table(results: dict[str, Any]) -> str:
    """Accuracy on test examples without an attack and under attacks of each radius, in percent; empty without `robustness`.

    Args:
        results: the content of `results.json`.

    >>> names = ("noise", "pgd", "start_pgd", "transfer")
    >>> names = ("clean", "start_clean", *(f"0.1 {name}" for name in names))
    >>> accuracy = dict.fromkeys(names, {"mean": 1.0, "std": 0.0, "n": 1})
    >>> print(attack_table({"method": {"name": "warp"}, "robustness": {"eps": [0.1], "accuracy": accuracy}}))
    | eps | untrained start | WARP | random noise | attacks on the start |
    |---|---:|---:|---:|---:|
    | 0 | 100.0 | 100.0 |  |  |
    | 0.1 | 100.0 | 100.0 | 100.0 | 100.0 |
    """
    if (found := results.get("robustness")) is None:
        return ""
    label, accuracy = METHODS[results["method"]["name"]].info.label, found["accuracy"]

    def cell(name: str) -> str:
        return plus_minus(accuracy[name], "accuracy")

    head = {"eps": "0", "untrained start": cell("start_clean"), label: cell("clean")}
    table = [{**head, "random noise": "", "attacks on the start": ""}]
    for eps in map(str, found["eps"]):
        table.append(
            {
                "eps": eps,
                "untrained start": cell(f"{eps} start_pgd"),
                label: cell(f"{eps} pgd"),
                "random noise": cell(f"{eps} noise"),
                "attacks on the start": cell(f"{eps} transfer"),
            }
        )
    return markdown(table)


def attack_note(results: dict[str, Any]) -> str:
    """What the columns of `attack_table` are; empty without `robustness`."""
    if (found := results.get("robustness")) is None:
        return ""
    examples = next(iter(found["seeds"].values()))["examples"]
    return (
        f"Accuracy in percent of {examples:,} test examples, each changed by at most eps: by projected gradient descent of "
        f"{found['steps']} steps on the start and on the adapter, and on the adapter also by random noise and by the attacks "
        "on the start. A weaker attack that harms the adapter more would show that its gradients hide weaknesses."
    )
