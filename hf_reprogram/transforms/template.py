"""Prompt templates, which are part of the tokenizer.

A template sets the order of the K prompt slots, the text, its pair and the mask between the tokenizer's own special tokens. It
is written as words. A number n means n prompt slots, `$A` the text, `$B` its pair, `[MASK]` the mask, and `[SEP]` the
tokenizer's separator (or end) token, which is used for pairs only:

    "5 $A 5 [MASK] 5 $B 5"      ->      [CLS] p p p p p  text  p p p p p [MASK] p p p p p  pair  p p p p p [SEP]

The slots are new special tokens, and the template is the tokenizer's post-processor. Padding, truncation (which counts the
slots), pairs, collators and pipelines work unchanged, and the saved tokenizer holds the template. A special token that occurs
in a user's text is read as ordinary characters, so a text cannot forge a slot or a mask.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from ..modalities.processors import LONGEST

SLOT = "<|prompt_{}|>"
WORDS = ("$A", "$B", "[MASK]", "[SEP]")


@dataclass(frozen=True)
class Template:
    """A parsed template.

    Attributes:
        pieces: the numbers of prompt slots (int) and the words of `WORDS`, in order.

    >>> template = Template.parse("5 $A 5 [MASK] 5 $B 5")
    >>> template.num_prompts, template.has_mask
    (20, True)
    >>> str(Template.default(4, reads="last"))
    '$A [SEP] $B 4'
    """

    pieces: tuple[int | str, ...]

    @classmethod
    def parse(cls, text: str) -> Template:
        """Read a template such as "5 $A 5 [MASK] 5 $B 5".

        Raises:
            InputError: a word is unknown, the text or its pair is missing, or a word occurs twice.
        """
        pieces: list[int | str] = []
        for word in str(text).split():
            if re.fullmatch(r"\d+", word):
                pieces.append(int(word))
            elif word in WORDS:
                pieces.append(word)
            else:
                raise InputError(
                    f"Template {text!r} has the word {word!r}: use $A (text), $B (its pair), [MASK], [SEP] and "
                    "numbers of prompt slots."
                )
        for word in WORDS:
            count = pieces.count(word)
            if count > 1 or (count == 0 and word in ("$A", "$B")):
                raise InputError(
                    f"Template {text!r} has {word} {count} times: the text and its pair must occur once, a mask at most once."
                )
        if pieces.index("$A") > pieces.index("$B"):
            raise InputError(f"Template {text!r} has $B before $A: put the text before its pair.")
        return cls(tuple(piece for piece in pieces if piece != 0))

    @classmethod
    def default(cls, num_prompts: int, reads: str) -> Template:
        """The template of WARP (Hambardzumyan et al. 2021), extended to sources without a mask.

        Args:
            num_prompts: K. The slots are shared evenly among the gaps around the text, the mask and the pair.
            reads: the state that the mapping reads. Without a mask the slots are before, between and after the texts. With
                "last" all slots are after the texts, so that a causal model sees the text before the slots.
        """
        if reads == "last":
            return cls.parse(f"$A [SEP] $B {num_prompts}")
        gaps = 4 if reads == "mask" else 3
        share = [num_prompts // gaps + (i < num_prompts % gaps) for i in range(gaps)]
        if reads == "mask":
            return cls.parse("{} $A {} [MASK] {} $B {}".format(*share))
        return cls.parse("{} $A {} $B {}".format(*share))

    @property
    def num_prompts(self) -> int:
        """K, the number of prompt slots."""
        return sum(piece for piece in self.pieces if isinstance(piece, int))

    @property
    def has_mask(self) -> bool:
        """Whether the template has a mask."""
        return "[MASK]" in self.pieces

    @property
    def slots_follow_text(self) -> bool:
        """Whether every prompt slot is after the text and its pair."""
        return all(isinstance(piece, str) for piece in self.pieces[: self.pieces.index("$B")])

    def __str__(self) -> str:
        return " ".join(map(str, self.pieces))

    def layout(self, mask: str | None, separator: str | None, pair: bool) -> list[str]:
        """The template as tokens, with "$A" and "$B" for the texts.

        Args:
            mask: the tokenizer's mask token.
            separator: the tokenizer's separator token; None if it has none.
            pair: whether there is a pair; without one "$B" and "[SEP]" are left out.
        """
        tokens: list[str] = []
        slot = 0
        for piece in self.pieces:
            if isinstance(piece, int):
                tokens += [SLOT.format(slot + i) for i in range(piece)]
                slot += piece
            elif piece == "[MASK]":
                tokens.append(str(mask))
            elif piece == "$A" or (piece == "$B" and pair):
                tokens.append(piece)
            elif piece == "[SEP]" and pair and separator is not None:
                tokens.append(separator)
        return tokens


def apply_template(tokenizer: Any, template: Template, max_tokens: int) -> tuple[Any, int]:
    """A tokenizer that puts every text into `template`, and the id of the first slot. The other slots have the next ids.

    Args:
        tokenizer: a fast tokenizer, which is not changed.
        template: the template.
        max_tokens: the number of the source's positions. The new tokenizer truncates to it, and counts slots and special
            tokens.

    Raises:
        InputError: the tokenizer is not a fast one, it lacks the mask token of the template, or the template alone fills the
            source's positions.

    >>> templated, first_slot = apply_template(tokenizer, Template.parse("1 $A 1 [MASK] $B"), max_tokens=64)
    >>> templated.decode(templated("a lovely film")["input_ids"])
    '[CLS] <|prompt_0|> a lovely film <|prompt_1|> [MASK] [SEP]'
    """
    from tokenizers import AddedToken, normalizers
    from tokenizers.processors import ByteLevel, Sequence, TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    if getattr(tokenizer, "backend_tokenizer", None) is None:
        raise InputError(
            f"{type(tokenizer).__name__} is not a fast tokenizer, which a template needs: convert it first."
        )
    if template.has_mask and tokenizer.mask_token is None:
        raise InputError(
            f"The template {str(template)!r} has a [MASK], but the tokenizer has no mask token: leave [MASK] out and read "
            "the state of the first or the last token."
        )
    backend = copy.deepcopy(tokenizer.backend_tokenizer)
    if type(backend.model).__name__ == "Unigram":  # its pieces include the special tokens: a text must not spell them
        apart = [normalizers.Replace(token, f"{token[0]} {token[1:]}") for token in tokenizer.all_special_tokens]
        backend.normalizer = normalizers.Sequence([*apart, *([backend.normalizer] if backend.normalizer else [])])
    backend.no_truncation()  # a saved tokenizer would keep the last call's limits
    backend.no_padding()
    prefix, suffix = special_frame(tokenizer)
    if backend.token_to_id(SLOT.format(0)) is not None or tokenizer.mask_token in prefix + suffix:
        raise InputError("This tokenizer has a prompt template already: give the source's own tokenizer.")
    separator = tokenizer.sep_token or tokenizer.eos_token if "[SEP]" in template.pieces else None
    fixed = len(prefix) + len(suffix) + template.num_prompts + template.has_mask + (separator is not None)
    if fixed >= max_tokens:
        raise InputError(
            f"The template takes {fixed} tokens of the source's {max_tokens} positions, which leaves none for the text: "
            f"use fewer than {max_tokens - fixed + template.num_prompts} prompts."
        )
    slots = [SLOT.format(i) for i in range(template.num_prompts)]
    backend.add_special_tokens([AddedToken(slot, special=True, normalized=False) for slot in slots])
    first_slot = backend.token_to_id(slots[0]) if slots else backend.get_vocab_size(with_added_tokens=True)

    def frame(pair: bool) -> list[str]:
        middle = template.layout(tokenizer.mask_token, separator, pair)
        return [f"{token}:0" for token in prefix + middle + suffix]

    used = {*prefix, *suffix, *slots}
    used |= {tokenizer.mask_token} if template.has_mask else set()
    used |= {separator} if separator is not None else set()
    processor: Any = TemplateProcessing(
        single=frame(pair=False),
        pair=frame(pair=True),
        special_tokens=[(token, backend.token_to_id(token)) for token in sorted(used)],
    )
    if "ByteLevel" in repr(backend.pre_tokenizer):  # byte-level BPE trims its offsets in the post-processor
        processor = Sequence([ByteLevel(trim_offsets=True), processor])
    backend.post_processor = processor
    special = {name: token for name, token in tokenizer.special_tokens_map.items() if isinstance(token, str)}
    if "pad_token" not in special:
        if not special:
            raise InputError(f"{type(tokenizer).__name__} has no special token to pad with: set its pad_token first.")
        special["pad_token"] = special.get("eos_token") or special.get("unk_token") or next(iter(special.values()))
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=min(tokenizer.model_max_length, max_tokens, LONGEST),
        padding_side="right",
        truncation_side=tokenizer.truncation_side,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
        split_special_tokens=True,
        **special,
    )
    return wrapped, first_slot


def special_frame(tokenizer: Any) -> tuple[list[str], list[str]]:
    """The special tokens that a tokenizer puts before and after a single text.

    >>> special_frame(tokenizer)
    (['[CLS]'], ['[SEP]'])
    """
    ids = tokenizer("a")["input_ids"]
    inner = tokenizer("a", add_special_tokens=False)["input_ids"]
    for start in range(len(ids) - len(inner) + 1):
        if ids[start : start + len(inner)] == inner:
            before, after = ids[:start], ids[start + len(inner) :]
            return tokenizer.convert_ids_to_tokens(before), tokenizer.convert_ids_to_tokens(after)
    raise InputError(
        f"{type(tokenizer).__name__} changes a text where it puts special tokens around it: use another tokenizer."
    )
