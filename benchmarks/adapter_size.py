"""Size of a saved WARP adapter: 20 prompts and 3 classes on RoBERTa-large's shape.

The saved `model.safetensors` must hold theta (20 x 1,024) and omega (3 x 1,024 + 3), 23,555 numbers, and nothing of the
source. What is saved does not depend on the source's depth, so the random source has one layer; the full source's size
is counted without making its weights. The ratio is numbers of the source to numbers of the adapter.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch
from common import report, warp
from safetensors.torch import load_file
from transformers import RobertaConfig, RobertaForMaskedLM
from transformers.utils.logging import disable_progress_bar

from hf_reprogram.transforms.template import Template

WIDTH = 1024


def main() -> None:
    """Save, count, print, write."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--prompts", type=int, default=20)
    arguments.add_argument("--labels", type=int, default=3)
    arguments.add_argument("--json", type=Path, help="write the result to this file")
    arguments.set_defaults(threads=1, source=None)
    options = arguments.parse_args()
    disable_progress_bar()
    large = RobertaConfig(
        vocab_size=50265,
        hidden_size=WIDTH,
        num_hidden_layers=24,
        num_attention_heads=16,
        intermediate_size=4096,
        max_position_embeddings=514,
        type_vocab_size=1,
    )
    with torch.device("meta"):
        source_numbers = sum(parameter.numel() for parameter in RobertaForMaskedLM(large).parameters())
    large.num_hidden_layers = 1
    model = warp(RobertaForMaskedLM(large), Template.default(options.prompts, "mask"), options.labels)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        path = Path(folder) / "model.safetensors"
        saved, size = load_file(path), path.stat().st_size
    trainable = model.trainable()
    assert saved.keys() == trainable.keys()
    numbers = sum(tensor.numel() for tensor in saved.values())
    expected = options.prompts * WIDTH + options.labels * (WIDTH + 1)
    report(
        "adapter_size",
        f"WARP, {options.prompts} prompts and {options.labels} classes on RoBERTa-large's shape ({WIDTH} wide)",
        options,
        {},
        {},
        {},
        {
            "numbers saved beyond theta and omega": (abs(numbers - expected), 0),
            "difference of the saved numbers from the model's": (
                max(float((saved[name] - parameter).detach().abs().max()) for name, parameter in trainable.items()),
                0.0,
            ),
        },
        numbers=numbers,
        bytes=size,
        source_numbers=source_numbers,
        numbers_ratio=round(source_numbers / numbers),
    )


if __name__ == "__main__":
    main()
