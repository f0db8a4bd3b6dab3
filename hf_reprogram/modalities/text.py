"""Texts, and pairs of texts."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from .alphabets import alphabet_of
from .base import CardFacts, Modality
from .examples import Columns
from .first_recipe import ROW_NUMBERS, FirstRecipe, Guess, plain_values
from .processors import LONGEST, open_tokenizer

if TYPE_CHECKING:
    from torch import Tensor

_TOKENIZERS = {  # by input transform
    "prompt_slots": "the tokenizer that writes a text into the prompt's template",
    "vocabulary": "the tokenizer of the target's own alphabet",
    "contextual_vocabulary": "the tokenizer of the target's own alphabet",
}
_SAMPLES = {"residues": "MKTAYIAKQR", "kmers": "ACGTTGCAAT", "smiles": "CC(=O)Oc1ccccc1"}  # by target tokenizer


SMALL_SOURCE = "sentence-transformers/all-MiniLM-L6-v2"  # for first recipes
LONG = 20  # letters per text; shorter ones may be names of something else
NAMES = ("text", "sentence", "review", "document", "sequence", "seq", "smiles")  # of columns of texts, in lower case
PAIRS = (  # of columns of pairs, in lower case
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question", "sentence"),
    ("question", "answer"),
    ("question1", "question2"),
    ("text", "text_pair"),
)


class Text(Modality):
    """A string per example, or two."""

    name = "text"
    column = "text"
    column_help = "one column of texts, or two columns for pairs"
    takes = "input_ids"
    noun = "texts"
    on_command_line = "a text, or a text and its pair"
    letters = True
    auto_classes = ("SequenceClassification", "TokenClassification", "MaskedLM")

    def named(self, value: Any) -> list[str] | None:
        """See `Modality.named`; there are one or two columns."""
        names = super().named(value)
        if names is not None and not 1 <= len(names) <= 2:
            raise InputError(f"task.text names {len(names)} columns: give one, or two for pairs.")
        return names

    def candidates(self, rows: Any, labels: Sequence[str]) -> list[str]:
        """The columns of texts; see `Modality.candidates`."""
        return [
            name
            for name, kind in rows.features.items()
            if name not in labels and getattr(kind, "dtype", "") in ("string", "large_string")
        ]

    def guess(self, rows: Any, labels: Sequence[str]) -> Guess | None:
        """Two columns that are called like the parts of a pair, or the longest texts that differ from row to row.

        A column that is called like a text comes before a longer one.
        """
        values = {
            name: texts
            for name, texts in plain_values(rows).items()
            if name not in labels and all(isinstance(text, str) for text in texts)
        }
        lower = {name.lower(): name for name in values}
        for pair in PAIRS:
            if all(name in lower for name in pair):
                why = "Two columns that are called like the parts of a pair."
                return Guess([lower[name] for name in pair], 0.95, why)
        length = {name: sum(map(len, texts)) / len(texts) for name, texts in values.items()}
        varied = [name for name in values if len({*values[name]}) > len(values[name]) / 2]
        varied.sort(key=lambda name: (name.lower() not in NAMES, -length[name]))
        if not varied:
            return None
        first, doubts = varied[0], []
        named = first.lower() in NAMES
        if len(varied) > 1 and not named and varied[1].lower() not in (*ROW_NUMBERS, "name", "title"):
            doubts.append(
                f"task.text is {first!r}, the longest text, and {varied[1]!r} is left out: is it half of a pair?"
            )
        why = (
            "The column is called like a text." if named else "The longest column of texts that differ from row to row."
        )
        return Guess([first], 0.9 if named or length[first] > LONG else 0.6, why, tuple(doubts))

    def first_recipe(self, rows: Any, columns: Sequence[str], problem: str) -> FirstRecipe:
        """A dictionary of tokens for texts that are no words, and prompts for texts that are."""
        texts = plain_values(rows).get(columns[0], []) if columns else []
        alphabet = alphabet_of(texts)
        probe = {"linear_probe": {"tokens": "target", "reads": "features"}}
        if alphabet is not None:
            why = f"The texts look like {alphabet.name}: each token is a sparse mixture of the source's."
            return _dictionary(alphabet.tokenizer, why, ["majority", probe])
        if problem in _ALIGN:
            return _dictionary({"tokenizer": "characters"}, "A label per letter, so a token per letter.", ["majority"])
        if problem == "multi_label_classification":
            why = "The texts are words with several labels: each word is a sparse mixture of the source's tokens."
            return _dictionary({"tokenizer": "words"}, why, ["majority", "linear_probe"])
        return FirstRecipe(
            source=SMALL_SOURCE,
            method={"name": "warp", "num_prompts": 8},
            why="The texts are words, which the source knows: prompts around them.",
            baselines=["majority", "linear_probe"],
        )

    def prepare(self, data: Any, columns: list[str], split: str, dataset: str) -> Any:
        """`text`, and `text_pair` of a second column; see `Modality.prepare`."""
        from datasets import Dataset, Features, Value

        for column in columns:
            kind = data.features[column]
            if not isinstance(kind, Value) or kind.dtype not in ("string", "large_string", "null"):
                raise InputError(
                    f"The column {column!r} of {dataset!r} holds {getattr(kind, 'dtype', kind)}, which is no text: name a "
                    "column of "
                    "texts in task.text, or write its values as texts."
                )
        ready = {
            name: [value if value is not None else "" for value in data[column][:]]
            for name, column in zip(("text", "text_pair"), columns, strict=False)
        }
        return Dataset.from_dict(ready, features=Features({name: Value("string") for name in ready}))

    def encode(self, splits: Mapping[str, Any], processor: Any, max_length: int | None, problem_type: str) -> Any:
        """Token ids; see `tokenize`."""
        return tokenize(splits, processor, max_length, problem_type)

    def load_processor(self, adapter: str | os.PathLike[str]) -> Any:
        """The tokenizer."""
        tokenizer = open_tokenizer(adapter)
        tokenizer.model_max_length = min(tokenizer.model_max_length, LONGEST)
        return tokenizer

    def for_method(self, train: Any) -> dict[str, Any]:
        """The training texts, from which a method may take a vocabulary."""
        return {"texts": train["text"][:]}

    def parse(self, lines: list[str]) -> list[dict[str, Any]]:
        """A text per line, or a text, a tab and its pair; see `Modality.parse`."""
        parts = [line.split("\t", 1) for line in lines]
        if len({len(part) for part in parts}) > 1:
            raise InputError(
                "Some lines have a pair and some have none: separate every text from its pair with one tab."
            )
        return [dict(zip(("text", "text_pair"), part, strict=False)) for part in parts]

    def row_of(self, value: Any) -> dict[str, Any]:
        """See `Modality.row_of`: a text, a pair (text, pair), or a mapping with `text` and `text_pair`.

        >>> TEXT.row_of(("A film.", "It is good."))
        {'text': 'A film.', 'text_pair': 'It is good.'}
        """
        names = ("text", "text_pair")
        if isinstance(value, Mapping):
            found = dict(value)
        else:
            parts = value if isinstance(value, Sequence) and not isinstance(value, str | bytes) else [value]
            found = dict(enumerate(parts)) if len(parts) > 2 else dict(zip(names, parts, strict=False))
        if "text" not in found or not {*found} <= {*names} or not all(isinstance(part, str) for part in found.values()):
            raise InputError("The input is neither a text nor a pair of texts, one of which this adapter takes.")
        return found

    def as_split(self, rows: list[dict[str, Any]]) -> Columns:
        """Rows of `parse` as a prepared split, without the library datasets, whose import takes longer than a prediction."""
        return Columns({name: [row[name] for row in rows] for name in rows[0]})

    def example(self, text: str, processor: Any) -> tuple[Tensor, str]:
        """Token ids (1, tokens) of a text, or of a text, a tab and its pair; see `Modality.example`."""
        from ..figures import cut

        ids = processor(*text.split("\t", 1), truncation=True, return_tensors="pt")["input_ids"]
        return ids, repr(cut(" ".join(text.split()), 100))

    def processor_note(self, transform: str) -> str:
        """See `Modality.processor_note`."""
        return f" and {_TOKENIZERS.get(transform, 'the tokenizer that reads its texts')}"

    def processor_steps(self, processor: Any) -> str:
        """See `Modality.processor_steps`."""
        return (
            "`input_ids` and `attention_mask` (texts, tokens), int64: what the tokenizer of this folder makes of texts, padded "
            f"on the right and cut at {processor.model_max_length:,} tokens. transformers or tokenizers read it."
        )

    def card_example(self, facts: CardFacts) -> str:
        """See `Modality.card_example`."""
        imports = "import hf_reprogram\nfrom transformers import pipeline\n\n"
        text = _SAMPLES.get(str(facts.tokenizer), "A text.")
        if facts.problem == "infilling":
            half = len(text) // 2
            return imports + (
                f'fill = pipeline("{facts.pipeline_tag}", model="{facts.repo_id}")\n'
                f'masked = f"{text[:half]}{{fill.tokenizer.mask_token}}{text[half + 1 :]}"\n'
                "fill(masked)  # the most probable tokens there\n"
                "\nfrom hf_reprogram.training.infilling import infill\n\n"
                "infill(fill.model, fill.tokenizer, [masked])  # any number of masks, one after the other"
            )
        name = "label" if facts.problem == "token_classification" else "classify"
        given = '{"text": "A first text.", "text_pair": "A second one."}' if facts.pair else f'"{text}"'
        several = ", top_k=None" if facts.problem == "multi_label_classification" else ""
        return (
            f'{imports}{name} = pipeline("{facts.pipeline_tag}", model="{facts.repo_id}")\n'
            f"{name}({given}{several}){facts.remark}"
        )


def _dictionary(tokenizer: Mapping[str, Any], why: str, baselines: Sequence[Any]) -> FirstRecipe:
    """Target tokens as sparse mixtures of the source's."""
    return FirstRecipe(
        source=SMALL_SOURCE,
        method={"name": "r2dl", **tokenizer, "sparsity": 16},
        why=why,
        baselines=baselines,
    )


def tokenize(
    splits: Any, processor: Any, max_length: int | None, problem_type: str = "single_label_classification"
) -> dict[str, Any]:
    """Token ids of every split, truncated to the tokenizer's limit or `max_length`, the template counted.

    One label per letter becomes one label per token: a token takes the label of its first letter, and special tokens
    get `IGNORE`. For infilling the marked tokens are replaced by the mask, and their ids are the labels.

    Args:
        splits: with the columns `text`, for pairs `text_pair`, and `label`.
        processor: a fast tokenizer, the adapter's.
        max_length: tokens; None for the tokenizer's own limit.
        problem_type: a key of `hf_reprogram.tasks.problems.PROBLEMS`.

    Raises:
        InputError: the template alone is longer than `max_length`, or there is one label per letter and the
            tokenizer gives no offsets.
    """
    pair = "text_pair" in next(iter(splits.values())).column_names
    limit = min(max_length or processor.model_max_length, processor.model_max_length)
    fixed = processor.num_special_tokens_to_add(pair)
    if limit <= fixed:
        raise InputError(
            f"max_length is {limit}, but the template alone takes {fixed} tokens: give more, or use fewer prompts."
        )
    align = _ALIGN.get(problem_type)
    if align is not None and not processor.is_fast:
        raise InputError(f"{type(processor).__name__} does not say which letters a token spans: use a fast tokenizer.")
    cut: dict[str, int] = {}

    def encode(batch: dict[str, Any], name: str) -> Any:
        texts = (batch["text"], batch["text_pair"]) if pair else (batch["text"],)
        found = processor(*texts, truncation=True, max_length=limit, return_offsets_mapping=align is not None)
        cut[name] = cut.get(name, 0) + sum(bool(row.overflowing) for row in found.encodings or ())
        if align is None:
            return found
        return align(found, batch["label"], processor)

    columns = [*(["text", "text_pair"] if pair else ["text"]), *(["label"] if align else [])]
    data = {
        name: split.map(
            encode,
            batched=True,
            fn_kwargs={"name": name},
            remove_columns=columns,
            desc=f"Tokenizing {name}",
            load_from_cache_file=False,
        )
        for name, split in splits.items()
    }
    if limit == processor.model_max_length and any(cut.values()):
        shares = ", ".join(f"{count / len(splits[name]):.1%} of {name}" for name, count in cut.items() if count)
        warnings.warn(
            f"Sequences longer than the {limit} tokens that the source and its tokenizer take were cut: {shares}.",
            stacklevel=2,
        )
    return data


def _label_tokens(found: Any, labels: list[list[int]], processor: Any) -> dict[str, Any]:
    """One class per token, from one class per letter."""
    from ..losses import IGNORE

    ready: dict[str, Any] = {name: found[name] for name in ("input_ids", "attention_mask")}
    ready["labels"] = [
        [letters[start] if end > start else IGNORE for start, end in offsets]
        for letters, offsets in zip(labels, found["offset_mapping"], strict=True)
    ]
    return ready


def _hide_tokens(found: Any, marks: list[list[int]], processor: Any) -> dict[str, Any]:
    """The mask in place of marked tokens, and their ids as labels; what the vocabulary does not know is not scored."""
    from ..losses import IGNORE

    special = set(processor.all_special_ids)
    ready: dict[str, Any] = {"input_ids": [], "attention_mask": found["attention_mask"], "labels": []}
    for ids, letters, offsets in zip(found["input_ids"], marks, found["offset_mapping"], strict=True):
        hidden = [end > start and any(letters[start:end]) for start, end in offsets]
        ready["input_ids"].append([processor.mask_token_id if hide else i for i, hide in zip(ids, hidden, strict=True)])
        ready["labels"].append(
            [i if hide and i not in special else IGNORE for i, hide in zip(ids, hidden, strict=True)]
        )
    return ready


_ALIGN = {"token_classification": _label_tokens, "infilling": _hide_tokens}


TEXT = Text()
