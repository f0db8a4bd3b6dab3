"""The masked-LM head at the mask only, against logits of the whole vocabulary at all positions.

A masked LM gives (batch, tokens, vocabulary) logits, of which a verbalizer reads C words at one position. Three ways to
the same C logits, on one batch of RTE's lengths, forward and backward to the prompts:

    all positions       `AutoModelForMaskedLM` as it is, then the C words at the mask
    head at the mask    full encoder; head and class vectors at the mask only
    WARP                the same, and the last layer at the mask only: what hf_reprogram does

Equality: the class vectors start from the decoder's rows of the C words, so loss and prompt gradients must agree, in
float32 and in float64.
"""

from __future__ import annotations

import torch
from common import (
    alternate,
    bert,
    collate,
    differences,
    parser,
    report,
    shape,
    start,
    step,
    templated_ids,
    typical_batch,
    warp,
)
from torch.nn import functional as F

from hf_reprogram.sources.reading import only_at, stop_before
from hf_reprogram.transforms.template import Template


def main() -> None:
    """Compare, print, write."""
    arguments = parser(__doc__)
    arguments.add_argument("--batch", type=int, default=8)
    arguments.add_argument("--prompts", type=int, default=20)
    arguments.add_argument("--labels", type=int, default=2)
    options = start(arguments)
    source = bert(options)
    words = torch.arange(2000, 2000 + options.labels)
    template = Template.default(options.prompts, "mask")
    model = warp(source, template, options.labels)
    with torch.no_grad():
        for parameter, value in zip(
            (model.mapping.weight, model.mapping.bias), model.source.output_rows(words), strict=True
        ):
            parameter.copy_(value)
    generator = torch.Generator().manual_seed(2)
    vocab = source.config.vocab_size
    rows = [templated_ids(template, length, vocab, generator) for length in typical_batch(options.batch)]
    batch = collate(rows, torch.arange(options.batch) % options.labels)
    decoder = source.get_output_embeddings()

    def inputs() -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        found = model.transform(batch, model.source)
        return {name: found[name] for name in ("inputs_embeds", "attention_mask")}, found["mask_position"]

    def backward(logits: torch.Tensor) -> float:
        model.zero_grad(set_to_none=True)
        loss = F.cross_entropy(logits, batch["labels"])
        loss.backward()
        return loss.item()

    def all_positions() -> float:
        given, position = inputs()
        return backward(source(**given).logits[torch.arange(options.batch), position][:, words])

    def head_at_mask() -> float:
        given, position = inputs()
        with only_at(source.base_model, position), stop_before(decoder) as caught:
            source(**given)
            return backward(model.mapping(caught()[:, 0], model.source))

    paths = {"all positions": all_positions, "head at the mask": head_at_mask, "WARP": lambda: step(model, batch)}

    def compare(dtype: torch.dtype) -> tuple[float, float]:
        model.to(dtype)
        found = {name: [torch.tensor(run()), model.transform.prompts.grad.clone()] for name, run in paths.items()}
        model.float()
        errors = [differences(values, found["all positions"]) for values in found.values()]
        return max(absolute for absolute, _ in errors), max(relative for _, relative in errors)

    checks = {
        "difference in loss and prompt gradients (float32, absolute)": (compare(torch.float32)[0], 1e-5),
        "the same in float64, relative": (compare(torch.float64)[1], 1e-6),
    }
    cpu, wall = alternate(paths, options.rounds, warmup=0)
    report(
        "mask_head",
        f"{shape(source)}, vocabulary {vocab}, batch {options.batch}, "
        f"RTE lengths padded to {batch['input_ids'].shape[1]} tokens, {options.prompts} prompts, forward and backward",
        options,
        cpu,
        wall,
        {
            "head at the mask, against all positions": ("all positions", "head at the mask"),
            "WARP, against all positions": ("all positions", "WARP"),
        },
        checks,
    )


if __name__ == "__main__":
    main()
