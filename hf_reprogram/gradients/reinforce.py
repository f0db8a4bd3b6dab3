"""REINFORCE: the gradient of a program that chooses source tokens, from what is answered to tokens that are drawn.

    t_j ~ soft-max(l_j)                  a token at each place j of an example, in each of S draws
    A_s = r_s - mean of the other r      the reward of a draw above that of the example's other draws; r_s alone if S = 1
    g   = -grad of the mean over examples and draws of A_s * (mean over places of log p(t_j))

l is what the transform computes of theta, and the gradient through it is exact. The reward r is minus the example's loss, or +1
where the predicted class is the example's and -1 elsewhere. So g is the gradient of minus the expected reward, without bias,
where each example counts by one over the number of its places. Omega's gradient is that of the mean loss of the draws.

The draws of an example depend on the Trainer's seed, the step and the example's tokens alone: not on the other examples of the
batch, on padding, or on the number of processes. A resumed run draws those of an uninterrupted one.

Source: the black-box attack of Neekhara et al. 2019 (arXiv 1809.01829). Their code has the reward +1 or -1 and one draw without
a baseline, and sums over examples and places. Minus the loss says more than right or wrong. The baseline leaves the gradient
without bias, and takes noise away where rewards are far from 0 on average. Means keep the learning rate from depending on
the batch and on the length of the texts. Their code opens the places of a text one after the other over 30 epochs, and ours has
all of them from the start. Both have Adam at 1e-3 and neither entropy nor L2; theirs has batches of 8 and 500 epochs.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from ..errors import BudgetSpent, unknown
from ..options import check_whole
from .estimated import Estimated, check_precision, outputs_of

if TYPE_CHECKING:
    from ..model import ReprogrammedModel

REWARDS = ("accuracy", "loss")


@dataclass
class REINFORCE:
    """Options of "reinforce", the estimate of Neekhara's black-box attack.

    Attributes:
        samples: the number of draws, each of which is asked for; 1 for no baseline.
        reward: "loss" (minus the example's loss), or "accuracy" (+1 where the predicted class is the example's, else -1, as in
            the paper). Where all draws of an example have the same class, as they do at first on many sources, "accuracy" gives
            it no gradient.

    >>> REINFORCE(samples=2).advantages(torch.tensor([[1.0], [-1.0]])).flatten()
    tensor([ 2., -2.])
    """

    samples: int = 8
    reward: str = "loss"

    def __post_init__(self) -> None:
        check_whole(samples=self.samples)
        if self.reward not in REWARDS:
            raise unknown("reward", self.reward, REWARDS)

    @property
    def rows(self) -> int:
        """How often a training example is sent in a step."""
        return self.samples

    def advantages(self, rewards: Tensor) -> Tensor:
        """Rewards (draws, batch), each minus the mean of the example's others."""
        count = len(rewards)
        return rewards if count == 1 else (rewards - rewards.mean(0)) * count / (count - 1)


@runtime_checkable
class TokenChoice(Protocol):
    """A transform that chooses a source token for each place, such as `contextual_vocabulary`.

    >>> from hf_reprogram.transforms.contextual_vocabulary import ContextualVocabulary, ContextualVocabularyOptions
    >>> isinstance(ContextualVocabulary(ContextualVocabularyOptions(num_tokens=4, vocab_size=112)), TokenChoice)
    True
    """

    def choices(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Logits (batch, places, source tokens), and which places (batch, places) have a token to choose."""

    def written(self, tokens: Tensor, batch: dict[str, Tensor], source: Any) -> dict[str, Any]:
        """The source's inputs with these tokens (batch, places)."""


@torch.no_grad()
def drawn(logits: Tensor, places: Tensor, ids: Tensor, samples: int, key: list[int]) -> Tensor:
    """Tokens (samples, batch, places) drawn from the soft-max of the logits, and 0 where there is nothing to choose.

    Args:
        logits, places: as from `TokenChoice.choices`.
        ids: the target's tokens (batch, places), on which an example's draws depend.
        samples: the number of draws.
        key: whole numbers, on which all draws depend.

    >>> sure = torch.tensor([[[0.0, 99.0, 0.0], [99.0, 0.0, 0.0]]])
    >>> drawn(sure, torch.tensor([[True, True]]), torch.tensor([[7, 8]]), samples=2, key=[0, 1]).tolist()
    [[[1, 0]], [[1, 0]]]
    """
    tokens = torch.zeros((samples, *places.shape), dtype=torch.long, device=logits.device)
    for row in range(len(logits)):
        at = places[row].nonzero()[:, 0]
        if not len(at):
            continue
        text = ids[row, at].cpu().numpy().astype("<i8").tobytes()
        own = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")
        uniform = np.random.default_rng([*key, own]).random((len(at), samples), dtype=np.float32)
        below = logits[row, at].float().softmax(-1).cumsum(-1)
        wanted = torch.from_numpy(uniform).to(below.device) * below[:, -1:]
        found = torch.searchsorted(below, wanted.contiguous(), right=True).clamp(max=below.shape[-1] - 1)
        tokens[:, row, at] = found.T
    return tokens


class Reinforced(Estimated):
    """The loss of a model whose transform chooses tokens, with the gradient of theta by REINFORCE; arguments as `Estimated`.

    >>> from hf_reprogram import reprogram
    >>> model, tokenizer = reprogram(text_classifier, "neekhara", ["no", "yes"], alphabet=["A", "C"], gradients="reinforce")
    >>> model.estimated.estimator
    REINFORCE(samples=8, reward='loss')
    """

    estimator: REINFORCE

    def __call__(self, model: ReprogrammedModel, batch: dict[str, Tensor], labels: Tensor) -> tuple[Tensor, Tensor]:
        """See `Estimated.__call__`; the logits are those of the first draw."""
        transform: Any = model.transform
        check_precision(model, dict(transform.named_parameters()))
        if not self.scheduled:
            self._begin_own_step()
        logits, places = transform.choices(batch)
        count = self.estimator.samples
        tokens = drawn(logits, places, batch["input_ids"], count, [self.seed, self.step])
        self.asked += count * len(labels)
        try:
            outputs = outputs_of(model, [transform.written(draw, batch, model.source) for draw in tokens])
        except BudgetSpent as error:
            return self.cut_short(error, model, labels)
        answers = [model.logits_and_loss(output, batch, labels) for output in outputs]
        rewards = torch.stack([self._rewards(model, output, batch, labels) for output in outputs])
        chosen = logits.float().gather(-1, tokens.permute(1, 2, 0)) - logits.float().logsumexp(-1, keepdim=True)
        shares = places / places.sum(1, keepdim=True).clamp(min=1)
        of_draws = (chosen * shares[..., None]).sum(1)  # (batch, draws), the mean over places
        expected = -(self.estimator.advantages(rewards).T * of_draws).mean()
        loss = torch.stack([loss for _, loss in answers]).mean() + (expected - expected.detach())
        return loss + transform.penalty(), answers[0][0]

    @torch.no_grad()
    def _rewards(self, model: ReprogrammedModel, output: Tensor, batch: dict[str, Tensor], labels: Tensor) -> Tensor:
        """The reward (batch,) of one draw of each example."""
        if self.estimator.reward == "accuracy":
            predicted = model.logits_and_loss(output, batch, None)[0].argmax(-1)
            return (predicted == labels).float() * 2 - 1
        rows = ({name: value[[i]] for name, value in batch.items()} for i in range(len(labels)))
        losses = [model.logits_and_loss(output[[i]], row, labels[[i]])[1] for i, row in enumerate(rows)]
        return -torch.stack(losses).float()
