"""`ReprogramConfig`: all information that rebuilds a reprogrammed model, as plain data."""

from __future__ import annotations

import os
from dataclasses import field
from typing import Any, Literal

from transformers import PreTrainedConfig

from .errors import InputError, shown
from .files import read_json
from .options import check_types

_FIELDS: dict[str, Any] = {  # what an adapter's file may say
    "source": dict,
    "transform": dict,
    "mapping": dict,
    "method": dict,
    "tune": list | None,
    "gradients": dict | None,
    "calibration": dict | None,
    "problem_type": Literal["single_label_classification", "regression", "multi_label_classification", None],
    "id2label": dict | None,
    "label2id": dict | None,
    "pad_token_id": int | None,
    "bos_token_id": int | None,
    "eos_token_id": int | None,
    "dtype": Literal["float32", "float64", "bfloat16", "float16", None],
    "output_hidden_states": bool | None,
    "return_dict": bool | None,
    "model_type": str,
    "architectures": list[str] | None,
    "transformers_version": str | None,
}


class ReprogramConfig(PreTrainedConfig):
    """The parts of `y = OutputMapping(f(InputTransform(x | theta)) | omega)`, each as a JSON object.

    Attributes:
        source: the record by which `f` is loaded and recognised: `name`, `revision`, `kind`, `dtype`, `fingerprint`
            (`hf_reprogram.sources.SourceReference`).
        transform: the input transform, `{"type": name in the registry, **its options}`.
        mapping: the output mapping, `{"type": name in the registry, **its options}`.
        method: the name and the options of the method that chose the two. It is a record: loading does not read it.
        tune: the parts of the source that are trained too (`hf_reprogram.sources.tuning`), whose new values are among the
            adapter's weights; empty if all of it is frozen.
        gradients: how theta's gradient is estimated, `{name: options}` (`hf_reprogram.gradients`); empty if it is exact.
        calibration: the temperature of the logits, where a shift is added, and what they were fitted on
            (`hf_reprogram.calibration`); empty, and left out of the file, if the adapter is not calibrated.
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
    tune: list[Any] = field(default_factory=list)
    gradients: dict[str, Any] = field(default_factory=dict)
    calibration: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The config as plain data, without an empty `calibration`."""
        values: dict[str, Any] = super().to_dict()
        if not values.get("calibration"):
            values.pop("calibration", None)
        return values

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """The config that a file holds, checked; keys that no config has are left out.

        Args:
            config_dict: what the file holds.
            kwargs: as for `PreTrainedConfig.from_dict`; `source` is for the model, and is passed on unused.

        Raises:
            InputError: a value is of the wrong type, or the labels do not fit each other.
        """
        for_model = {key: kwargs.pop(key) for key in ("source",) if key in kwargs}
        values = _checked(config_dict)
        try:
            made = super().from_dict(values, **kwargs)
        except (ValueError, TypeError, LookupError, AttributeError) as error:  # transformers has checks of its own
            reason = " ".join(str(error).split()).rstrip(".")
            raise InputError(f"The adapter's config.json is not one that transformers takes: {reason}.") from error
        return (made[0], {**made[1], **for_model}) if isinstance(made, tuple) else made

    @classmethod
    def _dict_from_json_file(cls, json_file: str | os.PathLike[str]) -> dict[str, Any]:
        values: dict[str, Any] = read_json(json_file)
        if not isinstance(values, dict):
            raise InputError(
                f"The file {os.fspath(json_file)!r} is not a mapping of keys to values: take another copy."
            )
        return values


def _checked(values: dict[str, Any]) -> dict[str, Any]:
    """The values of an adapter's file that a config has, after a look at their types and at the labels.

    What would decide how a model is computed, such as `attn_implementation`, and what names code, such as `auto_map`, is no
    field of a config and falls away here.
    """
    kept, where = {key: value for key, value in values.items() if key in _FIELDS}, "key of the adapter's config.json"
    if not kept.get("source"):
        return {}  # some other model's: the caller says so
    check_types(kept, _FIELDS, where)
    if kept.get("model_type", ReprogramConfig.model_type) != ReprogramConfig.model_type:
        raise InputError(f"The {where} 'model_type' is {shown(kept['model_type'])}: an adapter has hf_reprogram there.")
    names = kept.get("id2label")
    if names is None:  # transformers leaves out the two labels that it names itself
        return kept
    if not isinstance(names, dict) or {*names} != {str(index) for index in range(len(names))}:
        raise InputError(
            f"The {where} 'id2label' is {shown(names)}: give a name for each label, with the keys 0, 1 and so on."
        )
    labels = [names[str(index)] for index in range(len(names))]
    if not all(isinstance(name, str) for name in labels) or len({*labels}) < len(labels):
        raise InputError(f"The {where} 'id2label' is {shown(names)}: give each label a name of its own.")
    if (kept.get("label2id") or {}) not in ({}, {name: index for index, name in enumerate(labels)}):
        raise InputError(f"The {where} 'label2id' is {shown(kept['label2id'])}, which is not the inverse of id2label.")
    return kept
