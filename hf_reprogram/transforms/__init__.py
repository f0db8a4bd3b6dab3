"""Input transforms: theta. One file each; a new one is its file and its line here."""

from ..registry import Registry

TRANSFORMS = Registry(
    "transform",
    {
        "vocabulary": "hf_reprogram.transforms.vocabulary:Vocabulary",
        "prompt_slots": "hf_reprogram.transforms.prompt_slots:PromptSlots",
    },
)
