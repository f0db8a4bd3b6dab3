"""The labels of the source classifier with the best fixed label map and without a program: the effect of the mapping alone.

Images fill the source's canvas. Texts and tables, which the source does not take as they are, go through the method's
untrained input transform.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..errors import InputError, unknown
from ..mappings.label_map import LabelMap
from ..mappings.label_map_options import LabelMapOptions
from ..options import check_whole_list
from ..sources.families import native_inputs
from ..training.encode import encode, labels_of
from .base import Baseline, Outcome, Setting
from .linear_probe import extract, inputs_for, kept_readings

if TYPE_CHECKING:
    from ..sources.base import SourceSpec
    from ..tasks.task import Task

MAPS = ("frequency", "optimal")


@dataclass
class SourceLabelsOptions:
    """Options of `source_labels`.

    Attributes:
        label_mapping: kinds of label maps, "frequency" and "optimal"; the first seed chooses one on validation.
        labels_per_class: numbers m of source labels per class; chosen together with the kind. A number for which the source
            has too few labels is skipped.
    """

    label_mapping: list[str] = field(default_factory=lambda: list(MAPS))
    labels_per_class: list[int] = field(default_factory=lambda: [1, 3, 10])

    def __post_init__(self):
        for how in self.label_mapping:
            if how not in MAPS:
                raise unknown("label_mapping", how, MAPS)
        if not self.label_mapping:
            raise InputError("label_mapping of source_labels is empty: give at least one of frequency and optimal.")
        check_whole_list(labels_per_class=self.labels_per_class)


class SourceLabels(Baseline):
    """A label map that is fitted to the source's logits on the training data; nothing else is trained."""

    title = "source's labels"
    Options = SourceLabelsOptions
    reads = "logits"
    classes_only = True

    def check_source(self, spec: SourceSpec, task: Task) -> None:
        """See `Baseline.check_source`."""
        super().check_source(spec, task)
        width, fewest = spec.widths["logits"], min(self.options.labels_per_class)
        if fewest * len(task.labels) > width:
            raise InputError(
                f"The source has {width} labels, too few for {len(task.labels)} classes with {fewest} labels per class: leave "
                "source_labels out."
            )

    def run(self, setting: Setting) -> Outcome:
        """See `Baseline.run`."""
        started = time.perf_counter()
        task = setting.task
        native = not task.modality.letters and task.modality.takes in native_inputs()
        source, processor, inputs_of = inputs_for(setting, untrained=not native)
        self.check_source(source.spec, task)
        width = source.spec.widths["logits"]

        def source_logits(data: Any) -> torch.Tensor:
            if native:
                return torch.from_numpy(kept_readings(setting, source, data, processor, "logits"))
            return torch.from_numpy(extract(source, inputs_of, data, processor, ["logits"], setting.quiet)["logits"])

        data = encode(setting.splits, processor, task.options.max_length, task.problem_type)
        outputs = {split: source_logits(data[split]) for split in data}
        labels = {split: labels_of(data[split]) for split in data}
        best: tuple[float, dict[str, Any], Any, dict[str, np.ndarray]] | None = None
        for choice in [setting.chosen] if setting.chosen else self._grid(len(task.labels), width):
            options = LabelMapOptions(
                len(task.labels), width, how=choice["label_mapping"], labels_per_class=choice["labels_per_class"]
            )
            mapping = LabelMap(options)
            mapping.fit(outputs["train"], torch.from_numpy(labels["train"]), source)
            logits = {split: mapping(outputs[split], source).numpy() for split in ("validation", "test")}
            value = task.benefit(task.score(logits["validation"], labels["validation"]))
            if best is None or value > best[0]:
                best = (value, choice, mapping, logits)
        assert best is not None
        _, chosen, mapping, logits = best
        seconds = time.perf_counter() - started
        extra = setting.predict_extra(processor, lambda split: mapping(source_logits(split), source).numpy())
        return Outcome(logits["validation"], logits["test"], 0, seconds, chosen, extra=extra)

    def _grid(self, classes: int, width: int) -> list[dict[str, Any]]:
        possible = [m for m in self.options.labels_per_class if m * classes <= width]
        return [{"label_mapping": how, "labels_per_class": m} for how in self.options.label_mapping for m in possible]
