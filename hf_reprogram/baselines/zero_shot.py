"""Zero-shot: the class whose text is nearest to the image (Radford et al. 2021, arXiv 2103.00020); nothing is trained.

    logit_c = scale * u . v_c          v_c = mean over templates of the texts' features, normalised again

u are the features of the image. This is the method `reprogrammer` without its programs, with the templates and class texts of
the recipe if it has any.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..devices import to_accelerator
from ..methods.reprogramming import reprogram
from ..sources.base import Source
from ..training.encode import encode
from ..training.predict import predict_logits
from .base import Baseline, Outcome, Setting


@dataclass
class ZeroShotOptions:
    """Options of `zero_shot`; it has none."""


class ClassTextBaseline(Baseline):
    """A baseline that compares images with class texts by a dual encoder."""

    letters = False
    native = True
    reads = "pair"
    classes_only = True


class ZeroShot(ClassTextBaseline):
    """The zero-shot classifier of a dual encoder."""

    title = "zero-shot"
    Options = ZeroShotOptions

    def run(self, setting: Setting) -> Outcome:
        """See `Baseline.run`."""
        started = time.perf_counter()
        model, processor = class_text_model(setting)
        to_accelerator(model).eval()
        bf16 = bool(setting.training({}).get("bf16"))

        def predict(data: Any) -> np.ndarray:
            return setting.once(
                data,
                "zero-shot logits",
                lambda: predict_logits(model, processor, data, bf16=bf16, quiet=setting.quiet),
            )

        data = encode({name: setting.splits[name] for name in ("validation", "test")}, processor)
        logits = {name: predict(split) for name, split in data.items()}
        seconds = time.perf_counter() - started
        extra = setting.predict_extra(processor, predict)
        return Outcome(logits["validation"], logits["test"], 0, seconds, extra=extra)


def class_text_model(setting: Setting, source: Source | None = None, **options: Any) -> tuple[Any, Any]:
    """A model that compares images with the task's class texts, and its processor.

    Args:
        setting: the setting of the baseline; the templates and class texts of its recipe are used.
        source: a loaded dual encoder to use instead of the recipe's.
        options: options of `reprogrammer`; by default it has no program.
    """
    recipe = setting.recipe
    texts = {name: recipe.method[name] for name in ("templates", "class_texts") if recipe.method.get(name)}
    return reprogram(
        recipe.model_source if source is None else source,
        method="reprogrammer",
        labels=setting.task.labels,
        source_kind=recipe.source.get("kind"),
        source_kwargs=recipe.source_kwargs,
        **{"image_program": "none", "text_program": "none", **texts, **options},
    )
