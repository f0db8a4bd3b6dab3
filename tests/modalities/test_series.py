"""Series with gaps, of several lengths, constant or broken: each has its defined form, or is named."""

from __future__ import annotations

import numpy as np
import pytest
from datasets import Dataset

from hf_reprogram import InputError
from hf_reprogram.experiments.draft import draft
from hf_reprogram.modalities.series import SERIES, whole_series
from hf_reprogram.modalities.series_extractor import SeriesExtractor, filled, stretched
from hf_reprogram.tasks.load import load_task
from hf_reprogram.tasks.options import TaskOptions


def prepared(rows, **columns):
    """A prepared split of series."""
    data = Dataset.from_dict({"values": rows, **columns})
    return SERIES.prepare(data, ["values"], "train", "data")


def test_gaps_are_filled_from_their_neighbours():
    split = prepared([[None, 1.0, None, None, 4.0, None]])
    assert whole_series(split).tolist() == [[1.0, 1.0, 2.0, 3.0, 4.0, 4.0]]
    assert filled(np.array([1.0, 2.0])).tolist() == [1.0, 2.0]


def test_series_of_several_lengths_are_stretched_to_the_longest_of_the_training_data():
    split = prepared([[0.0, 1.0], [0.0, 1.0, 2.0]])
    assert whole_series(split).tolist() == [[0.0, 0.5, 1.0], [0.0, 1.0, 2.0]]
    splits = {"train": split, "test": prepared([[0.0, 1.0, 2.0, 3.0, 4.0]])}
    assert SERIES.encode(splits, None, None, "regression")["test"].read([0]).tolist() == [[0.0, 2.0, 4.0]]
    assert stretched(np.array([3.0]), 2).tolist() == [3.0, 3.0]


def test_a_constant_series_becomes_zeros_and_others_get_mean_0_and_deviation_1():
    rows = SeriesExtractor(length=4)([[5.0, 5.0, 5.0, 5.0], [1.0, 2.0, 3.0, 6.0]], return_tensors="np")["past_values"]
    assert rows[0].tolist() == [0.0] * 4
    assert abs(rows[1].mean()) < 1e-6
    assert abs(rows[1].std() - 1) < 1e-6
    plain = SeriesExtractor(length=2, standardize=False)([[5.0, 7.0]], return_tensors="np")["past_values"]
    assert plain.tolist() == [[5.0, 7.0]]


def test_a_series_may_stand_in_one_column_per_point_in_time():
    data = Dataset.from_dict({"t0": [1.0, 4.0], "t1": [2.0, 5.0], "kind": ["a", "b"]})
    split = SERIES.prepare(data, ["t0", "t1"], "train", "data")
    assert split["series"][:] == [[1.0, 2.0], [4.0, 5.0]]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[None, float("nan")]], "Row 0 of the train split has a series without any number"),
        ([[1.0], []], "Row 1 of the train split has a series without any number"),
        ([[1.0, float("inf")]], "infinite number"),
        ([[[1.0, 2.0], [3.0, 4.0]]], "holds"),
    ],
)
def test_a_broken_series_is_named(rows, message):
    with pytest.raises(InputError, match=message):
        prepared(rows)


def test_series_on_the_command_line():
    assert SERIES.parse(["1, 2,,4"])[0]["series"][:2] == [1.0, 2.0]
    assert np.isnan(SERIES.parse(["1, 2,,4"])[0]["series"][2])
    with pytest.raises(InputError, match="'one,two' is no series of numbers"):
        SERIES.parse(["one,two"])


def test_files_of_the_ucr_archive_are_data_sets(tmp_path):
    for split, count in (("TRAIN", 12), ("TEST", 4)):
        rows = [f"{1 + place % 2}\t{place}.0\t{place}.5\t{place + 1}.0" for place in range(count)]
        (tmp_path / f"Toy_{split}.tsv").write_text("\n".join(rows))
    task = load_task(TaskOptions(str(tmp_path), validation_share=0.25))
    assert task.modality is SERIES
    assert (task.labels, task.sizes["test"]) == (["1", "2"], 4)
    assert len(load_task(TaskOptions(str(tmp_path / "Toy_TRAIN.tsv"))).splits(0)["train"][0]["series"]) == 3


def test_a_ts_file_needs_aeon_and_says_so(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "aeon.datasets", None)
    monkeypatch.setitem(sys.modules, "aeon", None)
    (tmp_path / "toy.ts").write_text("@data\n1,2:a\n")
    with pytest.raises(InputError, match=r"run pip install 'hf_reprogram\[series\]'"):
        load_task(TaskOptions(str(tmp_path / "toy.ts")))


def test_lists_of_numbers_are_drafted_as_series_and_lengths_that_none_has_are_refused(tmp_path):
    rows = [[float(place + step) for step in range(8)] for place in range(20)]
    Dataset.from_dict({"values": rows, "kind": ["a", "b"] * 10}).to_parquet(tmp_path / "data.parquet")
    text, _ = draft(str(tmp_path / "data.parquet"))
    assert "method: {name: voice2series}" in text
    assert "  series: values\n" in text
    with pytest.raises(InputError, match="length of the processor is 0"):
        SeriesExtractor(length=0)
