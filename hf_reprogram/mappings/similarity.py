"""Similarity: the logit of a class is the scaled cosine similarity of the image and the class text.

    logit_c = scale * u . v_c            v_c = mean over templates of v, normalised to length one

u and v (width,) are a dual encoder's features of the image and of a class text, of length one (`hf_reprogram.sources.dual`).
The residual blend combines the reprogrammed features with the zero-shot features of the same image and texts:

    u = (1 - alpha) u_reprogrammed + alpha u_zero-shot          v_c likewise

The blends are not normalised again, so a logit is smaller where the two branches disagree. alpha = 1 is exactly the zero-shot
classifier, and alpha = 0 is exactly the reprogrammed one. As in the paper, the blend is used at evaluation alone, and training
has alpha = 0. With `learn_alpha` alpha is trained (the parameter is its logit), and the blend is used in training too.

The paper's loss is contrastive. It compares the images of a batch with the texts of their labels, in both directions, and
weights each term by (1 - p)^gamma and a constant a:

    L = -a / 2B * sum_i [ (1 - p_i)^gamma log p_i + (1 - q_i)^gamma log q_i ]      a = 0.8, gamma = 4
    p_i, q_i: soft-max over j of scale * u_i . v_label(j), and of scale * u_j . v_label(i), at i

So another image of the same class counts as a wrong answer, as in the authors' code. The loss also depends on the batch: with
gradient accumulation it is the loss of smaller batches. Cross-entropy over the classes, the default, has neither problem.

Source: Geng & Chen 2024 (arXiv 2403.10800).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InputError, unknown
from ..losses import IGNORE
from ..options import check_whole
from ..sources.base import Source
from ..sources.probe import Lines, Probe
from .base import OutputMapping

LOSSES = ("cross_entropy", "contrastive")


@dataclass
class SimilarityOptions:
    """Options of `similarity`.

    Attributes:
        num_labels: the number of classes.
        width: the width of the features.
        alpha: the share of the zero-shot branch, from 0 to 1; the initial share with `learn_alpha`.
        learn_alpha: whether alpha is trained.
        loss: "cross_entropy" or "contrastive".
    """

    num_labels: int
    width: int
    alpha: float = 0.0
    learn_alpha: bool = False
    loss: str = "cross_entropy"

    def __post_init__(self) -> None:
        check_whole(num_labels=self.num_labels, width=self.width)
        check_blend(self.alpha, self.learn_alpha, self.loss)


def check_blend(alpha: float, learn_alpha: bool, loss: str) -> None:
    """Raise `InputError` if `SimilarityOptions` does not allow these values.

    >>> check_blend(alpha=0.4, learn_alpha=True, loss="cross_entropy")
    >>> check_blend(alpha=1.4, learn_alpha=False, loss="cross_entropy")
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: alpha is 1.4: give the zero-shot branch's share, from 0 to 1.
    """
    if loss not in LOSSES:
        raise unknown("loss", loss, LOSSES)
    _share(alpha)
    if learn_alpha and alpha in (0, 1):
        raise InputError(f"alpha is {alpha}, from where it cannot be trained: start between 0 and 1, such as at 0.4.")


def _share(alpha: Any) -> float:
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 <= alpha <= 1:
        raise InputError(f"alpha is {alpha!r}: give the zero-shot branch's share, from 0 to 1.")
    return float(alpha)


class Similarity(OutputMapping):
    """Scaled cosine similarities. Omega is `alpha_logit` (1,) if alpha is trained; else there is no omega.

    >>> from ..sources.dual import Pair
    >>> image, text = torch.eye(24)[:5], torch.eye(24)[:2, None]  # 5 images, 2 classes in 1 template
    >>> similarity = Similarity(SimilarityOptions(num_labels=2, width=24))
    >>> similarity(Pair(image, text, scale=torch.tensor(100.0)), dual_source)[1]
    tensor([  0., 100.])
    """

    Options = SimilarityOptions
    options: SimilarityOptions

    def __init__(self, options: SimilarityOptions) -> None:
        super().__init__(options)
        if options.learn_alpha:
            self.alpha_logit = nn.Parameter(torch.zeros(1))

    def reset(self) -> None:
        """Start at the alpha of the options."""
        if self.options.learn_alpha:
            nn.init.constant_(self.alpha_logit, torch.tensor(self.options.alpha).logit().item())

    @property
    def reads(self) -> str:
        """The output "residual" if the zero-shot features are blended in, else "pair" (`hf_reprogram.sources.dual`)."""
        blends = self.options.learn_alpha or (self.options.alpha > 0 and not self.training)
        return "residual" if blends else "pair"

    @property
    def residual(self) -> bool:
        """Whether the mapping ever reads zero-shot features."""
        return self.options.learn_alpha or self.options.alpha > 0

    def set_alpha(self, alpha: Tensor | float) -> None:
        """Set the share of the zero-shot branch.

        Raises:
            InputError: alpha is not from 0 to 1, or it is trained.
        """
        if self.options.learn_alpha:
            raise InputError("alpha was trained with this adapter: it cannot be set.")
        self.options.alpha = _share(alpha)

    def alpha(self) -> Tensor | float:
        """The share of the zero-shot branch, from 0 to 1."""
        return self.alpha_logit.sigmoid() if self.options.learn_alpha else self.options.alpha

    @torch.no_grad()
    def inspect(self, probe: Probe) -> dict[str, Any]:
        """`alpha`, the share of the zero-shot branch."""
        return {"alpha": float(self.alpha())}

    def lines(self, description: dict[str, Any]) -> Lines:
        """One line with the share of the zero-shot branch."""
        return Lines([f"alpha: {description['alpha']:.3g}, the share of the zero-shot branch"])

    def forward(self, outputs: Any, source: Source) -> Tensor:
        """Logits (batch, classes) from a `Pair` whose texts are (classes, templates, width).

        They are computed in float32, also under autocast. In bfloat16 a similarity would be rounded to about 1 part in 256, and
        out-of-distribution scores would tie.
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
    """The mean direction (classes, width) of features (classes, templates, width)."""
    return features[:, 0] if features.shape[1] == 1 else F.normalize(features.mean(1), dim=-1)


def contrastive_loss(logits: Tensor, labels: Tensor, weight: float = 0.8, gamma: float = 4.0) -> Tensor:
    """The symmetric contrastive loss with focal weighting; the module's docstring has the formula.

    Args:
        logits: (batch, classes).
        labels: class indices (batch,). An image without a label (`IGNORE`) counts as zero, and is no wrong answer of others.
        weight: the constant a.
        gamma: the exponent of the focal weighting.

    >>> round(contrastive_loss(torch.zeros(2, 2), torch.tensor([0, 1])).item(), 4)  # 0.8 * 0.5 ** 4 * log 2
    0.0347
    """
    known = labels != IGNORE
    pairs = logits.float()[:, labels.long().clamp(min=0)]  # (images, the texts of their labels)
    left_out = ~known & ~torch.eye(labels.shape[0], dtype=torch.bool, device=labels.device)  # columns without a label
    total = pairs.new_zeros(())
    for direction in (pairs, pairs.T):
        log_p = direction.masked_fill(left_out, float("-inf")).log_softmax(1).diagonal()
        total = total - torch.where(known, weight * (1 - log_p.exp()) ** gamma * log_p, 0.0).mean()
    return total / 2
