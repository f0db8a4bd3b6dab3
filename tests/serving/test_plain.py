"""A source that is served with labels of its own is an endpoint on which a recipe can train."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("fastapi")
from fastapi.testclient import TestClient
from huggingface_hub import constants

from hf_reprogram import InputError, Programs
from hf_reprogram.modalities.pixels import encoded
from hf_reprogram.serving.app import make_app
from hf_reprogram.sources import BlackBox, InferenceEndpoint, load_source
from tests.support import adapters
from tests.support.listening import listening


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """A tiny ViT, with an adapter beside it."""
    folder = tmp_path_factory.mktemp("vit")
    source = adapters.source(folder / "source", "vit")
    made = Programs(source)
    made.add("digits", adapters.save(folder / "digits", source, "vit", "digits"))
    made.add_plain("source")
    return made


def test_a_black_box_over_http_answers_as_the_source_does(programs, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)  # which refuses loopback too
    source = programs.source
    height, width = source.spec.canvas()
    rows = torch.rand(5, 3, height, width, generator=torch.Generator().manual_seed(0)).mul(255).round() / 255
    with torch.no_grad():
        expected = source({"pixels": rows}, "logits").softmax(1)
    with listening(make_app(programs)) as address:
        endpoint = InferenceEndpoint(f"{address}/adapters/source", "image-classification")
        box = BlackBox(endpoint, source.spec.labels, image_size=[height, width])
        found = box({"pixels": rows}, "logits").exp()
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


def test_the_source_and_its_adapters_share_batches_and_the_list(programs):
    image = adapters.IMAGES[0]
    together = programs.predict([("source", image), ("digits", image), ("source", adapters.IMAGES[1])])
    alone = [programs.predict([(name, image)])[0] for name in ("source", "digits")]
    assert [one["label"] for one in together[:2]] == [one["label"] for one in alone]
    assert [one["score"] for one in together[:2]] == pytest.approx([one["score"] for one in alone], abs=1e-5)
    with TestClient(make_app(programs)) as client:
        listed = {one["name"]: one for one in client.get("/adapters").json()}
        assert listed["source"]["labels"] == list(programs.source.spec.labels)
        assert listed["source"]["trained_numbers"] == 0
        answer = client.post("/adapters/source", content=encoded(image), headers={"Content-Type": "image/png"}).json()
        assert answer[0] == {"label": alone[0]["label"], "score": pytest.approx(alone[0]["score"])}


def test_a_source_without_labels_for_images_or_sounds_is_refused(source_folder):
    source, _ = load_source(source_folder("bert"))
    with pytest.raises(InputError, match="has no labels for images or sounds: serve adapters of it"):
        Programs(source).add_plain("source")
