"""A dual encoder's constants: zero-shot features kept on disk, and class texts cut to the longest of them.

CLIP ViT-B/16's shape with random weights (vision 12 layers x 768 on 224 x 224 pixels, text 12 layers x 512), ten classes in
"a photo of a {}."; `--layers` and `--width` are the vision tower's, the text tower is two thirds as wide.

    residual, recomputed     evaluation of 8 images: reprogrammed features, and the zero-shot ones of the same images
    residual, kept           hf_reprogram: the zero-shot features come with the batch, read from the cache's file
    texts, padded to 77      a training step of the text program, the texts padded as CLIP's processor can do it
    texts, cut               hf_reprogram: padded to the longest of the ten

Equality: the logits of both evaluations; the features of both texts and the gradient of the text program.
"""

from __future__ import annotations

import os
import tempfile
from types import SimpleNamespace

import numpy as np
import torch
from common import alternate, differences, parser, report, start
from transformers import CLIPConfig, CLIPModel

from hf_reprogram import reprogram
from hf_reprogram.modalities.examples import Examples
from hf_reprogram.sources import DualSource
from hf_reprogram.sources.dual import Texts
from hf_reprogram.training.features import read_features, write_features

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FULL = 77


class Words:
    """Stands in for CLIP's tokenizer: an id a word between the first and the last token, which is the padding too."""

    padding_side, pad_token = "right", "<|endoftext|>"
    vocabulary = 49408

    def __call__(self, texts, **_):
        rows = [
            [49406, *(sum(map(ord, word)) % 40000 for word in text.replace(".", " .").split()), 49407] for text in texts
        ]
        longest = max(map(len, rows))
        ids = torch.tensor([row + [49407] * (longest - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
        return {"input_ids": ids, "attention_mask": mask}


def main() -> None:
    """Compare, print, write."""
    arguments = parser(__doc__, width=768, rounds=6)
    arguments.add_argument("--batch", type=int, default=8)
    options = start(arguments)
    torch.manual_seed(0)
    narrow = options.width * 2 // 3
    text = {"hidden_size": narrow, "intermediate_size": 4 * narrow, "num_attention_heads": narrow // 64}
    text |= {"num_hidden_layers": options.layers, "bos_token_id": 49406, "eos_token_id": 49407, "pad_token_id": 49407}
    vision = {"hidden_size": options.width, "intermediate_size": 4 * options.width, "patch_size": 16}
    vision |= {"num_hidden_layers": options.layers, "num_attention_heads": options.width // 64}
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=narrow)
    source = DualSource(CLIPModel(config), 224, (0.48, 0.46, 0.41), (0.27, 0.26, 0.28))
    model, _ = reprogram(source, method="reprogrammer", labels=CLASSES, processor=Words(), alpha=0.4)
    pixels = torch.rand(options.batch, 3, 224, 224)

    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        path = os.path.join(folder, "features.safetensors")
        write_features(source({"pixels": pixels}, "features").numpy(), path)
        kept = read_features(path)
        data = Examples("pixel_values", pixels.numpy().__getitem__, None, options.batch)
        data.further["image_features"] = kept
        rows = np.arange(options.batch)

        def evaluated(given: SimpleNamespace) -> torch.Tensor:
            with torch.no_grad():
                return model.eval()(**given.inputs()).logits

        plain = SimpleNamespace(inputs=lambda: {"pixel_values": pixels})
        known = SimpleNamespace(
            inputs=lambda: {name: torch.from_numpy(values) for name, values in data.inputs(rows).items()}
        )
        residual = {"residual, recomputed": plain, "residual, kept": known}
        logits = [evaluated(given) for given in residual.values()]
        cpu, wall = alternate(
            {name: (lambda given=given: evaluated(given)) for name, given in residual.items()}, options.rounds
        )

    cut = model.transform.plain_texts
    missing = FULL - cut.ids.shape[-1]
    full = Texts(
        torch.cat([cut.ids, cut.ids.new_full((*cut.ids.shape[:2], missing), 49407)], -1),
        torch.cat([cut.mask, cut.mask.new_zeros((*cut.mask.shape[:2], missing))], -1),
    )
    program = model.transform.text
    with torch.no_grad():
        program.up.normal_(std=0.1)
    slope = torch.randn(len(CLASSES), 1, narrow)

    def trained(texts: Texts) -> list[torch.Tensor]:
        program.zero_grad(set_to_none=True)
        features = source.text_features(program(texts, source))
        (features * slope).sum().backward()
        return [features.detach(), *(parameter.grad for parameter in program.parameters())]

    found, wanted = trained(cut), trained(full)
    paths = {"texts, padded to 77": lambda: trained(full), "texts, cut": lambda: trained(cut)}
    more_cpu, more_wall = alternate(paths, options.rounds)
    report(
        "dual_encoder",
        f"{options.layers} layers x {options.width}, batch {options.batch}, {len(CLASSES)} texts of {cut.ids.shape[-1]} tokens",
        options,
        cpu | more_cpu,
        wall | more_wall,
        {
            "residual branch kept, against recomputed": ("residual, recomputed", "residual, kept"),
            "texts cut, against padded to 77": ("texts, padded to 77", "texts, cut"),
        },
        {
            "difference of logits (float32, relative)": (differences(logits[1:], logits[:1])[1], 1e-5),
            "difference of features and gradients (float32, relative)": (differences(found, wanted)[1], 1e-4),
            "difference of text features": (float((found[0] - wanted[0]).abs().max()), 1e-6),
        },
    )


if __name__ == "__main__":
    main()
