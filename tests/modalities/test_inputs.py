"""Tasks of images and of tables: where they may come from, what becomes of them, and what is refused."""

from __future__ import annotations

import io

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Image, Value
from PIL import Image as Pillow

from hf_reprogram import InputError
from hf_reprogram.modalities import MODALITIES, modality_of, modality_taking
from hf_reprogram.tasks.inputs import task_modality
from hf_reprogram.tasks.load import load_task
from hf_reprogram.tasks.options import TaskOptions

COUNT = 40
SHADES = [6 * row for row in range(COUNT)]
LABELS = [row % 2 for row in range(COUNT)]


def image(shade: int) -> Pillow.Image:
    return Pillow.new("L", (3, 2), shade)


def png(shade: int) -> bytes:
    stream = io.BytesIO()
    image(shade).save(stream, "PNG")
    return stream.getvalue()


def shades(task) -> list[tuple[int, int]]:
    """Shade and label of every example, sorted."""
    splits = task.splits(0)
    return sorted((row["image"].getpixel((0, 0)), row["label"]) for split in splits.values() for row in split)


EXPECTED = sorted(zip(SHADES, LABELS, strict=True))


@pytest.fixture
def no_decoding(monkeypatch):
    """Fails as soon as an image is opened."""

    def opened(*_, **__):
        raise AssertionError("an image was opened")

    monkeypatch.setattr("PIL.Image.open", opened)


# --------------------------------------------------------------------------------------------------------- images

COLUMNS = {
    "images": (lambda: {"image": [image(shade) for shade in SHADES]}, Features({"image": Image(), "label": Value("int64")})),
    "bytes and paths": (lambda: {"image": [{"bytes": png(shade), "path": None} for shade in SHADES]}, None),
    "bytes": (lambda: {"image": [png(shade) for shade in SHADES]}, None),
}  # fmt: skip


@pytest.mark.parametrize("form", COLUMNS)
@pytest.mark.parametrize("column", ["image", "scan"])
def test_a_column_of_encoded_images(form, column, tmp_path):
    make, features = COLUMNS[form]
    table = Dataset.from_dict({**make(), "label": LABELS}, features=features)
    table = table.rename_column("image", column) if column != "image" else table
    table.to_parquet(tmp_path / "data.parquet")
    task = load_task(TaskOptions(dataset=str(tmp_path / "data.parquet"), image=column))
    assert task.modality.name == "image"
    assert task.train.column_names == ["image", "label"]
    assert task.train.features["image"] == Image()
    assert shades(task) == EXPECTED


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
@pytest.mark.parametrize("absolute", [False, True])
def test_a_column_of_paths_is_read_from_where_the_data_lies(suffix, absolute, tmp_path):
    (tmp_path / "scans").mkdir()
    paths = [f"scans/{row}.png" for row in range(COUNT)]
    for path, shade in zip(paths, SHADES, strict=True):
        image(shade).save(tmp_path / path)
    paths = [str(tmp_path / path) for path in paths] if absolute else paths
    table = Dataset.from_dict({"file": paths, "label": LABELS})
    path = tmp_path / f"data{suffix}"
    table.to_csv(path, index=False) if suffix == ".csv" else table.to_json(path)
    assert shades(load_task(TaskOptions(dataset=str(path), image="file"))) == EXPECTED


@pytest.mark.parametrize("metadata", [False, True])
def test_a_folder_of_images_in_a_folder_a_class(metadata, tmp_path):
    for split, rows in (("train", range(30)), ("test", range(30, COUNT))):
        for row in rows:
            folder = tmp_path / split / ("" if metadata else ("cat", "dog")[LABELS[row]])
            folder.mkdir(parents=True, exist_ok=True)
            image(SHADES[row]).save(folder / f"{row}.png")
        if metadata:
            lines = [f"{row}.png,{('cat', 'dog')[LABELS[row]]}" for row in rows]
            (tmp_path / split / "metadata.csv").write_text("\n".join(["file_name,label", *lines]) + "\n")
    task = load_task(TaskOptions(dataset=str(tmp_path), image="image"))
    assert task.labels == ["cat", "dog"]
    assert len(task.test) == 10
    assert shades(task) == EXPECTED


def test_nothing_is_decoded_before_it_is_read(tmp_path, no_decoding):
    """All that happens to a task but looking at its images: reading, checking, carving, drawing, scoring."""
    table = Dataset.from_dict({"image": [b"no image"] * 200, "label": [row % 4 for row in range(200)]})
    table.to_parquet(tmp_path / "data.parquet")
    options = {"dataset": str(tmp_path / "data.parquet"), "image": "image"}
    for more in ({}, {"few_shot": 3}, {"train_size": 20}, {"max_train": 30, "max_test": 10}):
        task = load_task(TaskOptions(**options, **more))
        splits = task.splits(1)
        assert {label for split in splits.values() for label in split["label"]} == {0, 1, 2, 3}
    assert len(splits["train"]) == 30
    assert len(splits["test"]) == 10
    assert task.score(np.eye(4)[splits["test"]["label"]], splits["test"]["label"]) == {"accuracy": 1.0}


def test_few_shot_and_sizes_draw_as_they_do_for_texts(tmp_path):
    labels = [row % 3 for row in range(90)]
    texts = [str(row) for row in range(90)]
    Dataset.from_dict({"text": texts, "image": [image(row) for row in range(90)], "label": labels}, features=Features(
        {"text": Value("string"), "image": Image(), "label": Value("int64")}
    )).to_parquet(tmp_path / "data.parquet")  # fmt: skip
    for more in ({}, {"few_shot": 4}, {"train_size": 9}, {"max_train": 11, "max_test": 7}):
        options = {"dataset": str(tmp_path / "data.parquet"), **more}
        of_texts = load_task(TaskOptions(text="text", **options)).splits(3)
        of_images = load_task(TaskOptions(image="image", **options)).splits(3)
        for name in of_texts:
            drawn = [str(found.getpixel((0, 0))) for found in of_images[name]["image"]]
            assert drawn == of_texts[name]["text"][:]


@pytest.mark.parametrize(
    ("options", "problem", "labels"),
    [
        ({"label": "number", "regression": True}, "regression", []),
        ({"label": ["a", "b"]}, "multi_label_classification", ["a", "b"]),
    ],
)
def test_problems_of_every_kind_of_an_image(options, problem, labels, tmp_path):
    features = Features({"image": Image(), "number": Value("float64"), "a": Value("int64"), "b": Value("int64")})
    data = {
        "image": [image(shade) for shade in SHADES],
        "number": np.linspace(0, 1, COUNT),
        "a": LABELS,
        "b": LABELS[::-1],
    }
    Dataset.from_dict(data, features=features).to_parquet(tmp_path / "data.parquet")
    task = load_task(TaskOptions(dataset=str(tmp_path / "data.parquet"), image="image", **options))
    assert (task.problem_type, task.labels) == (problem, labels)
    assert task.train.column_names == ["image", "label"]


@pytest.mark.parametrize(("given", "expected"), [(["dog", "cat"], 1), ({"dog": "canine", "cat": "feline"}, 1)])
def test_declared_names_are_taken_in_any_order_or_called_otherwise(given, expected, tmp_path):
    features = Features({"image": Image(), "label": ClassLabel(names=["cat", "dog"])})
    Dataset.from_dict({"image": [image(0)] * COUNT, "label": [0] * 20 + [1] * 20}, features=features).to_parquet(
        tmp_path / "data.parquet"
    )
    task = load_task(TaskOptions(dataset=str(tmp_path / "data.parquet"), image="image", labels=given, max_test=8))
    assert task.labels == list(given.values() if isinstance(given, dict) else given)
    cats = task.train.select(range(10))  # the first rows of the file
    assert {*cats["label"]} == {expected}


# --------------------------------------------------------------------------------------------------------- tables


def rows(**columns) -> dict[str, list]:
    return {"a": SHADES, "b": [shade / 7 for shade in SHADES], "flag": [True, False] * 20, "label": LABELS, **columns}


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_the_features_of_a_table_are_numbers_in_the_order_of_their_columns(suffix, tmp_path):
    path, table = tmp_path / f"data{suffix}", Dataset.from_dict(rows())
    table.to_csv(path, index=False) if suffix == ".csv" else table.to_parquet(path)
    task = load_task(TaskOptions(dataset=str(path), features=["b", "a", "flag"]))
    assert task.modality.name == "table"
    assert task.feature_names == ["b", "a", "flag"]
    assert task.train.column_names == ["features", "label"]
    found = sorted((*row["features"], row["label"]) for split in task.splits(0).values() for row in split)
    expected = sorted(zip(*(np.float32(rows()[name]).tolist() for name in ("b", "a", "flag", "label")), strict=True))
    assert found == expected


def test_one_feature_may_be_named_alone(tmp_path):
    Dataset.from_dict(rows()).to_parquet(tmp_path / "data.parquet")
    task = load_task(TaskOptions(dataset=str(tmp_path / "data.parquet"), features="a"))
    assert np.asarray(task.train["features"]).shape == (len(task.train), 1)


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ([1.0, None, *[2.0] * 38], "Row 1 of the train split has nan in the column 'b': fill in a finite number"),
        ([1.0] * 39 + [float("inf")], "Row 39 of the train split has inf in the column 'b'"),
        ([1.0, 1e300, *[2.0] * 38], "Row 1 of the train split has 1e+300 in the column 'b'"),
        (["1", *["x"] * 39], "Row 1 of the train split has 'x' in the column 'b': give a finite number in every row"),
        ([True, None] * 20, "Row 1 of the train split has None in the column 'b'"),
    ],
)
def test_a_feature_that_is_no_finite_number_is_named_by_its_row_and_column(column, said, tmp_path):
    Dataset.from_dict(rows(b=column)).to_parquet(tmp_path / "data.parquet")
    assert said in refused(dataset=str(tmp_path / "data.parquet"), features=["a", "b"])


# ------------------------------------------------------------------------------------------------------- refusals


def refused(**options) -> str:
    with pytest.raises(InputError) as error:
        load_task(TaskOptions(**options))
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"text": "a", "image": "b"}, "task.text and task.image both name the examples"),
        ({"image": "a", "features": ["b"]}, "task.image and task.features both name"),
        ({"features": []}, "task.features is []: give at least one column"),
        ({"features": ["a", "a"]}, "task.features is ['a', 'a']: give at least one column, and each once"),
    ],
)
def test_options_that_cannot_be(options, said):
    assert said in refused(dataset="x", **options)


@pytest.fixture
def table(tmp_path):
    """A file with columns of every kind."""
    columns = rows(image=[png(shade) for shade in SHADES], text=["CC"] * COUNT, letters=["01"] * COUNT)
    Dataset.from_dict(columns).to_parquet(tmp_path / "data.parquet")
    return str(tmp_path / "data.parquet")


def test_what_an_example_is_must_be_said(table):
    sentence = refused(dataset=table)
    assert "does not say which columns" in sentence
    assert "task.image (the column of images" in sentence
    assert "It has 'a', 'b', 'flag', 'label', 'image', 'text'" in sentence


def test_misspelt_columns_are_refused_with_the_nearest(table):
    assert "'imagee': did you mean 'image'" in refused(dataset=table, image="imagee")
    assert "'flga': did you mean 'flag'" in refused(dataset=table, features=["a", "flga"])


def test_a_label_is_no_feature(table):
    assert "The column 'a' is both an input and a label" in refused(dataset=table, features=["b", "a"], label="a")


@pytest.mark.parametrize("column", ["a", "flag"])
def test_a_column_of_numbers_holds_no_images(column, table):
    sentence = refused(dataset=table, image=column)
    assert f"The column {column!r} of {table!r} holds Value(" in sentence
    assert "name a column of encoded images or of their paths" in sentence


def test_nested_numbers_are_no_images(tmp_path):
    """Whose range nobody says: Pillow would take them for 32 bits."""
    Dataset.from_dict({"image": [[[1, 2], [3, 4]]] * COUNT, "label": LABELS}).to_parquet(tmp_path / "data.parquet")
    assert "which is no image" in refused(dataset=str(tmp_path / "data.parquet"), image="image")


@pytest.mark.parametrize(("inputs", "what"), [({"image": "image"}, "images"), ({"features": ["a"]}, "rows of numbers")])
def test_what_only_texts_have_is_refused(inputs, what, table):
    for problem in ("token_classification", "infilling"):
        assert "has one label per letter of a text" in refused(
            dataset=table, problem=problem, label="letters", **inputs
        )
    assert f"molecules in text form, and these examples are {what}" in refused(
        dataset=table, split="scaffold", **inputs
    )
    assert f"shortens texts, and these examples are {what}" in refused(dataset=table, max_length=9, **inputs)


# ------------------------------------------------------------------------------------------------------ modalities


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"dataset": "x", "text": "a"}, "text"),
        ({"dataset": "x", "image": "a"}, "image"),
        ({"dataset": "x", "features": ["a", "b"]}, "table"),
        ({"dataset": "x"}, None),
        ({"dataset": "nyu-mll/glue", "name": "rte"}, "text"),
        ({"dataset": "images", "name": "mnist"}, "image"),
        ({"dataset": "digits"}, "image"),
        ({"dataset": "tabular", "name": "card_fraud"}, "table"),
        ({"dataset": "tabular", "name": "card_fraud", "text": "note"}, "text"),
    ],
)
def test_the_modality_is_known_before_the_data_is(options, expected):
    modality = task_modality(TaskOptions(**options))
    assert (modality and modality.name) == expected


def test_a_prepared_splits_columns_say_its_modality():
    for name in MODALITIES:
        modality = MODALITIES[name]
        assert modality_of([modality.column, "label"]) is modality
        assert modality_taking(modality.takes) is modality
    assert modality_of(["text", "text_pair"]).name == "text"
