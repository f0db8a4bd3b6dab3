"""From target ids to embeddings: the folded table against `Theta V_S` and a lookup, and against a plain `nn.Embedding`.

    dense Theta    a dense (target tokens, source tokens) matrix times the source's table, then a lookup, as it is written
    codes          s atoms a token gathered and summed, then a lookup: what training does
    folded         the table computed once: what inference does
    plain lookup   `nn.Embedding` of the same size: the least there can be

BERT-base's shape, 84 target tokens (3-mers of DNA and shorter), 16 atoms each, a batch of 32 x 128 ids. Equality: the
embeddings of codes and folded against dense Theta's.
"""

from __future__ import annotations

import torch
from common import alternate, bert, parser, report, shape, start

from hf_reprogram.sources import load_source
from hf_reprogram.transforms.vocabulary import Vocabulary, VocabularyOptions


def main() -> None:
    """Compare, print, write."""
    arguments = parser(__doc__, layers=1, rounds=5)
    arguments.add_argument("--tokens", type=int, default=84, help="target tokens (default: %(default)s)")
    arguments.add_argument("--sparsity", type=int, default=16, help="atoms a token (default: %(default)s)")
    arguments.add_argument("--repeat", type=int, default=20, help="batches a round (default: %(default)s)")
    options = start(arguments)
    source, _ = load_source(bert(options))
    transform = Vocabulary(VocabularyOptions(options.tokens, options.width, sparsity=options.sparsity)).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        transform.fit_table(torch.randn(options.tokens, options.width, generator=generator) * 0.05, source)
    ids = torch.randint(options.tokens, (32, 128), generator=generator)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    theta = torch.zeros(options.tokens, source.spec.vocab_size)
    theta.scatter_add_(1, transform.support, transform.codes.detach())
    table = source.embedding.weight
    plain = torch.nn.Embedding(options.tokens, options.width)
    mask = torch.ones_like(ids)

    def codes() -> torch.Tensor:
        with torch.enable_grad():
            return transform(batch, source)["inputs_embeds"]

    ways = {
        "dense Theta": lambda: torch.nn.functional.embedding(ids, theta @ table),
        "codes": codes,
        "folded": lambda: transform(batch, source)["inputs_embeds"],
        "plain lookup": lambda: (plain(ids), mask)[0],
    }
    with torch.no_grad():
        exact = ways["dense Theta"]()
        errors = {name: float((ways[name]() - exact).abs().max()) for name in ("folded", "codes")}
        cpu, wall = alternate(
            {name: lambda run=run: [run() for _ in range(options.repeat)] for name, run in ways.items()}, options.rounds
        )
    report(
        "vocabulary_fold",
        f"{shape(source.model)}, {options.tokens} target tokens, {options.sparsity} atoms each, "
        f"{options.repeat} batches of 32 x 128",
        options,
        cpu,
        wall,
        {
            "folded, against dense Theta": ("dense Theta", "folded"),
            "folded, against codes": ("codes", "folded"),
            "folded, against a plain lookup": ("plain lookup", "folded"),
        },
        {f"embeddings of {name}": (error, 1e-5) for name, error in errors.items()},
    )


if __name__ == "__main__":
    main()
