"""Requests for 1, 8 and 64 adapters of one source: `Programs` in mixed batches, and PEFT's prompt tuning adapter by adapter.

    mixed         `Programs.logits`: the requests of all adapters in one batch
    one by one    the same, a request at a time
    PEFT          `set_adapter` before each request, and a forward pass for it

The same prompts, heads and texts on all sides, on an encoder with random weights (6 layers x 384); 64 requests that go to the
adapters in turn. Equality: the logits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from common import alternate, bert, differences, parser, report, shape, start, templated_ids, warp
from peft import PromptTuningConfig, TaskType
from prompt_step import peft_model
from serving import COUNTS, Padding

from hf_reprogram import Programs
from hf_reprogram.programs import Request
from hf_reprogram.transforms.template import Template

PROMPTS, LABELS = 8, 2


def main() -> None:
    """Compare, print, write."""
    arguments = parser(__doc__, layers=6, width=384, rounds=3)
    arguments.add_argument("--requests", type=int, default=64)
    arguments.add_argument("--tokens", type=int, default=24, help="of the longest text (default: %(default)s)")
    options = start(arguments)
    source = bert(options)
    words = source.config.vocab_size
    theirs = peft_model(source, PROMPTS, LABELS)
    theirs.base_model.bert.pooler.forward = lambda hidden: hidden[:, 0]
    programs = Programs(source)
    for number in range(max(COUNTS)):
        ours = warp(programs.source, Template.parse(f"{PROMPTS} $A $B"), LABELS, reads="first").eval()
        with torch.no_grad():
            ours.transform.prompts.mul_(1 + number / 100)
            ours.mapping.weight.mul_(1 + number / 10)
        programs.add(str(number), ours, Padding())
        add_to_peft(theirs, str(number), ours)
    theirs.eval()
    generator = torch.Generator().manual_seed(3)
    lengths = torch.randint(4, options.tokens + 1, (options.requests,), generator=generator).tolist()
    texts = [templated_ids(Template.parse("$A $B"), length, words, generator) for length in lengths]
    slots = torch.arange(words, words + PROMPTS)  # PEFT's prompts stand before [CLS]

    def asked(count: int) -> list[Request]:
        """The requests, for `count` adapters in turn."""
        rows = [torch.cat([slots, text]).tolist() for text in texts]
        turns = [programs[str(place % count)] for place in range(len(rows))]
        return [Request(program, {"input_ids": ids}, len(ids)) for program, ids in zip(turns, rows, strict=True)]

    def mixed(count: int) -> Callable[[], Any]:
        requests = asked(count)
        return lambda: programs.logits(requests)

    def one_by_one(count: int) -> Callable[[], Any]:
        requests = asked(count)
        return lambda: [programs.logits([request])[0] for request in requests]

    @torch.no_grad()
    def switched(count: int) -> list[Any]:
        found = []
        for place, ids in enumerate(texts):
            theirs.set_adapter(str(place % count))
            found.append(theirs(input_ids=ids[None], attention_mask=torch.ones_like(ids)[None]).logits[0].numpy())
        return found

    def with_peft(count: int) -> Callable[[], Any]:
        return lambda: switched(count)

    paths, ratios, checks = {}, {}, {}
    for count in COUNTS:
        ways = {"mixed": mixed(count), "one by one": one_by_one(count), "PEFT": with_peft(count)}
        answers = {way: [torch.from_numpy(row) for row in run()] for way, run in ways.items()}
        error = max(differences(answers["mixed"], answers[way])[1] for way in ("one by one", "PEFT"))
        checks[f"difference of the logits (relative), {count} adapters"] = (error, 1e-4)
        paths |= {f"{count} adapters, {way}": run for way, run in ways.items()}
        ratios[f"PEFT with set_adapter, against mixed, {count} adapters"] = (
            f"{count} adapters, PEFT",
            f"{count} adapters, mixed",
        )
        ratios[f"PEFT with set_adapter, against ours one by one, {count} adapters"] = (
            f"{count} adapters, PEFT",
            f"{count} adapters, one by one",
        )
    cpu, wall = alternate(paths, options.rounds)
    report(
        "serving_peft",
        f"{shape(source)}, {options.requests} requests of 4 to {options.tokens}+{PROMPTS} tokens",
        options,
        cpu,
        wall,
        ratios,
        checks,
    )


def add_to_peft(theirs: Any, name: str, ours: Any) -> None:
    """Give PEFT an adapter with the prompts and the head of one of ours."""
    theirs.add_adapter(name, PromptTuningConfig(task_type=TaskType.SEQ_CLS, num_virtual_tokens=PROMPTS))
    head = theirs.base_model.classifier.modules_to_save[name]
    with torch.no_grad():
        theirs.prompt_encoder[name].embedding.weight.copy_(ours.transform.prompts)
        head.weight.copy_(ours.mapping.weight)
        head.bias.copy_(ours.mapping.bias)


if __name__ == "__main__":
    main()
