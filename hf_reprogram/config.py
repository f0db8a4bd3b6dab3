"""`ReprogramConfig`: everything needed to rebuild a reprogrammed model, as plain data."""

from __future__ import annotations

from dataclasses import field
from typing import Any

from transformers import PreTrainedConfig


class ReprogramConfig(PreTrainedConfig):
    """The parts of `y = OutputMapping(f(InputTransform(x | theta)) | omega)`, each a JSON object.

    Attributes:
        source: how to load `f` and how to recognise it: `name`, `revision`, `kind`, `dtype`, `fingerprint`
            (see `hf_reprogram.sources.SourceReference`).
        transform: the input transform, `{"type": name in the registry, **its options}`.
        mapping: the output mapping, `{"type": name in the registry, **its options}`.
        method: name of the method that chose the two and its options, for the record; loading does not read it.
        problem_type: "single_label_classification", "regression" or "multi_label_classification".
        id2label, label2id, num_labels: as in every transformers classifier.
    """

    model_type = "hf_reprogram"

    source: dict[str, Any] = field(default_factory=dict)
    transform: dict[str, Any] = field(default_factory=dict)
    mapping: dict[str, Any] = field(default_factory=dict)
    method: dict[str, Any] = field(default_factory=dict)
