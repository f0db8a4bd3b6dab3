"""The fit of a calibration to held-out examples: the temperature, and the shift of Neural Clamping.

    T = argmin NLL(z / T)                                                          temperature scaling
    delta, T = argmin loss(f(x~ + delta) / T) + lambda ||delta||_2                 Neural Clamping

NLL is convex in 1 / T, whose derivative mean(E_p[z] - z_y) has one root. Neural Clamping (Tang et al. 2024, arXiv 2209.11604)
starts at delta ~ N(0, .01) and takes steps of SGD on delta and T together, on all held-out examples. delta has as many numbers
as an image, so it soon knows these examples by heart. Here it learns from one half of them, and the other half fits T after
each epoch and keeps the epoch with the lowest NLL there, delta = 0 among them. delta is in the units of the source's input:
pixels from 0 to 1, samples of a sound, or entries of a spectrogram.

All measures are of rows of logits with one class each (`scored_rows`). Each scored token is a row. So is each known label of a
multi-label problem, with the logits (0, z) of "absent" and "present".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.optimize import brentq
from scipy.special import softmax
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from ..calibration import SHIFTED, CalibrationOptions, calibrated, uncalibrate
from ..errors import InputError
from ..losses import IGNORE, focal_loss
from ..ood import adaptive_ece, brier, ece, nll
from ..options import check_whole
from ..progress import progress
from ..transforms.dual import Dual
from .encode import collator, labels_of
from .predict import predict_logits

MEASURES = ("accuracy", "ece", "adaptive_ece", "brier", "nll")


@dataclass(frozen=True)
class ClampingOptions:
    """How Neural Clamping is fitted.

    Attributes:
        epochs: passes over the examples.
        learning_rate: of SGD, with momentum 0.9.
        penalty: lambda, the weight of the norm of delta.
        gamma: of the focal loss; 0 is the cross-entropy.
        deviation: of the normal numbers at which delta starts.
        batch_size: examples per step.
        seed: of the start and of the order of the examples.

    Raises:
        InputError: a value is out of its range.
    """

    epochs: int = 20
    learning_rate: float = 1e-3
    penalty: float = 0.01
    gamma: float = 0.0
    deviation: float = 0.01
    batch_size: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        check_whole(epochs=self.epochs, batch_size=self.batch_size)
        if not 0 < self.learning_rate < float("inf"):
            raise InputError(f"learning_rate is {self.learning_rate}: give a number above 0.")
        for name in ("penalty", "gamma", "deviation"):
            if not 0 <= (value := getattr(self, name)) < float("inf"):
                raise InputError(f"{name} is {value}: give a number of at least 0.")


def scored_rows(logits: Tensor, labels: Tensor, problem_type: str | None) -> tuple[Tensor, Tensor]:
    """The rows of logits (m, classes) that have a class, and their classes (m,).

    Args:
        logits: (n, classes), (n, tokens, classes) or, of a multi-label problem, (n, labels).
        labels: (n,) or (n, tokens) with `IGNORE` for what has no class, or (n, labels) with 0, 1 and NaN.
        problem_type: as in a transformers config.

    >>> scored_rows(torch.tensor([[3.0, -1.0]]), torch.tensor([[1.0, float("nan")]]), "multi_label_classification")
    (tensor([[0., 3.]]), tensor([1]))
    """
    if problem_type == "multi_label_classification":
        known = ~labels.isnan()
        present = logits[known]
        return torch.stack([torch.zeros_like(present), present], -1), labels[known].long()
    known = labels != IGNORE
    return logits[known], labels[known].long()


def measures(rows: Any, classes: Any) -> dict[str, float]:
    """Accuracy, ECE, adaptive ECE, Brier score and NLL of rows of logits (m, classes) with classes (m,).

    >>> {name: round(value, 3) for name, value in measures([[0.0, 0.0], [0.0, 0.0]], [0, 1]).items()}
    {'accuracy': 0.5, 'ece': 0.0, 'adaptive_ece': 0.5, 'brier': 0.5, 'nll': 0.693}
    """
    values, labels = np.asarray(rows, np.float64), np.asarray(classes)
    shares = np.maximum(softmax(values, axis=1), np.finfo(float).tiny)  # so that NLL is finite
    found = (
        float((values.argmax(1) == labels).mean()),
        *(function(shares, labels) for function in (ece, adaptive_ece, brier, nll)),
    )
    return dict(zip(MEASURES, found, strict=True))


def fit_temperature(rows: Any, classes: Any) -> float:
    """The T > 0 at which the NLL of rows of logits (m, classes) / T is smallest.

    >>> round(fit_temperature([[2.0, 0.0]] * 4, [0, 0, 0, 1]), 4)  # 2 / T = log 3
    1.8205

    Raises:
        InputError: there is no such T, since every row is right or since the logits say nothing of the classes.
    """
    values, labels = np.asarray(rows, np.float64), np.asarray(classes)
    if not len(values):
        raise InputError("No example has a label: calibrate on labelled data.")
    values = values - values.max(1, keepdims=True)
    own = values[np.arange(len(values)), labels]
    if not own.any():
        raise InputError(
            f"All {len(values):,} held-out labels are predicted, so the likelihood grows as the temperature falls to 0: "
            "calibrate on more examples."
        )
    if (own - values.mean(1)).sum() <= 0:
        raise InputError(
            "The logits of the true classes are no higher than the others on average, so equal probabilities are best: train "
            "the adapter first."
        )

    def slope(log_beta: float) -> float:
        """The derivative of the NLL with respect to 1 / T."""
        shares = softmax(np.exp(log_beta) * values, axis=1)
        return float(((shares * values).sum(1) - own).mean())

    low = high = 0.0
    while slope(low) >= 0:
        low -= 1.0
    while slope(high) < 0:
        high += 1.0
    return float(np.exp(-brentq(slope, low, high, xtol=1e-12)))


def shift_of(model: Any, batch: dict[str, Tensor]) -> tuple[str, list[int]]:
    """The source's input that Neural Clamping shifts, and its shape without the batch.

    Args:
        model: a `ReprogrammedModel`.
        batch: some of its inputs.

    Raises:
        InputError: the source takes texts, or cannot be differentiated.
    """
    remedy = "use the method temperature."
    if not model.source.differentiable:
        raise InputError(
            f"The {model.source.spec.kind} source cannot be differentiated, so no shift is fitted: {remedy}"
        )
    if isinstance(model.transform, Dual) and model.transform.leaves_images:
        raise InputError(f"This adapter leaves images as they are, so they get no shift either: {remedy}")
    with torch.no_grad():
        made = model.transform(batch, model.source)
    for name in SHIFTED:
        if name in made:
            return name, list(made[name].shape[1:])
    raise InputError(
        "Neural clamping shifts images and sounds, and this source takes texts of any length, which no one shift fits: "
        f"{remedy}"
    )


def fit_clamping(
    model: Any,
    processor: Any,
    data: Any,
    options: ClampingOptions | None = None,
    *,
    bf16: bool = False,
    quiet: bool = True,
) -> CalibrationOptions:
    """Fit a shift and a temperature, and calibrate the model with them.

    Args:
        model: a `ReprogrammedModel`, which is put into eval mode; its theta, omega and source stay as they are.
        processor: its processor.
        data: labelled held-out examples, from `hf_reprogram.training.encode.encode`. One half of them judges the shift.
        options: how.
        bf16: whether to autocast to bfloat16, as in training with `bf16: true`.
        quiet: show no progress bar.

    Returns:
        The calibration, which the model has now; a temperature alone if no shift was better than none.

    Raises:
        InputError: the source's input cannot be shifted, or no temperature fits.
    """
    chosen = options or ClampingOptions()
    uncalibrate(model.eval())
    device, problem = model.source.device, model.config.problem_type
    random = torch.Generator().manual_seed(chosen.seed)
    if len(data) < 4:
        raise InputError(
            f"There are {len(data)} held-out examples: give at least 4, of which one half judges the shift."
        )
    learned, judges = torch.randperm(len(data), generator=random).chunk(2)
    half = Subset(data, learned.tolist())
    loader = DataLoader(half, chosen.batch_size, shuffle=True, generator=random, collate_fn=collator(processor))
    first = {name: value.to(device) for name, value in next(iter(loader)).items() if name != "labels"}
    shifted, shape = shift_of(model, first)
    labels = torch.as_tensor(labels_of(data))

    def with_shift(delta: Tensor, chosen_rows: Tensor) -> tuple[float, CalibrationOptions]:
        """The NLL of some examples with a shift and the best temperature for them; the model is calibrated with the shift."""
        started = CalibrationOptions("neural_clamping", 1.0, shifted, shape)
        logits = predict_logits(calibrated(model, started, delta), processor, data, bf16=bf16, quiet=True)
        rows, classes = scored_rows(torch.from_numpy(logits)[chosen_rows], labels[chosen_rows], problem)
        temperature = fit_temperature(rows, classes)
        found = CalibrationOptions("neural_clamping", temperature, shifted, shape)
        return measures(rows / temperature, classes)["nll"], found

    none = torch.zeros(shape, device=device)
    lowest, best = with_shift(none, judges)
    kept: Tensor | None = None
    delta = (chosen.deviation * torch.randn(shape, generator=random)).to(device).requires_grad_()
    temperature = torch.tensor(best.temperature, device=device, requires_grad=True)
    optimizer = torch.optim.SGD([delta, temperature], chosen.learning_rate, momentum=0.9)
    uncalibrate(model)
    for _ in progress(range(chosen.epochs), "Clamping", chosen.epochs, quiet):
        for batch in loader:
            inputs = {name: value.to(device) for name, value in batch.items()}
            optimizer.zero_grad()
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                loss = clamping_loss(model, inputs, shifted, delta, temperature, chosen)
            loss.backward(inputs=[delta, temperature])
            optimizer.step()
        try:
            nll_now, found = with_shift(delta, judges)
        except InputError:  # with this shift every example is right, or too few are, so no temperature is best
            break
        finally:
            uncalibrate(model)
        with torch.no_grad():
            temperature.fill_(found.temperature)
        if nll_now < lowest:
            lowest, best, kept = nll_now, found, delta.detach().clone()
    if kept is None:
        best = CalibrationOptions(temperature=with_shift(none, torch.arange(len(data)))[1].temperature)
    calibrated(model, best, kept)
    return best


def clamping_loss(
    model: Any, batch: dict[str, Tensor], shifted: str, delta: Tensor, temperature: Tensor, options: ClampingOptions
) -> Tensor:
    """The loss of a batch: the focal loss of `f(x~ + delta) / T`, and lambda times the norm of delta.

    Args:
        model: a `ReprogrammedModel` without calibration, in eval mode.
        batch: inputs and `labels`.
        shifted: the source's input that is shifted.
        delta, temperature: what is fitted.
        options: gamma and lambda.
    """
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    with torch.no_grad():
        made = model.transform(inputs, model.source)
    outputs = model.source({**made, shifted: made[shifted] + delta}, model.mapping.reads)
    logits = model.logits_and_loss(outputs, inputs, None)[0] / temperature
    rows, classes = scored_rows(logits, batch["labels"], model.config.problem_type)
    return focal_loss(rows, classes, options.gamma) + options.penalty * delta.norm()
