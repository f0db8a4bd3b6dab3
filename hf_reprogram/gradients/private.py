"""DP-SGD: the gradient of theta and omega from examples that are clipped, with noise (Abadi et al. 2016, arXiv 1607.00133).

    g = 1 / B * ( sum over the batch of  g_i min(1, C / |g_i|)  +  N(0, (sigma C)^2) )

g_i is the gradient of example i's loss with respect to all numbers of theta and omega together, C is `max_grad_norm`, and sigma
the noise multiplier. B is the *expected* size of a batch, for batches are Poisson samples: every `Trainer` of transformers
draws them by itself for such a model (`hf_reprogram.privacy.PoissonBatches`). `hf_reprogram.privacy` says what steps cost.

The adapter is then (epsilon, delta)-private for adding or removing one training example: its theta and omega, at any step. What
holds it up is refused: whatever else is fitted to training data (a start of omega, a label map, the mean of a target, a
vocabulary, the scaling of tables), and everything by which a step would see other examples than its accounted batch. The number
of training examples, the classes' names and the validation split, which selects the epoch, count as public. Losses of training
and measured scores are not covered: they are for the owner of the data.

Noise and batches depend on the Trainer's seed and the step alone, so that a resumed run equals an uninterrupted one. A
generator with a known seed is for research: who deploys must draw the seed at random and keep it secret, or the noise can be
taken off. Nor is the noise hardened against attacks on the rounding of floating-point numbers.

The penalty of a transform (`l2`) knows no data; its gradient is added as it is. `max_grad_norm` of `TrainingArguments` clips
what comes out, as it would any gradient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError, shown
from ..options import check_whole
from ..privacy import PoissonBatches, noise_multiplier
from ..privacy import epsilon as epsilon_of
from .directions import check_positive
from .estimated import ROW_INPUTS, Estimated, attach

if TYPE_CHECKING:
    from ..model import ReprogrammedModel

NAME = "dp_sgd"
_NOISE = 1  # in the key of the random numbers, so that they are others than those of the batches
DEFAULT_NOISE = 1.1


@dataclass
class DPSGD:
    """Options of "dp_sgd".

    Attributes:
        max_grad_norm: C, the norm to which the gradient of each example is clipped.
        noise_multiplier: sigma, the deviation of the noise over C; by default 1.1, unless `epsilon` is given.
        epsilon: the epsilon of the whole training, from which sigma is computed when training begins; instead of sigma.
        delta: the probability with which the bound may fail; less than one over the number of training examples.
        rows: examples that go through the source together; a batch may have any size.

    >>> DPSGD(epsilon=8.0)
    DPSGD(max_grad_norm=1.0, noise_multiplier=None, epsilon=8.0, delta=1e-05, rows=64)
    """

    max_grad_norm: float = 1.0
    noise_multiplier: float | None = None
    epsilon: float | None = None
    delta: float = 1e-5
    rows: int = 64

    def __post_init__(self) -> None:
        check_positive("max_grad_norm", self.max_grad_norm)
        check_whole(rows=self.rows)
        if self.epsilon is not None:
            check_positive("epsilon", self.epsilon)
            if self.noise_multiplier is not None:
                raise InputError("noise_multiplier follows from epsilon, and both are given: leave one of them out.")
        elif self.noise_multiplier is None:
            self.noise_multiplier = DEFAULT_NOISE
        elif not 0 <= self.noise_multiplier < inf:
            raise InputError(f"noise_multiplier is {shown(self.noise_multiplier)}: give 0 or more.")
        if not 0 < self.delta < 1:
            raise InputError(f"delta is {shown(self.delta)}: give a number above 0 and below 1.")


class Private(Estimated):
    """The loss of a model, with the clipped and noised gradient of theta and omega; arguments as for `Estimated`.

    In a loop of its user's own, `begin` comes first, and each batch that `PoissonBatches` gives is one step.

    Attributes:
        batches: the Poisson batches of the training; None before `begin`.
        sigma: the noise multiplier of the training.

    >>> from hf_reprogram import reprogram
    >>> model, tokenizer = reprogram(text_source, "warp", ["no", "yes"], num_prompts=4, gradients={"dp_sgd": {"epsilon": 8.0}})
    >>> model.estimated.begin(PoissonBatches(examples=1000, batch_size=2, seed=0), steps=100)
    >>> model.estimated.sigma, model.estimated.record()["epsilon"]  # before the first step
    (0.3995, 0.0)
    """

    estimator: DPSGD
    private = True

    def __init__(self, estimator: DPSGD) -> None:
        super().__init__(estimator)
        self.batches: PoissonBatches | None = None
        self.sigma = 0.0

    def begin(self, batches: PoissonBatches, steps: int, done: int = 0) -> None:
        """Begin a training, and compute its noise where epsilon is given; the Trainer's `Schedule` calls this.

        Args:
            batches: what the training's loader draws from.
            steps: the number of steps of the whole training.
            done: how many of them a resumed run has behind it.

        Raises:
            InputError: delta is too large for so few examples, or no noise gives epsilon.
        """
        options = self.estimator
        if options.delta * batches.examples >= 1:
            raise InputError(
                f"delta is {options.delta:g}, and of {batches.examples:,} training examples one could then be published as it "
                f"is: give less than {1 / batches.examples:.1e}."
            )
        self.batches, self.step, self.seed = batches, done, batches.seed
        if options.epsilon is not None:
            self.sigma = noise_multiplier(options.epsilon, batches.rate, steps, options.delta)
        else:
            self.sigma = float(options.noise_multiplier or 0.0)

    def record(self) -> dict[str, Any]:
        """What the steps so far have cost, as plain data: `epsilon` is None without noise."""
        assert self.batches is not None
        options, rate = self.estimator, self.batches.rate
        spent = epsilon_of(self.sigma, rate, self.step, options.delta)
        return {
            "epsilon": None if spent == inf else spent,
            "delta": options.delta,
            "noise_multiplier": self.sigma,
            "max_grad_norm": options.max_grad_norm,
            "steps": self.step,
            "sampling_rate": rate,
            "batch_size": self.batches.batch_size,
            "examples": self.batches.examples,
        }

    def __call__(
        self, model: ReprogrammedModel, batch: dict[str, Tensor], labels: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The mean loss and the logits (batch, labels) of a step's batch.

        Raises:
            InputError: the batch is not the step's own, or has no labels, or a label for each token.
        """
        labels, count = self._checked(model, labels)
        parameters = [p for p in model.trainable().values() if p.requires_grad]
        total = torch.zeros(sum(p.numel() for p in parameters), device=labels.device)
        losses, logits = labels.new_zeros((), dtype=torch.float32), []
        for start in range(0, len(labels), self.estimator.rows):
            part = slice(start, start + self.estimator.rows)
            given = {name: value[part] for name, value in batch.items()}
            gradients, loss, made = example_gradients(model, parameters, given, labels[part])
            logits.append(made)
            if count:  # else nothing was drawn, and the row stands for no example
                total += clipped(gradients, self.estimator.max_grad_norm).sum(0)
                losses = losses + loss.sum()
        noise = torch.from_numpy(_random(self.seed, self.step).standard_normal(len(total))).float().to(total.device)
        assert self.batches is not None
        found = (total + self.sigma * self.estimator.max_grad_norm * noise) / self.batches.expected
        shaped = [
            part.view_as(p) for part, p in zip(found.split([p.numel() for p in parameters]), parameters, strict=True)
        ]
        shaped = [part.to(p) for part, p in zip(shaped, parameters, strict=True)]
        return attach(losses / max(count, 1), parameters, shaped) + model.transform.penalty(), torch.cat(logits)

    def _checked(self, model: ReprogrammedModel, labels: Tensor | None) -> tuple[Tensor, int]:
        """The labels, and the number of examples that were drawn for this step."""
        if self.batches is None:
            raise InputError(
                "dp_sgd does not know how batches are drawn: train with a Trainer, or call "
                "model.estimated.begin(PoissonBatches(...), steps) first."
            )
        if labels is None:
            raise InputError(
                "dp_sgd clips the loss of each example, and this batch has no labels: leave label smoothing and a loss of your "
                "own out."
            )
        if labels.dim() > 1 and model.config.problem_type in ("token_classification", "masked_lm"):
            raise InputError(
                "dp_sgd clips the gradients of examples, and there is a label for every token: take one for each."
            )
        if not self.scheduled:
            self.step += 1
        count = len(self.batches.drawn(self.step))
        if len(labels) != max(count, 1):
            raise InputError(
                f"Step {self.step} of dp_sgd has a batch of {len(labels)} examples, and {count} were drawn for it: take one "
                "batch of PoissonBatches for each step."
            )
        return labels, count


def clipped(gradients: Tensor, norm: float) -> Tensor:
    """Gradients (n, numbers), each scaled down to a norm; one that is not finite becomes zero.

    >>> clipped(torch.tensor([[3.0, 4.0], [0.3, 0.4], [torch.inf, 0.0]]), norm=1.0)
    tensor([[0.6000, 0.8000],
            [0.3000, 0.4000],
            [0.0000, 0.0000]])
    """
    lengths = gradients.norm(dim=1, keepdim=True)
    factor = (norm / lengths.clamp(min=1e-30)).clamp(max=1.0)
    return torch.where(lengths.isfinite(), gradients * factor, torch.zeros_like(gradients))


def example_gradients(
    model: ReprogrammedModel, parameters: Sequence[Tensor], batch: dict[str, Tensor], labels: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradient of each example's loss, in training mode, without the transform's penalty.

    Each example goes through the transform and the mapping by itself, so that none can depend on another. Where the source's
    inputs are rows of one size, it goes forward and backward once for the whole batch.

    Args:
        model: the model.
        parameters: those of theta and omega.
        batch: inputs of n examples.
        labels: theirs, (n,) or (n, labels).

    Returns:
        Gradients (n, numbers) in the order of the parameters, float32; losses (n,); logits (n, labels).

    >>> from hf_reprogram import reprogram
    >>> model, tokenizer = reprogram(text_source, "warp", ["no", "yes"], num_prompts=4, start="none")
    >>> batch = tokenizer(["a film", "a lovely film"], padding=True, return_tensors="pt")
    >>> parameters = [*model.trainable().values()]
    >>> gradients, losses, logits = example_gradients(model, parameters, dict(batch), torch.tensor([0, 1]))
    >>> gradients.shape, losses.shape, logits.shape
    (torch.Size([2, 194]), torch.Size([2]), torch.Size([2, 2]))
    """
    rows = [{name: value[i : i + 1] for name, value in batch.items()} for i in range(len(labels))]
    own = [labels[i : i + 1] for i in range(len(labels))]
    made = [model.transform(row, model.source) for row in rows]
    if not _is_rows(made):
        answers = [
            model.logits_and_loss(model.source(m, model.mapping.reads), r, y)
            for m, r, y in zip(made, rows, own, strict=True)
        ]
        found = [_flat(torch.autograd.grad(loss, parameters, allow_unused=True), parameters) for _, loss in answers]
        return torch.stack(found), *_answers(answers)
    joined = {name: torch.cat([inputs[name] for inputs in made]) for name in made[0]}
    leaves = {name: value.detach().requires_grad_() for name, value in joined.items() if value.requires_grad}
    outputs = model.source({**joined, **leaves}, model.mapping.reads)
    ends = [outputs[i : i + 1].detach().requires_grad_() for i in range(len(labels))]
    answers = [model.logits_and_loss(end, row, y) for end, row, y in zip(ends, rows, own, strict=True)]
    of_omega = [
        torch.autograd.grad(loss, [end, *parameters], allow_unused=True)
        for (_, loss), end in zip(answers, ends, strict=True)
    ]
    found = [_flat(gradients[1:], parameters) for gradients in of_omega]
    if leaves:
        back = torch.autograd.grad(outputs, [*leaves.values()], torch.cat([gradients[0] for gradients in of_omega]))
        for i, inputs in enumerate(made):
            of_theta = torch.autograd.grad(
                [inputs[name] for name in leaves], parameters, [value[i : i + 1] for value in back], allow_unused=True
            )
            found[i] = found[i] + _flat(of_theta, parameters)
    return torch.stack(found), *_answers(answers)


def _answers(answers: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Losses (n,) and logits (n, labels), without gradients."""
    return torch.stack([loss.detach().float() for _, loss in answers]), torch.cat(
        [logits.detach() for logits, _ in answers]
    )


def _is_rows(made: list[dict[str, Any]]) -> bool:
    """Whether inputs of single examples can share a batch: each is a row, and all have one size."""
    shapes = {name: value.shape for name, value in made[0].items() if isinstance(value, Tensor)}
    return {*made[0]} <= ROW_INPUTS and all(
        {name: value.shape for name, value in inputs.items() if isinstance(value, Tensor)} == shapes
        and all(shape[0] == 1 for shape in shapes.values())
        for inputs in made
    )


def _flat(gradients: Sequence[Tensor | None], parameters: Sequence[Tensor]) -> Tensor:
    parts = [torch.zeros_like(p) if g is None else g for g, p in zip(gradients, parameters, strict=True)]
    return torch.cat([part.flatten().float() for part in parts])


def _random(seed: int, step: int) -> np.random.Generator:
    """The random numbers of a step's noise, which depend on the seed and the step alone."""
    return np.random.default_rng([seed, step, _NOISE])


# --------------------------------------------------------------------------------------------------- what would leak


def is_private(gradients: Mapping[str, Any]) -> bool:
    """Whether gradients, as from `read_gradients`, are those of DP-SGD.

    >>> is_private({"dp_sgd": {}}), is_private({})
    (True, False)
    """
    return NAME in gradients


def private_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """A method's options whose omega starts without a look at the training data.

    Raises:
        InputError: they ask for a start that is fitted to it.

    >>> private_options({"num_prompts": 4})
    {'num_prompts': 4, 'start': 'none'}
    >>> private_options({"start": "probe"})
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: dp_sgd protects the training data, and start 'probe' fits omega to it: set start to none.
    """
    start = options.get("start")
    if start not in (None, "none"):
        raise InputError(
            f"dp_sgd protects the training data, and start {shown(start)} fits omega to it: set start to none."
        )
    return {**options, "start": "none"}


def refused(what: str) -> Any:
    """A reader of the training data (`hf_reprogram.mappings.base.Reader`) that refuses to read them for `what`.

    >>> refused("the mapping 'label_map'")("logits")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: dp_sgd protects the training data, and the mapping 'label_map' is fitted to all of it ...
    """

    def read(reads: str, most: int | None = None) -> tuple[Tensor, Tensor]:
        raise InputError(
            f"dp_sgd protects the training data, and {what} is fitted to all of it without noise: set start to none and "
            "standardize to false, and choose a mapping that is not fitted."
        )

    return read


def check_private_training(args: Any) -> None:
    """Refuse a training whose steps would not be those that are accounted for.

    Args:
        args: the `TrainingArguments`.

    Raises:
        InputError: several batches in a step, several devices, a scaled loss, or labels that are smoothed.

    >>> from transformers import TrainingArguments
    >>> check_private_training(TrainingArguments(use_cpu=True, gradient_accumulation_steps=2))
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: dp_sgd accounts for one batch a step, and gradient_accumulation_steps is 2: give a larger \
batch, of any size, instead.
    """
    why = ""
    if args.gradient_accumulation_steps > 1:
        why = f"gradient_accumulation_steps is {args.gradient_accumulation_steps}: give a larger batch, of any size, instead"
    elif args.n_gpu > 1 or args.world_size > 1:
        why = (
            f"this training has {max(args.n_gpu, args.world_size)} processes or devices: start one that sees one device"
        )
    elif args.fp16:
        why = "fp16 scales losses and leaves steps out: train in float32 or bf16"
    elif args.label_smoothing_factor:
        why = f"label_smoothing_factor is {args.label_smoothing_factor}, a loss outside of the model: leave it out"
    elif args.auto_find_batch_size:
        why = "auto_find_batch_size begins again with another one: leave it out"
    if why:
        raise InputError(f"dp_sgd accounts for one batch a step, and {why}.")
