"""The server's routes, with FastAPI's own client."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest

pytest.importorskip("fastapi")
from fastapi.testclient import TestClient

from hf_reprogram import Programs
from hf_reprogram.serving.app import TOKEN, Limits, make_app
from tests.support import adapters

SECRET = {"Authorization": "Bearer secret"}


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """A tiny BERT's folder, and those of three of its adapters."""
    folder = tmp_path_factory.mktemp("bert")
    source = adapters.source(folder / "source", "bert")
    names = ("films", "topics", "letters", "grade")
    return source, {one: adapters.save(folder / one, source, "bert", one) for one in names}


@pytest.fixture
def client(texts, monkeypatch):
    """A client of a server with a token and small limits."""
    monkeypatch.setenv(TOKEN, "secret")
    source, saved = texts
    programs = Programs(source)
    for name in ("films", "topics"):
        programs.add(name, saved[name])
    with TestClient(make_app(programs, Limits(body=2000, inputs=4)), headers=SECRET) as client:
        client.programs, client.saved = programs, saved
        yield client


def error_of(response, status):
    assert response.status_code == status
    return response.json()["error"]


def test_answers_are_those_of_the_programs(client):
    (found,) = client.post("/adapters/topics", json={"inputs": "a good film"}).json()
    (expected,) = client.programs.predict([("topics", "a good film")])
    assert [{*one} for one in found] == [{"label", "score"}] * 3
    assert found[0] == {"label": expected["label"], "score": pytest.approx(expected["score"])}
    assert sum(one["score"] for one in found) == pytest.approx(1)
    assert [one["score"] for one in found] == sorted((one["score"] for one in found), reverse=True)


def test_lists_pairs_and_parameters(client):
    asked = {"inputs": ["a film", "bad"], "parameters": {"top_k": 1, "function_to_apply": "none"}}
    found = client.post("/adapters/films", json=asked).json()
    assert [len(one) for one in found] == [1, 1]
    logits = client.programs.logits([client.programs.prepare("films", text) for text in asked["inputs"]])
    assert [one[0]["score"] for one in found] == pytest.approx([float(row.max()) for row in logits], abs=1e-5)
    pair = client.post("/adapters/films", json={"inputs": {"text": "a film", "text_pair": "bad"}}).json()
    assert pair == client.post("/adapters/films", json={"inputs": [["a film", "bad"]]}).json()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "The body is no JSON"),
        (b"[1]", 'The body has no "inputs"'),
        (b'{"inputs": []}', "There are no inputs"),
        (b'{"inputs": 3}', "neither a text nor a pair"),
        (b'{"inputs": "a", "parameters": 3}', '"parameters" is no object'),
        (b'{"inputs": "a", "parameters": {"top_k": 0}}', "top_k is '0'"),
        (b'{"inputs": "a", "parameters": {"function_to_apply": "exp"}}', "function_to_apply is 'exp'"),
    ],
)
def test_a_request_that_cannot_be_read_gets_a_sentence(client, body, message):
    assert message in error_of(client.post("/adapters/films", content=body), 400)


def test_limits_and_unknown_adapters(client):
    assert "at most 2,000 bytes" in error_of(client.post("/adapters/films", json={"inputs": "a" * 3000}), 413)
    stream = (b"a" * 500 for _ in range(10))  # without a length
    assert "at most 2,000 bytes" in error_of(client.post("/adapters/films", content=stream), 413)
    assert "at most 4 inputs" in error_of(client.post("/adapters/films", json={"inputs": ["a"] * 5}), 413)
    assert "no adapter 'other' here" in error_of(client.post("/adapters/other", json={"inputs": "a"}), 404)
    assert "There are 2 adapters here" in error_of(client.post("/", json={"inputs": "a"}), 404)


def test_adapters_come_and_go_while_it_runs(client):
    place = {"path": client.saved["letters"]}
    assert client.put("/adapters/letters", json=place).json()["labels"] == adapters.TOPICS
    assert [one["name"] for one in client.get("/adapters").json()] == ["films", "topics", "letters"]
    tokens = client.post("/adapters/letters", json={"inputs": "ACD"}).json()
    assert [token["word"] for token in tokens] == ["A", "C", "D"]
    assert "an adapter 'letters' already" in error_of(client.put("/adapters/letters", json=place), 409)
    assert "There is no adapter at" in error_of(client.put("/adapters/new", json={"path": "no/such"}), 400)
    assert "give such a name" in error_of(client.put("/adapters/a b", json=place), 400)
    assert client.delete("/adapters/letters").status_code == 204
    assert error_of(client.delete("/adapters/letters"), 404)


def test_only_the_token_opens_the_server(client):
    without = {"Authorization": ""}
    assert error_of(client.get("/adapters", headers=without), 401)
    assert error_of(client.post("/adapters/films", json={"inputs": "a"}, headers={"Authorization": "Bearer no"}), 401)
    assert error_of(client.delete("/adapters/films", headers=without), 401)
    assert client.get("/health", headers=without).json() == {"status": "ok", "adapters": 2, "waiting": 0}


def test_without_a_token_adapters_stay_as_they_are(texts, monkeypatch):
    monkeypatch.delenv(TOKEN, raising=False)
    source, saved = texts
    programs = Programs(source)
    programs.add("grade", saved["grade"])
    with TestClient(make_app(programs)) as client:
        assert TOKEN in error_of(client.delete("/adapters/grade"), 403)
        (found,) = client.post("/", json={"inputs": "a film"}).json()
        assert found[0]["score"] == pytest.approx(programs.predict([("grade", "a film")])[0]["value"], abs=1e-5)


def test_metrics_and_pages(client):
    client.post("/adapters/films", json={"inputs": "a film"})
    error_of(client.post("/adapters/films", content=b"{"), 400)
    lines = client.get("/metrics").text.splitlines()
    assert "hf_reprogram_requests_answered_total 1" in lines
    assert 'hf_reprogram_http_responses_total{status="400"} 1' in lines
    paths = client.get("/openapi.json").json()["paths"]
    assert "requestBody" in paths["/adapters/{name}"]["post"]
    assert '<select id="adapter">' in client.get("/").text


def test_images_and_sounds_come_as_files_or_in_base64(tmp_path):
    for family, name, encoded in (("vit", "digits", _png()), ("wav2vec2", "words", _wav())):
        source = adapters.source(tmp_path / family, family)
        folder = adapters.save(tmp_path / name, source, family, name)
        programs = Programs.recorded_by(folder)
        programs.add(name, folder)
        with TestClient(make_app(programs, Limits(pixels=1000))) as client:
            raw = client.post(
                f"/adapters/{name}", content=encoded, headers={"Content-Type": "application/octet-stream"}
            )
            inside = client.post(f"/adapters/{name}", json={"inputs": base64.b64encode(encoded).decode()})
            assert raw.status_code == 200, raw.text
            assert raw.json() == inside.json()
            (expected,) = programs.predict([(name, encoded)])
            assert raw.json()[0] == {"label": expected["label"], "score": pytest.approx(expected["score"])}
            path = tmp_path / "file.png"
            path.write_bytes(encoded)
            assert "not base64" in error_of(client.post(f"/adapters/{name}", json={"inputs": str(path)}), 400)
            assert "The input" in error_of(client.post(f"/adapters/{name}", content=b"nothing"), 400)
            if family == "vit":
                assert "at most 1,000 pixels" in error_of(client.post(f"/adapters/{name}", content=_png(50)), 413)


def _png(side=20):
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (side, side, 3), dtype=np.uint8)).save(file, "png")
    return file.getvalue()


def _wav():
    soundfile = pytest.importorskip("soundfile")
    file = io.BytesIO()
    soundfile.write(file, np.sin(np.arange(1600) / 5), 16000, format="wav")
    return file.getvalue()
