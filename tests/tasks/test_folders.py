"""Splits of folders are those of the layout that the user made; a name within another name decides nothing."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest
from PIL import Image as Pillow

from hf_reprogram import InputError
from hf_reprogram.tasks.load import load_task
from hf_reprogram.tasks.options import TaskOptions

KINDS = ("cat", "dog")


@pytest.fixture
def folder(tmp_path):
    """A function that fills a folder: each image has a colour of its own, a text is written as it is."""

    def fill(*files: str, name: str = "data", **texts: str) -> str:
        root = tmp_path / name
        for number, file in enumerate(files):
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            Pillow.new("RGB", (4, 4), (number % 256, number // 256, 0)).save(root / file)
        for file, text in texts.items():
            (root / file.replace("__", "/").replace("_dot_", ".")).write_text(text)
        return str(root)

    return fill


def images(*folders: str, count: int = 10) -> list[str]:
    return [f"{folder}/i{i}.png" for folder in folders for i in range(count)]


def load(dataset, **options):
    return load_task(TaskOptions(dataset, **{"image": "image", **options}))


def sizes(task) -> dict[str, int]:
    splits = {"train": task.train, "validation": task.validation, "test": task.test}
    return {name: len(split) for name, split in splits.items() if split is not None}


def refused(dataset, **options) -> str:
    with pytest.raises(InputError) as error:
        load(dataset, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    "kinds",
    [
        ("car", "boat"),
        ("train", "car"),
        ("test strip", "car"),
        ("dev board", "validation", "test"),
        ("my test 1", "eval"),
    ],
)
@pytest.mark.parametrize("splits", [("train", "test"), ("Training", "TEST"), ("train", "val", "testing")])
def test_folders_of_splits_hold_folders_of_classes(kinds, splits, folder):
    counts = [8, 3, 4] if len(splits) == 3 else [8, 4]
    files = [
        f"{split}/{kind}/my test {i}.png"
        for split, count in zip(splits, counts, strict=True)
        for kind in kinds
        for i in range(count)
    ]
    task = load(folder(*files))
    names = ["train", "validation", "test"] if len(splits) == 3 else ["train", "test"]
    assert sizes(task) == {name: count * len(kinds) for name, count in zip(names, counts, strict=True)}
    assert task.labels == sorted(kinds)
    numbers = [
        image.getpixel((0, 0))
        for split in (task.train, task.validation, task.test)
        if split
        for image in split["image"]
    ]
    assert len(numbers) == len({*numbers}) == len(files)


@pytest.mark.parametrize("above", ["", "images/", "a/b/"])
def test_folders_of_classes_alone_are_one_split(above, folder):
    task = load(folder(*images(*(f"{above}{kind}" for kind in KINDS))))
    assert (sizes(task), task.labels) == ({"train": 16, "test": 4}, ["cat", "dog"])
    shades = {
        image.getpixel((0, 0))[0]: label
        for split in (task.train, task.test)
        for image, label in zip(split["image"], split["label"], strict=True)
    }
    assert shades == {number: int(number >= 10) for number in range(20)}


def test_a_class_that_is_called_like_a_split_is_a_class_like_those_beside_it(folder):
    task = load(folder(*images("train", "car", "boat")))
    assert (task.labels, sizes(task)) == (["boat", "car", "train"], {"train": 24, "test": 6})
    assert "The folder 'train' is a class like the folders beside it, and no split." in task.notes


def test_what_lies_beside_the_folders_is_left_out_and_noted(folder):
    task = load(folder(*images(*KINDS), "logo.png", labels_dot_csv="id,breed\n1,x\n", README_dot_md="# Pets"))
    assert sizes(task) == {"train": 16, "test": 4}
    assert "Left out of train, as they lie in no folder of a class: 'logo.png'." in task.notes
    assert "Left out beside the images: 'labels.csv'." in task.notes


def test_other_files_beside_folders_of_classes_need_no_word_of_the_task(folder):
    task = load_task(TaskOptions(folder(*images(*KINDS), classes_dot_json='{"cat": 1}')))
    assert task.labels == ["cat", "dog"]
    assert "Left out beside the images: 'classes.json'." in task.notes


@pytest.mark.parametrize("split", ["", "train/"])
def test_images_without_a_folder_of_a_class_are_noted(split, folder):
    beside = images("test/cat", "test/dog") if split else []
    task = load(folder(*images(*(split + kind for kind in KINDS)), f"{split}logo.png", *beside))
    assert len(task.train) + (0 if split else len(task.test)) == 20
    assert any("'logo.png'" in note for note in task.notes)


def test_a_class_without_a_training_image_and_a_split_without_classes_are_noted(folder):
    task = load(folder(*images("train/cat", "train/dog", "val/cat", "val/dog", "val/cow"), "test/1.png", "test/2.png"))
    assert (task.labels, task.test_split) == (["cat", "cow", "dog"], "carved from train")
    assert "The split train has no image of the classes 'cow'." in task.notes
    assert "The split test was left out, as it has no folders of classes." in task.notes


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        (
            images("train/cat", "train/dog", "extra"),
            "holds 'train' beside 'extra': if the first are splits, move the others out",
        ),
        (images("train", "test", "car"), "holds 'test', 'train' beside 'car'"),
        (
            images("train/cat", "Training/cat"),
            "holds 'Training', 'train', of which two mean the same split: rename one",
        ),
        (images("val/cat", "dev/cat", "train/cat"), "of which two mean the same split"),
        (
            images("cat", "dog", "wild/big/lion"),
            "different depths, such as 'wild/big/lion/i0.png': put every image into the folder",
        ),
        (images("cat/train", "cat/test", "dog/train", "dog/test"), "put every image into the folder of its class"),
        (images("mammal/cat", "bird/owl"), "put every image into the folder of its class"),
        (["1.png", "2.png"], "holds images but no folder per class"),
        (images("train", "test"), "holds images but no folder per class"),
    ],
)
def test_what_can_be_meant_in_two_ways_is_refused_with_what_to_do(files, sentence, folder):
    assert sentence in refused(folder(*files))


def test_a_split_of_another_name_is_named(folder):
    data = folder(*images("part one/cat", "part one/dog", "part two/cat", "part two/dog"))
    task = load(data, train_split="part one", test_split="part two")
    assert sizes(task) == {"train": 20, "test": 20}


def test_a_file_is_in_one_split(folder):
    data = folder(*images("train/cat", "train/dog", "test/dog"))
    os.symlink(Path(data, "train/cat/i0.png").resolve(), Path(data, "test/dog/again.png"))
    assert "belongs to the splits" in refused(data)


def test_metadata_describes_images(folder):
    names = images("pictures", count=20)
    lines = "".join(f"{name},0{i % 2},hi\n" for i, name in enumerate(names[:-1]))
    task = load(folder(*names, metadata_dot_csv=f"file_name,label,caption\n{lines}"))
    assert (task.labels, sum(sizes(task).values())) == (["00", "01"], 19)
    assert "Left out, as the metadata has no row for them: i19.png." in task.notes
    captions = folder(
        *images(*KINDS),
        name="pets",
        metadata_dot_csv="file_name,caption\n" + "".join(f"{name},hi\n" for name in images(*KINDS)),
    )
    assert load(captions).labels == ["cat", "dog"]
    assert "its metadata has the columns caption" in refused(
        folder("1.png", name="flat", metadata_dot_csv="file_name,caption\n1.png,x\n")
    )
    assert "has the file_name '2.png', where there is no file" in refused(
        folder("1.png", name="gone", metadata_dot_csv="file_name,label\n2.png,x\n")
    )


# --------------------------------------------------------------------------------------------------- files of rows


ROWS = "text,label\n" + "a,0\nb,1\n" * 10


def rows_of(tmp_path, *names: str, **options):
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        data = ROWS.encode()
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    return load_task(TaskOptions(str(tmp_path), text="text", **options))


@pytest.mark.parametrize(
    "names",
    [
        ("train.csv", "dev.csv", "test.csv"),
        ("Train.CSV", "VALIDATION.csv", "Testing.csv"),
        ("data/train-00000-of-00001.csv", "data/validation-00000-of-00001.csv", "data/test-00000-of-00001.csv"),
        ("train/a.csv", "val/a.csv", "test/a.csv"),
        ("train.csv", "val.csv", "test.csv.gz"),
    ],
)
def test_files_are_called_like_their_splits(names, tmp_path):
    task = rows_of(tmp_path, *names)
    assert sizes(task) == {"train": 20, "validation": 20, "test": 20}
    assert task.notes == []


def test_parts_of_a_split_are_read_in_their_order(tmp_path):
    task = rows_of(tmp_path, "train-1.csv", "train-2.csv", "test.csv")
    assert sizes(task) == {"train": 40, "test": 20}


def test_files_without_the_name_of_a_split_are_one_split_or_left_out(tmp_path):
    task = rows_of(tmp_path, "a.csv", "b.csv")
    assert sizes(task) == {"train": 32, "test": 8}
    assert "Read together as one split: 'a.csv', 'b.csv'." in task.notes
    task = rows_of(tmp_path, "train.csv", "test.csv")
    assert sizes(task) == {"train": 20, "test": 20}
    assert "Left out, as no split is called so: 'a.csv', 'b.csv'." in task.notes


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (
            ("reviews_train.csv", "reviews_test.csv"),
            "do not say which split they are: call them train, validation or test",
        ),
        (("my test 1.csv", "other.csv"), "do not say which split they are"),
        (("train/test.csv", "train/a.csv"), "'train/test.csv' of .* names the splits test and train: name one"),
        (("train.csv", "val.csv", "dev.csv"), "has dev and val, which both mean the validation split"),
        (("train.csv", "train.jsonl"), "of one split have different formats"),
    ],
)
def test_files_that_can_be_of_two_splits_are_refused(names, sentence, tmp_path):
    with pytest.raises(InputError, match=sentence):
        rows_of(tmp_path, *names)


def test_files_of_other_names_are_named(tmp_path):
    task = rows_of(
        tmp_path, "reviews_train.csv", "reviews_test.csv", train_split="reviews_train", test_split="reviews_test"
    )
    assert sizes(task) == {"train": 20, "test": 20}


def test_the_files_that_a_card_declares_are_left_to_datasets(tmp_path):
    card = "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: first.csv\n---\n"
    (tmp_path / "README.md").write_text(card)
    assert len(rows_of(tmp_path, "first.csv", "test.csv").train) == 16


def test_copies_of_images_in_two_splits_are_noted(folder, tmp_path):
    data = Path(folder(*images("train/cat", "train/dog", "test/cat", "test/dog", count=4)))
    for number, kind in enumerate(("cat", "dog")):
        (data / "test" / kind / "again.png").write_bytes((data / "train" / kind / f"i{number}.png").read_bytes())
    task = load(str(data))
    assert sizes(task) == {"train": 8, "test": 10}
    (note,) = [note for note in task.notes if "copies" in note]
    assert "split test has 2 of 10 images that are copies" in note
    assert "'test/cat/again.png' of 'train/cat/i0.png'" in note


def test_links_that_lead_back_and_pipes_are_no_images(folder):
    data = Path(folder(*images(*KINDS)))
    (data / "cat" / "loop").symlink_to(data, target_is_directory=True)
    os.mkfifo(data / "cat" / "pipe.png")  # to read it would never end
    assert sizes(load(str(data))) == {"train": 16, "test": 4}
