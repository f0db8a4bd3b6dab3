"""A confusion matrix as lines for a terminal."""

from __future__ import annotations


def confusion_lines(labels: list[str], counts: list[list[int]], most: int = 15) -> list[str]:
    """The confusion matrix on the test split, or its most frequent mistakes where there are more than `most` classes.

    Args:
        labels: names of the classes.
        counts: the numbers of examples, with one row per true class and one column per predicted class.
        most: the largest number of classes for which the matrix is shown, and of mistakes that are listed.

    >>> print(*confusion_lines(["bad", "good"], [[40, 2], [3, 55]]), sep=chr(10))
    test: 95 of 100 right (one row per true class, one column per predicted class):
      bad   40   2
      good   3  55
    """
    total, right = sum(map(sum, counts)), sum(row[index] for index, row in enumerate(counts))
    head = f"test: {right:,} of {total:,} right"
    if len(labels) > most:
        wrong = [(n, i, j) for i, row in enumerate(counts) for j, n in enumerate(row) if i != j and n]
        worst = sorted(wrong, key=lambda entry: -entry[0])[:most]
        return [
            f"{head}; the most frequent mistakes:",
            *(f"  {n:>6,}  {labels[i]} taken for {labels[j]}" for n, i, j in worst),
        ]
    name = min(24, max(map(len, labels)))
    width = max(3, *(len(f"{n:,}") for row in counts for n in row))
    lines = [f"{head} (one row per true class, one column per predicted class):"]
    for label, row in zip(labels, counts, strict=True):
        lines.append(f"  {label[:name]:<{name}} {' '.join(f'{n:>{width},}' for n in row)}")
    return lines
