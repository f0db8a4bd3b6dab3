"""Voice2Series learns a small task, chooses how a series lies in the clip, and reloads."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from datasets import Dataset

from hf_reprogram import InputError, ReprogrammedModel, reprogram
from hf_reprogram.experiments.recipe import make_recipe
from hf_reprogram.experiments.run import train
from hf_reprogram.modalities.series_extractor import SeriesExtractor
from tests.support import tiny_audio

ROWS, LABELS = tiny_audio.series(40)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """The folder of a tiny keyword spotter."""
    return str(tiny_audio.save_source(tmp_path_factory.mktemp("spotter") / "spotter", "keyword_spotter"))


def test_blocks_of_source_labels_in_order_are_the_papers_map(source):
    """Twelve labels and two classes: six each, the first six for the first class."""
    model, _ = reprogram(source, "voice2series", ["a", "b"], features=ROWS)
    assert model.mapping.sets.tolist() == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]
    paper, _ = reprogram(source, "voice2series", ["a", "b"], features=ROWS, preset="paper")
    assert (paper.transform.options.dropout, paper.transform.options.l2, paper.transform.options.placing) == (
        0.2,
        0.05,
        "copies",
    )


def test_the_loss_is_the_cross_entropy_of_renormalised_block_means(source):
    """-log(p_y / sum p), where p_c is the mean probability of a class's block."""
    model, processor = reprogram(source, "voice2series", ["a", "b"], features=ROWS)
    batch = processor(ROWS[:4], return_tensors="pt")
    loss = model(**batch, labels=torch.tensor(LABELS[:4])).loss
    inputs = model.transform(dict(batch), model.source)
    means = model.source(inputs, "logits").softmax(-1).view(4, 2, 6).mean(-1)
    expected = -(means / means.sum(-1, keepdim=True))[range(4), LABELS[:4]].log().mean()
    torch.testing.assert_close(loss, expected)


def test_long_series_are_stretched_and_too_many_copies_refused(source):
    long = np.random.default_rng(0).normal(size=(4, 2000))
    model, _ = reprogram(source, "voice2series", ["a", "b"], features=long)
    assert model.transform.options.placing == "stretched"
    with pytest.raises(InputError, match="do not fit into a clip of 1,600 samples"):
        reprogram(source, "voice2series", ["a", "b"], features=long, placing="copies")
    with pytest.raises(InputError, match="give the training series"):
        reprogram(source, "voice2series", ["a", "b"])


def test_a_text_source_is_refused(source_folder):
    with pytest.raises(InputError, match="takes no sounds"):
        reprogram(source_folder("bert"), "voice2series", ["a", "b"], features=ROWS)


def test_a_recipe_chooses_the_placing_learns_and_reloads(source, tmp_path):
    rows, labels = tiny_audio.series(80, seed=1)
    data = Dataset.from_dict({"values": [*rows], "kind": [("one", "three")[label] for label in labels]})
    recipe = make_recipe(
        {
            "source": source,
            "method": "voice2series",
            "task": {"dataset": data, "series": "values", "label": "kind", "validation_share": 0.3},
            "training": {"num_train_epochs": 2, "learning_rate": 1e-2},
            "baselines": ["majority", "raw_linear", "linear_probe"],
            "output": str(tmp_path / "run"),
        }
    )
    results = train(recipe, quiet=True)
    tried = {tuple(each["options"].get(key) for key in ("placing", "copies")) for each in results["defaults"]["tried"]}
    assert {("copies", 8), ("copies", 1), ("stretched", 1), ("amplitude", 1), ("frequency", 1)} <= tried
    assert results["test"]["accuracy"]["mean"] > 0.8
    model = ReprogrammedModel.from_pretrained(tmp_path / "run")
    processor = SeriesExtractor.from_pretrained(tmp_path / "run")
    assert processor.length == 20
    assert model(**processor([rows[0], rows[1][:10]], return_tensors="pt")).logits.shape == (2, 2)


@pytest.mark.slow
def test_alternatives_that_a_long_series_has_no_room_for_are_left_out(source, tmp_path):
    """Two copies of 700 numbers fit into 1,600 samples; four and eight do not."""
    rows, labels = tiny_audio.series(40, length=700)
    data = Dataset.from_dict({"values": [*rows], "kind": labels})
    task = {"dataset": data, "series": "values", "label": "kind"}
    recipe = {"source": source, "method": "voice2series", "task": task, "training": {"max_steps": 1}}
    results = train(make_recipe({**recipe, "output": str(tmp_path / "run")}), quiet=True)
    tried = {(each["options"]["placing"], each["options"]["copies"]) for each in results["defaults"]["tried"]}
    assert tried == {("copies", 1), ("stretched", 1), ("amplitude", 1), ("frequency", 1)}
