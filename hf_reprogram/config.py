"""`ReprogramConfig`: all information that rebuilds a reprogrammed model, as plain data."""

from __future__ import annotations

from dataclasses import field
from typing import Any

from transformers import PreTrainedConfig

# Keys of a transformers config that name code to fetch: an adapter's file has no say in them.
_CODE = ("attn_implementation", "experts_implementation")


class ReprogramConfig(PreTrainedConfig):
    """The parts of `y = OutputMapping(f(InputTransform(x | theta)) | omega)`, each as a JSON object.

    Attributes:
        source: the record by which `f` is loaded and recognised: `name`, `revision`, `kind`, `dtype`, `fingerprint`
            (`hf_reprogram.sources.SourceReference`).
        transform: the input transform, `{"type": name in the registry, **its options}`.
        mapping: the output mapping, `{"type": name in the registry, **its options}`.
        method: the name and the options of the method that chose the two. It is a record: loading does not read it.
        problem_type: "single_label_classification", "regression" or "multi_label_classification".
        id2label, label2id, num_labels: as in every transformers classifier.

    >>> config = ReprogramConfig(mapping={"type": "verbalizer", "num_labels": 2, "width": 32}, id2label={0: "no", 1: "yes"})
    >>> config.to_dict()["mapping"]["type"]
    'verbalizer'
    """

    model_type = "hf_reprogram"

    source: dict[str, Any] = field(default_factory=dict)
    transform: dict[str, Any] = field(default_factory=dict)
    mapping: dict[str, Any] = field(default_factory=dict)
    method: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """The config that a file holds; `source` among the arguments is for the model, and is passed on unused."""
        for_model = {key: kwargs.pop(key) for key in ("source",) if key in kwargs}
        made = super().from_dict({key: value for key, value in config_dict.items() if key not in _CODE}, **kwargs)
        return (made[0], {**made[1], **for_model}) if isinstance(made, tuple) else made
