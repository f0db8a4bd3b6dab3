"""Label maps to test, and what a source might answer."""

from __future__ import annotations

import torch

from hf_reprogram.mappings.label_map import LabelMap
from hf_reprogram.mappings.label_map_options import LabelMapOptions

FITTED = ("frequency", "optimal", "iterative", "blm", "blm_plus")


def made(assignment, width, **options):
    return LabelMap(LabelMapOptions(len(assignment), width, assignment, **options))


def found_by(how, classes=3, width=12, **options):
    return LabelMap(LabelMapOptions(classes, width, how=how, **options))


def answers(seed=0, n=60, classes=3, width=12):
    """A source's logits (n, width) that tell the classes apart to some degree, and the classes."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (n,), generator=generator)
    liking = 2 * torch.randn(classes, width, generator=generator)
    return 2 * torch.randn(n, width, generator=generator) + liking[labels], labels


def fitted(how, seed=0, **options):
    mapping = found_by(how, **options)
    mapping.fit(*answers(seed))
    return mapping
