"""What a training step costs against the length of a text, the number of prompts and of classes, and what adapters cost.

    python benchmarks/cost.py --json benchmarks/results/cost.json --plot docs/plots/cost.png

    length      WARP with 8 prompts on a batch of 8 texts of 16 to 256 tokens, beside the bare source (forward, and backward to
                its embeddings)
    prompts     1 to 64 prompts on texts of 32 tokens
    classes     2 to 1,000 classes: WARP's class vectors, and a Bayesian label map of a source of 1,000 labels
    adapters    1 to 64 adapters on one source in memory: the numbers that they hold beside those of the source

The source has MiniLM's shape (6 layers x 384). A point is the median of `--rounds` steps in CPU seconds on one thread; the
points of a panel take turns. Equality: the loss of a text does not depend on which adapters share its source.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import torch
from common import alternate, bert, collate, parser, shape, start, step, templated_ids, warp

from hf_reprogram.figures import pyplot, save
from hf_reprogram.files import write_json
from hf_reprogram.mappings.label_map import LabelMap, LabelMapOptions
from hf_reprogram.transforms.template import Template

BATCH = 8
LENGTHS, PROMPTS = (16, 32, 64, 128, 256), (1, 8, 16, 32, 64)
CLASSES, ADAPTERS = (2, 10, 100, 1000), (1, 8, 64)


def main() -> None:
    """Measure, print, write, draw."""
    arguments = parser(__doc__, layers=6, width=384, rounds=5)
    arguments.add_argument("--plot", type=Path, help="draw the panels into this file")
    options = start(arguments)
    source = bert(options)
    found = {
        "length": lengths(source, options.rounds),
        "prompts": prompts(source, options.rounds),
        "classes": classes(source, options.rounds),
        "adapters": adapters(source),
    }
    print(f"cost: {shape(source)}; {options.threads} thread(s)")
    for panel, lines in found.items():
        for line, points in lines.items():
            print(f"  {panel}, {line}: " + ", ".join(f"{at} {value:.4g}" for at, value in points.items()))
    if options.json:
        write_json(options.json, {"name": "cost", "source": shape(source), "threads": options.threads, **found})
    if options.plot:
        draw(found, options.plot)


def medians(ways: dict[str, Any], rounds: int) -> dict[str, float]:
    """CPU seconds of each way."""
    cpu, _ = alternate(ways, rounds)
    return {name: statistics.median(times) for name, times in cpu.items()}


def texts(template: Template, tokens: int, vocabulary: int, labels: int) -> dict[str, torch.Tensor]:
    """A batch of random texts that have so many tokens beside the template."""
    generator = torch.Generator().manual_seed(0)
    rows = [templated_ids(template, tokens, vocabulary, generator) for _ in range(BATCH)]
    return collate(rows, torch.arange(BATCH) % labels)


def lengths(source: torch.nn.Module, rounds: int) -> dict[str, dict[int, float]]:
    """Seconds of a step by the number of tokens, with the program and without."""
    template = Template.default(8, "mask")
    model = warp(source, template, 2, "features")
    vocabulary, embed = model.source.spec.vocab_size, source.get_input_embeddings()

    def alone(batch: dict[str, torch.Tensor]) -> None:
        embeds = embed(batch["input_ids"].clamp_max(vocabulary - 1)).detach().requires_grad_()
        states = source.base_model(inputs_embeds=embeds, attention_mask=batch["attention_mask"]).last_hidden_state
        states.mean(1).square().sum().backward()

    ways: dict[str, Any] = {}
    for tokens in LENGTHS:
        batch = texts(template, tokens, vocabulary, 2)
        ways[f"WARP {tokens}"] = lambda batch=batch: step(model, batch)
        ways[f"the source alone {tokens}"] = lambda batch=batch: alone(batch)
    seconds = medians(ways, rounds)
    return {line: {n: seconds[f"{line} {n}"] for n in LENGTHS} for line in ("WARP", "the source alone")}


def prompts(source: torch.nn.Module, rounds: int) -> dict[str, dict[int, float]]:
    """Seconds of a step by the number of prompts, on texts of 32 tokens."""
    ways = {}
    for number in PROMPTS:
        template = Template.default(number, "mask")
        model = warp(source, template, 2, "features")
        batch = texts(template, 32, model.source.spec.vocab_size, 2)
        ways[str(number)] = lambda model=model, batch=batch: step(model, batch)
    seconds = medians(ways, rounds)
    return {"WARP, 32 tokens": {number: seconds[str(number)] for number in PROMPTS}}


def classes(source: torch.nn.Module, rounds: int) -> dict[str, dict[int, float]]:
    """Seconds of a step of WARP by the number of classes, and of a label map of 64 images without the source."""
    template = Template.default(8, "mask")
    ways = {}
    for number in CLASSES:
        model = warp(source, template, number, "features")
        batch = texts(template, 32, model.source.spec.vocab_size, number)
        ways[f"step {number}"] = lambda model=model, batch=batch: step(model, batch)
        mapping = LabelMap(LabelMapOptions(num_labels=number, width=1000, how="blm", aggregate="mean_logit"))
        generator = torch.Generator().manual_seed(0)
        logits, labels = torch.randn(2000, 1000, generator=generator), torch.arange(2000) % number
        mapping.fit(logits, labels)
        few = logits[:64].clone().requires_grad_()
        ways[f"map {number}"] = lambda mapping=mapping, few=few: mapping(few, None).square().sum().backward()
    seconds = medians(ways, rounds)
    return {
        "WARP, 32 tokens": {number: seconds[f"step {number}"] for number in CLASSES},
        "BLM of 1,000 labels, without the source": {number: seconds[f"map {number}"] for number in CLASSES},
    }


def adapters(source: torch.nn.Module) -> dict[str, dict[int, float]]:
    """The numbers that so many adapters hold beside their one source, over those of the source."""
    template = Template.default(8, "mask")
    first = warp(source, template, 2, "features").eval()
    batch = texts(template, 32, first.source.spec.vocab_size, 2)
    whole = sum(weight.numel() for weight in first.source.parameters())
    models, shares = [first], {}
    alone = first(**batch).loss.item()
    for number in ADAPTERS:
        models += [warp(first.source.model, template, 2, "features").eval() for _ in range(number - len(models))]
        held = {weight.data_ptr(): weight.numel() for model in models for weight in model.parameters()}
        shares[number] = (sum(held.values()) - whole) / whole
    if abs(first(**batch).loss.item() - alone) > 1e-6:
        raise SystemExit("cost: an adapter's loss changed when others came to its source.")
    return {"numbers beside the source's": shares}


def draw(found: dict[str, Any], path: Path) -> None:
    """A panel per question, with both axes from zero on where the numbers allow it."""
    plot = pyplot()
    titles = {
        "length": "tokens of a text, batch of 8",
        "prompts": "prompts",
        "classes": "classes",
        "adapters": "adapters on one source",
    }
    figure, panels = plot.subplots(2, 2, figsize=(9, 6.4), layout="constrained")
    for panel, (name, lines) in zip(panels.flat, found.items(), strict=True):
        for line, points in lines.items():
            panel.plot([*points], [*points.values()], marker="o", label=line)
        panel.set(xlabel=titles[name], ylabel="share of the source" if name == "adapters" else "CPU seconds")
        panel.set_ylim(bottom=0)
        if name in ("classes", "adapters"):
            panel.set_xscale("log")
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(frameon=False)
    save(figure, path)


if __name__ == "__main__":
    main()
