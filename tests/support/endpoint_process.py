"""A classifier of PNGs behind HTTP in a process of its own, which may be killed.

    python -m tests.support.endpoint_process PORT LOG DELAY

It writes a line into LOG for each request before it answers, so that the count outlives it.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[2]
LABELS = ["ant", "bee", "cat", "dog", "eel"]
SIDE, CELL = 32, 4


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Process:
    """A server that can be killed and started again at the same address.

    Args:
        log: the file of its requests.
        delay: seconds that an answer takes.
    """

    def __init__(self, log: Path, delay: float = 0.0) -> None:
        self.log, self.delay, self.port = log, delay, free_port()
        self.url = f"http://127.0.0.1:{self.port}/classify"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        arguments = [str(self.port), str(self.log), str(self.delay)]
        self.process = subprocess.Popen([sys.executable, "-m", "tests.support.endpoint_process", *arguments], cwd=ROOT)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            assert self.process.poll() is None
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.05)
        raise AssertionError("the server did not start")

    def kill(self) -> None:
        """End it at once."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def requests(self) -> list[str]:
        """The digests of the requests that it has answered or was answering."""
        return self.log.read_text().splitlines() if self.log.exists() else []


def scores(body: bytes) -> np.ndarray:
    """The probabilities of the labels for a PNG."""
    pixels = np.asarray(Image.open(io.BytesIO(body)).convert("RGB"), dtype=np.float64) / 255
    cells = pixels.reshape(SIDE // CELL, CELL, SIDE // CELL, CELL, 3).mean((1, 3)).ravel()
    logits = np.random.default_rng(0).normal(size=(len(LABELS), cells.size)) @ (cells - 0.5)
    powers = np.exp(logits - logits.max())
    found: np.ndarray = powers / powers.sum()
    return found


def main() -> None:
    """Serve until the end of the process."""
    port, log, delay = int(sys.argv[1]), sys.argv[2], float(sys.argv[3])
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 2**16

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            os.write(file, f"{hashlib.sha256(body).hexdigest()}\n".encode())
            time.sleep(delay)
            pairs = sorted(zip(LABELS, scores(body).tolist(), strict=True), key=lambda pair: -pair[1])
            written = json.dumps([{"label": label, "score": score} for label, score in pairs]).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(written)))
            self.end_headers()
            with suppress(OSError):  # the client has gone
                self.wfile.write(written)

        def log_message(self, *_: object) -> None:
            """Write nothing."""

    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    main()
