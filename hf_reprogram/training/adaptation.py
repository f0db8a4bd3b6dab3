"""Test-time adaptation: theta is moved, for one batch at a time, to where the answers to this batch are surer.

    theta' = theta - steps of Adam on mean_b H(p_b),     H(p) = -sum_k p_k log p_k

No label is read, omega and the source stay as they are, and the next batch starts from theta again. This is Tent (Wang et al.
2021, arXiv 2006.10726) with theta in place of the parameters of norms, and with a reset after each batch. Entropy is also small
where all rows become one class: `hf-reprogram evaluate --adapt` prints the scores beside those of the plain adapter.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..modalities.examples import Examples
from ..options import check_whole
from ..progress import progress
from .encode import batches
from .predict import EXAMPLES

STEPS, RATE = 1, 1e-3


def adapted_logits(model: Any, batch: dict[str, Tensor], steps: int = STEPS, rate: float = RATE) -> Tensor:
    """Logits (batch, labels) of one batch after `steps` steps of Adam on theta; the model is left as it was, byte for byte.

    Args:
        model: a `ReprogrammedModel` in eval mode.
        batch: inputs by name, without labels.
        steps: from 0, which gives the plain logits.
        rate: the learning rate.

    Raises:
        InputError: the model has no theta, estimates its gradient, or has no classes.

    >>> from hf_reprogram import reprogram
    >>> model, processor = reprogram(text_source, "warp", ["no", "yes"], num_prompts=4)
    >>> batch = dict(processor(["a film"], return_tensors="pt"))
    >>> adapted_logits(model.eval(), batch, steps=2, rate=0.1).shape
    torch.Size([1, 2])
    """
    check_adaptation(model, steps, rate)
    theta = list(model.transform.parameters())
    before = [value.detach().clone() for value in theta]
    optimizer = torch.optim.Adam(theta, lr=rate)
    try:
        for _ in range(steps):
            with torch.enable_grad():
                logs = model(**batch).logits.float().log_softmax(-1)
                entropy = -(logs.exp() * logs).sum(-1).mean()
                gradients = torch.autograd.grad(entropy, theta, allow_unused=True)
            for value, gradient in zip(theta, gradients, strict=True):
                value.grad = gradient
            optimizer.step()
        with torch.no_grad():
            logits: Tensor = model(**batch).logits.float()
        return logits
    finally:
        with torch.no_grad():
            for value, kept in zip(theta, before, strict=True):
                value.copy_(kept)
                value.grad = None


def check_adaptation(model: Any, steps: int, rate: float) -> None:
    """Refuse what cannot be adapted; see `adapted_logits`."""
    check_whole(0, " of steps", steps=steps)
    if not 0 < rate <= 100:
        raise InputError(f"The rate of adaptation is {rate!r}: give a number above 0 and at most 100.")
    if model.config.problem_type not in (None, "single_label_classification"):
        raise InputError(
            f"Adaptation makes one class per example surer, and the problem of this adapter is {model.config.problem_type!r}: "
            "leave it out."
        )
    if model.estimated is not None:
        raise InputError("Adaptation needs exact gradients of theta, and this source gives none: leave it out.")
    if not any(True for _ in model.transform.parameters()):
        raise InputError("Adaptation moves theta, and this adapter has none: leave it out.")


def predict_adapted(
    model: Any, processor: Any, data: Any, *, steps: int = STEPS, rate: float = RATE, quiet: bool = False
) -> np.ndarray:
    """Logits (n, labels) of an encoded split in the order of `data`, each batch of 64 adapted by itself.

    Rows of a fixed size are taken in a drawn order, as neighbours in a file may be of one class, which no batch should be.

    Args:
        model, processor, data: as for `hf_reprogram.training.predict.predict_logits`.
        steps, rate: as for `adapted_logits`.
        quiet: show no progress bar.
    """
    logits = np.empty((len(data), len(model.label_names)), np.float32)
    device = model.source.device
    if isinstance(data, Examples):
        order = np.random.default_rng(0).permutation(len(data))
        parts = np.split(order, range(EXAMPLES, len(order), EXAMPLES))
        drawn: Any = (
            (rows, {k: torch.from_numpy(v).to(device) for k, v in data.inputs(rows).items()}) for rows in parts
        )
    else:  # texts of like length are together, so that little is padded
        drawn = batches(data, processor, EXAMPLES, device)
    for rows, inputs in progress(drawn, "Adapting", -(-len(data) // EXAMPLES), quiet):
        logits[rows] = adapted_logits(model, inputs, steps, rate).cpu()
    return logits
