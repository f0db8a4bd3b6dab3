"""The server of `tests.support.black_boxes` in a process of its own, which may be killed.

    python -m tests.support.endpoint_process PORT LOG DELAY

It writes a line into LOG for each request before it answers, so that the count outlives it.
"""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[2]


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
        command = [
            sys.executable,
            "-m",
            "tests.support.endpoint_process",
            str(self.port),
            str(self.log),
            str(self.delay),
        ]
        self.process = subprocess.Popen(command, cwd=ROOT)
        for _ in range(600):
            assert self.process.poll() is None
            try:
                httpx.get(self.url)
                return
            except httpx.TransportError:
                time.sleep(0.1)
        raise AssertionError("the server did not start")

    def kill(self) -> None:
        """End it at once."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def requests(self) -> list[str]:
        """The digests of the requests that it has answered or was answering."""
        return self.log.read_text().splitlines() if self.log.exists() else []


def main() -> None:
    """Serve until the end of the process."""
    from tests.support import black_boxes

    port, log, delay = int(sys.argv[1]), sys.argv[2], float(sys.argv[3])
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    class Logged(black_boxes.Server):
        def answer(self, body: bytes) -> tuple[int, object]:
            os.write(file, f"{hashlib.sha256(body).hexdigest()}\n".encode())
            return super().answer(body)

    with black_boxes.served(Logged(delay), port):
        signal.pause()


if __name__ == "__main__":
    main()
