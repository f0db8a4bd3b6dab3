"""Requests for 1, 8 and 64 adapters of one source: in mixed batches, and one adapter at a time.

    mixed      `Programs`: each adapter makes its rows, and the source runs once over all of them
    swapped    the requests of one adapter after the other, a batch for each, as with an adapter that is set before a call

A masked LM (6 layers x 384) with WARP's prompts, 64 requests that go to the adapters in turn. Equality: the logits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from common import alternate, bert, differences, parser, report, shape, start, templated_ids, warp

from hf_reprogram import Programs
from hf_reprogram.programs import Request
from hf_reprogram.transforms.template import Template

COUNTS = (1, 8, 64)


class Padding:
    """The part of a tokenizer that batches need."""

    def pad(self, rows: dict[str, list[list[int]]], return_tensors: str) -> dict[str, torch.Tensor]:
        """Ids and mask (texts, tokens), padded on the right."""
        ids = [torch.tensor(row) for row in rows["input_ids"]]
        masks = [torch.ones_like(row) for row in ids]
        pad = torch.nn.utils.rnn.pad_sequence
        return {"input_ids": pad(ids, batch_first=True), "attention_mask": pad(masks, batch_first=True)}


def main() -> None:
    """Compare, print, write."""
    arguments = parser(__doc__, layers=6, width=384, rounds=3)
    arguments.add_argument("--requests", type=int, default=64)
    arguments.add_argument("--tokens", type=int, default=24, help="of the longest text (default: %(default)s)")
    options = start(arguments)
    source = bert(options)
    template, words = Template.default(8, "mask"), source.config.vocab_size
    programs = Programs(source)
    for number in range(max(COUNTS)):
        programs.add(str(number), warp(programs.source, template, num_labels=2).eval(), Padding())
        with torch.no_grad():
            programs[str(number)].model.transform.prompts.mul_(1 + number / 100)
    generator = torch.Generator().manual_seed(3)
    lengths = torch.randint(4, options.tokens + 1, (options.requests,), generator=generator).tolist()
    texts = [templated_ids(template, length, words, generator).tolist() for length in lengths]

    def asked(count: int) -> list[Request]:
        """The requests, for `count` adapters in turn."""
        turns = [programs[str(place % count)] for place in range(len(texts))]
        return [Request(program, {"input_ids": ids}, len(ids)) for program, ids in zip(turns, texts, strict=True)]

    def mixed(count: int) -> Callable[[], Any]:
        requests = asked(count)
        return lambda: programs.logits(requests)

    def swapped(count: int) -> Callable[[], Any]:
        requests = asked(count)

        def run() -> list[Any]:
            found: list[Any] = [None] * len(requests)
            for adapter in range(min(count, len(requests))):
                places = range(adapter, len(requests), count)
                for place, row in zip(places, programs.logits([requests[p] for p in places]), strict=True):
                    found[place] = row
            return found

        return run

    paths, ratios, checks = {}, {}, {}
    for count in COUNTS:
        names = f"{count} adapters, mixed", f"{count} adapters, swapped"
        ways = mixed(count), swapped(count)
        pair = [[torch.from_numpy(row) for row in way()] for way in ways]
        checks[f"difference of the logits (relative), {count} adapters"] = (differences(*pair)[1], 1e-4)
        paths |= dict(zip(names, ways, strict=True))
        ratios[f"one adapter at a time, against mixed, {count} adapters"] = (names[1], names[0])
    cpu, wall = alternate(paths, options.rounds)
    adapter = programs["0"].model
    parts = [*adapter.transform.parameters(), *adapter.mapping.parameters(), *adapter.mapping.buffers()]
    middle = {name: sorted(times)[len(times) // 2] for name, times in wall.items()}
    report(
        "serving",
        f"{shape(source)}, {options.requests} requests of 4 to {options.tokens}+9 tokens",
        options,
        cpu,
        wall,
        ratios,
        checks,
        requests_per_second={name: round(options.requests / seconds, 1) for name, seconds in middle.items()},
        bytes_of_an_adapter=sum(part.numel() * part.element_size() for part in parts),
        bytes_of_the_source=sum(weight.numel() * weight.element_size() for weight in source.parameters()),
    )


if __name__ == "__main__":
    main()
