"""Tiny models that only answer: as functions that count what they are asked, and behind a real HTTP server on this computer."""

from __future__ import annotations

import io
import json
import threading
import time
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import torch
from PIL import Image

from hf_reprogram.sources import BlackBox
from tests.support import modules, tiny_audio

SIDE, LABELS = 32, ["ant", "bee", "cat", "dog", "eel"]
WORDS = ["alpha", "beta", "gamma", "delta", "omega", "zeta"]


class Counted:
    """A function from images to probabilities (batch, 5) that knows how often it was called, and with how many rows."""

    def __init__(self, seed: int = 0) -> None:
        self.network = modules.Convolutions(outputs=len(LABELS), seed=seed).eval()
        with torch.no_grad():
            self.network.head.weight.mul_(20)
        self.rows: list[int] = []

    @torch.no_grad()
    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        self.rows.append(len(images))
        return self.network(images).softmax(1)


class CountedTexts:
    """A function from texts to probabilities (batch, 5), by their letters; it knows how often it was called and with what."""

    def __init__(self, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.network = torch.nn.Linear(len(WORDS), len(LABELS))
        with torch.no_grad():
            self.network.weight.mul_(10)
            self.network.bias.zero_()
        self.calls: list[list[str]] = []

    @property
    def rows(self) -> list[int]:
        """The number of texts in each call."""
        return [len(call) for call in self.calls]

    @torch.no_grad()
    def __call__(self, texts: list[str]) -> torch.Tensor:
        self.calls.append(texts)
        counts = torch.tensor([[text.count(word[0]) for word in WORDS] for text in texts])
        return self.network(counts.float() / (1 + counts.sum(1, keepdim=True))).softmax(1)


def of_images(ask: Any = None, **options: Any) -> BlackBox:
    """A black box of images of 32 x 32 pixels."""
    return BlackBox(ask or Counted(), LABELS, **{"image_size": SIDE, "name": "tiny", **options})


def of_texts(ask: Any = None, **options: Any) -> BlackBox:
    """A black box of texts, for programs that are made of six words."""
    return BlackBox(ask or CountedTexts(), LABELS, **{"tokenizer": WORDS, "name": "tiny texts", **options})


def of_sounds(**options: Any) -> BlackBox:
    """A black box of clips of 1,600 samples, which answers logits."""
    network = tiny_audio.make_module()
    count = network.spec.widths["logits"]

    @torch.no_grad()
    def ask(clips: torch.Tensor) -> torch.Tensor:
        return network({"waveform": clips}, "logits")

    size = {"samples": tiny_audio.SAMPLES, "sampling_rate": tiny_audio.RATE}
    return BlackBox(ask, count, **{"answers": "logits", "name": "tiny sounds", **size, **options})


class Server:
    """A classifier behind HTTP: PNG, WAV or JSON in, (label, score) pairs out.

    Attributes:
        samples: the number of requests that came in, those that failed included.
        keys: the values of their header `Authorization`.
        bodies: what they sent.
        script: statuses with which the next requests are refused, and None for an answer, from the first on.
        most: the largest number of requests at once.
    """

    def __init__(self) -> None:
        self.samples, self.keys, self.most, self.at_once = 0, [], 0, 0
        self.bodies: list[bytes] = []
        self.script: list[int | None] = []
        self.delay = 0.0
        self.lock = threading.Lock()
        self.ask, self.ask_texts = Counted(), CountedTexts()

    def answer(self, body: bytes) -> tuple[int, Any]:
        """The status and the content for a request."""
        with self.lock:
            self.samples += 1
            self.bodies.append(body)
            status = self.script.pop(0) if self.script else None
        if status is not None:
            return status, {"error": "a secret of the server"}
        time.sleep(self.delay)
        scores = sorted(self.scores(body), key=lambda pair: -pair[1])
        pairs = [{"label": name, "score": score} for name, score in scores]
        return 200, [pairs] if b'"inputs"' in body else pairs  # the Hub answers texts with a list for each

    def scores(self, body: bytes) -> list[tuple[str, float]]:
        """The probabilities by label."""
        if body.startswith(b"RIFF"):
            with wave.open(io.BytesIO(body)) as file:
                loud = np.abs(np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768).mean()
            return [("quiet", float(1 - loud)), ("loud", float(loud))]
        if b'"inputs"' in body:  # a text
            with self.lock:
                row = self.ask_texts([json.loads(body)["inputs"]])[0]
            return list(zip(LABELS, row.tolist(), strict=True))
        if body.startswith(b"{"):
            pixels = np.array(json.loads(body)["pixels"], dtype=np.float32)
        else:
            pixels = np.asarray(Image.open(io.BytesIO(body)), dtype=np.float32).transpose(2, 0, 1) / 255
        with self.lock:
            row = self.ask(torch.from_numpy(pixels.copy())[None])[0]
        return list(zip(LABELS, row.tolist(), strict=True))


@contextmanager
def served() -> Iterator[tuple[Server, str]]:
    """A server on this computer, and its URL."""
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 2**16  # headers and content in one packet, which waits for no other

        def do_POST(self) -> None:
            with server.lock:
                server.at_once += 1
                server.most = max(server.most, server.at_once)
            server.keys.append(self.headers.get("Authorization"))
            status, content = server.answer(self.rfile.read(int(self.headers["Content-Length"])))
            with server.lock:
                server.at_once -= 1
            written = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(written)))
            self.end_headers()
            with suppress(BrokenPipeError):  # the client has gone
                self.wfile.write(written)

        log_message: Callable[..., None] = lambda *_: None

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    try:
        yield server, f"http://127.0.0.1:{listening.server_address[1]}/classify"
    finally:
        listening.shutdown()
        listening.server_close()
