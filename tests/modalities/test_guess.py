"""What each modality takes for its examples in data that nobody has described, and its first recipe for them."""

from __future__ import annotations

import pytest
from datasets import Dataset, Image

from hf_reprogram.methods import METHODS
from hf_reprogram.modalities import MODALITIES, every_modality
from hf_reprogram.modalities.alphabets import alphabet_of

TEXT, IMAGE, TABLE = (MODALITIES[name] for name in ("text", "image", "table"))


def rows(**columns):
    """Twelve raw rows with a label."""
    return Dataset.from_dict({**columns, "label": [0, 1] * 6})


def test_a_table_leaves_out_what_is_no_whole_number_column_and_asks():
    columns = {"x": range(12), "gap": [None, *range(11)], "wave": [[1, 2]] * 12, "town": ["a", "b"] * 6}
    guess = TABLE.guess(rows(**columns), ["label"])
    assert guess.columns == ["x"]
    assert [doubt.split(" hold ")[0].split(" have ")[0] for doubt in guess.doubts] == [
        "the columns 'wave'",
        "the columns 'town'",
        "the columns 'gap'",
    ]


def test_many_columns_of_numbers_are_surer_than_few():
    few, many = ({str(place): range(12) for place in range(count)} for count in (3, 4))
    assert TABLE.guess(rows(**few), ["label"]).sureness < TABLE.guess(rows(**many), ["label"]).sureness


@pytest.mark.parametrize("columns", [{"rate": [8000] * 12}, {"id": range(12)}, {"wave": [[1, 2]] * 12}, {}])
def test_constants_row_numbers_and_lists_are_no_table(columns):
    assert TABLE.guess(rows(**columns), ["label"]) is None


@pytest.mark.parametrize("image", [{"bytes": b"x", "path": None}, "a/b.PNG"])
def test_encoded_images_and_paths_are_images(image):
    guess = IMAGE.guess(rows(number=range(12), photo=[image] * 12), ["label"])
    assert (guess.columns, guess.sureness) == (["photo"], 1.0)


def test_a_column_that_is_declared_as_images_is_not_opened():
    data = rows(photo=["nowhere.png"] * 12).cast_column("photo", Image())
    assert IMAGE.guess(data, ["label"]).columns == ["photo"]
    assert IMAGE.guess(data, ["label", "photo"]) is None


def test_the_second_text_is_a_question_and_a_repeated_one_is_none():
    texts, others = ([f"{word} number {row}" for row in range(12)] for word in ("a long text of", "short"))
    guess = TEXT.guess(rows(one=texts, two=others, sort=["a", "b"] * 6), ["label"])
    assert guess.columns == ["one"]
    assert guess.doubts == ("task.text is 'one', the longest text, and 'two' is left out: is it half of a pair?",)


@pytest.mark.parametrize(
    ("texts", "name"),
    [
        (["ACGTACGTAC", "acgtnacgta"], "DNA"),
        (["MKTAYIAKQR", "GIGKFLHSAK"], "protein or peptide"),
        (["CC(=O)O", "c1ccccc1"], "SMILES"),
        (["TAG", "GAT"], None),
        (["good", "bad"], None),
        ([], None),
    ],
)
def test_letters_make_an_alphabet_where_texts_are_no_words(texts, name):
    alphabet = alphabet_of(texts)
    assert (alphabet and alphabet.name) == name


@pytest.mark.parametrize("problem", ["single_label_classification", "regression", "multi_label_classification"])
@pytest.mark.parametrize("modality", list(every_modality()), ids=lambda modality: modality.name)
def test_the_method_of_a_first_recipe_is_for_the_problem(modality, problem):
    recipe = modality.first_recipe(rows(a=[f"words {row}" for row in range(12)]), ["a"], problem)
    assert problem in METHODS[recipe.method["name"]].problem_types
    assert recipe.why.endswith(".")
