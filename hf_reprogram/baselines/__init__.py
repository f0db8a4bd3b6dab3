"""Baselines: what a method is compared with, on the same data and from the same recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..registry import Registry

if TYPE_CHECKING:
    from .base import Baseline

BASELINES: Registry[type[Baseline]] = Registry(
    "baseline",
    "baselines",
    {
        "majority": "hf_reprogram.baselines.majority:Majority",
        "counts": "hf_reprogram.baselines.counts:Counts",
        "source_labels": "hf_reprogram.baselines.source_labels:SourceLabels",
        "seasonal_naive": "hf_reprogram.baselines.forecasts:SeasonalNaive",
        "linear_forecast": "hf_reprogram.baselines.forecasts:LinearForecast",
        "raw_linear": "hf_reprogram.baselines.raw_linear:RawLinear",
        "small_network": "hf_reprogram.baselines.small_network:SmallNetwork",
        "linear_probe": "hf_reprogram.baselines.linear_probe:LinearProbe",
        "self_training": "hf_reprogram.baselines.self_training:SelfTraining",
        "untrained_probe": "hf_reprogram.baselines.untrained_probe:UntrainedProbe",
        "from_scratch": "hf_reprogram.baselines.finetuning:FromScratch",
        "fine_tuning": "hf_reprogram.baselines.finetuning:FineTuning",
        "lp_ft": "hf_reprogram.baselines.lp_ft:LPFT",
        "l2_sp": "hf_reprogram.baselines.l2_sp:L2SP",
        "wise_ft": "hf_reprogram.baselines.wise_ft:WiSEFT",
        "zero_shot": "hf_reprogram.baselines.zero_shot:ZeroShot",
        "coop": "hf_reprogram.baselines.coop:CoOp",
        "prompt_tuning": "hf_reprogram.baselines.prompt_tuning:PromptTuning",
    },
)
