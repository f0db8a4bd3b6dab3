"""Differential privacy of trained numbers, and what an attacker learns all the same; works on its own.

A program that was trained with noise tells little about any one example: with or without it, the same theta and omega come out
with nearly the same probability. `epsilon` says how nearly, for the steps of a training on batches from `PoissonBatches`.
`membership_auc` measures how well an attack tells the examples of training from others.

    (epsilon, delta)   P(theta with the example) <= exp(epsilon) P(theta without it) + delta, and the other way round

The training itself is `gradients: dp_sgd` (`hf_reprogram.gradients.private`).
"""

from .accountant import epsilon, noise_multiplier, renyi_divergences, together
from .membership import membership_auc
from .sampling import PoissonBatches

__all__ = ["PoissonBatches", "epsilon", "membership_auc", "noise_multiplier", "renyi_divergences", "together"]
