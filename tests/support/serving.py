"""A server in a process of its own, on loopback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.support import adapters


@contextmanager
def server(
    folder: Path, source: str, names: tuple[str, ...], latency: int
) -> Iterator[tuple[subprocess.Popen, str, str, dict[str, str]]]:
    """The process, its address, its source and its adapters.

    Args:
        folder: for the source and the adapters.
        source: a key of `adapters.ADAPTERS`.
        names: its adapters that are served.
        latency: the milliseconds for which a batch waits.
    """
    source_folder = adapters.source(folder / "source", source)
    saved = {one: adapters.save(folder / one, source_folder, source, one) for one in names}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "hf_reprogram", "serve", source_folder, "--port", str(port), "--quiet"]
    command += ["--latency", str(latency)]
    for name, place in saved.items():
        command += ["--adapter", f"{name}={place}"]
    process = subprocess.Popen(command, cwd=os.getcwd(), stderr=subprocess.PIPE, text=True)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            assert process.poll() is None, process.stderr.read()
            try:
                httpx.get(f"{address}/health")
                break
            except httpx.TransportError:
                time.sleep(0.2)
        yield process, address, source_folder, saved
    finally:
        process.kill()
        process.communicate()
