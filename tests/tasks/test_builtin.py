"""Digits and squares, which need no download."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

from hf_reprogram.tasks.builtin import draw_squares, squares
from hf_reprogram.tasks.load import load_task
from hf_reprogram.tasks.options import TaskOptions


def greys(split) -> np.ndarray:
    return np.stack([np.asarray(image) for image in split["image"]])


def count(image: np.ndarray) -> int:
    """White squares of an image: regions that are reached from a white pixel over white pixels."""
    left, found = {*zip(*np.nonzero(image), strict=True)}, 0
    while left:
        found, stack = found + 1, [left.pop()]
        while stack:
            row, column = stack.pop()
            for near in ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)):
                if near in left:
                    left.remove(near)
                    stack.append(near)
    return found


def test_the_digits_are_scikit_learns_with_16_as_white():
    task = load_task(TaskOptions(dataset="digits"))
    assert task.modality.name == "image"
    assert task.labels == [str(digit) for digit in range(10)]
    splits = task.splits(0)
    assert {name: len(split) for name, split in splits.items()} == {"train": 1294, "validation": 144, "test": 359}
    found = sorted(
        (label, image.tobytes())
        for split in splits.values()
        for label, image in zip(split["label"], greys(split), strict=True)
    )
    oracle = load_digits()
    scaled = np.rint(oracle.images / 16 * 255).astype(np.uint8)
    assert found == sorted((label, image.tobytes()) for label, image in zip(oracle.target, scaled, strict=True))
    assert scaled.max() == 255


def test_every_image_of_squares_holds_as_many_as_its_label_says():
    splits = squares(train=60, test=30)
    task = load_task(TaskOptions(dataset="squares", max_train=50, max_test=30))
    for split in (*splits.values(), task.test):
        images = greys(split)
        assert images.shape[1:] == (36, 36)
        names = [task.labels[label] for label in split["label"]]
        assert [str(count(image)) for image in images] == names
    assert np.bincount(splits["train"]["label"]).tolist() == [6] * 10
    assert task.labels == [str(number) for number in range(1, 11)]


@pytest.mark.parametrize("number", [1, 7, 10])
def test_a_square_is_white_in_a_black_frame_and_fills_a_cell(number):
    image = draw_squares(number, np.random.default_rng(number))
    assert (image == 255).sum() == number * 49
    assert set(np.unique(image)) == {0, 255}
    cells = image.reshape(4, 9, 4, 9).transpose(0, 2, 1, 3).reshape(16, 9, 9)
    taken = cells[cells.any((1, 2))]
    assert len(taken) == number
    assert (taken[:, 1:-1, 1:-1] == 255).all()
    assert not taken[:, [0, -1]].any()
    assert not taken[:, :, [0, -1]].any()


def test_squares_are_the_same_with_the_same_seed_and_stand_everywhere():
    one, same, other = (greys(squares(40, 10, seed)["train"]) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
    assert one.any(0).sum() == 16 * 49
    made = squares(40, 40)
    assert not np.array_equal(greys(made["train"]), greys(made["test"]))


def test_a_folder_of_the_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    (tmp_path / "digits" / "train.csv").write_text("text,label\n" + "a,0\nb,1\n" * 20)
    assert load_task(TaskOptions(dataset="digits", text="text", labels=["a", "b"])).modality.name == "text"
