"""Neekhara's map of target tokens to source tokens: the kernel's columns that occur, against a convolution of one-hot vectors.

A batch of texts of target words, and BERT's 30,522 source tokens. The kernel takes 5 neighbours.

    one-hot     `conv1d` of one-hot vectors, as in the paper's equation 2
    columns     `ContextualVocabulary.logits`

Equality: the logits, and the gradient of the kernel.
"""

from __future__ import annotations

import torch
from common import alternate, differences, parser, report, start
from torch.nn import functional as F

from hf_reprogram.transforms.contextual_vocabulary import ContextualVocabulary, ContextualVocabularyOptions


def main() -> None:
    """Compare, print, write."""
    arguments = parser(__doc__, rounds=3)
    arguments.add_argument("--batch", type=int, default=8)
    arguments.add_argument("--tokens", type=int, default=64)
    arguments.add_argument("--words", type=int, default=1000, help="target tokens (default: %(default)s)")
    options = start(arguments)
    sources = 30_522 if options.width > 512 else 2_000  # a small --width is a small run, as of the other benchmarks
    transform = ContextualVocabulary(ContextualVocabularyOptions(num_tokens=options.words, vocab_size=sources))
    torch.manual_seed(0)
    transform.reset()
    ids = (options.words * torch.rand(options.batch, options.tokens) ** 3).long()  # few words are frequent
    gradient = torch.randn(options.batch, options.tokens, sources)
    found: dict[str, list[torch.Tensor]] = {}

    def convolution() -> torch.Tensor:
        one_hot = F.one_hot(ids, options.words).transpose(1, 2).float()
        logits: torch.Tensor = F.conv1d(one_hot, transform.weight, transform.bias, padding="same").transpose(1, 2)
        return logits

    def trained(name: str) -> None:
        transform.zero_grad(set_to_none=True)
        logits = convolution() if name == "one-hot" else transform.logits(ids)
        logits.backward(gradient)
        assert transform.weight.grad is not None
        found[name] = [logits.detach(), transform.weight.grad]

    @torch.no_grad()
    def read(name: str) -> None:
        convolution() if name == "one-hot, no gradient" else transform.logits(ids)

    paths = {name: lambda name=name: trained(name) for name in ("one-hot", "columns")}
    paths |= {name: lambda name=name: read(name) for name in ("one-hot, no gradient", "columns, no gradient")}
    cpu, wall = alternate(paths, options.rounds)
    _, relative = differences(found["columns"], found["one-hot"])
    report(
        "contextual_vocabulary",
        f"{options.batch} texts of {options.tokens} tokens, {options.words:,} target and {sources:,} source tokens",
        options,
        cpu,
        wall,
        {
            "forward and backward, against one-hot": ("one-hot", "columns"),
            "forward, against one-hot": ("one-hot, no gradient", "columns, no gradient"),
        },
        {"difference in logits and gradient (relative)": (relative, 1e-4)},
    )


if __name__ == "__main__":
    main()
