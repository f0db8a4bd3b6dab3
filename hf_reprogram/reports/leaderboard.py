"""The leaderboard of a search: every candidate with its validation score, and the sentence that says what was kept."""

from __future__ import annotations

from typing import Any

from ..tasks.metrics import METRICS
from .results import markdown, plus_minus


def leaderboard(found: dict[str, Any], metrics: list[str]) -> str:
    """A Markdown table of all candidates, the best first, with a note below it.

    Args:
        found: the entry `auto` of `results.json`.
        metrics: those of the task.
    """
    scored = sorted(
        (entry for entry in [*found["baselines"].values(), *found["trials"]] if entry["validation"] is not None),
        key=lambda entry: -entry["value"],
    )
    rows = [
        {
            "": str(place),
            "candidate": entry["title"] + (" (kept)" if entry.get("number") == found["chosen"] else ""),
            **{name: plus_minus({"mean": entry["validation"][name], "std": 0.0, "n": 1}, name) for name in metrics},
            "settings": settings(entry),
            "trained numbers": f"{entry['trainable']:,}" if "trainable" in entry else "",
            "epochs": f"{entry['epochs']:g}" if "epochs" in entry else "",
            "seconds": f"{entry['seconds']:.1f}",
            "ended": {"complete": "", "baseline": ""}.get(entry["state"], entry["state"]),
        }
        for place, entry in enumerate(scored, 1)
    ]
    lines = [markdown(rows), "", f"Scores on validation. {found['note']}"]
    if stopped := sum(entry["state"] == "pruned" for entry in found["trials"]):
        lines.append(f"- Stopped early, as they were behind: {stopped} {'trial' if stopped == 1 else 'trials'}")
    failed = [entry for entry in found["trials"] if entry["state"] == "failed"]
    lines += [f"- Failed: {entry['title']} ({settings(entry) or 'defaults'}): {entry['reason']}" for entry in failed]
    tried = {entry["method"] for entry in found["trials"]}
    lines += [f"- Not tried, as the budget was used up: {name}" for name in found["methods"] if name not in tried]
    lines += [f"- Not tried: {name}: {reason}" for name, reason in found["unfit"].items()]
    return "\n".join(lines) + "\n"


def settings(entry: dict[str, Any]) -> str:
    """What a trial changes of its method's own settings, in words.

    >>> settings({"options": {"num_prompts": 8, "reads": None}, "training": {"learning_rate": 0.01}})
    'num_prompts 8, learning_rate 0.01'
    """
    changed = {**entry.get("options", {}), **entry.get("training", {})}
    shown = {name: value for name, value in changed.items() if value is not None}
    return ", ".join(f"{name} {value}" for name, value in shown.items())


def verdict(found: dict[str, Any], metric: str) -> str:
    """One sentence: what was kept, and whether a candidate without a program is better.

    Args:
        found: the entry `auto` of `results.json`, without a note.
        metric: the first metric of the task.
    """

    def scored(entry: dict[str, Any]) -> str:
        return f"{plus_minus({'mean': entry['validation'][metric], 'std': 0.0, 'n': 1}, metric)} {metric}"

    best = next(entry for entry in found["trials"] if entry["number"] == found["chosen"])
    sign = -1 if METRICS[metric].lower_is_better else 1
    rivals = sorted(found["baselines"].values(), key=lambda entry: sign * entry["validation"][metric])
    if rivals and sign * rivals[-1]["validation"][metric] > sign * best["validation"][metric]:
        name = rivals[-1]["title"].removeprefix("no program: ")
        return (
            f"No program is better than the {name} ({scored(rivals[-1])}): the best adapter, {best['title']} "
            f"({scored(best)}), is kept."
        )
    return f"The best adapter is {best['title']} ({scored(best)})."
