"""A server under load: thousands of requests for 8 adapters of one source from several clients, and 1 % that are broken.

`hf-reprogram serve` runs in a process of its own on this computer. Most requests are texts for adapters at random. The others
are no JSON, too large, for an adapter that is not there, sent by half, or left before the answer. Every answer is compared with
that of the adapter alone: none may be lost, or be that of another request. It stops by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import torch
from common import parser, report, start
from transformers import BertConfig, BertForMaskedLM, BertTokenizer

from hf_reprogram import Programs, reprogram

ADAPTERS, TEXTS, PROMPTS = 8, 250, 8
BAD = {
    "broken": 400,
    "oversized": 413,
    "unknown": 404,
    "half sent": None,
    "left": None,
}  # with the status of the answer
MOST_BYTES = 20_000  # of a request
CLOSE = 1e-4  # of a score
WORDS = [
    "the",
    "film",
    "court",
    "team",
    "music",
    "was",
    "lovely",
    "dull",
    "ruled",
    "won",
    "lost",
    "never",
    "again",
    "a",
    "and",
]


def main() -> None:
    """Serve, ask, compare, print, write."""
    arguments = parser(__doc__, layers=2, width=128)
    arguments.add_argument("--requests", type=int, default=200, help="(default: %(default)s)")
    arguments.add_argument("--clients", type=int, default=16, help="threads that ask (default: %(default)s)")
    arguments.add_argument("--seconds", type=float, default=360, help="after which it stops (default: %(default)s)")
    options = start(arguments)
    with tempfile.TemporaryDirectory() as folder:
        source = options.source or small_source(Path(folder) / "source", options)
        adapters = make_adapters(Path(folder), source)
        generator = random.Random(0)
        texts = [
            " ".join(generator.choices(WORDS, k=generator.randint(3, 20))) + f" {number}" for number in range(TEXTS)
        ]
        expected = expected_answers(source, adapters, texts)
        with served(source, adapters, options.threads) as (address, process):
            found = ask_all(address, texts, expected, options)
            cpu = processor_seconds(process.pid)
            counts = metrics(address)
    good = options.requests - sum(found.bad.values())
    lost = good - found.right - found.wrong
    took = np.sort(found.seconds) * 1000
    report(
        "serving_load",
        f"{options.requests:,} requests by {options.clients} clients for {ADAPTERS} adapters",
        options,
        {},
        {},
        {},
        {
            "answers that were lost": (lost, 0),
            "answers of another request": (found.wrong, 0),
            "bad requests with another status": (found.unexpected, 0),
            "inputs that the server counts beside": (
                abs(counts["requests_answered_total"] - good - found.left_answered(counts)),
                0,
            ),
        },
        requests_per_second=round(options.requests / found.wall, 1),
        milliseconds={name: round(float(np.quantile(took, q)), 1) for name, q in (("p50", 0.5), ("p99", 0.99))},
        inputs_per_batch=round(counts["batch_rows_total"] / counts["batches_total"], 1),
        adapters_per_batch=round(counts["batch_adapters_total"] / counts["batches_total"], 1),
        server_cpu_milliseconds_per_request=round(1000 * cpu / options.requests, 2),
        bad=dict(found.bad),
    )


@dataclass
class Found:
    """What the clients have seen."""

    right: int = 0
    wrong: int = 0
    unexpected: int = 0
    wall: float = 0.0
    seconds: list[float] = field(default_factory=list)
    bad: Counter[str] = field(default_factory=Counter)

    def left_answered(self, counts: dict[str, float]) -> float:
        """The inputs of clients that had left, and were answered before the server noticed."""
        return self.bad["left"] - counts["requests_dropped_total"]


def small_source(folder: Path, options: argparse.Namespace) -> str:
    """A BERT with random weights, and a tokenizer of a few words."""
    folder.mkdir()
    vocabulary = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *WORDS,
        *map(str, range(10)),
        *(f"##{n}" for n in range(10)),
    ]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    torch.manual_seed(0)
    width = options.width
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=width,
        num_hidden_layers=options.layers,
        num_attention_heads=max(1, width // 64),
        intermediate_size=4 * width,
        max_position_embeddings=128,
    )
    BertForMaskedLM(config).save_pretrained(folder)
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    return str(folder)


def make_adapters(folder: Path, source: str) -> dict[str, str]:
    """The folders of adapters with random numbers. The labels of each have names of their own."""
    made = {}
    for number in range(ADAPTERS):
        model, tokenizer = reprogram(source, "warp", [f"{number}-{label}" for label in "abc"], num_prompts=PROMPTS)
        torch.manual_seed(number)
        with torch.no_grad():
            for parameter in model.trainable().values():
                parameter.add_(0.3 * torch.randn_like(parameter))
        made[f"adapter{number}"] = str(folder / f"adapter{number}")
        model.save_pretrained(made[f"adapter{number}"])
        tokenizer.save_pretrained(made[f"adapter{number}"])
    return made


def expected_answers(
    source: str, adapters: dict[str, str], texts: list[str]
) -> dict[tuple[str, int], dict[str, float]]:
    """The scores by label of each adapter alone for each text."""
    found = {}
    for name, folder in adapters.items():
        programs = Programs(source)
        programs.add(name, folder)
        labels = programs[name].model.label_names
        for number, row in enumerate(programs.logits([programs.prepare(name, text) for text in texts])):
            powers = np.exp(row.astype(np.float64) - row.max())
            found[name, number] = dict(zip(labels, (powers / powers.sum()).tolist(), strict=True))
    return found


@contextmanager
def served(source: str, adapters: dict[str, str], threads: int) -> Any:
    """The address of the server, and its process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "hf_reprogram", "serve", source, "--port", str(port), "--quiet"]
    command += ["--max-bytes", str(MOST_BYTES)]
    for name, folder in adapters.items():
        command += ["--adapter", f"{name}={folder}"]
    root = Path(__file__).resolve().parent.parent
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(root)}
    process = subprocess.Popen(command, env=environment)
    address = f"http://127.0.0.1:{port}"
    try:
        with httpx.Client() as client:
            while not answers(client, address):
                if process.poll() is not None:
                    raise SystemExit("The server has ended.")
                time.sleep(0.5)
        yield address, process
    finally:
        process.terminate()
        process.wait()


def answers(client: httpx.Client, address: str) -> bool:
    """Whether the server answers."""
    try:
        return client.get(f"{address}/health").status_code == 200
    except httpx.TransportError:
        return False


def ask_all(
    address: str, texts: list[str], expected: dict[tuple[str, int], dict[str, float]], options: argparse.Namespace
) -> Found:
    """Ask everything from several threads."""
    found, lock = Found(), threading.Lock()
    numbers = iter(range(options.requests))
    every = max(1, options.requests // max(1, options.requests // 100))  # one request of a hundred is bad
    kinds, names = list(BAD), sorted({name for name, _ in expected})
    started = time.perf_counter()

    def ask() -> None:
        with httpx.Client(timeout=60) as client:
            while time.perf_counter() - started < options.seconds:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return
                if number % every == every - 1:
                    kind = kinds[number // every % len(kinds)]
                    status = send_bad(client, address, kind, names[0])
                    with lock:
                        found.bad[kind] += 1
                        found.unexpected += status != BAD[kind]
                    continue
                draw = random.Random(number)
                name, text = draw.choice(names), draw.randrange(len(texts))
                before = time.perf_counter()
                response = client.post(f"{address}/adapters/{name}", json={"inputs": texts[text]})
                took = time.perf_counter() - before
                if response.status_code != 200:
                    continue  # lost
                right = same(response.json()[0], expected[name, text])
                with lock:
                    found.seconds.append(took)
                    found.right, found.wrong = found.right + right, found.wrong + (not right)

    threads = [threading.Thread(target=ask) for _ in range(options.clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found.wall = time.perf_counter() - started
    return found


def same(answer: list[dict[str, Any]], expected: dict[str, float]) -> bool:
    """Whether an answer has the labels and scores that are expected."""
    scores = {one["label"]: one["score"] for one in answer}
    return scores.keys() == expected.keys() and all(abs(scores[name] - expected[name]) < CLOSE for name in scores)


def send_bad(client: httpx.Client, address: str, kind: str, name: str) -> int | None:
    """The status of the answer to a bad request; None for those that wait for none."""
    url = f"{address}/adapters/{name}"
    if kind == "broken":
        return client.post(url, content=b'{"inputs": ').status_code
    if kind == "oversized":
        return client.post(url, json={"inputs": "a" * 2 * MOST_BYTES}).status_code
    if kind == "unknown":
        return client.post(f"{address}/adapters/nobody", json={"inputs": "a"}).status_code
    body = json.dumps({"inputs": "the film was lovely"}).encode()
    parts = urlsplit(url)
    head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
    with socket.create_connection((parts.hostname or "", parts.port or 80), 10) as sock:
        sock.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode())
        sock.sendall(body[: len(body) // 2])
        if kind == "half sent":  # slowly, and never the rest
            time.sleep(0.5)
        else:
            sock.sendall(body[len(body) // 2 :])
    return None


def metrics(address: str) -> dict[str, float]:
    """The counts of the server, when nothing waits any more."""
    while httpx.get(f"{address}/health").json()["waiting"]:
        time.sleep(0.1)
    time.sleep(1)
    lines = [line for line in httpx.get(f"{address}/metrics").text.splitlines() if line.startswith("hf_reprogram_")]
    pairs = [line.removeprefix("hf_reprogram_").split() for line in lines]
    return {name: float(value) for name, value in pairs}


def processor_seconds(process: int) -> float:
    """The seconds of processor that a process has used so far; 0 where the system does not say."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
