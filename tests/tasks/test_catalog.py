"""The data sets that are known by name: columns, problem, labels, metrics and splits, on tiny data of their shape."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset

from hf_reprogram import InputError
from hf_reprogram.modalities import MODALITIES
from hf_reprogram.tasks import load
from hf_reprogram.tasks.catalog import ALIASES, CATALOG, HUB_NAMES, in_mirror, on_hub
from hf_reprogram.tasks.load import load_task
from hf_reprogram.tasks.metrics import check_metric
from hf_reprogram.tasks.options import TaskOptions
from hf_reprogram.tasks.problems import IGNORE, PROBLEMS

RINGS = ("c1ccccc1", "C1CCCCC1", "c1ccncc1", "c1ccsc1", "C1CCOC1", "c1cc[nH]c1", "C1CCCC1", "C1CCNCC1")


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A function that writes one split of a data set in the mirror's shape."""
    monkeypatch.setenv("HF_REPROGRAM_DATA", str(tmp_path))

    def add(folder: str, split: str, data: dict[str, list]):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        Dataset.from_dict(data).to_parquet(tmp_path / folder / f"{split}.parquet")

    return add


def smiles(count: int) -> list[str]:
    """Molecules of eight scaffolds, chains of all lengths on each."""
    return ["C" * (i // len(RINGS)) + RINGS[i % len(RINGS)] for i in range(count)]


def sizes(task) -> dict[str, int]:
    """Examples a split."""
    return {name: len(split) for name, split in task.splits(0).items()}


# ------------------------------------------------------------------------------------------------- the catalog itself


@pytest.mark.parametrize("known", CATALOG.values(), ids=lambda known: str(known.label)[:20])
def test_every_entry_is_one_that_the_rest_understands(known):
    problem = PROBLEMS[known.problem]
    assert known.metrics
    for name in known.metrics:
        check_metric(name, problem.takes, known.problem)
    assert isinstance(known.label, tuple) == (known.problem == "multi_label_classification")
    named = known.problem in ("single_label_classification", "token_classification")
    assert bool(known.labels) == (named and known is not CATALOG["images", "tiny_imagenet"])  # whose data names them
    assert known.train_split != known.test_split
    assert not any(ord(character) > 127 for name in known.labels for character in name)
    assert known.columns
    assert known.modality in MODALITIES.names()


def test_the_sizes_of_moleculenet():
    labels = {name: known.label for (dataset, name), known in CATALOG.items() if dataset == "moleculenet"}
    assert {name: len(label) for name, label in labels.items() if isinstance(label, tuple)} == {
        "clintox": 2,
        "tox21": 12,
        "sider": 27,
    }
    assert len({*labels["sider"]}) == 27


def test_short_names_stand_for_entries_of_the_hub():
    assert on_hub("glue", "rte") == on_hub("nyu-mll/glue", "rte") == ("nyu-mll/glue", "rte")
    assert on_hub("dna", "h3") == on_hub("leannmlindsey/GUE", "emp_H3") == ("leannmlindsey/GUE", "emp_H3")
    assert on_hub("dna", "splice") == ("dna", "splice")
    assert on_hub("somebody/data", None) == ("somebody/data", None)
    assert {(dataset, name or "") for dataset, name in HUB_NAMES.values()} <= {*CATALOG}
    assert {dataset for dataset, _ in CATALOG} >= {*ALIASES.values()}


def test_a_mirror_has_short_names_too():
    assert in_mirror("glue", "rte") == in_mirror("nyu-mll/glue", "rte") == [Path("glue/rte")]
    assert in_mirror("dna", "h3") == [Path("dna/h3")]
    assert in_mirror("leannmlindsey/GUE", "emp_H3") == [Path("GUE/emp_H3"), Path("dna/h3")]
    assert in_mirror("ag_news", None) == [Path("ag_news")]


@pytest.mark.parametrize(("dataset", "name"), [("dna", "h3"), ("glue", "rte"), ("somebody/data", None)])
def test_without_a_mirror_the_hub_is_asked(dataset, name, monkeypatch):
    asked = []

    def nothing(*arguments, **options):
        asked.append(arguments)
        raise FileNotFoundError("nobody home")

    monkeypatch.setattr("datasets.load_dataset", nothing)
    with pytest.raises(InputError, match="nobody home"):
        load_task(TaskOptions(dataset=dataset, name=name))
    assert asked == [on_hub(dataset, name)]


# --------------------------------------------------------------------------------------------------- a kind at a time


def test_molecules_of_two_classes_are_split_by_scaffold(mirror):
    pytest.importorskip("rdkit")
    texts = smiles(80)
    mirror("moleculenet/bbbp", "train", {"num": [1] * 80, "p_np": [i % 3 % 2 for i in range(80)], "smiles": texts})
    task = load_task(TaskOptions(dataset="moleculenet", name="bbbp"))
    assert (task.problem_type, task.labels) == ("single_label_classification", ["not_permeable", "permeable"])
    assert task.metrics == ["roc_auc", "accuracy"]
    assert sizes(task) == {"train": 50, "validation": 10, "test": 20}
    splits = task.splits(0)
    rings = {name: {text.lstrip("C") for text in splits[name]["text"]} for name in splits}
    assert sum(map(len, rings.values())) == len({*rings["train"], *rings["validation"], *rings["test"]})
    assert any("Murcko scaffold" in note for note in task.notes)


def test_without_rdkit_molecules_are_split_with_a_seed_and_it_is_said(mirror, monkeypatch):
    monkeypatch.setattr(load, "find_spec", lambda name: None)
    data = {"smiles": smiles(40), "activity": ["CI"] * 40, "HIV_active": [0, 1] * 20}
    mirror("moleculenet/hiv", "train", data)
    task = load_task(TaskOptions(dataset="moleculenet", name="hiv"))
    assert task.labels == ["inactive", "active"]
    assert sizes(task) == {"train": 29, "validation": 3, "test": 8}
    assert "rdkit is not installed" in task.notes[0]


@pytest.mark.parametrize("name", ["clintox", "tox21", "sider"])
def test_molecules_of_several_labels(name, mirror):
    columns = CATALOG["moleculenet", name].label
    values = [0.0, 1.0, None if name == "tox21" else 1.0, 0.0]
    data = {column: [values[(i + shift) % 4] for i in range(80)] for shift, column in enumerate(columns)}
    mirror(f"moleculenet/{name}", "train", {**data, "smiles": smiles(80)})
    task = load_task(TaskOptions(dataset="moleculenet", name=name, split="seeded"))
    assert (task.problem_type, task.labels, task.metrics) == ("multi_label_classification", [*columns], ["roc_auc"])
    assert sum(sizes(task).values()) == 80
    labels = np.asarray(task.train["label"])
    assert labels.shape[1] == len(columns)
    assert np.isnan(labels).any() == (name == "tox21")


def test_solubility_is_a_number(mirror):
    values = np.linspace(-5, 1, 40).tolist()
    columns = {"measured log solubility in mols per litre": values, "Minimum Degree": [1] * 40}
    mirror("moleculenet/esol", "train", {**columns, "smiles": smiles(40)})
    task = load_task(TaskOptions(dataset="moleculenet", name="esol", split="seeded"))
    assert (task.problem_type, task.metrics, task.labels) == ("regression", ["rmse", "pearson"], [])
    assert sorted([*task.train["label"], *task.test["label"]]) == pytest.approx(values)


@pytest.mark.parametrize(("name", "positive"), [("amp", "antimicrobial"), ("toxicity", "toxic")])
def test_peptides_have_an_official_test_split(name, positive, mirror):
    for split, count in (("train", 40), ("test", 12)):
        mirror(f"peptides/{name}", split, {"sequence": ["GLFDIVKK"] * count, "label": [0, 1] * (count // 2)})
    task = load_task(TaskOptions(dataset="peptides", name=name))
    assert task.labels == [f"not_{positive}", positive]
    assert task.metrics == ["accuracy", "roc_auc"]
    assert sizes(task) == {"train": 36, "validation": 4, "test": 12}
    assert task.test_split == "test"


def test_every_resolved_residue_has_a_class(mirror):
    for split, count in (("train", 6), ("validation", 3), ("test", 2)):
        data = {"id": ["x"], "sequence": ["MKTAY"], "labels": ["CHEEC"], "resolved": ["01110"]}
        mirror("proteins/secondary_structure", split, {name: column * count for name, column in data.items()})
    task = load_task(TaskOptions(dataset="proteins", name="secondary_structure"))
    assert (task.problem_type, task.labels, task.metrics) == ("token_classification", ["H", "E", "C"], ["accuracy"])
    assert sizes(task) == {"train": 6, "validation": 3, "test": 2}
    assert task.test["label"][0] == [IGNORE, 0, 1, 1, IGNORE]


@pytest.mark.parametrize("loop", [1, 2, 3])
def test_each_loop_of_an_antibody_is_hidden_alone(loop, mirror):
    for split, count in (("validation", 20), ("test", 4)):
        data = {"pdb": ["7e7x"], "seq": ["QVQLVQSG"], "cdr": ["01102330"]}
        mirror(f"antibodies/hcdr{loop}", split, {name: column * count for name, column in data.items()})
    task = load_task(TaskOptions(dataset="antibodies", name=f"hcdr{loop}"))
    assert (task.problem_type, task.metrics, task.labels) == ("infilling", ["recovery", "perplexity"], [])
    assert sizes(task) == {"train": 18, "validation": 2, "test": 4}
    assert task.test["text"][0] == "QVQLVQSG"
    assert task.test["label"][0] == [int(mark == str(loop)) for mark in "01102330"]


def test_splice_junctions_have_no_test_split(mirror):
    data = {"sequence": ["ACGT"] * 60, "label": [0, 1, 2] * 20, "name": ["ATRINS-DONOR-521"] * 60}
    mirror("dna/splice", "train", data)
    task = load_task(TaskOptions(dataset="dna", name="splice"))
    assert (task.labels, task.metrics) == (["EI", "IE", "N"], ["accuracy"])
    assert sizes(task) == {"train": 43, "validation": 5, "test": 12}
    assert sorted(task.test["label"]) == [0] * 4 + [1] * 4 + [2] * 4


@pytest.mark.parametrize("name", ["prom_core_tata", "prom_300_tata", "h3"])
@pytest.mark.parametrize("validation", ["validation", "dev", None])
def test_dna_of_two_classes_is_found_by_both_its_names(name, validation, mirror):
    for split, count in (("train", 40), (validation, 10), ("test", 8)):
        if split:
            mirror(f"dna/{name}", split, {"sequence": ["ACGTAC"] * count, "label": [0, 1] * (count // 2)})
    for dataset, configuration in (("dna", name), HUB_NAMES["dna", name]):
        task = load_task(TaskOptions(dataset=dataset, name=configuration))
        assert (task.metrics, len(task.labels)) == (["matthews", "accuracy"], 2)
        expected = {"train": 40, "validation": 10} if validation else {"train": 36, "validation": 4}
        assert sizes(task) == {**expected, "test": 8}


MISSING = "The data has no test split: its validation split is the test split here."


@pytest.mark.parametrize(("dataset", "labels"), [("ag_news", 4), ("fancyzhx/ag_news", 4), ("imdb", 2)])
@pytest.mark.parametrize("test", ["test", None])
def test_texts_with_a_test_split_and_a_mirror_without_one(dataset, labels, test, mirror):
    short = dataset.split("/")[-1]
    for split, count in (("train", 40), ("validation" if test is None else test, 16), ("unsupervised", 4)):
        mirror(short, split, {"text": ["some words"] * count, "label": [row % labels for row in range(count)]})
    task = load_task(TaskOptions(dataset=dataset))
    assert (len(task.labels), task.metrics, task.modality.name) == (labels, ["accuracy"], "text")
    assert sizes(task) == {"train": 36, "validation": 4, "test": 16}
    assert (MISSING in task.notes) == (test is None)
    assert not any("hidden" in note for note in task.notes)


def test_a_test_split_that_is_asked_for_is_never_another(mirror):
    for split in ("train", "validation"):
        mirror("imdb", split, {"text": ["some words"] * 20, "label": [0, 1] * 10})
    with pytest.raises(InputError, match="'test'"):
        load_task(TaskOptions(dataset="imdb", test_split="test"))


@pytest.mark.parametrize(
    ("dataset", "name", "folder", "column"),
    [
        ("images", "mnist", "images/mnist", "image"),
        ("ylecun/mnist", None, "images/mnist", "image"),
        ("ylecun/mnist", None, "mnist", "image"),
        ("images", "cifar10", "images/cifar10", "image"),
        ("uoft-cs/cifar10", None, "cifar10", "img"),
        ("images", "fashion_mnist", "images/fashion_mnist", "image"),
        ("images", "pneumonia_mnist", "images/pneumonia_mnist", "image"),
    ],
)
def test_images_are_found_by_both_their_names(dataset, name, folder, column, mirror):
    classes = 2 if name == "pneumonia_mnist" else 10
    for split, count in (("train", 60), ("test", 20)):
        mirror(folder, split, {column: [b"an image"] * count, "label": [row % classes for row in range(count)]})
    task = load_task(TaskOptions(dataset=dataset, name=name))
    assert (task.modality.name, len(task.labels), task.metrics[0]) == ("image", classes, "accuracy")
    assert task.train.column_names == ["image", "label"]
    assert sizes(task) == {"train": 54, "validation": 6, "test": 20}


@pytest.mark.parametrize("name", ["cifar10_shift", "dtd", "tiny_imagenet"])
def test_what_has_a_test_split_alone_is_not_trained_on(name, mirror):
    split = CATALOG["images", name].test_split
    mirror(f"images/{name}", split, {"image": [b"an image"] * 4, "label": [0, 1, 2, 3]})
    with pytest.raises(InputError, match=f"Unknown split of 'images' 'train'.*'{split}'"):
        load_task(TaskOptions(dataset="images", name=name))


def test_card_frauds_are_rows_of_thirty_numbers(mirror):
    names = [*(f"V{index}" for index in range(1, 29)), "Amount", "Time"]
    columns = {name: [float(place + row) for row in range(40)] for place, name in enumerate(names)}
    mirror("tabular/card_fraud", "train", {"Time": columns.pop("Time"), **columns, "label": [0, 0, 0, 1] * 10})
    task = load_task(TaskOptions(dataset="tabular", name="card_fraud"))
    assert (task.modality.name, task.labels, task.feature_names) == ("table", ["genuine", "fraud"], names)
    assert task.metrics == ["roc_auc", "average_precision", "accuracy"]
    assert sizes(task) == {"train": 29, "validation": 3, "test": 8}
    first = task.train[0]["features"]
    assert np.diff(first).tolist() == [1.0] * 29
