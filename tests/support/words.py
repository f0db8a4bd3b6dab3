"""Small tokenizers of every kind, each of its model's own class, and the synthetic texts that they know the words of."""

from __future__ import annotations

import json
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing
from transformers import (
    AlbertTokenizer,
    BertTokenizer,
    DebertaV2Tokenizer,
    GPT2Tokenizer,
    LlamaTokenizer,
    PreTrainedTokenizerFast,
    RobertaTokenizer,
)

GOOD = ("good", "great", "fine", "lovely", "superb")
BAD = ("bad", "awful", "poor", "dull", "dire")
FILLERS = (
    "the",
    "a",
    "film",
    "plot",
    "actor",
    "scene",
    "was",
    "is",
    "and",
    "really",
    "today",
    "music",
    "long",
    "story",
)
MARKS = ('"', "?", ".", ",", "!", "[", "]", "<", ">", "|", "_", "'")
LETTERS = tuple("abcdefghijklmnopqrstuvwxyz0123456789")


def texts(count: int, seed: int = 0, longest: int = 8) -> tuple[list[str], list[int]]:
    """Sentences of mixed lengths with one good (1) or bad (0) word each, half of each, and their labels."""
    random = torch.Generator().manual_seed(seed)

    def pick(words):
        return words[int(torch.randint(len(words), (1,), generator=random))]

    sentences, labels = [], []
    for index in range(count):
        words = [pick(FILLERS) for _ in range(int(torch.randint(2, longest + 1, (1,), generator=random)))]
        words[index % len(words)] = pick((BAD, GOOD)[index % 2])
        sentences.append(" ".join(words))
        labels.append(index % 2)
    return sentences, labels


def wordpiece(cls: Any = BertTokenizer) -> Any:
    """BERT's kind: whole words, then letters."""
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *MARKS, *LETTERS, *(f"##{c}" for c in LETTERS)]
    pieces += [word for word in (*GOOD, *BAD, *FILLERS) if len(word) > 1]
    return cls(vocab={piece: i for i, piece in enumerate(pieces)})


def _byte_bpe(special: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges of a byte-level BPE trained on the synthetic texts, special tokens first."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=len(special) + len(alphabet) + 120,
        special_tokens=special,
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(200)[0], trainer)
    return _vocabulary(tokenizer)


def _vocabulary(tokenizer: Tokenizer) -> tuple[dict[str, int], list[tuple[str, str]]]:
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [tuple(pair) for pair in model["merges"]]


def roberta_bpe() -> Any:
    """RoBERTa's kind: byte-level BPE, `<s> ... </s>`, its mask eats the space before it."""
    vocabulary, merges = _byte_bpe(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    return RobertaTokenizer(vocab=vocabulary, merges=merges)


def gpt2_bpe() -> Any:
    """GPT-2's kind: byte-level BPE, nothing around a text, no padding token."""
    vocabulary, merges = _byte_bpe(["<|endoftext|>"])
    return GPT2Tokenizer(vocab=vocabulary, merges=merges)


def modernbert_bpe() -> Any:
    """ModernBERT's kind: byte-level BPE with BERT's special tokens."""
    names = {
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "mask_token": "[MASK]",
    }
    vocabulary, merges = _byte_bpe(list(names.values()))
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_input_names=["input_ids", "attention_mask"], **names)


def unigram(
    cls: Any = AlbertTokenizer, special: tuple[str, ...] = ("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]")
) -> Any:
    """ALBERT's kind: Unigram pieces with `▁` before a word."""
    pieces = [(piece, 0.0) for piece in special] + [("▁", -4.0)]
    pieces += [(f"▁{word}", -3.0) for word in (*GOOD, *BAD, *FILLERS) if len(word) > 1]
    pieces += [(character, -8.0) for character in (*LETTERS, *MARKS)]
    return cls(vocab=pieces)


def deberta_unigram() -> Any:
    """DeBERTa-v2's kind."""
    return unigram(DebertaV2Tokenizer, ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"))


def llama_bpe() -> Any:
    """Llama's kind: BPE with bytes to fall back on, `<s>` before a text, padding on the left, no padding token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=len(special) + 140, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator([*texts(200)[0], *LETTERS, *MARKS], trainer)
    vocabulary, merges = _vocabulary(tokenizer)
    return LlamaTokenizer(vocab=vocabulary, merges=merges, add_bos_token=True)


TOKENIZERS = {
    "wordpiece": wordpiece,
    "byte-bpe-roberta": roberta_bpe,
    "byte-bpe-modernbert": modernbert_bpe,
    "unigram-albert": unigram,
    "unigram-deberta": deberta_unigram,
    "byte-bpe-gpt2": gpt2_bpe,
    "bpe-llama": llama_bpe,
}
WITH_MASK = [name for name, make in TOKENIZERS.items() if make().mask_token is not None]
