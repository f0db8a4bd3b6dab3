"""Training at a distance gives what local training gives, and no weight crosses the wire."""

from __future__ import annotations

import copy
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from datasets import Dataset, Features, Image, Value
from safetensors.torch import load, save

from hf_reprogram import InputError, Programs, ReprogrammedModel, reprogram
from hf_reprogram.experiments.evaluate import predict_lines
from hf_reprogram.experiments.recipe import make_recipe
from hf_reprogram.experiments.run import train
from hf_reprogram.serving import split as split_module
from hf_reprogram.serving import split_routes
from hf_reprogram.serving.app import TOKEN, make_app
from hf_reprogram.serving.split import Split
from hf_reprogram.sources import AudioSource, load_source
from hf_reprogram.sources.remote import RemoteSource
from tests.support import tiny_vision
from tests.support.frozen import bytes_of
from tests.support.listening import listening
from tests.support.training import losses_of


@contextmanager
def served(split):
    """The address of a server for a source."""
    app = make_app(Programs(split.source), split=split)
    with listening(app) as address:
        yield address


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of a tiny ViT."""
    return str(tiny_vision.save_source(tmp_path_factory.mktemp("sources") / "vit", "vit"))


@pytest.fixture(scope="module")
def local(folder):
    """The tiny ViT, here."""
    return load_source(folder)[0]


@pytest.fixture(scope="module")
def address(folder):
    """The address of the tiny ViT."""
    with served(Split(*load_source(folder))) as found:
        yield found


def batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {"pixel_values": torch.rand(4, 3, 32, 32, generator=generator), "labels": torch.tensor([0, 1, 1, 0])}


def trained(source):
    """An adapter after four steps, and their losses."""
    torch.manual_seed(0)
    model, _ = reprogram(source, "ilm_vp", ["a", "b"], mapping="dense", start="none")
    return model, losses_of(model, 1e-2, **batch())


def test_training_at_a_distance_is_local_training(local, address, tmp_path):
    remote = RemoteSource(address)
    assert remote.spec == local.spec
    ours, near = trained(local)
    theirs, far = trained(remote)
    assert far == near
    for name, value in ours.trainable().items():
        assert torch.equal(theirs.trainable()[name], value), name
    row = 3 * 32 * 32 * 4
    for count in (remote.sent, remote.received):  # inputs and answers of 4 rows in 4 steps, in float32
        assert 4 * 4 * row < count < 4 * 4 * row + 20_000
    theirs.save_pretrained(tmp_path)
    again = ReprogrammedModel.from_pretrained(tmp_path, source=local)  # a copy of the source, elsewhere
    with torch.no_grad():
        assert torch.equal(again(pixel_values=batch()["pixel_values"]).logits, theirs.eval()(**batch()).logits)


def test_a_recipe_runs_on_an_address(folder, address, tmp_path):
    images, labels = tiny_vision.images(60)
    features = Features({"scan": Image(), "half": Value("string")})
    rows = {"scan": images, "half": [("above", "below")[label] for label in labels]}
    Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "halves.parquet")
    found = {}
    for name, source in (("far", address), ("near", folder)):
        values = {
            "source": source,
            "method": {"name": "elsayed", "mapping": "dense", "image_size": 16},
            "task": {"dataset": str(tmp_path / "halves.parquet"), "image": "scan", "label": "half"},
            "training": {"num_train_epochs": 1, "per_device_train_batch_size": 8},
            "baselines": ["linear_probe"],
            "output": str(tmp_path / name),
        }
        found[name] = train(make_recipe(values), quiet=True)
    for key in ("test", "start", "gain"):
        assert found["far"][key] == found["near"][key]
    probes = [run["baselines"]["linear_probe"]["test"] for run in found.values()]
    assert probes[0] == probes[1]
    assert found["far"]["source"]["name"] == address
    images[0].save(tmp_path / "one.png")
    lines = [str(tmp_path / "one.png")]
    with pytest.raises(InputError, match=r"was trained on the source at http://.*: to connect to it"):
        predict_lines(str(tmp_path / "far"), lines, None, quiet=True)  # no folder opens a connection by itself
    far = predict_lines(str(tmp_path / "far"), lines, address, quiet=True)
    assert far == predict_lines(str(tmp_path / "near"), lines, None, quiet=True)


@pytest.mark.parametrize("graphs", [0, 8])
def test_a_graph_that_was_dropped_is_computed_again(local, folder, monkeypatch, graphs):
    monkeypatch.setattr(split_module, "GRAPHS", graphs)
    with served(Split(*load_source(folder))) as address:
        remote = RemoteSource(address)
        given = {name: batch()["pixel_values"].requires_grad_() for name in ("near", "far")}
        for name, source in (("near", local), ("far", remote)):
            first, second = (source({"pixels": scale * given[name]}, "features") for scale in (1, 2))
            (first.square().sum() + second.sum()).backward()  # two outputs wait at once
        torch.testing.assert_close(given["far"].grad, given["near"].grad, rtol=0, atol=0)


def test_the_source_stays_as_it_is_and_its_weights_stay_there(folder):
    source, record = load_source(folder)
    before = bytes_of(source)
    split = Split(source, record)
    output, graph = split.forward(save({"pixels": batch()["pixel_values"]}), "logits", keep=True)
    found = split.vjp(save({"gradient": torch.ones_like(load(output)["output"])}), graph=graph)
    assert set(load(found)) == {"pixels"}
    assert bytes_of(source) == before
    assert all(parameter.grad is None for parameter in source.parameters())
    assert split.about()["record"]["name"] == ""  # a folder there says nothing here
    assert len(str(split.about())) < 20_000


def test_sounds_go_the_same_way():
    network = torch.nn.Sequential(torch.nn.Linear(100, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
    source = AudioSource(network, sampling_rate=100, samples=100, labels=["a", "b", "c"])
    with served(Split(*load_source(source))) as address:
        remote = RemoteSource(address)
        assert remote.spec == source.spec
        clips = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 100)).astype(np.float32))
        assert torch.equal(remote({"waveform": clips}, "logits"), source({"waveform": clips}, "logits"))
        assert torch.equal(copy.deepcopy(remote)({"waveform": clips}, "logits"), source({"waveform": clips}, "logits"))


def test_a_server_that_only_answers_gives_no_gradient(local, folder):
    split = Split(*load_source(folder), white_box=False)
    with served(split) as address:
        remote = RemoteSource(address)
        assert not remote.differentiable
        pixels = batch()["pixel_values"].requires_grad_()
        answer = remote({"pixels": pixels}, "logits")
        assert not answer.requires_grad
        assert torch.equal(answer, local({"pixels": pixels}, "logits").detach())
        with pytest.raises(InputError, match="This source only answers"):
            remote.gradients("", torch.ones_like(answer), {"pixels": pixels}, "logits")


def test_a_token_is_asked_for(folder, monkeypatch):
    monkeypatch.setenv(TOKEN, "secret")
    with served(Split(*load_source(folder))) as address:
        assert RemoteSource(address).differentiable
        monkeypatch.setenv(TOKEN, "guessed")
        with pytest.raises(InputError, match="refused the request: The token is missing or wrong") as caught:
            RemoteSource(address)
        assert "guessed" not in str(caught.value)


def test_what_cannot_work_is_told(text_source_folder, folder, address, monkeypatch):
    with pytest.raises(InputError, match=r"of kind 'masked_lm': training at a distance is for images and sounds"):
        Split(*load_source(text_source_folder))
    with pytest.raises(InputError, match=r"gave no answer after 4 attempts \(ConnectionError\)"):
        RemoteSource("http://127.0.0.1:9")
    remote = RemoteSource(address)
    with pytest.raises(InputError, match=r"refused the request: .* cannot read 'mask'"):
        remote({"pixels": batch()["pixel_values"]}, "mask")
    with pytest.raises(InputError, match=r"refused the request: "):
        remote({"pixels": torch.zeros(1, 3, 5, 5)}, "logits")
    with pytest.raises(InputError, match="does not send the rows of its last layer"):
        remote.label_embeddings()
    with pytest.raises(InputError, match=r"kind is 'image_encoder', and the source at .* has 'image_classifier'"):
        load_source(address, kind="image_encoder")
    monkeypatch.setattr(split_routes, "LIMIT", 1000)
    with pytest.raises(InputError, match=r"at most 1,000 bytes: send less at once"):
        remote({"pixels": batch()["pixel_values"]}, "logits")


@pytest.fixture(scope="module")
def text_source_folder(source_folder):
    """A source of texts."""
    return source_folder("bert")
