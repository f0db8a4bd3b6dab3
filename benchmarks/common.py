"""What the benchmarks share: timing in alternation, sources and texts of real shape, command line, result files.

Two ways of doing the same work are timed as A, B, A, B, ... in one process, so that whatever else the computer does
meets both. The figure is the ratio of the medians of process CPU time (it sums over threads and does not count waiting);
the range of the rounds' own ratios and wall time stand beside it.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing here needs the network

import torch
from transformers import AutoModelForMaskedLM, BertConfig
from transformers.utils.logging import disable_progress_bar

from hf_reprogram import ReprogramConfig, ReprogrammedModel
from hf_reprogram.sources import load_source
from hf_reprogram.transforms.template import Template

# How many of the 2,490 training pairs of GLUE RTE have 10, 11, 12, ... tokens in BERT's uncased vocabulary, both
# sentences together and special tokens left out.
RTE_SHORTEST = 10
RTE_COUNTS = """
1 0 0 0 3 5 2 10 7 8 11 10 11 15 21 20 21 28 33 23 38 33 39 32 40 40 43 38 50 31 41 49 51 59 66 58 49 35 47 43
44 47 34 51 41 33 38 28 43 31 35 23 32 26 24 13 35 26 10 18 8 11 12 17 9 12 6 13 11 8 8 6 13 2 7 7 6 10 10 7 6 5
8 9 7 5 5 0 6 9 7 4 4 7 6 9 3 6 12 6 5 9 10 12 11 8 7 8 7 7 14 7 5 7 9 10 10 13 8 4 3 9 9 8 7 6 7 9 12 6 3 2 7 7
5 4 4 7 4 4 8 2 4 6 6 6 4 2 2 5 0 5 4 3 4 4 2 2 2 3 0 0 3 2 1 1 3 1 4 2 5 3 4 0 1 3 2 2 4 2 0 3 0 0 4 1 0 0 1 2
2 0 2 0 1 1 0 2 0 0 1 0 0 1 1 0 0 1 0 0 2 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 1 0 0 0 0 0 0 0 0 1 0 0 0 0 0 0 0 0
0 0 0 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 1
"""


def rte_lengths() -> list[int]:
    """Lengths of all RTE training pairs in tokens, shortest first."""
    return [RTE_SHORTEST + i for i, count in enumerate(map(int, RTE_COUNTS.split())) for _ in range(count)]


def typical_batch(size: int) -> list[int]:
    """Lengths of a random batch as they come on average: the quantiles 1/(size+1), ..., size/(size+1) of RTE."""
    lengths = rte_lengths()
    return [lengths[len(lengths) * (i + 1) // (size + 1)] for i in range(size)]


# ----------------------------------------------------------------------------------------------- models and batches


def bert(options: argparse.Namespace) -> torch.nn.Module:
    """BERT with random weights: 768 wide and 12 layers deep (BERT-base) unless the command line says otherwise."""
    if options.source:
        return AutoModelForMaskedLM.from_pretrained(options.source, dtype=torch.float32)
    width = options.width
    torch.manual_seed(0)
    return AutoModelForMaskedLM.from_config(
        BertConfig(
            hidden_size=width,
            num_hidden_layers=options.layers,
            num_attention_heads=max(1, width // 64),
            intermediate_size=4 * width,
        )
    )


def shape(source: torch.nn.Module) -> str:
    """Depth and width of a source, for a report."""
    return f"{source.config.num_hidden_layers} layers x {source.config.hidden_size}"


def warp(source: torch.nn.Module, template: Template, num_labels: int, reads: str = "mask") -> ReprogrammedModel:
    """WARP without a tokenizer: slots have the ids past the vocabulary, prompts start at words, class vectors random."""
    frozen, reference = load_source(source)
    slots = {
        "type": "prompt_slots",
        "template": str(template),
        "width": frozen.spec.embedding_width,
        "first_slot_id": frozen.spec.vocab_size,
        "mask_token_id": MASK if template.has_mask else None,
    }
    mapping = {"type": "verbalizer", "num_labels": num_labels, "width": frozen.spec.widths[reads], "reads": reads}
    labels = {i: f"LABEL_{i}" for i in range(num_labels)}
    model = ReprogrammedModel(
        ReprogramConfig(
            source=reference,
            transform=slots,
            mapping=mapping,
            id2label=labels,
            problem_type="single_label_classification",
        ),
        frozen,
    )
    torch.manual_seed(1)
    model.mapping.reset()
    with torch.no_grad():
        if template.num_prompts:
            model.transform.prompts.copy_(
                frozen.embed(torch.randint(1000, frozen.spec.vocab_size, (template.num_prompts,)))
            )
    return model.train()


CLS, SEP, MASK = 101, 102, 103


def templated_ids(
    template: Template, length: int, vocab_size: int, generator: torch.Generator, special: bool = True
) -> torch.Tensor:
    """Ids (tokens,) of a pair of random words, `length` of them together, in a template; a sixth of them is the pair.

    The slots are numbered from `vocab_size`; `special` puts BERT's [CLS] and [SEP] around.
    """
    second = max(1, length // 6)
    words = {"$A": length - second, "$B": second}
    pieces: list[int] = []
    slot = vocab_size
    for piece in template.pieces:
        if isinstance(piece, int):
            pieces += range(slot, slot + piece)
            slot += piece
        elif piece in words:
            pieces += torch.randint(1000, vocab_size, (words[piece],), generator=generator).tolist()
        elif piece == "[MASK]":
            pieces.append(MASK)
    return torch.tensor([CLS, *pieces, SEP] if special else pieces)


def collate(rows: list[torch.Tensor], labels: torch.Tensor, tokens: int | None = None) -> dict[str, torch.Tensor]:
    """A batch padded on the right to its longest row, or to `tokens`."""
    tokens = tokens or max(map(len, rows))
    ids = torch.zeros(len(rows), tokens, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, : len(row)], mask[i, : len(row)] = row, 1
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def step(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> float:
    """Forward and backward; the gradients stay, the loss is returned."""
    model.zero_grad(set_to_none=True)
    loss = model(**batch).loss
    loss.backward()
    return loss.item()


def differences(found: list[torch.Tensor], expected: list[torch.Tensor]) -> tuple[float, float]:
    """The largest absolute difference, and the largest relative to the greatest absolute value of its tensor."""
    pairs = list(zip(found, expected, strict=True))
    absolute = [float((a - b).abs().max()) for a, b in pairs]
    return max(absolute), max(error / float(b.abs().max()) for error, (_, b) in zip(absolute, pairs, strict=True))


# ----------------------------------------------------------------------------------------------------------- timing


def alternate(
    paths: dict[str, Callable[[], Any]], rounds: int, warmup: int = 1
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Run every path once a round, in turn; seconds of process CPU time and of wall time, a list for each path."""
    cpu: dict[str, list[float]] = {name: [] for name in paths}
    wall: dict[str, list[float]] = {name: [] for name in paths}
    for turn in range(warmup + rounds):
        for name, run in paths.items():
            started = time.process_time(), time.perf_counter()
            run()
            seconds = time.process_time() - started[0], time.perf_counter() - started[1]
            if turn >= warmup:
                cpu[name].append(seconds[0])
                wall[name].append(seconds[1])
    return cpu, wall


# ------------------------------------------------------------------------------------------- command line and report


def parser(docstring: str, layers: int = 12, width: int = 768, rounds: int = 5) -> argparse.ArgumentParser:
    """The options that every benchmark has; its docstring is the help text."""
    options = argparse.ArgumentParser(description=docstring, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--threads", type=int, default=1, help="threads of torch (default: %(default)s)")
    options.add_argument("--rounds", type=int, default=rounds, help="timed rounds (default: %(default)s)")
    options.add_argument(
        "--layers", type=int, default=layers, help="layers of the random source (default: %(default)s)"
    )
    options.add_argument("--width", type=int, default=width, help="width of the random source (default: %(default)s)")
    options.add_argument("--source", help="folder of a real source, instead of random weights")
    options.add_argument("--json", type=Path, help="write the result to this file")
    return options


def start(options: argparse.ArgumentParser, arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line, set torch's threads, keep freed memory."""
    parsed = options.parse_args(arguments)
    torch.set_num_threads(parsed.threads)
    disable_progress_bar()
    keep_freed_memory()
    return parsed


def keep_freed_memory() -> None:
    """Have the C library keep what is freed, where it can (glibc), so that memory is paid for once in a run.

    Else a path that needs more memory than the one before it asks the system for it again in every round, up to a third
    of its time, which it would not do if it ran alone.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, -1)


_M_MMAP_MAX, _M_TRIM_THRESHOLD = -4, -1  # malloc.h


def report(
    name: str,
    what: str,
    options: argparse.Namespace,
    cpu: dict[str, list[float]],
    wall: dict[str, list[float]],
    ratios: dict[str, tuple[str, str]],
    checks: dict[str, tuple[float, float | None]],
    **more: Any,
) -> None:
    """Print the table, the equality checks and the ratios; write them as JSON if asked.

    Args:
        name: of the benchmark.
        what: the work that is timed.
        options: the command line.
        cpu: seconds by path, as `alternate` gives them.
        wall: the same in wall time.
        ratios: for each claim, the path that should be slower and the one that should be faster.
        checks: what was compared, the error found and the largest one allowed (None where the result is approximate).
        more: further values for the file, printed as they are.

    Raises:
        SystemExit: an error is larger than allowed.
    """
    if options.source:
        name += f" on {Path(options.source).name}"
    found = {
        claim: {
            "cpu": statistics.median(cpu[slow]) / statistics.median(cpu[fast]),
            "cpu_range": [f(a / b for a, b in zip(cpu[slow], cpu[fast], strict=True)) for f in (min, max)],
            "wall": statistics.median(wall[slow]) / statistics.median(wall[fast]),
            "slow": slow,
            "fast": fast,
        }
        for claim, (slow, fast) in ratios.items()
    }
    print(f"{name}: {what}; {options.threads} thread(s)")
    if cpu:
        print(f"{'':50}{'cpu s':>9}{'wall s':>9}{'rounds':>8}")
    for path, times in cpu.items():
        print(f"  {path:48}{statistics.median(times):9.3f}{statistics.median(wall[path]):9.3f}{len(times):8}")
    for claim, value in found.items():
        low, high = value["cpu_range"]
        print(f"  {claim}: {value['cpu']:.2f}x CPU ({low:.2f}-{high:.2f} over rounds), {value['wall']:.2f}x wall")
    for check, (error, allowed) in checks.items():
        verdict = "approximate" if allowed is None else f"allowed {allowed:g}: {'ok' if error <= allowed else 'FAILED'}"
        print(f"  {check}: {error:.1e} ({verdict})")
    for label, value in more.items():
        print(f"  {label.replace('_', ' ')}: {value}")
    given = {
        key: path for key in ("source", "data") if (path := getattr(options, key, None))
    }  # their folders say nothing
    if options.json:
        result = {
            "name": name,
            "what": what,
            "ratio": found,
            "cpu_seconds": {path: statistics.median(times) for path, times in cpu.items()},
            "wall_seconds": {path: statistics.median(times) for path, times in wall.items()},
            "cpu_seconds_by_round": cpu,
            "max_error": {check: error for check, (error, _) in checks.items()},
            "max_error_allowed": {check: allowed for check, (_, allowed) in checks.items()},
            "threads": options.threads,
            "arguments": {**vars(options), "json": None, **{key: Path(path).name for key, path in given.items()}},
            "versions": {package: version(package) for package in ("torch", "transformers", "peft", "hf_reprogram")},
            **more,
        }
        del result["arguments"]["json"]
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    failed = [check for check, (error, allowed) in checks.items() if allowed is not None and not error <= allowed]
    if failed:
        raise SystemExit(f"{name}: not equal: {'; '.join(failed)}.")
