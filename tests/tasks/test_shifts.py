"""The `ood:` section: what it refuses, and the sets that it loads."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Image, Value
from PIL import Image as Pillow

from hf_reprogram import InputError
from hf_reprogram.modalities import MODALITIES
from hf_reprogram.options import from_dict
from hf_reprogram.tasks.corruptions import corrupt
from hf_reprogram.tasks.load import load_task
from hf_reprogram.tasks.options import TaskOptions
from hf_reprogram.tasks.shifts import ShiftOptions, check_task, load_shifts
from tests.support import tiny_vision

LABELS = ["above", "below"]


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    """60 images of two classes, of which 12 are test images."""
    images, labels = tiny_vision.images(60)
    path = tmp_path_factory.mktemp("task") / "halves.parquet"
    columns = {"image": images, "label": [LABELS[label] for label in labels]}
    Dataset.from_dict(columns, features=Features({"image": Image(), "label": Value("string")})).to_parquet(path)
    return load_task(TaskOptions(dataset=str(path), image="image"))


@pytest.fixture
def a_set(tmp_path):
    """A function that writes a set of images whose red value is their row, and returns its section."""

    def write(name: str = "set", image: str = "image", count: int = 6, kinds: dict | None = None, **columns) -> dict:
        images = [Pillow.new("RGB", (8, 8), (row, 0, 0)) for row in range(count)]
        features = Features({image: Image(), **(kinds or {key: Value("string") for key in columns})})
        path = tmp_path / f"{name}.parquet"
        Dataset.from_dict({image: images, **columns}, features=features).to_parquet(path)
        return {"dataset": str(path)}

    return write


def options(**given) -> ShiftOptions:
    return from_dict(ShiftOptions, given, "key of ood")


def load(task, **given):
    return load_shifts(options(**given), task).splits


def reds(split) -> list[int]:
    """Which rows a split of `a_set` holds."""
    return [image.getpixel((0, 0))[0] for image in split["image"]]


# -------------------------------------------------------------------------------------------------------- the section


def test_sets_corruptions_and_defaults():
    made = options(semantic={"dots": {"dataset": "dots"}}, corruptions={"levels": [1, 3]})
    assert made.semantic["dots"].dataset == "dots"
    assert (made.corruptions.kinds, made.corruptions.levels, made.corruptions.images) == (
        ["gaussian_noise", "gaussian_blur", "contrast", "jpeg", "pixelate"],
        [1, 3],
        500,
    )
    assert (made.score, made.tpr, made.max_images, made.alphas) == ("msp", 0.95, None, [])


DOTS = {"semantic": {"dots": {"dataset": "dots"}}}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "ood names no set of images"),
        ({"semantics": {}}, "Unknown key of ood 'semantics': did you mean 'semantic'"),
        ({"semantic": ["dots"]}, r"ood\.semantic is \['dots'\]: write {NAME: {dataset"),
        ({"semantic": {"dots": "dots"}}, r"ood\.semantic\.dots is 'dots': write {dataset: \.\.\.}"),
        ({"semantic": {"dots": {}}}, r"Missing key of ood\.semantic\.dots: 'dataset' has no default"),
        ({"semantic": {"dots": {"dataset": "dots", "drops": {}}}}, "'drops': did you mean 'drop'"),
        ({"semantic": {"dots": {"dataset": "dots", "few_shot": 3}}}, r"Unknown key of ood\.semantic\.dots 'few_shot'"),
        ({"covariate": {"dots": {"dataset": 3}}}, r"key of ood\.covariate\.dots 'dataset' is 3: give a text"),
        ({"semantic": {"dots": {"dataset": "dots", "drop": {"label": 3}}}}, r"drop\.label is 3: give a list"),
        (
            {"semantic": {"ID": {"dataset": "dots"}}},
            r"ood\.semantic has a set named 'ID', which is the name of a column",
        ),
        ({"covariate": {"mean": {"dataset": "dots"}}}, r"ood\.covariate has a set named 'mean'"),
        (
            {"covariate": {"AUPR": {"dataset": "dots"}}},
            r"ood\.covariate has a set named 'AUPR', which is the name of a column",
        ),
        ({"semantic": {"auroc": {"dataset": "dots"}}}, r"ood\.semantic has a set named 'auroc'"),
        ({"covariate": {"FPR95": {"dataset": "dots"}}}, r"ood\.covariate has a set named 'FPR95'"),
        ({"corruptions": {"kind": ["jpeg"]}}, "'kind': did you mean 'kinds'"),
        ({"corruptions": {"kinds": ["jpg"]}}, "Unknown corruption 'jpg': did you mean 'jpeg'"),
        ({"corruptions": {"kinds": ["jpeg", "jpeg"]}}, r"ood\.corruptions\.kinds is .*each once"),
        ({"corruptions": {"levels": [6]}}, "The level of gaussian_noise is 6"),
        ({"corruptions": {"levels": []}}, r"ood\.corruptions\.levels is \[\]"),
        ({"corruptions": {"images": 0}}, r"ood\.corruptions\.images is 0"),
        ({"semantic": {"dots": {"dataset": "dots", "max_test": 0}}}, "max_test of a set of ood is 0"),
        ({**DOTS, "max_images": 0}, r"ood\.max_images is 0: give a whole number, 1 or more"),
        ({**DOTS, "score": "margin", "temperature": 100}, "The score 'margin' has no temperature"),
        ({**DOTS, "score": "energi"}, "Unknown score 'energi': did you mean 'energy'"),
        ({**DOTS, "tpr": 95}, "tpr is 95: give a number from 0 up to 1"),
        ({**DOTS, "alphas": [0, 1.5]}, r"ood\.alphas holds 1\.5: give shares from 0 to 1"),
        ({**DOTS, "alphas": [0.5, 0.5]}, r"ood\.alphas is \[0\.5, 0\.5\]: give every share once"),
        ({**DOTS, "alphas": 0.5}, "'alphas' is 0.5: give a list"),
    ],
)
def test_what_cannot_be_meant_is_refused(given, said):
    with pytest.raises(InputError, match=said):
        options(**given)


@pytest.mark.parametrize(
    ("modality", "problem", "what"),
    [
        ("text", "single_label_classification", "texts"),
        ("table", "single_label_classification", "rows of numbers"),
        ("image", "multi_label_classification", "multi label classification"),
        (None, "regression", "regression"),
    ],
)
def test_it_is_for_images_with_one_class_each(modality, problem, what):
    check_task(MODALITIES["image"], "single_label_classification")
    check_task(None, "single_label_classification")
    with pytest.raises(InputError, match=f"this is a task of {what}: leave ood out"):
        check_task(modality and MODALITIES[modality], problem)


# ------------------------------------------------------------------------------------------------------------- labels


@pytest.mark.parametrize(
    ("values", "kind", "more"),
    [
        ([1, 0, 1], Value("int64"), {}),  # places among the task's labels
        ([1.0, 0.0, 1.0], Value("float64"), {}),
        (["below", "above", "below"], Value("string"), {}),
        ([0, 1, 0], ClassLabel(names=["below", "above"]), {}),  # names decide, in whatever order
        ([2, 0, 2], ClassLabel(names=["above", "beside", "below"]), {}),  # nothing has the third
        ([7, 5, 7], Value("int64"), {"labels": ["?", "?", "?", "?", "?", "above", "?", "below"]}),
        ([0, 1, 0], ClassLabel(names=["low", "high"]), {"labels": ["below", "above"]}),
        (
            [1, 0, 1],
            ClassLabel(names=["above", "below"]),
            {"labels": ["below", "above"]},
        ),  # the same names are no new ones
        (["1", "0", "1"], Value("string"), {}),  # as a csv file has them
    ],
    ids=["places", "floats", "names", "declared", "a subset of the classes", "given", "renamed", "reordered", "texts"],
)
def test_labels_of_a_covariate_set_become_the_tasks(values, kind, more, a_set, task):
    section = {**a_set(count=3, kinds={"label": kind}, label=values), **more}
    splits = load(task, covariate={"other": section})
    assert splits["covariate/other"]["label"] == [1, 0, 1]
    assert splits["covariate/other"].column_names == ["image", "label"]
    assert reds(splits["covariate/other"]) == [0, 1, 2]


def test_labels_that_are_numbers_are_names_before_they_are_places(a_set, tmp_path):
    images, labels = tiny_vision.images(40)
    features = Features({"image": Image(), "label": Value("int64")})
    columns = {"image": images, "label": [label + 1 for label in labels]}
    Dataset.from_dict(columns, features=features).to_parquet(tmp_path / "counts.parquet")
    counts = load_task(TaskOptions(dataset=str(tmp_path / "counts.parquet"), image="image"))
    assert counts.labels == ["1", "2"]
    section = a_set(count=2, kinds={"label": Value("int64")}, label=[1, 2])
    named = {**section, "labels": [1, 2]}
    for given in (section, named):
        assert load(counts, covariate={"other": given})["covariate/other"]["label"] == [0, 1]


@pytest.mark.parametrize(
    ("values", "kind", "more", "said"),
    [
        (
            [0, 2],
            Value("int64"),
            {},
            r"Row 1 of ood\.covariate\.other has the label 2, and the task's labels are above, below",
        ),
        ([-1, 0], Value("int64"), {}, "the label -1"),
        ([0, None], Value("int64"), {}, "the label None"),
        ([0.0, float("nan")], Value("float64"), {}, "the label nan"),
        ([0.5, 0.0], Value("float64"), {}, r"the label 0\.5"),
        (["above", "Below"], Value("string"), {}, "the label 'Below'"),
        ([0, 1], ClassLabel(names=["above", "beside"]), {}, r"the label 1 \(beside\).*ood\.covariate\.other\.drop"),
        ([0, 1], Value("int64"), {"labels": ["above"]}, "the label 1"),
        (
            [0, 1],
            ClassLabel(names=["above", "below", "beside"]),
            {"labels": ["below", "above"]},
            "has 'below' at place 0, and the data declares it at place 1",
        ),
        ([0, 1], Value("int64"), {"label": "lable"}, "'lable': did you mean 'label'"),
    ],
)
def test_labels_that_are_not_the_tasks_are_refused(values, kind, more, said, a_set, task):
    section = {**a_set(count=2, kinds={"label": kind}, label=values), **more}
    with pytest.raises(InputError, match=said):
        load(task, covariate={"other": section})


def test_a_class_may_have_another_name_and_one_that_the_task_has_not_may_be_dropped(a_set, task):
    kind = ClassLabel(names=["above", "lower", "beside"])
    section = a_set(count=4, kinds={"label": kind}, label=[2, 1, 0, 2])
    section |= {"labels": ["above", "below", "beside"], "drop": {"label": ["beside"]}}
    assert load(task, covariate={"other": section})["covariate/other"]["label"] == [1, 0]


def test_labels_of_a_semantic_set_are_not_looked_at(a_set, task):
    splits = load(
        task, semantic={"dots": a_set(count=2, label=["above", "whatever"]), "plain": a_set("plain", count=3)}
    )
    assert {name: split.column_names for name, split in splits.items()} == {
        "semantic/dots": ["image"],
        "semantic/plain": ["image"],
    }


# --------------------------------------------------------------------------------------------------------------- rows


def test_rows_are_dropped_by_the_values_of_columns(a_set, task):
    kinds = {"kind": ClassLabel(names=["cat", "dog", "cow"]), "size": Value("int64"), "wnid": Value("string")}
    columns = {"kind": [0, 1, 2, 0, 1, 2], "size": [1, 2, 3, 4, 5, 6], "wnid": ["n1", "n2", "n3", "n1", None, "n3"]}
    section = a_set(kinds=kinds, **columns)
    for drop, kept in (
        ({"kind": ["cat"]}, [1, 2, 4, 5]),
        ({"size": [2, 6]}, [0, 2, 3, 4]),
        ({"wnid": ["n3"], "kind": ["cat", "dog"]}, []),
        ({"wnid": ["n3"], "kind": ["dog"]}, [0, 3]),
    ):
        given = {"semantic": {"animals": {**section, "drop": drop}}}
        if kept:
            assert reds(load(task, **given)["semantic/animals"]) == kept
        else:
            with pytest.raises(InputError, match=r"No image of ood\.semantic\.animals is left \(6 before drop\)"):
                load(task, **given)


@pytest.mark.parametrize(
    ("drop", "said"),
    [
        ({"wnids": ["n1"]}, "'wnids': did you mean 'wnid'"),
        (
            {"wnid": ["n1", "n9"]},
            r"ood\.semantic\.animals\.drop\.wnid holds 'n9', which no image of .* has: leave it out",
        ),
    ],
)
def test_what_drops_nothing_is_refused(drop, said, a_set, task):
    section = {**a_set(count=2, wnid=["n1", "n2"]), "drop": drop}
    with pytest.raises(InputError, match=said):
        load(task, semantic={"animals": section})


def test_the_images_used_are_drawn_with_the_tasks_split_seed(a_set, task):
    given = {"semantic": {"dots": a_set(count=40)}, "max_images": 10}
    first, again = (reds(load(task, **given)["semantic/dots"]) for _ in range(2))
    assert first == again == sorted({*first})
    assert len(first) == 10
    assert first != list(range(10))
    other = load_task(TaskOptions(dataset=task.options.dataset, image="image", split_seed=1))
    assert reds(load(other, **given)["semantic/dots"]) != first
    assert len(load(task, semantic=given["semantic"], max_images=50)["semantic/dots"]) == 40
    few = {"dots": {**given["semantic"]["dots"], "max_test": 5}}
    assert len(load(task, semantic=few, max_images=10)["semantic/dots"]) == 5


def test_the_test_split_is_taken_and_no_other_unless_it_is_named(tmp_path, task):
    for split, count in (("train", 5), ("validation", 3), ("test", 2)):
        for row in range(count):
            path = tmp_path / "dots" / split / f"{row}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Pillow.new("RGB", (4, 4)).save(path)
    section = {"dataset": str(tmp_path / "dots")}
    assert len(load(task, semantic={"dots": section})["semantic/dots"]) == 2
    assert len(load(task, semantic={"dots": {**section, "test_split": "train"}})["semantic/dots"]) == 5
    with pytest.raises(InputError, match="'tset': did you mean 'test'"):
        load(task, semantic={"dots": {**section, "test_split": "tset"}})


@pytest.mark.parametrize("column", ["image", "img", "scan"])
def test_a_column_of_images_is_found_or_named(column, a_set, task):
    section = a_set(image=column, count=2)
    if column == "scan":
        with pytest.raises(InputError, match=r"Unknown column of .* 'image'"):
            load(task, semantic={"dots": section})
        section["image"] = "scan"
    assert reds(load(task, semantic={"dots": section})["semantic/dots"]) == [0, 1]


def test_short_names_are_found_in_the_mirror(task, a_set, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_REPROGRAM_DATA", str(tmp_path))
    written = Path(a_set(count=4, wnid=["n1", "n2", "n1", "n3"])["dataset"])
    (tmp_path / "images" / "tiny_imagenet").mkdir(parents=True)
    written.rename(tmp_path / "images" / "tiny_imagenet" / "validation-00000-of-00001.parquet")
    section = {"dataset": "images", "name": "tiny_imagenet", "drop": {"wnid": ["n1"]}}
    assert reds(load(task, semantic={"things": section})["semantic/things"]) == [1, 3]


def test_a_broken_image_is_found_before_anything_is_trained(tmp_path, task):
    whole = io.BytesIO()
    Pillow.fromarray(np.random.default_rng(0).integers(0, 256, (30, 30, 3), dtype=np.uint8)).save(whole, "PNG")
    images = [
        {"bytes": whole.getvalue()},
        {"bytes": whole.getvalue()[:900]},
    ]  # the header is there, the rest is cut off
    Dataset.from_dict({"image": images}, features=Features({"image": Image()})).to_parquet(tmp_path / "cut.parquet")
    with pytest.raises(InputError, match="Row 1 of the semantic/cut split is no image that can be read"):
        load(task, semantic={"cut": {"dataset": str(tmp_path / "cut.parquet")}})


# -------------------------------------------------------------------------------------------------------- corruptions


def test_copies_are_those_of_the_test_images(task):
    splits = load(task, corruptions={"kinds": ["gaussian_noise", "contrast"], "levels": [2, 5]})
    assert list(splits) == [
        f"corruptions/{kind}/{level}" for kind in ("gaussian_noise", "contrast") for level in (2, 5)
    ]
    for name, split in splits.items():
        _, kind, level = name.split("/")
        assert split["label"] == task.test["label"]
        for row, (copy, image) in enumerate(zip(split["image"], task.test["image"], strict=True)):
            assert np.array_equal(copy, corrupt(image, kind, int(level), (0, row)))


def test_so_many_test_images_are_corrupted(task):
    splits = load(task, corruptions={"kinds": ["contrast", "jpeg"], "levels": [1], "images": 5})
    contrast, jpeg = splits["corruptions/contrast/1"], splits["corruptions/jpeg/1"]
    assert contrast["label"] == jpeg["label"]
    assert len(contrast) == 5
    copies = [np.asarray(corrupt(image, "contrast", 1)).tolist() for image in task.test["image"]]
    places = [copies.index(np.asarray(image).tolist()) for image in contrast["image"]]
    assert places == sorted({*places}) != list(range(5))  # drawn, as test splits are often ordered by class
    assert contrast["label"] == [task.test["label"][place] for place in places]
