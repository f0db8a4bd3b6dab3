"""Make a Hugging Face folder of the keyword spotter of Voice2Series and AR-SCR from its authors' Keras weights.

    pip install h5py
    python tools/keyword_spotter.py model-attRNN.h5 keyword-spotter

`model-attRNN.h5` is in github.com/douglas125/SpeechCmdRecognition (MIT). The folder loads as
`AutoModelForAudioClassification.from_pretrained("keyword-spotter")` after `import hf_reprogram`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import Wav2Vec2FeatureExtractor

import hf_reprogram  # noqa: F401 - registers the architecture
from hf_reprogram.sources.keyword_spotter import KeywordSpotterConfig, KeywordSpotterForAudioClassification

WORDS = [
    "unknown",
    "nine",
    "yes",
    "no",
    "up",
    "down",
    "left",
    "right",
    "on",
    "off",
    "stop",
    "go",
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "backward",
    "bed",
    "bird",
    "cat",
    "dog",
    "follow",
    "forward",
    "happy",
    "house",
    "learn",
    "marvin",
    "sheila",
    "tree",
    "visual",
    "wow",
]


def state_of(read: Callable[[str], np.ndarray], mel: np.ndarray) -> dict[str, torch.Tensor]:
    """The weights of our module from those of Keras.

    Args:
        read: from the path of a Keras weight to its array.
        mel: the mel filters (frequencies, 80).
    """

    def tensor(path: str) -> torch.Tensor:
        return torch.from_numpy(np.array(read(path), np.float32))

    state = {"mel": torch.from_numpy(np.array(mel, np.float32)), "window": torch.hann_window(1024)}
    for place, suffix in ((1, ""), (2, "_1")):
        layer = f"conv2d{suffix}/conv2d{suffix}"
        state[f"conv{place}.weight"] = tensor(f"{layer}/kernel").permute(3, 2, 0, 1).contiguous()
        state[f"conv{place}.bias"] = tensor(f"{layer}/bias")
        norm = f"batch_normalization{suffix}/batch_normalization{suffix}"
        named = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
        state |= {f"norm{place}.{ours}": tensor(f"{norm}/{theirs}") for ours, theirs in named.items()}
        state[f"norm{place}.num_batches_tracked"] = torch.tensor(0)
    for layer_number, suffix, first_cell in ((0, "", 1), (1, "_1", 4)):
        for cell, way, ours in ((first_cell, "forward", ""), (first_cell + 1, "backward", "_reverse")):
            path = f"bidirectional{suffix}/bidirectional{suffix}/{way}_lstm{suffix}/lstm_cell_{cell}"
            end = f"l{layer_number}{ours}"
            state[f"lstm.weight_ih_{end}"] = tensor(f"{path}/kernel").T.contiguous()
            state[f"lstm.weight_hh_{end}"] = tensor(f"{path}/recurrent_kernel").T.contiguous()
            state[f"lstm.bias_ih_{end}"] = tensor(f"{path}/bias")
            state[f"lstm.bias_hh_{end}"] = torch.zeros_like(state[f"lstm.bias_ih_{end}"])  # Keras has one bias
    for ours, theirs in (("query", "dense"), ("dense1", "dense_1"), ("dense2", "dense_2"), ("classifier", "output")):
        state[f"{ours}.weight"] = tensor(f"{theirs}/{theirs}/kernel").T.contiguous()
        state[f"{ours}.bias"] = tensor(f"{theirs}/{theirs}/bias")
    return state


def mel_of(description: str) -> np.ndarray:
    """The mel filters, which Keras keeps as a constant of the front end in the description of the model."""

    def search(value: Any) -> Any:
        if isinstance(value, dict):
            if value.get("name") == "tf.tensordot_1":
                return value["inbound_nodes"][0][3]["b"]
            value = list(value.values())
        found = (search(each) for each in value) if isinstance(value, list) else ()
        return next((each for each in found if each is not None), None)

    return np.array(search(json.loads(description)), np.float32)


def main() -> None:
    """Convert."""
    import h5py

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, help="the Keras file")
    parser.add_argument("folder", type=Path, help="the folder to write")
    arguments = parser.parse_args()
    names = dict(enumerate(WORDS))
    config = KeywordSpotterConfig(id2label=names, label2id={name: index for index, name in names.items()})
    model = KeywordSpotterForAudioClassification(config).eval()
    with h5py.File(arguments.weights) as file:
        weights = file["model_weights"]
        mel = mel_of(file.attrs["model_config"])
        model.load_state_dict(state_of(lambda path: weights[f"{path}:0"][()], mel))
    model.save_pretrained(arguments.folder)
    Wav2Vec2FeatureExtractor(sampling_rate=config.sampling_rate, do_normalize=False).save_pretrained(arguments.folder)
    print(f"Wrote {arguments.folder}: one second at 16 kHz to {len(WORDS)} labels.")


if __name__ == "__main__":
    main()
