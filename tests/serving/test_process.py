"""A real server in a process of its own, on loopback, asked by the Hub's own client."""

from __future__ import annotations

import json
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("uvicorn")
import httpx
from huggingface_hub import InferenceClient

from hf_reprogram import Programs
from hf_reprogram.modalities.pixels import encoded
from tests.support import adapters, serving


@pytest.fixture
def server(tmp_path):
    """The process, its address, its source and its adapters. A batch waits for a second."""
    with serving.server(tmp_path, "bert", ("films", "topics", "digits"), latency=1000) as running:
        yield running


def metric(address, name):
    lines = httpx.get(f"{address}/metrics").text.splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(f"hf_reprogram_{name} ")))


@pytest.mark.slow
def test_a_server_answers_drops_and_drains(server, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)  # which refuses loopback too
    process, address, source, saved = server
    programs = Programs(source)
    for name, folder in saved.items():
        programs.add(name, folder)

    # the Hub's client works unchanged, for texts and for images
    (expected,) = programs.predict([("films", "a good film")])
    found = InferenceClient(model=f"{address}/adapters/films").text_classification("a good film", top_k=1)
    assert [(one.label, one.score) for one in found] == [(expected["label"], pytest.approx(expected["score"]))]
    image = adapters.IMAGES[0]
    (expected,) = programs.predict([("digits", image)])
    for options in ({}, {"top_k": 2}):
        found = InferenceClient(model=f"{address}/adapters/digits").image_classification(encoded(image), **options)
        assert (found[0].label, found[0].score) == (expected["label"], pytest.approx(expected["score"]))

    # a client that leaves before its batch costs nothing
    before = metric(address, "requests_dropped_total"), metric(address, "batch_rows_total")
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{address}/adapters/films", json={"inputs": "a film"}, timeout=0.2)
    time.sleep(1.5)
    assert (metric(address, "requests_dropped_total"), metric(address, "batch_rows_total")) == (
        before[0] + 1,
        before[1],
    )

    # many clients at once share a batch, and a signal to stop lets all of them have their answers
    asked = [(name, text) for text in adapters.TEXTS for name in ("films", "topics")]
    batches = metric(address, "batches_total")

    def ask(request):
        name, text = request
        return httpx.post(f"{address}/adapters/{name}", json={"inputs": text}, timeout=30)

    with ThreadPoolExecutor(len(asked)) as pool:
        first = list(pool.map(ask, asked))
        assert metric(address, "batches_total") < batches + len(asked)
        last = [pool.submit(ask, request) for request in asked]
        while httpx.get(f"{address}/health").json()["waiting"] < len(asked):
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        answers = [done.result() for done in last]
    expected = programs.predict(asked)
    for responses in (first, answers):
        assert [response.status_code for response in responses] == [200] * len(asked)
        best = [json.loads(response.text)[0][0] for response in responses]
        assert [one["label"] for one in best] == [one["label"] for one in expected]
        assert [one["score"] for one in best] == pytest.approx([one["score"] for one in expected], abs=1e-5)
    assert process.wait(30) in (0, -signal.SIGTERM)
