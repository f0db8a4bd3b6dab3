"""Requests are collected into mixed batches, and none is lost or crossed."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest

from hf_reprogram.errors import InputError
from hf_reprogram.serving.batching import Batcher, Full


class Echo:
    """Programs whose logits are the request; a negative one cannot be answered. `release` lets a batch through."""

    def __init__(self, held=False):
        self.batches, self.release = [], threading.Event()
        if not held:
            self.release.set()

    def logits(self, requests):
        self.release.wait(10)
        self.batches.append([request.value for request in requests])
        if any(request.value < 0 for request in requests):
            raise InputError("A negative number.")
        return [np.array([request.value]) for request in requests]


class Ask:
    """A request with a number."""

    def __init__(self, value):
        self.value, self.program = value, self


def run(work, **options):
    """Run `work(batcher, programs)` within a batcher."""

    async def main():
        programs = Echo(options.pop("held", False))
        async with Batcher(programs, **options) as batcher:
            result = await work(batcher, programs)
        return result, programs, batcher

    return asyncio.run(main())


async def waiting(batcher, count):
    while len(batcher) != count:
        await asyncio.sleep(0.001)


def test_everyone_gets_his_own_answer():
    async def work(batcher, programs):
        return await asyncio.gather(*(batcher.logits(Ask(number)) for number in range(200)))

    found, programs, batcher = run(work, most=16)
    assert [int(row[0]) for row in found] == list(range(200))
    assert max(map(len, programs.batches)) == 16
    assert batcher.counts.answered == 200


def test_one_that_cannot_be_answered_takes_no_other_with_it():
    async def work(batcher, programs):
        return await asyncio.gather(*(batcher.logits(Ask(number)) for number in (1, -2, 3)), return_exceptions=True)

    (first, second, third), _, batcher = run(work)
    assert (first[0], third[0]) == (1, 3)
    assert isinstance(second, InputError)
    assert (batcher.counts.answered, batcher.counts.failed) == (2, 1)


def test_a_client_that_leaves_costs_nothing():
    async def work(batcher, programs):
        first = asyncio.create_task(batcher.logits(Ask(1)))
        while batcher._waiting or not first.get_coro().cr_await:
            await asyncio.sleep(0.001)
        others = [asyncio.create_task(batcher.logits(Ask(number))) for number in (2, 3)]
        await waiting(batcher, 2)
        others[0].cancel()
        await waiting(batcher, 1)
        programs.release.set()
        return await asyncio.gather(first, others[1])

    _, programs, batcher = run(work, held=True, latency=0)
    assert programs.batches == [[1], [3]]
    assert batcher.counts.dropped == 1


def test_a_full_queue_refuses():
    async def work(batcher, programs):
        first = asyncio.create_task(batcher.logits(Ask(1)))
        await asyncio.sleep(0.05)
        second = asyncio.create_task(batcher.logits(Ask(2)))
        await waiting(batcher, 1)
        with pytest.raises(Full):
            await batcher.logits(Ask(3))
        programs.release.set()
        return await asyncio.gather(first, second)

    found, _, _ = run(work, held=True, latency=0, queue=1)
    assert [int(row[0]) for row in found] == [1, 2]


def test_the_end_answers_what_waits():
    async def work(batcher, programs):
        tasks = [asyncio.create_task(batcher.logits(Ask(number))) for number in range(5)]
        await asyncio.sleep(0)
        return tasks

    tasks, _, _ = run(work, latency=60, most=2)
    assert [int(task.result()[0]) for task in tasks] == list(range(5))
