"""A file of short texts, from the file to the labels in another: `predict_file` against plain transformers.

    plain       the bare encoder, in the same dtype, on texts with as many tokens (a word for each of the 8 prompts): all texts
                tokenized at once, sorted by length, in batches of 64; the mean over tokens and a linear layer
    pipeline    transformers' own text-classification pipeline with the same adapter, in batches of 64 in the order of the file
    file        `predict_file` with a WARP adapter of 8 prompts, which reads, sorts and writes a part of the file at a time

The model is loaded in each way. Texts are random words, 4 to 40 of them. The source has MiniLM's shape (6 layers x 384).

Equality: the scores of the pipeline and of the file, for the first 256 texts.
With more than 1,000 texts nothing is run once before it is timed.
"""

from __future__ import annotations

import random
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from common import alternate, bert, parser, report, shape, start
from transformers import AutoModel, AutoTokenizer, BertTokenizer, pipeline

from hf_reprogram import reprogram
from hf_reprogram.experiments.predictions import iter_predictions, predict_file

PROMPTS, BATCH, CHECKED = 8, 64, 256


def main() -> None:
    """Compare, print, write."""
    arguments = parser(__doc__, layers=6, width=384, rounds=3)
    arguments.add_argument("--texts", type=int, default=256, help="lines of the file (default: %(default)s)")
    options = start(arguments)
    source = bert(options)
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_source(source, folder / "source", options.source)
        torch.manual_seed(1)
        model, processor = reprogram(
            str(folder / "source"), "warp", ["no", "yes"], num_prompts=PROMPTS, reads="features"
        )
        model.save_pretrained(folder / "adapter")
        processor.save_pretrained(folder / "adapter")
        texts = random_texts(processor, options.texts)
        (folder / "texts.txt").write_text("\n".join(texts), encoding="utf-8")
        adapter, found = str(folder / "adapter"), folder / "found.csv"

        def file() -> None:
            found.unlink(missing_ok=True)
            predict_file(adapter, folder / "texts.txt", found, quiet=True)

        paths = {
            "plain": lambda: plain(folder / "source", texts),
            "pipeline": lambda: piped(adapter, texts),
            "file": file,
        }
        cpu, wall = alternate(paths, options.rounds, warmup=int(options.texts <= 1000))
        records = islice(iter_predictions(adapter, folder / "texts.txt", quiet=True), CHECKED)
        error = max(
            abs(record["score"] - answer["score"]) if record["label"] == answer["label"] else 1 - record["score"]
            for record, answer in zip(records, piped(adapter, texts[:CHECKED]), strict=True)
        )
    report(
        "predict_file",
        f"{shape(source)}, {options.texts:,} texts of 4 to 40 words, {PROMPTS} prompts, from a file of lines to a csv file",
        options,
        cpu,
        wall,
        {
            "a file, against the plain encoder": ("plain", "file"),
            "a file, against a pipeline in the order of the file": ("pipeline", "file"),
        },
        {"difference in the score of a text (absolute)": (error, 1e-5)},
    )


def write_source(source: torch.nn.Module, folder: Path, given: str | None) -> None:
    """A source and its tokenizer: the one of the folder that was given, or a vocabulary of numbered words."""
    encoder = source.base_model
    encoder.save_pretrained(folder)
    if given:
        AutoTokenizer.from_pretrained(given).save_pretrained(folder)
        return
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [f"w{number}" for number in range(encoder.config.vocab_size - len(special))]
    (folder / "vocab.txt").write_text("\n".join([*special, *words]), encoding="utf-8")
    BertTokenizer(str(folder / "vocab.txt"), model_max_length=512).save_pretrained(folder)


def random_texts(processor: object, count: int) -> list[str]:
    """Texts of 4 to 40 words that are tokens of a tokenizer."""
    draw = random.Random(0)
    words = sorted(token for token in processor.get_vocab() if token.isalnum() and token.isascii())  # type: ignore[attr-defined]
    return [" ".join(draw.choices(words, k=draw.randint(4, 40))) for _ in range(count)]


@torch.no_grad()
def plain(folder: Path, texts: list[str]) -> list[int]:
    """The classes that a bare encoder and a linear layer give."""
    encoder, tokenizer = (
        AutoModel.from_pretrained(folder, add_pooling_layer=False).eval(),
        AutoTokenizer.from_pretrained(folder),
    )
    head = torch.nn.Linear(encoder.config.hidden_size, 2)
    ids = tokenizer([f"{text} {' '.join([text.split()[0]] * PROMPTS)}" for text in texts], truncation=True)["input_ids"]
    order = sorted(range(len(ids)), key=lambda row: len(ids[row]))
    classes = [0] * len(ids)
    for first in range(0, len(order), BATCH):
        rows = order[first : first + BATCH]
        batch = tokenizer.pad({"input_ids": [ids[row] for row in rows]}, return_tensors="pt")
        mask = batch["attention_mask"].unsqueeze(-1)
        states = encoder(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
        chosen = head((states * mask).sum(1) / mask.sum(1)).argmax(-1)
        for row, label in zip(rows, chosen.tolist(), strict=True):
            classes[row] = label
    return classes


def piped(adapter: str, texts: list[str]) -> list[dict]:
    """What the pipeline gives."""
    return list(pipeline("text-classification", model=adapter, device="cpu")(texts, batch_size=BATCH))


if __name__ == "__main__":
    main()
