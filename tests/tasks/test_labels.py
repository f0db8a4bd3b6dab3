"""Classes are matched with names by name, by the order of numbers, or as a mapping says; nothing is guessed by position."""

from __future__ import annotations

import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from hf_reprogram import InputError
from hf_reprogram.tasks.labels import known_task, label_classes
from hf_reprogram.tasks.load import load_task
from hf_reprogram.tasks.options import TaskOptions

DECLARED = ClassLabel(names=["cat", "dog"])


def classes(values, labels=None, kind=None, expected=None, problem="single_label_classification"):
    """The classes of a column of these values."""
    features = None if kind is None else Features({"label": kind})
    train = Dataset.from_dict({"label": values}, features=features)
    return label_classes(TaskOptions("mine", labels=labels), None, problem, ["label"], train, expected)


def refused(*arguments, **options) -> str:
    with pytest.raises(InputError) as error:
        classes(*arguments, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (["b", "a"], ["a", "b"]),
        ([10, 9, -1], ["-1", "9", "10"]),
        (["10", "9"], ["9", "10"]),
        ([1.0, 0.0], ["0", "1"]),
        (["01", "00"], ["00", "01"]),
        (["true", "false"], ["false", "true"]),
        ([True, False], ["false", "true"]),
        (["1", "unknown", "0"], ["0", "1", "unknown"]),
    ],
)
def test_names_are_the_values_as_they_are_written(values, names):
    assert classes(values).names == names


@pytest.mark.parametrize(
    ("values", "labels"),  # the first label stands for the first value
    [
        (["dog", "cat"], ["dog", "cat"]),
        (["true", "false"], ["true", "false"]),
        (["01", "00"], ["01", "00"]),
        ([True, False], ["True", "False"]),
        ([True, False], ["1", "0"]),
        ([2, 1], [2, 1]),
        (["02", "01"], [2, 1]),  # as YAML reads 02
    ],
)
def test_a_name_stands_for_the_value_of_that_name(values, labels):
    found = classes(values, labels)
    assert [found.place(value) for value in values] == [0, 1]
    assert found.names == [str(label) for label in labels]


def test_declared_classes_are_matched_by_name():
    assert classes([0, 1], ["dog", "cat"], DECLARED).places == {"dog": 0, "cat": 1}


@pytest.mark.parametrize("values", [[1, 2, 3], [-1, 0, 1], ["2", "4", "10"], [1.0, 2.0, 3.0]])
def test_numbers_are_named_in_their_order(values):
    found = classes(values[::-1], ["low", "middle", "high"])
    assert [found.place(value) for value in values] == [0, 1, 2]


def test_a_mapping_names_any_values():
    found = classes([5, 1, 5], {5: "good", 1: "bad"})
    assert (found.names, found.place(1)) == (["good", "bad"], 1)
    assert classes([0, 1], {"cat": "katze", "dog": "hund"}, DECLARED).places == {"cat": 0, "dog": 1}
    assert classes([True, False], {False: "no", True: "yes"}).place(True) == 1


@pytest.mark.parametrize(
    ("values", "labels", "kind"),
    [
        ([0, 1], ["dog", "cat", "bird"], DECLARED),  # a name that no folder has
        ([0, 1], ["Dog", "cat"], DECLARED),
        ([0, 1], ["bird", "cat", "dog"], DECLARED),
        (["a", "b", "c"], ["a", "b"], None),  # a value without a name
        (["a", "b"], ["x", "y"], None),
        ([0, 1, 2], ["low", "high"], None),
        ([0, 1], ["low", "middle", "high"], None),
        ([1, 2], [0, 1], None),
        (["true", "false"], ["no", "yes"], None),
        ([1, 2], {1: "low"}, None),
        ([1, 2], {1: "low", 2: "high", 3: "?"}, None),
        ([1, 2], {1: "low", 2: "high", "2": "?"}, None),
    ],
)
def test_unknown_and_missing_names_are_refused_with_both_lists(values, labels, kind):
    sentence = refused(values, labels, kind)
    held = kind.names if kind else [str(value) for value in values]
    names = [str(name) for name in (labels.values() if isinstance(labels, dict) else labels)]
    assert f"task.labels gives {', '.join(names)}, and the column 'label' holds {', '.join(sorted(held))}" in sentence
    assert "{value: name}" in sentence


def test_one_number_in_two_spellings_is_refused():
    assert "writes one number as '01' and '1': write each class one way" in refused(["1", "01", "2"])


def test_fractions_are_refused_as_texts_too():
    assert "numbers such as 0.5: to predict numbers, set task.regression" in refused(["0.5", "1"])


@pytest.mark.parametrize(
    ("labels", "sentence"), [("cat", "give a list"), (3, "give the names"), (["a", "a"], "'a' twice")]
)
def test_labels_of_another_form_are_refused_before_anything_is_read(labels, sentence):
    with pytest.raises(InputError, match=sentence):
        TaskOptions("mine", labels=labels)


# --------------------------------------------------------------------------------------------- an adapter's own labels


ADAPTER = ["bird", "cat", "dog"]


@pytest.mark.parametrize(
    ("values", "labels", "kind"),
    [
        (["dog", "bird"], None, None),
        ([1, 0], None, ClassLabel(names=["bird", "dog"])),
        ([1, 0], ["dog", "cat", "bird"], ClassLabel(names=["bird", "dog"])),
        ([2, 0], None, None),  # in the order of the adapter's labels, of which only the first number can be 0
        ([7, 5], {5: "bird", 7: "dog"}, None),
    ],
)
def test_data_without_a_class_have_the_adapters_labels(values, labels, kind):
    found = classes(values, labels, kind, ADAPTER)
    names = kind.names if kind else None
    assert found.names == ADAPTER
    assert [found.place(names[value] if names else value) for value in values] == [2, 0]


@pytest.mark.parametrize(
    ("values", "labels", "said"),
    [
        (["dog", "cow"], None, "cow"),
        ([1, 2], None, "holds 1, 2"),  # bird and cat, or cat and dog?
        (["dog", "bird"], {"dog": "dog", "bird": "crow"}, "crow"),
    ],
)
def test_labels_that_an_adapter_has_not_are_refused(values, labels, said):
    sentence = refused(values, labels, expected=ADAPTER)
    assert said in sentence
    assert "bird, cat, dog" in sentence


# ------------------------------------------------------------------------------------------------ a column of lists


@pytest.mark.parametrize(
    ("lists", "kind", "labels", "names", "expected"),
    [
        ([[0, 1, 1], [1, 0, 1]], None, ["x", "y", "z"], ["x", "y", "z"], [0, 1, 1]),
        ([[0, 1, 1], [1, 0, 1]], None, None, ["0", "1", "2"], [0, 1, 1]),
        ([[True, False], [False, True]], None, ["x", "y"], ["x", "y"], [1, 0]),
        ([["b", "a"], ["c"]], None, None, ["a", "b", "c"], [1, 1, 0]),
        ([["b", "a"], ["c"]], None, ["c", "b", "a"], ["c", "b", "a"], [0, 1, 1]),
        ([[1], [0, 1]], List(ClassLabel(names=["x", "y"])), None, ["x", "y"], [0, 1]),
        ([[1], [0, 1]], List(ClassLabel(names=["x", "y"])), ["y", "x"], ["y", "x"], [1, 0]),
    ],
)
def test_a_column_of_lists_holds_several_labels(lists, kind, labels, names, expected, tmp_path):
    features = Features({"text": Value("string"), "label": kind}) if kind else None
    data = {"text": [f"{i % 2}" for i in range(20)], "label": lists * 10}
    Dataset.from_dict(data, features=features).to_parquet(tmp_path / "data.parquet")
    options = {"text": "text", "problem": "multi_label_classification", "labels": labels}
    task = load_task(TaskOptions(str(tmp_path / "data.parquet"), **options))
    assert task.labels == names
    assert all(row["label"] == expected for row in task.train if row["text"] == "0")


@pytest.mark.parametrize(
    ("lists", "options", "sentence"),
    [
        ([[0, 1], [1, 0]], {}, "holds lists, .* set task.problem: multi_label_classification"),
        ([[0], [1, 2]], {"problem": "multi_label_classification"}, "lists with 0 or 1 for every label"),
        ([[0, 2], [1, 1]], {"problem": "multi_label_classification"}, "lists with 0 or 1 for every label"),
        ([["a"], ["b"]], {"problem": "multi_label_classification", "labels": ["a"]}, "gives a, and .* holds a, b"),
        ([["H"], ["E"]], {"problem": "token_classification"}, "a text with one letter per letter"),
        ([{"a": 1}, {"a": 2}], {}, "which is no label: give texts or numbers"),
        ([b"a", b"b"], {}, "which is no label: give texts or numbers"),
    ],
)
def test_lists_that_say_no_labels_are_refused(lists, options, sentence, tmp_path):
    Dataset.from_dict({"text": ["a", "b"] * 10, "label": lists * 10}).to_parquet(tmp_path / "data.parquet")
    with pytest.raises(InputError, match=sentence):
        load_task(TaskOptions(str(tmp_path / "data.parquet"), text="text", **options))


def test_a_file_or_folder_with_the_name_of_a_known_task_is_read_as_what_it_is(tmp_path, monkeypatch):
    known = TaskOptions("glue", "rte")
    assert known_task(known) is not None
    monkeypatch.chdir(tmp_path)
    (tmp_path / "glue").mkdir()
    assert known_task(known) is None
