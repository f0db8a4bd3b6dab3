"""Methods: one file per paper, with its input transform, its output mapping and its defaults, and one line in `METHODS`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..registry import Registry

if TYPE_CHECKING:
    from .base import Method

METHODS: Registry[type[Method]] = Registry(
    "method",
    "methods",
    {
        "ar_scr": "hf_reprogram.methods.ar_scr:ARSCR",
        "bar": "hf_reprogram.methods.bar:BAR",
        "bbt": "hf_reprogram.methods.bbt:BBT",
        "blm": "hf_reprogram.methods.blm:BLM",
        "cross_modal": "hf_reprogram.methods.cross_modal:CrossModal",
        "elsayed": "hf_reprogram.methods.elsayed:Elsayed",
        "fpt": "hf_reprogram.methods.fpt:FPT",
        "fpt_numbers": "hf_reprogram.methods.fpt:FPTNumbers",
        "fraud": "hf_reprogram.methods.fraud:Fraud",
        "ilm_vp": "hf_reprogram.methods.ilm_vp:ILMVP",
        "kloberdanz": "hf_reprogram.methods.kloberdanz:Kloberdanz",
        "neekhara": "hf_reprogram.methods.neekhara:Neekhara",
        "reprogrammer": "hf_reprogram.methods.reprogrammer:Reprogrammer",
        "reprogbert": "hf_reprogram.methods.reprogbert:ReprogBERT",
        "r2dl": "hf_reprogram.methods.r2dl:R2DL",
        "smm": "hf_reprogram.methods.smm:SMM",
        "spsa_gc": "hf_reprogram.methods.spsa_gc:SPSAGC",
        "time_llm": "hf_reprogram.methods.time_llm:TimeLLM",
        "voice2series": "hf_reprogram.methods.voice2series:Voice2Series",
        "warp": "hf_reprogram.methods.warp:Warp",
    },
)
