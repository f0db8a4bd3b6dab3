"""The small network of texts: against a loop over windows, and in a recipe."""

from __future__ import annotations

import pytest
import torch

from hf_reprogram import InputError
from hf_reprogram.baselines.small_network import Windows
from hf_reprogram.experiments.recipe import make_recipe
from tests.support import runs


def naive(network, ids):
    """One text after the other, window by window, with zeros after its end."""
    found = []
    for window in network.windows:
        size = window.kernel_size[0]
        states = torch.cat([network.embedding(ids), torch.zeros(size - 1, network.embedding.embedding_dim)])
        places = range(len(ids))
        answers = [(window.weight * states[p : p + size].T).sum((1, 2)) + window.bias for p in places]
        found.append(torch.stack(answers).relu().amax(0))
    return network.head(torch.cat(found))


@pytest.mark.parametrize("side", ["right", "left"])
@torch.no_grad()
def test_a_text_is_its_largest_windows_and_padding_is_nothing(side):
    torch.manual_seed(0)
    network = Windows(tokens=9, width=4, channels=5, outputs=3)
    texts = [torch.tensor([1, 2, 3, 4, 5, 6, 7]), torch.tensor([8, 1]), torch.tensor([3])]
    ids, mask = torch.full((3, 7), 0), torch.zeros(3, 7, dtype=torch.long)
    for row, text in enumerate(texts):
        place = slice(len(text)) if side == "right" else slice(7 - len(text), None)
        ids[row, place], mask[row, place] = text, 1
    torch.testing.assert_close(network(ids, mask), torch.stack([naive(network, text) for text in texts]))


def test_it_learns_a_task_of_texts_beside_a_method(source_folder, csv_file, tmp_path):
    results = runs.run(
        source_folder("bert"),
        csv_file,
        tmp_path / "run",
        training={"num_train_epochs": 3},
        baselines=["majority", {"small_network": {"learning_rate": [1e-2]}}],
    )
    found = results["baselines"]
    assert found["small_network"]["test"]["accuracy"]["mean"] > found["majority"]["test"]["accuracy"]["mean"] + 0.2
    assert found["small_network"]["chosen"] == [{"learning_rate": 1e-2}]


def test_one_answer_a_token_is_refused():
    task = {"dataset": "x.csv", "text": "sequence", "label": "states", "problem": "token_classification"}
    method = {"name": "r2dl", "tokenizer": "residues"}
    with pytest.raises(InputError, match="one label per text"):
        make_recipe({"source": "nowhere", "method": method, "task": task, "baselines": ["small_network"]})
