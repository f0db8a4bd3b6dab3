"""Memory of each process of a WARP training step: a source that is whole in every process, against one that is sharded.

    whole       the source in every process, as with DDP
    sharded     `hf_reprogram.sources.sharding`: the layers shared out over the processes

The figures are the bytes of the source's weights in each process, and the process's own memory after two steps: what it has
resident, less what it had before the source. While it is loaded, a source is whole in each process. Equality: the gradient of
the prompts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from common import bert, parser, step, templated_ids, typical_batch, warp

from hf_reprogram.sources.sharding import shard_source
from hf_reprogram.transforms.template import Template

WAYS = ("whole", "sharded")


def own_memory() -> int:
    """The bytes that this process has resident, without those that it shares with others."""
    pages = (int(value) for value in Path("/proc/self/statm").read_text(encoding="ascii").split())
    _, resident, shared, *_ = pages
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE")


def worker(way: str, folder: Path) -> None:
    """One process of a run: train, and write what it needed."""
    from accelerate import PartialState

    options = options_of().parse_args()
    torch.set_num_threads(options.threads)
    rank = PartialState(cpu=True).process_index
    before = own_memory()
    template = Template.default(20, "mask")
    model = warp(bert(options), template, 2)
    if way == "sharded":
        shard_source(model.source)
    generator = torch.Generator().manual_seed(0)
    vocab = model.source.spec.vocab_size
    rows = [templated_ids(template, length, vocab, generator) for length in typical_batch(2)]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    batch = {"input_ids": ids, "attention_mask": (ids != 0).long(), "labels": torch.arange(2)}
    for _ in range(2):
        step(model, batch)
    gradient = model.transform.prompts.grad
    model.zero_grad()
    held = sum(p.to_local().numel() if hasattr(p, "to_local") else p.numel() for p in model.source.parameters())
    record = {"bytes": own_memory() - before, "source": 4 * held, "gradient": gradient.tolist()}
    (folder / f"{way}-{rank}.json").write_text(json.dumps(record), encoding="utf-8")


def options_of():
    """The command line."""
    options = parser(__doc__)
    options.add_argument("--processes", type=int, default=2, help="processes (default: %(default)s)")
    options.add_argument("--worker", nargs=2, help="for the processes that this starts")
    return options


def main() -> None:
    """Compare, print, write."""
    options = options_of().parse_args()
    if options.worker:
        worker(options.worker[0], Path(options.worker[1]))
        return
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for way in WAYS:
            command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node"]
            command += [str(options.processes), __file__, *sys.argv[1:], "--worker", way, folder]
            environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads), "MALLOC_TRIM_THRESHOLD_": "65536"}
            subprocess.run(command, check=True, env=environment, capture_output=True)
            records = [json.loads(path.read_text(encoding="utf-8")) for path in Path(folder).glob(f"{way}-*.json")]
            found[way] = {key: max(record[key] for record in records) for key in ("bytes", "source")}
            found[way]["gradient"] = torch.tensor(records[0]["gradient"])
    error = float((found["whole"].pop("gradient") - found["sharded"].pop("gradient")).abs().max())
    for way, record in found.items():
        sizes = ", ".join(f"{key} {value / 2**20:,.0f} MiB" for key, value in record.items())
        print(f"{way}: {sizes} per process")
    ratio = {key: round(found["sharded"][key] / found["whole"][key], 3) for key in found["whole"]}
    print(f"sharded over {options.processes} processes / whole: {ratio}; largest difference of a gradient {error:.0e}")
    if options.json:
        options.json.write_text(json.dumps({**found, "ratio": ratio, "error": error}, indent=2), encoding="utf-8")
    if error > 1e-5:
        sys.exit("The gradients differ.")


if __name__ == "__main__":
    main()
