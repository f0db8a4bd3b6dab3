"""What a program does to the source's outputs, in numbers: distances to the source's own data, risk, and gradients that agree.

Distances are between logits where the source has some, else between the outputs that the mapping reads, as in Theorem 1 of Yang
et al. 2021 (arXiv 2106.09296). The alignment of gradients is that of Zheng et al. 2021 (arXiv 2108.11673).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from ..alignment import (
    gradient_alignment,
    mean_risk,
    null_distance,
    sliced_wasserstein,
    unrelated_alignment,
    wasserstein,
)
from ..errors import InputError
from ..readings import reader, standing_for
from .gradients import NoGradients, per_sample_gradients


def compared(model: Any) -> str:
    """The output of the source whose distances are computed: "logits" where it has some, else what the mapping reads.

    >>> from hf_reprogram import reprogram
    >>> compared(reprogram(text_source, "warp", ["no", "yes"], num_prompts=4)[0])
    'mask'
    """
    return "logits" if "logits" in model.source.spec.widths else str(model.mapping.reads)


@torch.no_grad()
def source_outputs(source: Any, batches: Iterable[dict[str, Tensor]], reads: str = "logits") -> Tensor:
    """The outputs (n, width) of a source for data of its own task.

    Args:
        source: a frozen source.
        batches: batches that its `plain_processor` made; `labels` in them are left out.
        reads: the output.

    >>> batches = [tokenizer(["a film", "a book"], padding=True, return_tensors="pt")]
    >>> source_outputs(text_source, batches, "features").shape
    torch.Size([2, 32])
    """
    outputs = []
    for batch in batches:
        inputs = {name: value.to(source.device) for name, value in batch.items() if name != "labels"}
        outputs.append(source(source.plain_inputs(inputs), reads).float().cpu())
    return torch.cat(outputs)


def target_outputs(model: Any, loader: Any, rows: int, batch_size: int = 64) -> tuple[Tensor, Tensor]:
    """The source's outputs (n, width) for reprogrammed target data, and the model's labels (n,).

    Args:
        model: a `ReprogrammedModel`.
        loader: the `DataLoader` of the target data.
        rows: the largest number of examples, which are drawn with a fixed seed.
        batch_size: examples per batch.
    """
    return reader(model, loader, batch_size)(compared(model), rows)


def distances(outputs: Tensor, reference: Tensor, seed: int = 0) -> dict[str, float]:
    """W1 and sliced W1 between n outputs and n of a reference of 2 n, and the nulls between the halves of that reference.

    Args:
        outputs: for target data (m, width).
        reference: for the source's own data (k, width), in random order; n is the smaller of m and k / 2.
        seed: of the directions.

    Raises:
        InputError: the widths differ, or there is no row.

    >>> random = torch.Generator().manual_seed(0)
    >>> same, far = torch.randn(40, 2, generator=random), 9 + torch.randn(20, 2, generator=random)
    >>> found = distances(far, same)
    >>> found["w1"] > 10 > 2 > found["w1_null"], found["sliced"] > 6 > 1 > found["sliced_null"]
    (True, True)
    """
    rows = min(len(outputs), len(reference) // 2)
    if rows < 1:
        raise InputError(
            f"There are {len(outputs)} target and {len(reference)} source examples: give at least 1 and 2 for a distance."
        )
    near, far = reference[:rows], outputs[:rows]
    both = reference[: 2 * rows]
    return {
        "w1": wasserstein(far, near),
        "w1_null": null_distance(both, seed=seed),
        "sliced": sliced_wasserstein(far, near, seed=seed),
        "sliced_null": null_distance(both, lambda a, b: sliced_wasserstein(a, b, seed=seed), seed),
    }


def risk(model: Any, outputs: Tensor, labels: Tensor) -> float | None:
    """The risk of Theorem 1 on target data; None where it is not defined, since an example has not one class.

    Args:
        model: a `ReprogrammedModel`.
        outputs: what its mapping reads (n, width), from the source.
        labels: (n,).
    """
    if model.config.problem_type != "single_label_classification":
        return None
    training = model.training
    model.eval()
    with torch.no_grad():
        logits = model.logits_and_loss(outputs.to(model.source.device), {}, None)[0].float().cpu()
    model.train(training)
    return mean_risk(logits, labels)


def agreement(model: Any, loader: Any, examples: int, shuffled: bool = False, seed: int = 0) -> dict[str, float] | None:
    """The alignment of the gradients of examples, and that of unrelated ones; None where examples have no gradients.

    Args:
        model: a `ReprogrammedModel`.
        loader: the `DataLoader` of training data.
        examples: how many are drawn.
        shuffled: whether their labels are exchanged at random, as a control.
        seed: of the draw.
    """
    data, random = standing_for(loader.dataset), np.random.default_rng(seed)
    if not hasattr(data, "__len__"):
        return None
    drawn = Subset(data, sorted(random.permutation(len(data))[:examples].tolist()))
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(0)
        (batch,) = DataLoader(drawn, len(drawn), collate_fn=loader.collate_fn)
    given = {name: value.to(model.source.device) for name, value in batch.items()}
    if shuffled:
        given["labels"] = given["labels"][torch.from_numpy(random.permutation(len(drawn)))]
    try:
        gradients = per_sample_gradients(model, given)
    except NoGradients:
        return None
    return {"alignment": gradient_alignment(gradients), "unrelated": unrelated_alignment(len(drawn))}
