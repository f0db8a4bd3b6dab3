"""The two parts of an adapter, from the records in its config: parsed and checked before anything is built."""

from __future__ import annotations

import warnings
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from .calibration import read_calibration
from .config import ReprogramConfig
from .errors import InputError
from .gradients import read_gradients
from .mappings import MAPPINGS
from .options import from_dict
from .registry import Registry, plugins
from .sources.loading import read_reference
from .sources.tuning import read_tune
from .transforms import TRANSFORMS

if TYPE_CHECKING:
    from .mappings.base import OutputMapping
    from .transforms.base import InputTransform

_LARGEST = 2**24  # of a size among the options of a part: the largest vocabulary is a tenth of it


def check_config(config: ReprogramConfig, consent: bool = False) -> None:
    """Parse the records of a config into their dataclasses, before anything is loaded or built.

    Args:
        config: of an adapter.
        consent: whether it may name parts of other packages that are not imported; see `hf_reprogram.registry.plugins`.

    Raises:
        InputError: a part needs consent, a key is missing or unknown, a value is of the wrong type or out of its range, or the
            number of labels is not that of the output mapping.
    """
    read_reference(config.source)
    read_tune(config.tune or [])
    read_gradients(config.gradients or {})
    read_calibration(config.calibration, config.problem_type)
    for registry, options, kind in (TRANSFORMS, config.transform, "transform"), (MAPPINGS, config.mapping, "mapping"):
        with plugins(consent):
            part = _part(registry, options, kind)
        parsed = _options(part, options, kind)
    outputs, names = getattr(parsed, "num_labels", None), config.id2label or {}
    if outputs not in (None, len(names)):
        raise InputError(
            f"The config names {len(names)} labels in id2label, but the output mapping has {outputs}: name each of them."
        )


def _part(registry: Registry[Any], options: dict[str, Any] | None, kind: str) -> Any:
    """The class of a part by its options `{"type": name, **its options}`."""
    if not isinstance(options, dict) or not isinstance(options.get("type"), str):
        raise InputError(f"The config names no {kind}: it must hold {{'type': name, ...}}.")
    return registry[options["type"]]


def build(registry: Registry[Any], options: dict[str, Any] | None, kind: str) -> Any:
    """The part with the options `{"type": name, **its options}`."""
    part = _part(registry, options, kind)
    return part(_options(part, options, kind))


def _options(part: Any, options: dict[str, Any] | None, kind: str) -> Any:
    """The dataclass of a part's options, from the config."""
    options = options or {}
    values = {key: value for key, value in options.items() if key != "type"}
    return from_dict(part.Options, values, f"option of the {kind} {options['type']!r}", most=_LARGEST)


def options_as_they_are(part: Any, options: dict[str, Any], kind: str) -> dict[str, Any]:
    """The options of a part in the config, updated by those that changed: an alpha that was set, a phase that ended."""
    then, now = asdict(_options(part, options, kind)), asdict(part.options)
    return {**options, **{key: value for key, value in now.items() if value != then[key]}}


def check_schedule(transform: InputTransform, mapping: OutputMapping, in_schedule: bool) -> None:
    """Refuse a training that leaves out what the options ask for, and warn of one that leaves out the start of omega.

    Args:
        transform, mapping: the parts of the model that is trained.
        in_schedule: whether `hf_reprogram.schedule.begin_epoch` was called.

    Raises:
        InputError: an option, or the target of a regression, needs the schedule.
    """
    if in_schedule:
        return
    names = [*transform.scheduled(), *mapping.scheduled()]
    if mapping.target is not None and not mapping.target.is_fitted():
        names.append("the mean and deviation of the target")
    if names:
        raise InputError(
            f"This training leaves out {', '.join(names)}: train with the Trainer of transformers, or call begin_epoch and "
            "end_epoch of hf_reprogram.schedule around every epoch of a loop of your own."
        )
    if not mapping.has_started():
        warnings.warn(
            "Omega starts at random: train with the Trainer of transformers, or call begin_epoch of hf_reprogram.schedule "
            "before the first step, so that it starts from the linear probe.",
            stacklevel=4,
        )
        mapping.skip_start()


def leave_source_out(model: Any) -> None:
    """Let the state of a model hold theta, omega and the weights of the source that are tuned, and none that is frozen.

    A state without the frozen weights is whole, also if the model is a part of another module.

    Args:
        model: a `ReprogrammedModel`, which is changed.
    """
    model._place = ""  # the prefix of its entries while a state is loaded
    model.register_state_dict_post_hook(_drop_frozen)
    model.register_load_state_dict_pre_hook(_remember_place)
    model.register_load_state_dict_post_hook(_forgive_missing_source)


def is_frozen(model: Any, name: str) -> bool:
    """Whether the entry of a model's state with this name belongs to the frozen part of its source."""
    return name.startswith("source.") and name.removeprefix("source.") not in model.source.pretrained


def _drop_frozen(model: nn.Module, state: dict[str, Tensor], prefix: str, _metadata: Any) -> None:
    for name in [name for name in state if name.startswith(prefix)]:
        if is_frozen(model, name.removeprefix(prefix)):
            del state[name]


def _remember_place(model: Any, _state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    model._place = prefix


def _forgive_missing_source(model: Any, incompatible: Any) -> None:
    place = model._place
    incompatible.missing_keys[:] = [
        name
        for name in incompatible.missing_keys
        if not (name.startswith(place) and is_frozen(model, name.removeprefix(place)))
    ]
