"""Write the table of README.md here from results/*.json, so that no figure is typed by hand.

    python benchmarks/table.py             write
    python benchmarks/table.py --check     fail if the table is out of date

A ratio below 1.1 is called a tie, whichever side it falls on.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
BLOCK = re.compile(r"(<!-- begin: results -->\n).*?(<!-- end: results -->)", re.DOTALL)
ORDER = (
    "prompt_step",
    "gemm_limit",
    "mask_head",
    "length_buckets",
    "length_buckets_128",
    "causal_text_cache",
    "causal_text_cache_smollm2",
    "bf16",
    "attention",
    "predict_file",
    "predict_file_10000",
    "predict_images",
    "dictionary",
    "vocabulary_fold",
    "contextual_vocabulary",
    "wide_probe",
    "token_patches",
    "canvas",
    "sounds",
    "sounds_spectrogram",
    "serving",
    "label_maps",
    "dual_encoder",
    "ood_metrics",
    "wasserstein",
    "adapter_size",
)
TIE = 1.1


def rows(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """One row for each ratio of a benchmark: what, CPU seconds, ratio with its range, wall ratio, equality."""
    if not result["ratio"]:
        size = f"{result['numbers']:,} numbers, {result['bytes']:,} bytes"
        ratio = f"1 : {result['numbers_ratio']:,} of the source's numbers"
        return [(f"`{result['name']}`: {result['what']}", size, ratio, "", equality(result))]
    found = []
    for number, (claim, value) in enumerate(result["ratio"].items()):
        low, high = value["cpu_range"]
        spread = f" ({low:.2f}-{high:.2f})" if low != high else ""
        tie = ", a tie" if 1 / TIE < value["cpu"] < TIE else ""
        seconds = " / ".join(f"{result['cpu_seconds'][value[side]]:.3g}" for side in ("slow", "fast"))
        found.append(
            (
                f"`{result['name']}`: {claim}",
                f"{seconds} s",
                f"{value['cpu']:.2f}x{spread}{tie}",
                f"{value['wall']:.2f}x",
                equality(result, number),
            )
        )
    return found


def equality(result: dict[str, Any], number: int = 0) -> str:
    """The largest error of the exact checks; for an approximate benchmark that of its own row."""
    errors, allowed = list(result["max_error"].values()), list(result["max_error_allowed"].values())
    if allowed[number % len(allowed)] is None:
        return f"approximate: gradient cosine {1 - errors[number]:.5f}"
    if "ksvd_errors" in result and number == len(result["ratio"]) - 1:
        ours, theirs = result["ksvd_errors"]["hf_reprogram"], result["ksvd_errors"]["dictlearn"]
        return f"error {ours:.3f} against {theirs:.3f}"
    return f"{errors[0]:.0e}" if errors[0] else "exact"


def table() -> str:
    """The Markdown table, and under it how it was measured."""
    results = [json.loads((HERE / "results" / f"{name}.json").read_text(encoding="utf-8")) for name in ORDER]
    head = ("benchmark", "CPU time, slow / fast", "ratio of CPU time", "of wall time", "largest difference")
    lines = [head, ("---",) * len(head), *(row for result in results for row in rows(result))]
    versions = {tuple(sorted(result["versions"].items())) for result in results}
    named = "; ".join(", ".join(f"{name} {number}" for name, number in found) for found in sorted(versions))
    threads = ", ".join(str(count) for count in sorted({result["threads"] for result in results}))
    what = [f"- `{result['name']}`: {result['what']}." for result in results if result["ratio"]]
    measured = f"Measured with {named}; {threads} thread(s) on a CPU.\n\n" + "\n".join(what)
    return "\n".join("| " + " | ".join(row) + " |" for row in lines) + f"\n\n{measured}\n"


def main() -> None:
    """Write the table, or with --check say whether it is out of date."""
    path = HERE / "README.md"
    old = path.read_text(encoding="utf-8")
    new = BLOCK.sub(lambda match: match[1] + table() + match[2], old)
    if "--check" in sys.argv[1:]:
        sys.exit("out of date: benchmarks/README.md (run python benchmarks/table.py)" if new != old else 0)
    path.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
