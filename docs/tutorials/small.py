"""Small sources and data for the tutorials, made on the spot, so that they need no network."""

from __future__ import annotations

import random
from itertools import product
from pathlib import Path

GOOD = ("lovely", "great", "charming", "clever", "warm")
BAD = ("dull", "awful", "clumsy", "boring", "cold")
THINGS = ("film", "song", "meal", "hotel", "novel", "garden")
FRAMES = (
    "the {thing} was {word}",
    "what a {word} {thing}",
    "i found this {thing} rather {word}",
    "a {thing} that is {word} and long",
)


def sentences(seed: int = 0) -> list[tuple[str, str]]:
    """240 sentences, each with its sentiment, in a random order."""
    made = []
    for label, words in (("positive", GOOD), ("negative", BAD)):
        made += [(frame.format(thing=thing, word=word), label) for frame, thing, word in product(FRAMES, THINGS, words)]
    random.Random(seed).shuffle(made)
    return made


def peptides(number: int = 300, seed: int = 0) -> list[tuple[str, str]]:
    """Made-up peptides: the active ones are rich in lysine (K) and leucine (L), the others in aspartate (D) and serine (S)."""
    draw, made = random.Random(seed), []
    for place in range(number):
        label, rich = (("active", "KL"), ("inactive", "DS"))[place % 2]
        letters = draw.choices("ACDEFGHIKLMNPQRSTVWY" + 6 * rich, k=draw.randint(10, 24))
        made.append(("".join(letters), label))
    return made


def encoder(folder: str = "tiny-encoder") -> str:
    """The encoder of the demo if `make demo` has fetched it, else a BERT of two layers with random weights.

    Returns:
        Its folder.
    """
    demo = Path("../../demo_output/all-MiniLM-L6-v2")
    return str(demo.resolve()) if demo.exists() else _random_encoder(folder)


def _random_encoder(folder: str) -> str:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
    from tokenizers.processors import TemplateProcessing
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast, set_seed

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = sorted({word for text, _ in sentences() for word in text.split()})
    vocabulary = {word: place for place, word in enumerate([*special, *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, mask_token="[MASK]", model_max_length=64, **names)
    set_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=64,
        initializer_range=0.2,
    )
    BertModel(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


def digit_classifier(folder: str = "tiny-vit") -> str:
    """A small ViT that tells the handwritten digits 0 to 4 of scikit-learn apart, trained here in a few seconds.

    Returns:
        Its folder.
    """
    import torch
    from transformers import ViTConfig, ViTForImageClassification, set_seed
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    images, labels = digits(range(5))
    set_seed(0)
    config = ViTConfig(
        image_size=32,
        patch_size=4,
        hidden_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=128,
        id2label={place: f"digit {place}" for place in range(5)},
        label2id={f"digit {place}": place for place in range(5)},
    )
    model = ViTForImageClassification(config)
    half = [0.5, 0.5, 0.5]
    processor = ViTImageProcessorPil(size={"height": 32, "width": 32}, image_mean=half, image_std=half)
    pixels = processor(images, return_tensors="pt")["pixel_values"]
    target = torch.tensor(labels)
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    for _ in range(8):
        for rows in torch.randperm(len(pixels)).split(32):
            loss = model(pixel_values=pixels[rows], labels=target[rows]).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def digits(which: range) -> tuple[list, list[int]]:
    """Images of some of scikit-learn's handwritten digits, and the place of each digit in `which`."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits

    found = load_digits()
    kept = np.isin(found.target, list(which))
    greys = (found.images[kept] * (255 / 16)).astype(np.uint8)
    images = [Image.fromarray(grey).convert("RGB").resize((32, 32)) for grey in greys]
    return images, [list(which).index(digit) for digit in found.target[kept]]
