"""Input transforms, the trained part theta before the source. Each has its own file and one line in `TRANSFORMS`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..registry import Registry

if TYPE_CHECKING:
    from .base import InputTransform

TRANSFORMS: Registry[type[InputTransform]] = Registry(
    "transform",
    "transforms",
    {
        "vocabulary": "hf_reprogram.transforms.vocabulary:Vocabulary",
        "contextual_vocabulary": "hf_reprogram.transforms.contextual_vocabulary:ContextualVocabulary",
        "canvas": "hf_reprogram.transforms.canvas:Canvas",
        "sample_mask": "hf_reprogram.transforms.sample_mask:SampleMask",
        "feature_overlay": "hf_reprogram.transforms.feature_overlay:FeatureOverlay",
        "pixel_sequence": "hf_reprogram.transforms.patch_sequence:PixelSequence",
        "number_sequence": "hf_reprogram.transforms.patch_sequence:NumberSequence",
        "token_patches": "hf_reprogram.transforms.token_patches:TokenPatches",
        "dual": "hf_reprogram.transforms.dual:Dual",
        "waveform": "hf_reprogram.transforms.waveform:Waveform",
        "series_waveform": "hf_reprogram.transforms.series_waveform:SeriesWaveform",
        "series_patches": "hf_reprogram.transforms.series_patches:SeriesPatches",
        "prompt_slots": "hf_reprogram.transforms.prompt_slots:PromptSlots",
    },
)
