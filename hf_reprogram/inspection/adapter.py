"""Descriptions and pictures of an adapter, for `hf-reprogram inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ..errors import InputError
from ..model import ReprogrammedModel
from ..parts import is_frozen
from ..sources.probe import Lines, Probe
from ..transforms import TRANSFORMS
from ..transforms.drawing import HeatMap, Views
from .confusions import confusion_lines
from .example import read_example
from .heat_map import plot_heat_map
from .pictures import plot_views


class Inspection(dict[str, Any]):
    """A description of an adapter as plain data by name; `describe` turns it into text.

    Attributes:
        transform_lines, mapping_lines: the descriptions of the transform and of the mapping, as lines for a terminal.
    """

    transform_lines: Lines
    mapping_lines: Lines


def inspect_adapter(
    adapter: str,
    source: str | None = None,
    top: int = 5,
    example: str | None = None,
    plot: Path | None = None,
    trust_remote_code: bool = False,
) -> Inspection:
    """Load an adapter and describe it; see `inspect_model`.

    Args:
        adapter: a folder or a Hub id.
        source: the name or folder of the source, if it is not where the adapter recorded it.
        top, example: see `inspect_model`.
        plot: the path of a PNG to write, which shows its input transform; None for none.
        trust_remote_code: whether the source's own Python code may run; see `hf_reprogram.trust`.

    Raises:
        InputError: there is no such adapter, its input transform has nothing to draw, or matplotlib is not installed.
    """
    from ..training.adapter import load_adapter, recorded

    model, processor = load_adapter(adapter, source, trust_remote_code=trust_remote_code)
    inspection = inspect_model(model, processor, top, example)
    results = recorded(adapter, "results.json")
    if results and "confusion" in results["seeds"][str(results["best_seed"])]:
        inspection["confusion"] = {
            "labels": results["task"]["labels"],
            "counts": results["seeds"][str(results["best_seed"])]["confusion"],
        }
    if plot is not None:
        title = f"{inspection['method']} on {Path(inspection['source']).name}"
        if plot_model(model, processor, plot, title, top, example) is None:
            raise InputError(f"{adapter!r} has nothing to plot: {why_undrawn(model)}; leave --plot out.")
    return inspection


def inspect_model(model: ReprogrammedModel, processor: Any, top: int = 5, example: str | None = None) -> Inspection:
    """Describe a model: its parameter counts, and the descriptions of its transform and its mapping.

    Args:
        model: a `ReprogrammedModel`.
        processor: its processor of the target's data; None for rows of numbers.
        top: the number of nearest tokens per vector, and of source labels per class.
        example: the input that a program is shown on; see `hf_reprogram.inspection.example.read_example`.

    Returns:
        `method`, `source` and the `kind` of source; the numbers of `trainable` and `frozen` parameters, and `parts`, the number
        per trained parameter; the source output that the mapping `reads`; the `labels`; the `calibration`, if there is one;
        and the results of `InputTransform.inspect` and `OutputMapping.inspect`.

    Raises:
        InputError: the adapter does not take such an example.
    """
    probe = probe_of(model, processor, top, example)
    trainable = {name: parameter.numel() for name, parameter in model.trainable().items()}
    inspection = Inspection(
        method=(model.config.method or {}).get("name"),
        source=model.config.source["name"],
        kind=model.source.spec.kind,
        frozen=sum(parameter.numel() for name, parameter in model.named_parameters() if is_frozen(model, name)),
        trainable=sum(trainable.values()),
        parts=trainable,
        reads=model.mapping.reads,
        labels=model.label_names,
    )
    if model.config.calibration:
        inspection["calibration"] = model.config.calibration
    inspection |= model.transform.inspect(probe)
    inspection |= model.mapping.inspect(probe)
    inspection.transform_lines = model.transform.lines(inspection)
    inspection.mapping_lines = model.mapping.lines(inspection)
    return inspection


def probe_of(model: ReprogrammedModel, processor: Any, top: int = 5, example: str | None = None) -> Probe:
    """The `Probe` that transform and mapping read when they describe themselves; arguments as for `inspect_model`."""
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
    """Write a PNG that shows a model's input transform; see `hf_reprogram.transforms.drawing`.

    Args:
        model, processor, top, example: as for `inspect_model`.
        path: the path of the PNG.
        title: the title of the picture.

    Returns:
        The path; None if the transform has nothing to draw, and then nothing is written.

    Raises:
        InputError: matplotlib is not installed, the adapter does not take such an example, or the vocabulary is empty.
    """
    picture = model.transform.picture(probe_of(model, processor, top, example))
    if picture is None:
        return None
    if isinstance(picture, HeatMap):
        return plot_heat_map(picture, path, title)
    return plot_views(picture, path, title) if isinstance(picture, Views) else picture.plot(path, title)


def why_undrawn(model: ReprogrammedModel) -> str:
    """The reason that a model's input transform has nothing to draw, as a part of a sentence."""
    name = (model.config.transform or {}).get("type")
    if model.transform.drawing:
        return f"the input transform {name!r} can draw {model.transform.drawing}, and this one has none"
    others = [other for other in TRANSFORMS.names() if TRANSFORMS[other].drawing]
    return f"the input transform {name!r} has no drawing; those that have one are {', '.join(others)}"


def describe(inspection: Inspection) -> str:
    """The result of `inspect_model` or `inspect_adapter`, as text for a terminal."""
    transform, mapping = inspection.transform_lines, inspection.mapping_lines
    lines = [
        f"{inspection['method'] or 'adapter'} on {inspection['source']} ({inspection['kind']})",
        f"trained numbers: {inspection['trainable']:,} ({', '.join(f'{k} {v:,}' for k, v in inspection['parts'].items())})",
        f"frozen numbers:  {inspection['frozen']:,}",
        f"reads: {inspection['reads']}; labels: {', '.join(inspection['labels'])}",
        *(
            [f"calibrated: logits are divided by {c.get('temperature', 1):.4g}"]
            if (c := inspection.get("calibration"))
            else ()
        ),
        *(*transform.head, *mapping.head),
        *(*transform.body, *mapping.body),
        *(confusion_lines(**inspection["confusion"]) if "confusion" in inspection else ()),
        *(*transform.tail, *mapping.tail),
    ]
    return "\n".join(lines)
