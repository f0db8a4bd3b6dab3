"""A linear model on the frozen source's features: what the source knows without any reprogramming."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from ..errors import unknown
from ..model import to_accelerator
from ..sources.loading import load_source
from ..tasks.metrics import score
from ..training.fit import tokenize
from .base import Baseline, Outcome, Setting, plain_tokenizer


@dataclass
class LinearProbeOptions:
    """Options of `linear_probe`.

    Attributes:
        reads: "features" (mean over tokens), "first" or "last"; None tries all and chooses likewise.
        strengths: inverse L2 strengths to choose from on validation, on the first seed.
    """

    reads: str | None = None
    strengths: list[float] = field(default_factory=lambda: [0.01, 0.1, 1.0, 10.0, 100.0])

    def __post_init__(self):
        if self.reads not in (None, "features", "first", "last"):
            raise unknown("reads", self.reads, ("features", "first", "last"))


class LinearProbe(Baseline):
    """Logistic (or ridge) regression on standardised features of the text, or of text and pair read together."""

    title = "linear probe"
    Options = LinearProbeOptions

    def run(self, setting: Setting) -> Outcome:
        """See `Baseline.run`."""
        started = time.perf_counter()
        recipe, task = setting.recipe, setting.task
        source, _ = load_source(recipe.source["name"], recipe.source.get("kind"), **recipe.source_kwargs)
        to_accelerator(source)
        processor = plain_tokenizer(recipe, source.spec.max_tokens)
        data = tokenize(setting.splits, processor, task.options.max_length)
        which = (
            [self.options.reads]
            if self.options.reads
            else [reads for reads in ("features", "first", "last") if reads in source.spec.widths]
        )
        strengths = self.options.strengths
        if setting.chosen:
            which, strengths = [setting.chosen["reads"]], [setting.chosen["strength"]]
        features = {
            split: extract(source, data[split], processor, which, setting.quiet)
            for split in ("train", "validation", "test")
        }
        labels = {split: np.asarray(data[split]["label"]) for split in data}
        best: tuple[float, dict[str, Any], Any] | None = None
        for reads in which:
            for strength in strengths:
                model = _linear(task.regression, strength).fit(features["train"][reads], labels["train"])
                predicted = model.predict(features["validation"][reads])
                value = score(task.metrics[:1], predicted, labels["validation"], task.average)[task.metrics[0]]
                if best is None or value > best[0]:
                    best = (value, {"reads": reads, "strength": strength}, model)
        assert best is not None
        _, chosen, model = best
        return Outcome(
            model.predict(features["validation"][chosen["reads"]]),
            model.predict(features["test"][chosen["reads"]]),
            trainable=int(model[-1].coef_.size + np.size(model[-1].intercept_)),
            seconds=time.perf_counter() - started,
            chosen=chosen,
        )


def _linear(regression: bool, strength: float) -> Any:
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = Ridge(alpha=1 / strength) if regression else LogisticRegression(C=strength, max_iter=2000)
    return make_pipeline(StandardScaler(), model)


@torch.no_grad()
def extract(
    source: Any, data: Any, processor: Any, which: list[str], quiet: bool, batch_size: int = 64
) -> dict[str, np.ndarray]:
    """Frozen features (n, width) of tokenized examples by what is read, batched by length, in the order of `data`."""
    ids = data["input_ids"]
    order = np.argsort([len(row) for row in ids], kind="stable")
    out: dict[str, np.ndarray] = {}
    device = source.embedding.weight.device
    for start in tqdm(range(0, len(order), batch_size), desc="Frozen features", disable=quiet, leave=False):
        rows = order[start : start + batch_size]
        batch = processor.pad({"input_ids": [ids[row] for row in rows]}, return_tensors="pt").to(device)
        inputs = {"inputs_embeds": source.embed(batch["input_ids"]), "attention_mask": batch["attention_mask"]}
        for reads in which:
            states = source(inputs, reads).float().cpu().numpy()
            out.setdefault(reads, np.empty((len(order), states.shape[1]), np.float32))[rows] = states
    return out
