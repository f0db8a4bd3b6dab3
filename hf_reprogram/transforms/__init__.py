"""Input transforms: theta. One file each; a new one is its file and its line here."""

from ..registry import Registry

TRANSFORMS = Registry(
    "transform",
    {
        "vocabulary": "hf_reprogram.transforms.vocabulary:Vocabulary",
        "contextual_vocabulary": "hf_reprogram.transforms.contextual_vocabulary:ContextualVocabulary",
        "prompt_slots": "hf_reprogram.transforms.prompt_slots:PromptSlots",
    },
)
