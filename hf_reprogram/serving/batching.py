"""Dynamic batching: requests wait at most some milliseconds for others, and are answered in one mixed batch.

A batch is what has come in when the source is free, at most `most` requests. While the source works on it, the next ones
gather. So a single request waits for `latency` alone, and under load batches fill by themselves. A request whose client has
left is dropped before it reaches the source.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..programs import Programs, Request


class Full(Exception):
    """The queue has as many requests as it may have."""


@dataclass
class Counts:
    """What has happened so far.

    Attributes:
        answered, failed, dropped: the requests that were answered, that the source could not take, and whose client left.
        batches: the calls of `Programs.logits`.
        rows: the requests in them.
        adapters: the adapters in them, summed over batches.
        seconds: the time that they took.

    >>> Counts().answered
    0
    """

    answered: int = 0
    failed: int = 0
    dropped: int = 0
    batches: int = 0
    rows: int = 0
    adapters: int = 0
    seconds: float = 0.0


@dataclass
class _Waiting:
    request: Request
    answer: asyncio.Future[np.ndarray]
    since: float = field(default_factory=time.monotonic)


class Batcher:
    """Answers requests in mixed batches, in one thread beside the event loop.

    Args:
        programs: the adapters.
        latency: seconds that the first request of a batch waits for others.
        most: requests in a batch.
        queue: requests that may wait; further ones are refused.

    >>> async def ask(programs):
    ...     async with Batcher(programs) as batcher:
    ...         return await batcher.logits(programs.prepare("films", "a lovely film"))
    >>> from hf_reprogram import reprogram
    >>> programs = Programs(text_source)
    >>> programs.add("films", *reprogram(text_source, "warp", ["bad", "good"], num_prompts=2))
    >>> asyncio.run(ask(programs)).shape
    (2,)
    """

    def __init__(self, programs: Programs, latency: float = 0.005, most: int = 64, queue: int = 1024):
        self.programs, self.latency, self.most, self.queue = programs, latency, most, queue
        self.counts = Counts()
        self._waiting: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._closing = False
        self._worker: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Batcher:
        self._worker = asyncio.create_task(self._work())
        return self

    async def __aexit__(self, *error: Any) -> None:
        """Answer what is waiting, and stop."""
        self._closing = True
        self._arrived.set()
        if self._worker is not None:
            await self._worker

    def __len__(self) -> int:
        """The number of requests that wait."""
        return len(self._waiting)

    async def logits(self, request: Request) -> np.ndarray:
        """The logits of a request. If the caller is cancelled, the request leaves the queue.

        Raises:
            Full: too many requests wait, or the server is stopping.
            InputError: the adapter cannot take the input.
        """
        if self._closing or len(self._waiting) >= self.queue:
            raise Full
        waiting = _Waiting(request, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._arrived.set()
        try:
            return await waiting.answer
        finally:
            if waiting.answer.cancelled() and waiting in self._waiting:
                self._waiting.remove(waiting)
                self.counts.dropped += 1

    async def _work(self) -> None:
        while True:
            while not self._waiting and not self._closing:
                self._arrived.clear()
                await self._arrived.wait()
            if not self._waiting:
                return
            await self._gather()
            batch = [self._waiting.popleft() for _ in range(min(self.most, len(self._waiting)))]
            left = [waiting for waiting in batch if waiting.answer.cancelled()]
            self.counts.dropped += len(left)
            if batch := [waiting for waiting in batch if not waiting.answer.cancelled()]:
                await self._answer(batch)

    async def _gather(self) -> None:
        """Wait until a batch is full, or its first request has waited for `latency`."""
        while self._waiting and len(self._waiting) < self.most and not self._closing:
            left = self._waiting[0].since + self.latency - time.monotonic()
            if left <= 0:
                return
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), left)
            except TimeoutError:
                return

    async def _answer(self, batch: Sequence[_Waiting]) -> None:
        started = time.monotonic()
        requests = [waiting.request for waiting in batch]
        results = await asyncio.to_thread(each_or_error, self.programs.logits, requests)
        self.counts.batches += 1
        self.counts.rows += len(batch)
        self.counts.adapters += len({id(request.program) for request in requests})
        self.counts.seconds += time.monotonic() - started
        for waiting, result in zip(batch, results, strict=True):
            if isinstance(result, BaseException):
                self.counts.failed += 1
            else:
                self.counts.answered += 1
            if waiting.answer.done():
                continue
            if isinstance(result, BaseException):
                waiting.answer.set_exception(result)
            else:
                waiting.answer.set_result(result)


def each_or_error(run: Callable[[Sequence[Request]], list[np.ndarray]], requests: Sequence[Request]) -> list[Any]:
    """The logits of each request, or its error. If the batch cannot be answered, each is answered alone.

    >>> def run(requests):
    ...     return [1 / request for request in requests]
    >>> each_or_error(run, [1, 0])
    [1.0, ZeroDivisionError('division by zero')]
    """
    try:
        return list(run(requests))
    except Exception as error:  # one request of the batch is to blame
        if len(requests) == 1:
            return [error]
        return [each_or_error(run, [request])[0] for request in requests]
