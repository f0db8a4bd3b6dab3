"""Objectives: what training minimises beside the loss of labelled examples.

A model has a list of them, and adds their losses to its own in training, so that every `Trainer` works unchanged:

    model.objectives = [objective]

A recipe names them under `objectives:`. An objective belongs to training alone: an adapter does not hold it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..options import from_dict
from ..registry import Registry

if TYPE_CHECKING:
    from .base import Objective

OBJECTIVES: Registry[type[Objective]] = Registry(
    "objective",
    "objectives",
    {
        "fairness": "hf_reprogram.objectives.fairness:Fairness",
        "reweighting": "hf_reprogram.objectives.reweighting:Reweighting",
        "adversarial": "hf_reprogram.objectives.adversarial:Adversarial",
        "fixmatch": "hf_reprogram.objectives.fixmatch:FixMatch",
        "pseudo_labels": "hf_reprogram.objectives.pseudo_labels:PseudoLabels",
        "information": "hf_reprogram.objectives.information:Information",
        "simclr": "hf_reprogram.objectives.simclr:SimCLR",
    },
)


def make_objectives(entries: Sequence[tuple[str, dict[str, Any]]]) -> list[Objective]:
    """Objectives of a recipe, before they have seen its data.

    Args:
        entries: names with their options.

    Raises:
        InputError: there is no such objective or option, or a value is out of its range.

    >>> make_objectives([])
    []
    """
    return [
        OBJECTIVES[name](from_dict(OBJECTIVES[name].Options, options, f"option of {name}")) for name, options in entries
    ]
