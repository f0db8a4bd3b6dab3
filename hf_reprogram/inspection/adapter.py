"""What an adapter is and does, as its parts tell it: for `hf-reprogram inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ..errors import InputError
from ..model import ReprogrammedModel
from ..sources.probe import Lines, Probe
from ..transforms import TRANSFORMS
from ..transforms.drawing import HeatMap, Views
from .confusions import confusion_lines
from .example import read_example
from .heat_map import plot_heat_map
from .pictures import plot_views


class Inspection(dict[str, Any]):
    """What is known of an adapter, as plain data by name; `describe` gives it as text.

    Attributes:
        transform_lines, mapping_lines: what the two parts tell of themselves, as lines for a terminal.
    """

    transform_lines: Lines
    mapping_lines: Lines


def inspect_adapter(
    adapter: str, source: str | None = None, top: int = 5, example: str | None = None, plot: Path | None = None
) -> Inspection:
    """Load an adapter and describe it; see `inspect_model`.

    Args:
        adapter: a folder or a Hub id.
        source: where the source is, if not where the adapter recorded it.
        top, example: see `inspect_model`.
        plot: where to write a PNG of what its input transform draws; None for none.

    Raises:
        InputError: there is no such adapter, nothing of it can be drawn, or matplotlib is not installed.
    """
    from ..training.adapter import load_adapter, recorded

    model, processor = load_adapter(adapter, source)
    found = inspect_model(model, processor, top, example)
    results = recorded(adapter, "results.json")
    if results and "confusion" in results["seeds"][str(results["best_seed"])]:
        found["confusion"] = {
            "labels": results["task"]["labels"],
            "counts": results["seeds"][str(results["best_seed"])]["confusion"],
        }
    if plot is not None:
        title = f"{found['method']} on {Path(found['source']).name}"
        if plot_model(model, processor, plot, title, top, example) is None:
            raise InputError(f"{adapter!r} has nothing to plot: {why_undrawn(model)}; leave --plot out.")
    return found


def inspect_model(model: ReprogrammedModel, processor: Any, top: int = 5, example: str | None = None) -> Inspection:
    """Parameter counts, and what the transform and the mapping tell of themselves.

    Args:
        model: any.
        processor: its own, of the target's data; None for rows of numbers.
        top: nearest tokens to give for each vector, and source labels for each class.
        example: what to see a program on; see `hf_reprogram.inspection.example.read_example`.

    Returns:
        `method`, `source` and its `kind`; `trainable` and `frozen` counts and `parts` (numbers by parameter); what the mapping
        `reads`; the `labels`; and what `InputTransform.inspect` and `OutputMapping.inspect` of the two parts return.

    Raises:
        InputError: the example is not what the adapter takes.
    """
    probe = probe_of(model, processor, top, example)
    trainable = {name: parameter.numel() for name, parameter in model.trainable().items()}
    found = Inspection(
        method=(model.config.method or {}).get("name"),
        source=model.config.source["name"],
        kind=model.source.spec.kind,
        frozen=sum(parameter.numel() for parameter in model.source.parameters()),
        trainable=sum(trainable.values()),
        parts=trainable,
        reads=model.mapping.reads,
        labels=model.label_names,
    )
    found |= model.transform.inspect(probe)
    found |= model.mapping.inspect(probe)
    found.transform_lines, found.mapping_lines = model.transform.lines(found), model.mapping.lines(found)
    return found


def probe_of(model: ReprogrammedModel, processor: Any, top: int = 5, example: str | None = None) -> Probe:
    """What the parts of a model may look at; arguments as for `inspect_model`."""
    return Probe(
        model.source,
        processor,
        model.label_names,
        lambda batch: model(**batch).logits,
        model.config.source,
        read_example(model, processor, example),
        top,
    )


@torch.no_grad()
def plot_model(
    model: ReprogrammedModel, processor: Any, path: str | Path, title: str, top: int = 5, example: str | None = None
) -> Path | None:
    """Write a PNG of what the transform draws of itself; see `hf_reprogram.transforms.drawing`.

    Args:
        model, processor, top, example: as for `inspect_model`.
        path: where to.
        title: above all.

    Returns:
        The path, or None if the transform has nothing to draw, and nothing is written.

    Raises:
        InputError: matplotlib is not installed, the example is not what the adapter takes, or the vocabulary is empty.
    """
    picture = model.transform.picture(probe_of(model, processor, top, example))
    if picture is None:
        return None
    if isinstance(picture, HeatMap):
        return plot_heat_map(picture, path, title)
    return plot_views(picture, path, title) if isinstance(picture, Views) else picture.plot(path, title)


def why_undrawn(model: ReprogrammedModel) -> str:
    """What the transform of a model could draw, or which other transforms draw something, as a part of a sentence."""
    name = (model.config.transform or {}).get("type")
    if model.transform.drawing:
        return f"the input transform {name!r} can draw {model.transform.drawing}, and this one has none"
    others = [other for other in TRANSFORMS.names() if TRANSFORMS[other].drawing]
    return f"the input transform {name!r} draws nothing of itself, unlike {', '.join(others)}"


def describe(found: Inspection) -> str:
    """What `inspect_model` or `inspect_adapter` found, as text for a terminal."""
    transform, mapping = found.transform_lines, found.mapping_lines
    lines = [
        f"{found['method'] or 'adapter'} on {found['source']} ({found['kind']})",
        f"trained numbers: {found['trainable']:,} ({', '.join(f'{k} {v:,}' for k, v in found['parts'].items())})",
        f"frozen numbers:  {found['frozen']:,}",
        f"reads: {found['reads']}; labels: {', '.join(found['labels'])}",
        *(*transform.head, *mapping.head),
        *(*transform.body, *mapping.body),
        *(confusion_lines(**found["confusion"]) if "confusion" in found else ()),
        *(*transform.tail, *mapping.tail),
    ]
    return "\n".join(lines)
