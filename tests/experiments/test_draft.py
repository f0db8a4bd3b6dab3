"""`hf-reprogram init`: a recipe from data alone, which loads and trains."""

from __future__ import annotations

import csv
import subprocess
import sys
import wave
from pathlib import Path

import pytest
from datasets import Dataset
from PIL import Image

from hf_reprogram import InputError
from hf_reprogram.cli import main
from hf_reprogram.experiments import draft as experiments_draft
from hf_reprogram.experiments.draft import draft, split_of, write_draft
from hf_reprogram.experiments.recipe import load_recipe, make_recipe
from hf_reprogram.experiments.run import train
from hf_reprogram.experiments.yaml_text import read_yaml
from hf_reprogram.methods import METHODS
from hf_reprogram.modalities import every_modality


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
    short = ["seeds=[0]", "baselines=[majority]", "training.num_train_epochs=1", "task.max_train=48"]
    chosen = load_recipe(recipe, [*short, f"output={tmp_path / 'run'}"])
    assert (chosen.method["name"], chosen.task["text"], chosen.task["label"]) == ("warp", "sentence", "kind")
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
    assert recipe.task["text"] == "sequence"
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
    assert recipe.task["metrics"] == ["rmse", "pearson", "spearman"]


def test_several_columns_of_0_and_1_are_several_labels(tmp_path):
    texts = [f"the film number {row} was fine" for row in range(40)]
    columns = {"fun": [0, 1] * 20, "sad": [1, 0, 0, ""] * 10, "words": [5, 6] * 20}
    recipe, doubts = drafted(table(tmp_path / "a.csv", review=texts, **columns))
    assert (recipe.task["label"], recipe.task["problem"]) == (["fun", "sad"], "multi_label_classification")
    assert recipe.task["metrics"] == ["roc_auc"]
    assert doubts == ["task.label names all 2 columns of 0 and 1: is each of them a label?"]


def test_the_comments_of_several_labels_say_what_an_empty_field_is(tmp_path):
    texts = [f"the film number {row} was fine" for row in range(40)]
    text, _ = draft(table(tmp_path / "a.csv", review=texts, fun=[0, 1] * 20, sad=[1, 0, 0, ""] * 10))
    assert "# An example can have each of these 2 labels: the columns hold 0 and 1." in text
    assert "Where a field is empty the label is unknown and does not count." in text


def test_columns_of_0_and_1_in_a_table_are_numbers(tmp_path):
    columns = {name: [row >> place & 1 for row in range(40)] for place, name in enumerate("abcd")}
    recipe, doubts = drafted(table(tmp_path / "a.csv", **columns))
    assert (recipe.task["label"], recipe.task["features"]) == ("d", ["a", "b", "c"])
    assert doubts == ["task.label is 'd' only because the column has 2 values: is that the label?"]


def test_columns_that_are_called_labels_are_several_labels_of_a_table(tmp_path):
    columns = {name: [row >> place & 1 for row in range(40)] for place, name in enumerate(("a", "label_x", "label_y"))}
    recipe, doubts = drafted(table(tmp_path / "a.csv", **columns))
    assert (recipe.task["label"], recipe.task["features"], doubts) == (["label_x", "label_y"], "a", [])


@pytest.mark.slow
def test_a_draft_of_several_labels_trains(tmp_path, source_folder):
    texts = [f"the film number {row} was fine" for row in range(60)]
    data = table(tmp_path / "a.csv", review=texts, fun=[0, 1, 1] * 20, sad=[1, 0, 0, ""] * 15)
    write_draft(data, tmp_path / "recipe.yaml", source_folder("bert"))
    assert load_recipe(tmp_path / "recipe.yaml").method["tokenizer"] == "words"
    short = ["seeds=[0]", "sweep={}", "training.max_steps=2", f"output={tmp_path / 'run'}"]
    results = train(load_recipe(tmp_path / "recipe.yaml", short), quiet=True)
    assert results["task"]["labels"] == ["fun", "sad"]
    assert [*results["baselines"]] == ["majority", "linear_probe"]


def test_data_that_are_sorted_by_their_labels(tmp_path):
    texts = [f"the film number {row} was fine" for row in range(5000)]
    text, _ = draft(table(tmp_path / "a.csv", review=texts, label=[0] * 2500 + [1] * 2500))
    assert "The label has 2 values." in text


def test_a_column_that_is_called_like_a_text_comes_before_a_longer_one(tmp_path):
    longer = [f"the compound called number {row}" for row in range(40)]
    recipe, _ = drafted(
        table(
            tmp_path / "a.csv", compound=longer, smiles=[f"C(=O){'C' * row}" for row in range(40)], active=[0, 1] * 20
        )
    )
    assert recipe.task["text"] == "smiles"


def test_a_draft_leaves_sizes_steps_and_learning_rates_to_the_data(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "train" / name).mkdir(parents=True)
        Image.new("L", (8, 8)).save(tmp_path / "train" / name / "a.png")
    recipe = make_recipe(read_yaml(draft(str(tmp_path))[0], "the draft"))
    assert recipe.method == {"name": "ilm_vp"}
    assert (recipe.training, recipe.sweep) == ({}, {})


@pytest.mark.parametrize(("names", "chosen"), [(["train", "test"], "train"), (["test", "dev"], "dev")])
def test_the_split_that_is_trained_on(names, chosen):
    assert split_of(dict.fromkeys(names)) == chosen


def test_a_split_to_test_on_is_not_trained_on():
    with pytest.raises(InputError, match="only a split called 'test'"):
        split_of({"test": None})


SOUNDS = """
import sys, wave
from pathlib import Path

from datasets import Dataset, DatasetDict

from hf_reprogram.modalities import MODALITIES
from hf_reprogram.modalities.base import Modality
from hf_reprogram.modalities.first_recipe import FirstRecipe, Guess


class Sound(Modality):
    name = column = "sound"
    column_help = "the column of sounds"
    takes, noun = "pixel_values", "sounds"  # as a spectrogram

    def read_folder(self, folder, named=()):
        files = sorted(Path(folder).rglob("*.snd"))
        waves = [list(wave.open(str(file)).readframes(9)) for file in files]
        rows = {"wave": waves, "label": [file.parent.name for file in files]}
        return DatasetDict(train=Dataset.from_dict(rows)) if files else None

    def guess(self, rows, labels):
        return Guess(["wave"], 1.0, "The column holds waves.") if "wave" in rows.column_names else None

    def first_recipe(self, rows, columns, problem):
        return FirstRecipe("a/source", {"name": "ilm_vp"}, "Sounds are drawn.", ["majority"])

    def prepare(self, data, columns, split, dataset): ...
    def encode(self, splits, processor, max_length, problem_type): ...
    def parse(self, lines): ...
    def example(self, text, processor): ...
    def card_example(self, facts): ...


MODALITIES.register("sound", Sound())
from hf_reprogram.experiments.draft import draft

text, doubts = draft(sys.argv[1])
print(text, doubts)
"""


@pytest.mark.slow
def test_a_modality_of_another_package_is_drafted(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(3):
            with wave.open(str(tmp_path / name / f"{number}.snd"), "wb") as file:
                file.setparams((1, 1, 8000, 9, "NONE", "not compressed"))
                file.writeframes(bytes(range(number, number + 9)))
    command = [sys.executable, "-c", SOUNDS, str(tmp_path)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "  # The column holds waves.\n  sound: wave\n" in text
    assert "# Sounds are drawn.\nmethod: {name: ilm_vp}\n" in text
    assert "source: a/source\n" in text
    assert text.endswith("baselines: [majority]\n []\n")


def test_the_draft_names_no_modality_and_no_method():
    code = Path(experiments_draft.__file__).read_text()
    names = {*METHODS.names(), *(name for each in every_modality() for name in (each.name, each.column, each.noun))}
    assert not [name for name in sorted(names) if f'"{name}"' in code or f"name: {name}" in code]


def test_a_rare_class_is_not_scored_by_accuracy(tmp_path):
    texts = [f"the film number {row} was fine" for row in range(100)]
    recipe, _ = drafted(table(tmp_path / "a.csv", review=texts, label=[1] * 10 + [0] * 90))
    assert recipe.task["metrics"][0] == "roc_auc"


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
