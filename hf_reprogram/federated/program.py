"""What clients and the server share of a program: its trained numbers, and its label map."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from ..errors import InputError
from ..mappings.dense import Dense
from ..mappings.label_map import LabelMap
from ..mappings.label_map_options import SIMILAR, WEIGHTS, LabelMapOptions
from ..model import ReprogrammedModel

Numbers = dict[str, np.ndarray]  # by the name of a parameter


def check_program(model: ReprogrammedModel) -> None:
    """Raise `InputError` if a program cannot be trained by clients that share only its numbers and counts of labels."""
    if model.config.tune:
        raise InputError("Clients share no weights of the source, and tune trains some: leave tune or federated out.")
    if model.estimated is not None:
        raise InputError("Federated training has exact gradients: leave gradients or federated out.")
    if model.config.problem_type != "single_label_classification":
        raise InputError(
            f"Federated training is for one class per example, not for {model.config.problem_type}: leave federated out."
        )
    mapping = model.mapping
    if isinstance(mapping, LabelMap) and mapping.options.how in SIMILAR:
        raise InputError(
            f"The label map {mapping.options.how!r} has no counts to share: set method.label_mapping: frequency."
        )
    if shared_map(mapping) is None and (not mapping.has_started() or mapping.scheduled()):
        raise InputError(
            "The start of this output mapping is fitted to all examples, which no client has: take a label map, such as "
            "method.label_mapping: frequency, or set method.reads: logits and method.start: map for a dense mapping."
        )


def shared_map(mapping: Any) -> LabelMap | None:
    """The label map that the server fits to the clients' counts; None if there is none.

    It is the mapping itself, or the map from which a dense mapping with start="map" starts.

    >>> options = LabelMapOptions(num_labels=2, width=12, how="frequency")
    >>> label_map = LabelMap(options)
    >>> shared_map(label_map) is label_map
    True
    """
    if isinstance(mapping, LabelMap):
        return mapping if mapping.options.is_fitted else None
    if isinstance(mapping, Dense) and mapping.options.start == "map" and not mapping.options.standardize:
        options = mapping.options
        return LabelMap(LabelMapOptions(options.num_labels, options.width, how="frequency", aggregate="mean_logit"))
    return None


@torch.no_grad()
def fit_shared(model: ReprogrammedModel, counts: np.ndarray) -> None:
    """Fit the label map of a program, or the start of its dense mapping, to the sum of all clients' counts."""
    label_map = shared_map(model.mapping)
    assert label_map is not None
    label_map.fit_counts(counts)
    if isinstance(model.mapping, Dense):
        model.mapping.linear.weight.copy_(label_map.matrix() / model.mapping.options.unit)
        model.mapping.linear.bias.zero_()
        model.mapping.skip_start()


def numbers_of(model: ReprogrammedModel) -> Numbers:
    """Copies of theta and omega by name: all that a client sends of its program."""
    return {name: weight.detach().cpu().numpy().copy() for name, weight in model.trainable().items()}


@torch.no_grad()
def set_numbers(model: ReprogrammedModel, numbers: Mapping[str, np.ndarray]) -> None:
    """Set theta and omega.

    Raises:
        InputError: the names are not those of the program.
    """
    own = model.trainable()
    if {*own} != {*numbers}:
        raise InputError(
            f"The numbers {', '.join(sorted({*own} ^ {*numbers}))} are not of both programs: give all clients one recipe."
        )
    for name, weight in own.items():
        weight.copy_(torch.from_numpy(np.array(numbers[name])))


def map_of(model: ReprogrammedModel) -> Numbers:
    """The label map as the server sends it: label indices "sets", or weights "weight"; empty without a fitted map."""
    mapping = model.mapping
    if not isinstance(mapping, LabelMap) or not mapping.options.is_fitted:
        return {}
    name = "weight" if mapping.options.how in WEIGHTS else "sets"
    return {name: getattr(mapping, name).cpu().numpy().copy()}


@torch.no_grad()
def set_map(model: ReprogrammedModel, values: Mapping[str, np.ndarray]) -> None:
    """Set the label map to that of the server."""
    if values:
        state = {name: torch.from_numpy(np.array(value)) for name, value in values.items()}
        model.mapping.load_state_dict({**state, "fitted": torch.tensor(0)}, strict=False)
    model.mapping.skip_start()
