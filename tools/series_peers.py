"""The peers of Voice2Series on sets of the UCR archive, by aeon and scikit-learn, on the official splits.

    pip install aeon
    python tools/series_peers.py results/peers/series.json --data UCR --sets ECG200 Coffee

UCR holds a folder per set with train.parquet and test.parquet of columns `series`, `label`. Each row is an accuracy on test:

    euclidean        1-NN with the Euclidean distance
    dtw              1-NN with dynamic time warping, no window
    dtw_window       the same with the window of 0 to 20 % that leave-one-out on the training data prefers
    linear           logistic regression on the standardized series; its strength by 5 folds of the training data
    rocket           ridge regression on 2,000 random convolutions (MiniRocket), mean over 3 seeds
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

WINDOWS = (0.0, 0.02, 0.04, 0.06, 0.1, 0.15, 0.2)
MOST = 200  # training series on which a window is chosen


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Series (n, length) and labels (n,) of a split."""
    import pandas as pd

    table = pd.read_parquet(path)
    return np.stack([np.asarray(row, np.float64) for row in table["series"]]), table["label"].to_numpy()


def nearest(train: Any, labels: Any, test: Any, distance: str, window: float | None = None) -> np.ndarray:
    """The label of the nearest training series for each test series."""
    from aeon.distances import pairwise_distance

    options = {} if window is None else {"window": window}
    distances = pairwise_distance(test, train, method=distance, **options)
    return labels[distances.argmin(1)]


def best_window(train: Any, labels: Any) -> float:
    """The smallest window with the best accuracy when each series is left out once."""
    from aeon.distances import pairwise_distance

    few = np.random.default_rng(0).permutation(len(train))[:MOST]
    scores = []
    for window in WINDOWS:
        distances = pairwise_distance(train[few], method="dtw", window=window)
        np.fill_diagonal(distances, np.inf)
        scores.append((labels[few][distances.argmin(1)] == labels[few]).mean())
    return WINDOWS[int(np.argmax(scores))]


def linear(train: Any, labels: Any, test: Any) -> np.ndarray:
    """Logistic regression on the standardized numbers."""
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.model_selection import StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    folds = StratifiedKFold(min(5, np.unique(labels, return_counts=True)[1].min()), shuffle=True, random_state=0)
    model = make_pipeline(StandardScaler(), LogisticRegressionCV(Cs=10, cv=folds, max_iter=1000))
    return model.fit(train, labels).predict(test)


def rocket(train: Any, labels: Any, test: Any, seed: int) -> np.ndarray:
    """Ridge regression on random convolutions."""
    from aeon.classification.convolution_based import MiniRocketClassifier

    return MiniRocketClassifier(n_kernels=2000, random_state=seed).fit(train[:, None], labels).predict(test[:, None])


def scores_of(folder: Path) -> dict[str, float]:
    """Every row for a set."""
    (train, labels), (test, expected) = (read(folder / f"{split}.parquet") for split in ("train", "test"))
    window = best_window(train, labels)
    rows: dict[str, Any] = {
        "euclidean": lambda: nearest(train, labels, test, "euclidean"),
        "dtw": lambda: nearest(train, labels, test, "dtw"),
        "dtw_window": lambda: nearest(train, labels, test, "dtw", window),
        "linear": lambda: linear(train, labels, test),
        **{f"rocket_{seed}": (lambda seed=seed: rocket(train, labels, test, seed)) for seed in range(3)},
    }
    found = {}
    for name, predict in rows.items():
        try:
            found[name] = float((predict() == expected).mean())
        except ValueError as error:  # such as a series that is shorter than a convolution, or a class of one example
            print(f"{folder.name}, {name}: {error}")
    seeds = [found.pop(name) for name in [*found] if name.startswith("rocket_")]
    return {**found, **({"rocket": float(np.mean(seeds))} if seeds else {}), "window": window}


def main() -> None:
    """Score the sets that are not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="the JSON to write, or to add to")
    parser.add_argument("--data", type=Path, required=True, help="the folder of the sets")
    parser.add_argument("--sets", nargs="*", help="names of sets; by default all")
    arguments = parser.parse_args()
    done = json.loads(arguments.output.read_text(encoding="utf-8")) if arguments.output.exists() else {}
    for folder in sorted(arguments.data.iterdir()):
        if not folder.is_dir() or folder.name in done or (arguments.sets and folder.name not in arguments.sets):
            continue
        started = time.perf_counter()
        done[folder.name] = scores_of(folder)
        print(folder.name, done[folder.name], f"{time.perf_counter() - started:.0f} s")
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(json.dumps(done, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
