"""The strength of a linear probe with far more features than examples, against scikit-learn's fit of every strength.

The probe of all token states side by side, as `mapping: positions` starts from it: 64 tokens of 384 features. Eight strengths
are fitted, and the smallest validation loss wins.

    scikit-learn    `StandardScaler` and `LogisticRegression` on the features, for every strength
    prepared        `hf_reprogram.mappings.standardised`: coordinates in the space of the examples, computed once

Equality: the strength that is chosen, and its probabilities on validation, against scikit-learn's fit to a tolerance of 1e-9.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from common import alternate, parser, report, start
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hf_reprogram.mappings.linear_fit import best_strength

STRENGTHS = (1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
CLASSES = 3


def main() -> None:
    """Compare, print, write."""
    arguments = parser(__doc__, width=384, rounds=3)
    arguments.add_argument("--examples", type=int, default=200)
    arguments.add_argument("--tokens", type=int, default=64)
    options = start(arguments)
    random = np.random.default_rng(0)
    size, width = options.examples, options.tokens * options.width
    labels = random.integers(CLASSES, size=2 * size)
    labels[:CLASSES] = np.arange(CLASSES)
    centres = random.normal(size=(CLASSES, width))
    features = (0.02 * centres[labels] + random.normal(size=(2 * size, width))).astype(np.float32)
    train, held = (features[:size], labels[:size]), (features[size:], labels[size:])
    found: dict[str, Any] = {}

    def peer() -> None:
        fits = {}
        for strength in STRENGTHS:
            model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000))
            model.fit(train[0].astype(np.float64), train[1])
            fits[log_loss(held[1], model.predict_proba(held[0]), labels=range(CLASSES))] = strength
        found["peer"] = fits[min(fits)]

    def ours() -> None:
        model = best_strength(train, held, "single_label_classification", CLASSES, STRENGTHS)
        odds = np.exp(model.logits(held[0]))
        found["ours"] = model.strength, odds / odds.sum(1, keepdims=True)

    cpu, wall = alternate({"scikit-learn": peer, "prepared": ours}, options.rounds, warmup=0)
    expected, (strength, odds) = found["peer"], found["ours"]
    exact = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=20_000, tol=1e-9))
    theirs = exact.fit(train[0].astype(np.float64), train[1]).predict_proba(held[0])
    report(
        "wide_probe",
        f"{size} examples of {width:,} features, {CLASSES} classes, {len(STRENGTHS)} strengths",
        options,
        cpu,
        wall,
        {"probe of all tokens, against scikit-learn": ("scikit-learn", "prepared")},
        {
            "difference in the strength": (abs(strength - expected), 0.0),
            "difference in a probability (absolute)": (float(np.abs(odds - theirs).max()), 1e-3),
        },
    )


if __name__ == "__main__":
    main()
