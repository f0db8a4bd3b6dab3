"""Output mappings, the trained part omega behind the source. Each has its own file and one line in `MAPPINGS`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..registry import Registry

if TYPE_CHECKING:
    from .base import OutputMapping

MAPPINGS: Registry[type[OutputMapping]] = Registry(
    "mapping",
    "mappings",
    {
        "verbalizer": "hf_reprogram.mappings.verbalizer:Verbalizer",
        "dense": "hf_reprogram.mappings.dense:Dense",
        "positions": "hf_reprogram.mappings.positions:Positions",
        "window": "hf_reprogram.mappings.window:Window",
        "last_states": "hf_reprogram.mappings.last_states:LastStates",
        "token_map": "hf_reprogram.mappings.token_map:TokenMap",
        "label_map": "hf_reprogram.mappings.label_map:LabelMap",
        "rvp": "hf_reprogram.mappings.rvp:ReweightedMap",
        "similarity": "hf_reprogram.mappings.similarity:Similarity",
    },
)
