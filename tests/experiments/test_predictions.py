"""Predictions of files of any size: a part at a time, in the order of the file, resumable, and from every format."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from datasets import Dataset, Features, Image, load_dataset

from hf_reprogram import InputError, reprogram
from hf_reprogram.experiments import prediction_output, predictions
from hf_reprogram.experiments.evaluate import predict_lines
from hf_reprogram.experiments.predictions import Predictor, iter_predictions, predict_file
from hf_reprogram.modalities.text import Text
from tests.support import tiny_vision, words
from tests.support.tables import write

PART = 8  # lines
PREDICT = """
import sys
from hf_reprogram.experiments import predictions
predictions.PART = 8
predictions.predict_file(*sys.argv[1:4], quiet=True)
"""


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch):
    monkeypatch.setattr(predictions, "PART", PART)
    monkeypatch.setattr(predictions, "PART_OF_PICTURES", 4)


@pytest.fixture
def texts(tmp_path) -> Path:
    """60 texts of very different lengths on lines, with an empty line among them."""
    found = [" ".join([text] * (1 + 7 * row % 5)) for row, text in enumerate(words.texts(60, seed=3)[0])]
    (tmp_path / "texts.txt").write_text("\n".join([*found[:13], "", *found[13:]]) + "\n")
    return tmp_path / "texts.txt"


@pytest.fixture(scope="module")
def adapters(source_folder, tmp_path_factory):
    """A function from a kind of problem to the folder of an untrained adapter of sequences."""
    folder = tmp_path_factory.mktemp("adapters")

    def saved(problem: str) -> str:
        labels = {"multi_label_classification": ["x", "y"], "token_classification": ["H", "E"]}.get(problem)
        method = {"infilling": "reprogbert"}.get(problem, "r2dl")
        more = {} if problem == "infilling" else {"tokenizer": "residues"}
        model, processor = reprogram(source_folder("bert"), method, labels, problem_type=problem, **more)
        model.save_pretrained(folder / problem)
        processor.save_pretrained(folder / problem)
        return str(folder / problem)

    return saved


@pytest.fixture(scope="module")
def vision(tmp_path_factory):
    """Folders of two untrained adapters on a tiny ViT, `images` and `table` of three numbers, and of ten images."""
    folder = tmp_path_factory.mktemp("vision")
    source = tiny_vision.save_source(folder / "vit", "vit")
    for name, method, more in (("images", "elsayed", {}), ("table", "fraud", {"features": np.eye(3)})):
        torch.manual_seed(0)
        model, processor = reprogram(source, method, ["no", "yes"], mapping="dense", **more)
        model.save_pretrained(folder / name)
        if processor is not None:
            processor.save_pretrained(folder / name)
    for row, image in enumerate(tiny_vision.images(10)[0]):
        image.save(folder / f"{row}.png")
    return folder


def close(found: list[dict], expected: list[dict]) -> bool:
    """Whether records are equal up to the rounding of another batch."""
    keep = [{key: value for key, value in record.items() if key != "score"} for record in found]
    others = [{key: value for key, value in record.items() if key != "score"} for record in expected]
    scores = [[record.get("score", 0) for record in records] for records in (found, expected)]
    return keep == others and scores[0] == pytest.approx(scores[1], abs=1e-5)


# ---------------------------------------------------------------------------------------------------- a stream of lines


def test_records_come_in_the_order_of_the_file(finished, texts):
    lines = texts.read_text().splitlines()
    found = list(iter_predictions(str(finished.folder), texts, quiet=True))
    assert [record["text"] for record in found] == [line for line in lines if line]
    assert close(found, predict_lines(str(finished.folder), lines, None, True))


def test_no_more_is_read_than_the_parts_that_were_asked_for(finished, tmp_path):
    """A pipe that never ends gives its first records when the first part is there."""
    os.mkfifo(tmp_path / "pipe")
    write_end = os.open(tmp_path / "pipe", os.O_RDWR)
    os.write(write_end, b"good film\n" * (PART + 1))
    records = iter_predictions(str(finished.folder), tmp_path / "pipe", quiet=True)
    try:
        assert [next(records)["text"] for _ in range(PART)] == ["good film"] * PART
    finally:
        records.close()
        os.close(write_end)


def test_a_bad_line_is_named_and_the_parts_before_it_are_given(finished, tmp_path):
    lines = ["good film"] * 30
    lines[20] = "a film\tand its pair"
    (tmp_path / "texts.txt").write_text("\n".join(["", *lines]))
    records = iter_predictions(str(finished.folder), tmp_path / "texts.txt", quiet=True)
    assert len([next(records) for _ in range(16)]) == 16
    with pytest.raises(InputError, match=r"^Line 22 of '.*texts.txt': Some lines have a pair and some have none"):
        next(records)


@pytest.mark.parametrize(
    ("name", "lines", "said"),
    [
        ("table", ["1,2,3"] * 9 + ["1,2,x"], r"Line 10 of .*: '1,2,x' is no row of numbers"),
        ("table", ["1,2,3"] * 12 + ["1,2", "1,2,3"], r"Line 13 of .*: There are rows of 3 and of 2 numbers"),
        ("images", ["0.png"] * 5 + ["nowhere.png", "1.png"], r"Line 6 of .*: There is no image file 'nowhere.png'"),
        ("images", ["0.png"] * 5 + ["broken.png"], r"Line 6 of '.*' \(broken.png\) is no image that can be read"),
    ],
)
def test_a_line_that_another_modality_cannot_take_is_named(vision, monkeypatch, name, lines, said):
    monkeypatch.chdir(vision)
    Path("broken.png").write_bytes(b"no image")
    Path("lines.txt").write_text("\n".join(lines))
    with pytest.raises(InputError, match=f"^{said}"):
        list(iter_predictions(str(vision / name), "lines.txt", quiet=True))


def test_bytes_that_are_no_text_are_named(finished, tmp_path):
    (tmp_path / "texts.txt").write_bytes(b"good film\n" * 10 + b"\xe9t\xe9\n")
    with pytest.raises(InputError, match=r"texts.txt' cannot be read: line 11 is not UTF-8"):
        list(iter_predictions(str(finished.folder), tmp_path / "texts.txt", quiet=True))


# ------------------------------------------------------------------------------------------------------- output files


@pytest.mark.parametrize("problem", ["multi_label_classification", "token_classification", "regression", "infilling"])
def test_the_three_formats_hold_the_same(adapters, tmp_path, problem):
    adapter = adapters(problem)
    mask = Predictor(adapter).processor.mask_token if problem == "infilling" else "G"
    lines = [mask, *(f"AC{mask}DW" + "KA" * (row % 4) for row in range(19))]
    (tmp_path / "texts.txt").write_text("\n".join(lines))
    for ending in ("jsonl", "csv", "parquet"):
        assert predict_file(adapter, tmp_path / "texts.txt", tmp_path / f"found.{ending}", quiet=True) == 20
    expected = [json.loads(line) for line in (tmp_path / "found.jsonl").read_text().splitlines()]
    assert [record["text"] for record in expected] == lines
    assert pq.read_table(tmp_path / "found.parquet").to_pylist() == expected
    with (tmp_path / "found.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    plain = [{key: value if isinstance(expected[0][key], str) else json.loads(value) for key, value in row.items()}
             for row in rows]  # fmt: skip
    assert plain == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "found.csv",
        "found.jsonl",
        "found.parquet",
        "texts.txt",
    ]


def stop_after(monkeypatch, parts: int) -> None:
    """Writing a part fails after so many, before its name is there."""
    written, write_text = [], prediction_output.write_text

    def fails(path, text):
        written.append(path)
        if path.name.endswith("jsonl") and len(written) > parts:
            raise KeyboardInterrupt
        write_text(path, text)

    monkeypatch.setattr(prediction_output, "write_text", fails)


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_an_interrupted_run_goes_on_to_the_same_bytes(finished, texts, tmp_path, monkeypatch, ending):
    adapter, whole, cut = str(finished.folder), tmp_path / f"whole.{ending}", tmp_path / f"cut.{ending}"
    predict_file(adapter, texts, whole, quiet=True)
    with monkeypatch.context() as patch:
        stop_after(patch, 4)
        with pytest.raises(KeyboardInterrupt):
            predict_file(adapter, texts, cut, quiet=True)
    assert not cut.exists()
    with pytest.raises(
        InputError, match=r"cut.*part' holds predictions of a run that was interrupted: go on with --resume"
    ):
        predict_file(adapter, texts, cut, quiet=True)
    with monkeypatch.context() as patch:  # at the last moment
        patch.setattr(os, "replace", lambda old, new, rename=os.replace: 1 / 0 if new == cut else rename(old, new))
        with pytest.raises(ZeroDivisionError):
            predict_file(adapter, texts, cut, resume=True, quiet=True)
    assert not cut.exists()
    predicted, predict = [], Predictor.predict
    monkeypatch.setattr(Predictor, "predict", lambda *args, **more: predicted.append(1) or predict(*args, **more))
    predict_file(adapter, texts, cut, resume=True, quiet=True)
    assert not predicted
    assert cut.read_bytes() == whole.read_bytes()
    assert not (tmp_path / f"cut.{ending}.part").exists()
    with pytest.raises(InputError, match="is there already"):
        predict_file(adapter, texts, cut, resume=True, quiet=True)


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_to_the_same_bytes(finished, tmp_path):
    (tmp_path / "texts.txt").write_text("\n".join(words.texts(4000, seed=5)[0]))
    whole, cut = (str(tmp_path / f"{name}.csv") for name in ("whole", "cut"))
    predict_file(str(finished.folder), tmp_path / "texts.txt", whole, quiet=True)
    process = subprocess.Popen([sys.executable, "-c", PREDICT, finished.folder, tmp_path / "texts.txt", cut])
    deadline = time.monotonic() + 300
    while not Path(f"{cut}.part", "000020.jsonl").exists():
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not Path(cut).exists()
    predict_file(str(finished.folder), tmp_path / "texts.txt", cut, resume=True, quiet=True)
    assert Path(cut).read_bytes() == Path(whole).read_bytes()


def test_a_bad_line_can_be_mended_before_a_run_goes_on(finished, tmp_path):
    lines, file, output = ["good film"] * 30, tmp_path / "texts.txt", tmp_path / "found.jsonl"
    file.write_text("\n".join([*lines[:25], "a\tpair", *lines[26:]]))
    with pytest.raises(InputError, match=r"^Line 26 "):
        predict_file(str(finished.folder), file, output, quiet=True)
    file.write_text("\n".join([*lines[:25], "mended", *lines[26:]]))
    assert predict_file(str(finished.folder), file, output, resume=True, quiet=True) == 30
    assert json.loads(output.read_text().splitlines()[25])["text"] == "mended"


def test_parts_of_another_file_or_adapter_are_refused(finished, texts, tmp_path, monkeypatch, source_folder):
    output = tmp_path / "found.jsonl"
    with monkeypatch.context() as patch:
        stop_after(patch, 4)
        with pytest.raises(KeyboardInterrupt):
            predict_file(str(finished.folder), texts, output, quiet=True)
    model, processor = reprogram(source_folder("bert"), "warp", ["bad", "good"], num_prompts=3)
    model.save_pretrained(tmp_path / "other")
    processor.save_pretrained(tmp_path / "other")
    (tmp_path / "changed.txt").write_text(texts.read_text().replace("\n", " too\n", 1))
    (tmp_path / "short.txt").write_text("".join(texts.read_text().splitlines(keepends=True)[:PART]))
    for adapter, file, said in (
        (tmp_path / "other", texts, "holds predictions of another adapter"),
        (finished.folder, tmp_path / "changed.txt", "of other examples than lines 1 to 8 of"),
        (finished.folder, tmp_path / "short.txt", "of more examples than '.*short.txt' has"),
    ):
        with pytest.raises(InputError, match=said):
            predict_file(str(adapter), file, output, resume=True, quiet=True)
    assert predict_file(str(finished.folder), texts, output, resume=True, quiet=True) == 60


def test_an_output_that_cannot_be_is_refused_before_anything_is_loaded(tmp_path):
    (tmp_path / "there.csv").write_text("")
    for name, said in (("a.xlsx", r"none of \.jsonl, \.csv and \.parquet"), ("there.csv", "is there already")):
        with pytest.raises(InputError, match=said):
            predict_file("no-adapter", "-", tmp_path / name, quiet=True)


def test_nothing_is_left_of_a_run_without_a_part(finished, tmp_path):
    (tmp_path / "empty.txt").write_text("\n \n")
    with pytest.raises(InputError, match="Every line is empty"):
        predict_file(str(finished.folder), tmp_path / "empty.txt", tmp_path / "found.csv", quiet=True)
    assert [path.name for path in tmp_path.iterdir()] == ["empty.txt"]


# ------------------------------------------------------------------------------------------------------- columns


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
def test_the_columns_of_the_recipe_are_read(finished, tmp_path, ending):
    sentences, _ = words.texts(20, seed=6)
    file = write(tmp_path / f"films.{ending}", {"number": list(range(20)), "sentence": sentences})
    assert close(
        list(iter_predictions(str(finished.folder), file, quiet=True)),
        predict_lines(str(finished.folder), sentences, None, True),
    )
    other = write(tmp_path / f"other.{ending}", {"number": [1, 2], "review": ["a film", "a plot"]})
    if ending == "tsv":  # two texts with a tab between them
        assert next(iter_predictions(str(finished.folder), other, quiet=True))["text_pair"] == "review"
    else:
        with pytest.raises(InputError, match=r"has no column 'sentence'.*'review'"):
            list(iter_predictions(str(finished.folder), other, quiet=True))


@pytest.mark.parametrize("written", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_further_columns_stand_before_the_predictions(finished, tmp_path, ending, written):
    sentences, _ = words.texts(5, seed=6)
    data = {"id": [7, 8, 9, 10, 11], "sentence": sentences, "day": ["1", None, "3", "4", "5"]}
    output = tmp_path / f"out.{written}"
    predict_file(
        str(finished.folder), write(tmp_path / f"films.{ending}", data), output, quiet=True, keep=["id", "day"]
    )
    found = load_dataset("json" if written == "jsonl" else written, data_files=str(output), split="train")
    assert found.column_names == ["id", "day", "text", "label", "score"]
    assert found["text"][:] == sentences
    assert [*map(int, found["id"])] == data["id"]
    if written == "parquet":
        assert found.features["id"].dtype == ("int64" if ending == "parquet" else "string")
    plain = list(iter_predictions(str(finished.folder), tmp_path / f"films.{ending}", quiet=True))
    assert found["label"][:] == [record["label"] for record in plain]


@pytest.mark.parametrize(
    ("name", "keep", "said"),
    [
        ("a.csv", "label", "--keep label: the predictions have a column of this name"),
        ("a.csv", "number", r"--keep number: the file .* has no such column once \(it has 'sentence', 'id'\)"),
        ("a.txt", "id", "--keep id: the file .* has no such column once .its lines have no columns"),
    ],
)
def test_a_column_that_cannot_be_kept_is_refused(finished, tmp_path, name, keep, said):
    (tmp_path / name).write_text("sentence,id\na film,1\n")
    with pytest.raises(InputError, match=said):
        list(iter_predictions(str(finished.folder), tmp_path / name, quiet=True, keep=[keep]))


def test_fields_of_a_csv_file_may_hold_lines(finished, tmp_path):
    (tmp_path / "films.csv").write_text('sentence,year\n"good, and\n""new""",2001\nbad,2002\n')
    found = list(iter_predictions(str(finished.folder), tmp_path / "films.csv", quiet=True))
    assert [record["text"] for record in found] == ['good, and\n"new"', "bad"]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", 'sentence,n\n"a\nb",1\nalone\n', "^Line 4 of .* has 1 fields, and the header has 2"),
        ("a.csv", 'sentence,n\na,1\n"open,1\n', "^Line 3 of .* cannot be read .a double quote that is opened"),
        ("a.tsv", 'sentence\tn\n"a"\t1\n', "^Line 2 of .* has a field in double quotes"),
        ("a.csv", "sentence,sentence\na,b\n", "^Two columns of the file .* are called 'sentence'"),
        ("a.jsonl", '{"sentence": "a"}\n{"text": "b"}\n', "^Line 2 of .* has no key 'sentence'"),
        ("a.jsonl", '{"sentence": "a"}\n[1]\n', r"^Line 2 of .* is \[1\]: write an object"),
        ("a.jsonl", '{"sentence": "a"}\n{\n', "^Line 2 of .* is no JSON"),
        ("a.jsonl", '{"sentence": "a"}\n{"sentence": 2}\n', "^Line 2 of .*holds int64, which is no text"),
        ("a.jsonl", "[]\n", "^The first line of .* is no JSON object"),
        ("a.parquet", "no parquet", "^The file .*a.parquet' cannot be read"),
    ],
)
def test_rows_that_cannot_be_read_are_named(finished, tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=said) as refused:
        list(iter_predictions(str(finished.folder), tmp_path / name, quiet=True))
    assert "\n" not in str(refused.value)


def test_pairs_without_a_recipe_are_in_the_modalitys_own_columns(finished, tmp_path, source_folder):
    model, processor = reprogram(source_folder("bert"), "warp", ["no", "yes"], num_prompts=2)
    model.save_pretrained(tmp_path / "adapter")
    processor.save_pretrained(tmp_path / "adapter")
    pairs = {Text.column: ["a film", "a plot"], "text_pair": ["good", "bad"], "id": [1, 2]}
    found = list(iter_predictions(str(tmp_path / "adapter"), write(tmp_path / "pairs.jsonl", pairs), quiet=True))
    assert close(found, predict_lines(str(tmp_path / "adapter"), ["a film\tgood", "a plot\tbad"], None, True))


def test_images_and_numbers_are_read_from_columns(vision, tmp_path):
    paths = [str(vision / f"{row}.png") for row in range(10)]
    expected = predict_lines(str(vision / "images"), paths, None, True)
    encoded = Dataset.from_dict({"image": paths}).cast_column("image", Image())
    encoded.map(lambda row: row, features=Features({"image": Image()})).to_parquet(tmp_path / "images.parquet")
    (vision / "images.csv").write_text("image\n" + "".join(f"{row}.png\n" for row in range(10)))
    for file in (tmp_path / "images.parquet", vision / "images.csv"):
        found = list(iter_predictions(str(vision / "images"), file, quiet=True))
        assert [Path(record["image"]).name for record in found] == [f"{row}.png" for row in range(10)]
        assert close([{**record, "image": ""} for record in found], [{**record, "image": ""} for record in expected])
    recipe = {"task": {"dataset": "numbers.csv", "features": ["c", "a", "b"]}}
    (vision / "table" / "recipe.json").write_text(json.dumps(recipe))
    (tmp_path / "rows.csv").write_text("a,b,c,d\n" + "2,3,1,x\n" * 9 + "2,three,1,x\n")
    found = iter_predictions(str(vision / "table"), tmp_path / "rows.csv", quiet=True)
    assert close([next(found)], predict_lines(str(vision / "table"), ["1,2,3"], None, True))
    with pytest.raises(InputError, match=r"^Line 11 of '.*rows.csv' has 'three' in the column 'b'"):
        list(found)
