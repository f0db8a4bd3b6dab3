"""Many clients at once, some of whom send what cannot be answered: no answer is lost, and none is that of another request."""

from __future__ import annotations

import random
import socket
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

pytest.importorskip("fastapi")
import httpx

from hf_reprogram import Programs
from hf_reprogram.serving.app import Limits, make_app
from tests.support import adapters, words
from tests.support.listening import listening

REQUESTS, CLIENTS, EVERY = 200, 8, 10  # every tenth is bad
BROKEN = [(b'{"inputs": ', 400), (b'{"inputs": "%s"}' % (b"a" * 5000), 413), (b'{"inputs": []}', 400)]


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """A tiny BERT with three adapters."""
    folder = tmp_path_factory.mktemp("bert")
    source = adapters.source(folder / "source", "bert")
    made = Programs(source)
    for name in ("films", "topics", "first"):
        made.add(name, adapters.save(folder / name, source, "bert", name))
    return made


def half_sent(address):
    """Send the first half of a request, and go."""
    parts = urlsplit(address)
    with socket.create_connection((parts.hostname, parts.port)) as connection:
        connection.sendall(b'POST /adapters/films HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{"inputs": ')


def test_every_request_gets_the_answer_of_its_own_adapter(programs):
    texts = words.texts(20, seed=3)[0]
    names = programs.names
    expected = {}
    for name in names:  # one at a time
        for text in texts:
            expected[name, text] = programs.predict([(name, text)])[0]

    with listening(make_app(programs, Limits(body=4000))) as address, httpx.Client(timeout=60) as client:

        def ask(number):
            draw = random.Random(number)
            if number % EVERY == 0:
                half_sent(address)
                body, status = BROKEN[number // EVERY % len(BROKEN)]
                assert client.post(f"{address}/adapters/films", content=body).status_code == status
                return None
            name, text = draw.choice(names), draw.choice(texts)
            response = client.post(f"{address}/adapters/{name}", json={"inputs": text})
            assert response.status_code == 200
            return name, text, response.json()[0][0]

        with ThreadPoolExecutor(CLIENTS) as pool:
            answers = [answer for answer in pool.map(ask, range(REQUESTS)) if answer is not None]
        lines = client.get(f"{address}/metrics").text.splitlines()
    assert len(answers) == REQUESTS - REQUESTS // EVERY
    assert f"hf_reprogram_requests_answered_total {len(answers)}" in lines
    for name, text, found in answers:
        assert found["label"] == expected[name, text]["label"]
        assert found["score"] == pytest.approx(expected[name, text]["score"], abs=1e-5)
    assert (
        len({round(one["score"], 5) for one in expected.values()}) > len(names) * len(texts) / 2
    )  # a mix-up would show
