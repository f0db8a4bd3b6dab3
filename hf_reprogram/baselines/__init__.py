"""What a method must be compared with, trained on the same data through the same recipe."""

from ..registry import Registry

BASELINES = Registry(
    "baseline",
    {
        "majority": "hf_reprogram.baselines.majority:Majority",
        "counts": "hf_reprogram.baselines.counts:Counts",
        "source_labels": "hf_reprogram.baselines.source_labels:SourceLabels",
        "raw_linear": "hf_reprogram.baselines.raw_linear:RawLinear",
        "small_network": "hf_reprogram.baselines.small_network:SmallNetwork",
        "linear_probe": "hf_reprogram.baselines.linear_probe:LinearProbe",
        "from_scratch": "hf_reprogram.baselines.finetuning:FromScratch",
        "fine_tuning": "hf_reprogram.baselines.finetuning:FineTuning",
        "prompt_tuning": "hf_reprogram.baselines.prompt_tuning:PromptTuning",
    },
)
