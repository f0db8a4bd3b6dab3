"""`hf-reprogram init`: a recipe from data alone, which loads and trains."""

from __future__ import annotations

import csv

import pytest
from datasets import Dataset
from PIL import Image

from hf_reprogram import InputError
from hf_reprogram.cli import main
from hf_reprogram.experiments.draft import draft, write_draft
from hf_reprogram.experiments.recipe import load_recipe, make_recipe, read_yaml
from hf_reprogram.experiments.run import train


def table(path, **columns):
    """A csv file of these columns; returns its path as text."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return str(path)


def drafted(data: str):
    """The recipe of a draft, and what it could not decide."""
    text, doubts = draft(data)
    return make_recipe(read_yaml(text, "draft")), doubts


def test_a_draft_of_words_trains(csv_file, source_folder, tmp_path, capsys):
    recipe = tmp_path / "recipe.yaml"
    with pytest.raises(SystemExit) as end:
        main(["init", str(csv_file), "--output", str(recipe), "--source", source_folder("bert")])
    assert not end.value.code
    assert "hf-reprogram train" in capsys.readouterr().out
    short = ["seeds=[0]", "sweep={}", "baselines=[majority]", "training.num_train_epochs=1", "task.max_train=48"]
    chosen = load_recipe(recipe, [*short, f"output={tmp_path / 'run'}"])
    assert (chosen.method["name"], chosen.task["text"], chosen.task["label"]) == ("warp", ["sentence"], "kind")
    assert train(chosen, quiet=True)["task"]["labels"] == ["bad", "good"]


def test_nothing_is_overwritten(csv_file, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("mine")
    with pytest.raises(InputError, match="is there already: give another with --output"):
        write_draft(str(csv_file), recipe)
    assert recipe.read_text() == "mine"


MOLECULES = ["CC(=O)O", "c1ccccc1", "CCO", "C1CCCCC1N", "CC=O", "C#N", "CC(C)O", "OC(=O)CC"] * 5


@pytest.mark.parametrize(
    ("texts", "method"),
    [
        (MOLECULES, "smiles"),
        ([f"ACGT{'ACGTTGCA' * 2}{letter}" for letter in "ACGT" * 10], "kmers"),
        ([f"MKLVWYAAGIHRDE{letter}" for letter in "ACDE" * 10], "residues"),
    ],
)
def test_the_alphabet_decides_the_tokenizer(tmp_path, texts, method):
    texts = [f"{text}{'C' * place}" for place, text in enumerate(texts)]
    recipe, _ = drafted(table(tmp_path / "data.csv", sequence=texts, active=[0, 1] * 20))
    assert recipe.task["text"] == ["sequence"]
    assert recipe.method["tokenizer"] == method


def test_numbers_make_a_table_and_words_among_them_are_named(tmp_path):
    data = table(tmp_path / "a.csv", id=range(40), x=range(40), z=[0.5] * 40, town=["a", "b"] * 20, label=[0, 1] * 20)
    recipe, doubts = drafted(data)
    assert recipe.task["features"] == ["x", "z"]
    assert recipe.method["name"] == "fraud"
    assert "'town'" in doubts[0]


def test_a_label_of_fractions_is_a_regression(tmp_path):
    texts = [f"the film number {row} was fine" for row in range(40)]
    recipe, _ = drafted(table(tmp_path / "a.csv", review=texts, score=[row / 8 for row in range(40)]))
    assert recipe.task["problem"] == "regression"
    assert recipe.task["metrics"] == ["pearson", "spearman"]


def test_a_rare_class_is_not_scored_by_accuracy(tmp_path):
    texts = [f"the film number {row} was fine" for row in range(40)]
    recipe, _ = drafted(table(tmp_path / "a.csv", review=texts, label=[1] * 4 + [0] * 36))
    assert recipe.task["metrics"][0] == "average_precision"


def test_a_parquet_file_of_a_pair(tmp_path):
    rows = {"premise": ["it rains now"] * 6, "hypothesis": ["it is wet"] * 6, "label": [0, 1] * 3}
    Dataset.from_dict(rows).to_parquet(tmp_path / "a.parquet")
    assert drafted(str(tmp_path / "a.parquet"))[0].task["text"] == ["premise", "hypothesis"]


def test_a_folder_of_images(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "pictures" / "train" / name).mkdir(parents=True)
        for shade in range(4):
            Image.new("L", (8, 8), 60 * shade).save(tmp_path / "pictures" / "train" / name / f"{shade}.png")
    recipe, doubts = drafted(str(tmp_path / "pictures"))
    assert (recipe.task["image"], recipe.method["name"], doubts) == ("image", "ilm_vp", [])


def test_data_without_a_label_are_refused_with_their_columns(tmp_path):
    with pytest.raises(InputError, match="No column looks like a label; there are 'words'"):
        draft(table(tmp_path / "a.csv", words=[f"word {row}" for row in range(40)]))
