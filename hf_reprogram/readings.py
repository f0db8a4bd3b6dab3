"""What the frozen source answers for all examples of a data loader, for parts of a model that are fitted to it."""

from __future__ import annotations

from functools import cache
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, Subset

from .errors import InputError
from .losses import IGNORE
from .mappings.base import Reader
from .progress import progress

_STREAMED = 10_000  # examples that stand for a stream without a length


def reader(model: Any, loader: Any, batch_size: int, half: torch.dtype | None = None, quiet: bool = True) -> Reader:
    """The function with which a mapping reads the source's outputs on all data of a loader.

    Every process gets the same outputs. The function does not change the random numbers of training. Where the data are
    augmented it draws the same numbers every time, so that a resumed run reads the same outputs as an uninterrupted one. What
    was read is kept as long as the function.

    Args:
        model: a `ReprogrammedModel`.
        loader: the data loader.
        batch_size: examples per batch.
        half: the autocast dtype of training, so that a map is fitted in training's precision; None for none.
        quiet: show no progress bar.

    Of a stream without a length, the first 10,000 examples are read.
    """

    @cache
    @torch.no_grad()
    def read(reads: str, most: int | None = None) -> tuple[Tensor, Tensor]:
        outputs, labels, data = [], [], standing_for(loader.dataset)
        training = model.training
        model.eval()
        with torch.random.fork_rng(devices=[]):
            torch.random.default_generator.manual_seed(0)
            if not hasattr(data, "__len__"):
                data = list(islice(data, most or _STREAMED))
            if most is not None and len(data) > most:
                data = Subset(data, sorted(torch.randperm(len(data))[:most].tolist()))
            batches = DataLoader(data, batch_size, collate_fn=loader.collate_fn, num_workers=loader.num_workers)
            for batch in progress(batches, f"Reading {reads}", -(-len(data) // batch_size), quiet):
                if "labels" not in batch:
                    raise InputError("The training data have no labels: add a column of labels, or set start='none'.")
                given = batch.pop("labels")
                inputs = {name: value.to(model.source.device) for name, value in batch.items()}
                labels.append(_to_predict(model, inputs, given).cpu())
                with torch.autocast(model.source.device.type, half, enabled=half is not None):
                    outputs.append(model.source(model.inputs(inputs), reads).float().cpu())
        model.train(training)
        return joined(outputs, 0.0), joined(labels, IGNORE)

    return read


def _to_predict(model: Any, inputs: dict[str, Tensor], labels: Tensor) -> Tensor:
    """The labels of a batch as the mapping has to predict them: a forecast's are those in the units of its own series."""
    target = model.mapping.target
    own = None if target is None else model.transform.target_scale(inputs)
    if own is None:
        return labels
    mean, deviation = own
    restored: Tensor = target.restored((labels.to(mean.device).reshape(len(mean), -1) - mean) / deviation)
    return restored


def standing_for(data: Any) -> Any:
    """The data set that is read where all training data would be: the sample of a stream that has one, else the data set."""
    while isinstance(data, IterableDataset) and not hasattr(data, "sample") and hasattr(data, "dataset"):
        data = data.dataset  # the share of a process
    return getattr(data, "sample", data)


def joined(batches: list[Tensor], fill: float) -> Tensor:
    """Batches as one tensor; those of texts are padded with `fill` to the longest.

    >>> joined([torch.ones(1, 1), torch.ones(1, 2)], 0.0)
    tensor([[1., 0.],
            [1., 1.]])
    """
    longest = max(batch.shape[1] if batch.dim() > 1 else 0 for batch in batches)
    if all(batch.dim() < 2 or batch.shape[1] == longest for batch in batches):
        return torch.cat(batches)
    return torch.cat(
        [
            torch.nn.functional.pad(batch, [0, 0] * (batch.dim() - 2) + [0, longest - batch.shape[1]], value=fill)
            for batch in batches
        ]
    )
