"""Similarity: a class is as likely as its text is near to the image.

    logit_c = scale * u . v_c            v_c = mean over templates of v, normalised again

u and v are a dual encoder's features of the image and of the class texts, of length one (`hf_reprogram.sources.dual`). The
residual blend takes the reprogrammed features together with the zero-shot ones of the same image and texts,

    u = (1 - alpha) u_reprogrammed + alpha u_zero-shot          v_c likewise

not normalised again: where the two branches disagree a logit is smaller. alpha = 1 is the zero-shot classifier and alpha = 0
the reprogrammed one, exactly. It is used at evaluation only, as in the paper, and training is that of alpha = 0; or it is
trained (`learn_alpha`, held as its logit), and then used in training too.

The paper's loss is contrastive: the images of a batch against the texts of their labels, in both directions, each term
weighted by (1 - p)^gamma and a constant,

    L = -a / 2B * sum_i [ (1 - p_i)^gamma log p_i + (1 - q_i)^gamma log q_i ]      a = 0.8, gamma = 4
    p_i, q_i: soft-max over j of scale * u_i . v_label(j), and of scale * u_j . v_label(i), at i

so another image of the same class counts as a wrong answer, as in the authors' code, and the loss depends on the batch:
accumulated gradients are those of smaller batches. Cross-entropy over the classes, the default, has neither.

Source: Geng & Chen 2024 (arXiv 2403.10800).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InputError, unknown
from ..sources.base import Source
from ..sources.probe import Lines, Probe
from .base import OutputMapping

LOSSES = ("cross_entropy", "contrastive")


@dataclass
class SimilarityOptions:
    """Options of `similarity`.

    Attributes:
        num_labels: classes.
        width: of the features.
        alpha: share of the zero-shot branch, 0 to 1; where it is trained, at the start.
        learn_alpha: whether it is trained.
        loss: "cross_entropy" or "contrastive".
    """

    num_labels: int
    width: int
    alpha: float = 0.0
    learn_alpha: bool = False
    loss: str = "cross_entropy"

    def __post_init__(self) -> None:
        check_blend(self.alpha, self.learn_alpha, self.loss)


def check_blend(alpha: float, learn_alpha: bool, loss: str) -> None:
    """Raise `InputError` if these are no values of `SimilarityOptions`."""
    if loss not in LOSSES:
        raise unknown("loss", loss, LOSSES)
    _share(alpha)
    if learn_alpha and alpha in (0, 1):
        raise InputError(f"alpha is {alpha} and is to be trained: start between 0 and 1, such as at 0.4.")


def _share(alpha: Any) -> float:
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 <= alpha <= 1:
        raise InputError(f"alpha is {alpha!r}: give the zero-shot branch's share, from 0 to 1.")
    return float(alpha)


class Similarity(OutputMapping):
    """Scaled cosine similarities; omega is `alpha_logit` (1,) if alpha is trained, and nothing else."""

    Options = SimilarityOptions
    options: SimilarityOptions

    def __init__(self, options: SimilarityOptions) -> None:
        super().__init__(options)
        if options.learn_alpha:
            self.alpha_logit = nn.Parameter(torch.zeros(1))

    def reset(self) -> None:
        """Start at the option's alpha."""
        if self.options.learn_alpha:
            nn.init.constant_(self.alpha_logit, torch.tensor(self.options.alpha).logit().item())

    @property
    def reads(self) -> str:
        """The zero-shot features too, if they are blended in."""
        blends = self.options.learn_alpha or (self.options.alpha > 0 and not self.training)
        return "residual" if blends else "pair"

    @property
    def residual(self) -> bool:
        """Whether zero-shot features are ever read."""
        return self.options.learn_alpha or self.options.alpha > 0

    def set_alpha(self, alpha: Tensor | float) -> None:
        """Blend with another share from now on.

        Raises:
            InputError: it is no share, or alpha is trained.
        """
        if self.options.learn_alpha:
            raise InputError("alpha was trained with this adapter: it cannot be set.")
        self.options.alpha = _share(alpha)

    def alpha(self) -> Tensor | float:
        """The share in use."""
        return self.alpha_logit.sigmoid() if self.options.learn_alpha else self.options.alpha

    @torch.no_grad()
    def inspect(self, probe: Probe) -> dict[str, Any]:
        """`alpha`, the share in use."""
        return {"alpha": float(self.alpha())}

    def lines(self, found: dict[str, Any]) -> Lines:
        """The share in use."""
        return Lines([f"alpha: {found['alpha']:.3g}, the share of the zero-shot branch"])

    def forward(self, outputs: Any, source: Source) -> Tensor:
        """Logits (batch, classes) from a `Pair` whose texts are (classes, templates, width); in float32, whatever the autocast.

        In bfloat16 similarities would be rounded to about 1 of 256, and scores of OOD would tie.
        """
        with torch.autocast(outputs.image.device.type, enabled=False):
            image, text = outputs.image.float(), _ensemble(outputs.text.float())
            if outputs.plain_image is not None:
                alpha = self.alpha()
                image = (1 - alpha) * image + alpha * outputs.plain_image.float()
                text = (1 - alpha) * text + alpha * _ensemble(outputs.plain_text.float())
            logits: Tensor = outputs.scale.float() * image @ text.T
            return logits

    def loss(self, logits: Tensor, labels: Tensor, problem_type: str | None) -> Tensor:
        """Cross-entropy over the classes, or the focal contrastive loss of the batch."""
        if self.options.loss == "contrastive":
            return contrastive_loss(logits, labels)
        return super().loss(logits, labels, problem_type)


def _ensemble(features: Tensor) -> Tensor:
    """(classes, templates, width) to (classes, width)."""
    return features[:, 0] if features.shape[1] == 1 else F.normalize(features.mean(1), dim=-1)


def contrastive_loss(logits: Tensor, labels: Tensor, weight: float = 0.8, gamma: float = 4.0) -> Tensor:
    """The focal symmetric contrastive loss of the module's docstring.

    Args:
        logits: (batch, classes).
        labels: (batch,) class indices.
        weight, gamma: of the focal weighting.
    """
    pairs = logits.float()[:, labels.long()]  # (images, the texts of their labels)
    total = pairs.new_zeros(())
    for direction in (pairs, pairs.T):
        log_p = direction.log_softmax(1).diagonal()
        total = total - (weight * (1 - log_p.exp()) ** gamma * log_p).mean()
    return total / 2
