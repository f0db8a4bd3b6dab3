"""Tokenizers of the target's alphabet: characters, residues, k-mers, SMILES tokens, words, or any given one.

Each is a fast tokenizer over the target's own vocabulary, whose ordinary tokens have the ids 0 to N_T - 1, followed by the
special tokens that the source's tokenizer has (padding, mask, what stands before and after a text). A special token is the
source's own, under its target id. Padding, truncation, offsets, collators and pipelines work unchanged.

Letters that the vocabulary lacks become one token, `[UNK]`, whose embedding is the mean of all the others: an unknown or
ambiguous letter (X in a protein, N in DNA) is the average letter. Rare amino acids are read as the ones they stand in for:
U (selenocysteine) as C, O (pyrrolysine) as K. Words are lower-cased, and every sign that is neither letter, digit nor space
is one of its own; a word that the vocabulary lacks is `[UNK]` as a whole.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import product
from typing import Any

from ..errors import InputError, unknown
from .template import special_frame

RESIDUES = tuple("ACDEFGHIKLMNPQRSTVWY")
NUCLEOTIDES = tuple("ACGT")
UNKNOWN = "[UNK]"

# What chemists split SMILES by: bracket atoms, two-letter halogens, ring closures of two digits, then single signs
# (Schwaller et al. 2019, arXiv 1811.02633).
SMILES = r"\[[^\]]+\]|Br|Cl|%[0-9]{2}|%\([0-9]+\)|>>?|[BNOPSFIbcnops]|C|[()\.=#\-+\\/:~@?*$|]|[0-9]|H|[\s\S]"
WORD = r"\w+|[^\w\s]"
CHARACTER = r"[\s\S]"  # a dot matches a line's end in one regex library and not in another

KINDS = ("characters", "residues", "kmers", "smiles", "words")


def target_vocabulary(
    kind: str,
    texts: Sequence[str] | None = None,
    k: int = 3,
    alphabet: Sequence[str] | None = None,
    most: int | None = None,
) -> list[str]:
    """The ordinary tokens of a kind of tokenizer, in the order of their ids.

    Args:
        kind: one of `KINDS`.
        texts: the training texts, from which "characters", "smiles" and "words" take their tokens, most frequent first.
        k: length of the k-mers; shorter ones are there too, for the end of a sequence.
        alphabet: letters for "characters" and "kmers", by default those of `texts` and of DNA.
        most: how many of the most frequent tokens of `texts` to take; None for all.

    Raises:
        InputError: the kind needs texts or an alphabet and has none.
    """
    for letter in alphabet or ():
        if not isinstance(letter, str) or len(letter) != 1:
            raise InputError(f"The alphabet holds {letter!r}: a letter is one character, in quotes.")
    if kind == "residues":
        return list(RESIDUES)
    if kind == "kmers":
        letters = list(dict.fromkeys(alphabet or NUCLEOTIDES))
        count = sum(len(letters) ** n for n in range(1, k + 1))
        if count > 2**16:
            raise InputError(f"{k}-mers of {len(letters)} letters are {count:,} tokens: use a smaller k.")
        return ["".join(word) for n in range(k, 0, -1) for word in product(letters, repeat=n)]
    if kind == "characters" and alphabet:
        return list(dict.fromkeys(alphabet))
    if kind not in KINDS:
        raise unknown("target tokenizer", kind, KINDS)
    if not texts:
        raise InputError(f"The tokenizer {kind!r} takes its tokens from texts: give the training texts in texts=.")
    pattern = re.compile({"smiles": SMILES, "words": WORD}.get(kind, CHARACTER))
    cleaned = (text.strip().lower() if kind == "words" else text.strip() for text in texts)
    counts = Counter(token for text in cleaned for token in pattern.findall(text))
    return [token for token, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))][:most]


def target_tokenizer(
    source_tokenizer: Any,
    kind: str,
    max_tokens: int,
    *,
    texts: Sequence[str] | None = None,
    k: int = 3,
    alphabet: Sequence[str] | None = None,
    most: int | None = None,
    spell_mask: bool = False,
) -> tuple[Any, dict[int, int]]:
    """A fast tokenizer of the target's alphabet, and for each of its special tokens the source's id.

    Args:
        source_tokenizer: whose special tokens frame a text, or None for a source without a tokenizer.
        kind: one of `KINDS`.
        max_tokens: the source's positions.
        texts, k, alphabet, most: see `target_vocabulary`.
        spell_mask: whether a special token written in a text is read as such, for filling masks; else as letters.

    Returns:
        The tokenizer, and {its special id: the source's id}.
    """
    from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers
    from tokenizers.models import WordLevel

    if k < 1:
        raise InputError(f"k is {k}: k-mers have at least 1 letter.")
    tokens = target_vocabulary(kind, texts, k, alphabet, most)
    if len(tokens) < 2:
        raise InputError(f"The target's vocabulary has {len(tokens)} token: there is nothing to tell apart.")
    if UNKNOWN in tokens:
        raise InputError(
            f"The target's vocabulary holds {UNKNOWN!r}, the name of the unknown token: use another tokenizer."
        )
    backend = Tokenizer(WordLevel({token: i for i, token in enumerate([*tokens, UNKNOWN])}, unk_token=UNKNOWN))
    steps: list[Any] = [normalizers.Strip()]
    if kind in ("residues", "kmers"):
        steps += [normalizers.Replace(Regex(r"\s"), "")]
        if not any(token != token.upper() for token in tokens):
            steps += [normalizers.Replace(lower, lower.upper()) for lower in "abcdefghijklmnopqrstuvwxyz"]
    if kind == "residues":
        steps += [normalizers.Replace("U", "C"), normalizers.Replace("O", "K")]
    if kind == "kmers" and "T" in tokens and "U" not in tokens:
        steps += [normalizers.Replace("U", "T")]  # RNA
    if kind == "words":
        steps += [normalizers.Lowercase()]
        backend.pre_tokenizer = pre_tokenizers.Split(Regex(WORD), "removed", invert=True)
    else:
        pattern = {"smiles": SMILES, "kmers": f".{{1,{k}}}"}.get(kind, CHARACTER)
        backend.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), "isolated")
        backend.decoder = decoders.Fuse()
    backend.normalizer = normalizers.Sequence(steps)
    return _with_specials(backend, source_tokenizer, max_tokens, spell_mask=spell_mask)


def framed_tokenizer(
    tokenizer: Any, source_tokenizer: Any, max_tokens: int, spell_mask: bool = False
) -> tuple[Any, dict[int, int]]:
    """Any fast tokenizer for the target, with the source's special tokens in place of its own.

    Its ordinary tokens keep their ids; what it puts around a text, and its padding, mask and unknown token, are left out
    of use. Returns as `target_tokenizer` does.
    """
    import copy

    if getattr(tokenizer, "backend_tokenizer", None) is None:
        raise InputError(f"{type(tokenizer).__name__} is not a fast tokenizer: convert it first.")
    backend = copy.deepcopy(tokenizer.backend_tokenizer)
    backend.no_truncation()
    backend.no_padding()
    return _with_specials(backend, source_tokenizer, max_tokens, tokenizer.unk_token, spell_mask)


def _with_specials(
    backend: Any, source_tokenizer: Any, max_tokens: int, unknown_token: str | None = UNKNOWN, spell_mask: bool = False
) -> tuple[Any, dict[int, int]]:
    """Add the source's special tokens behind the vocabulary and frame every text as the source does."""
    from tokenizers import AddedToken
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    before, after = special_frame(source_tokenizer) if source_tokenizer is not None else ([], [])
    roles = {"pad_token": "[PAD]", "mask_token": "[MASK]"}
    theirs = {role: getattr(source_tokenizer, role, None) for role in roles}
    frame = {token: f"<|{token.strip('<>[]|')}|>" for token in dict.fromkeys([*before, *after])}
    names = {"pad_token": "<|pad|>", **({"mask_token": "<|mask|>"} if theirs["mask_token"] else {})}
    added = [*frame.values(), *names.values()]
    backend.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in added])
    to_id = backend.token_to_id
    source_ids = {to_id(mine): source_tokenizer.convert_tokens_to_ids(token) for token, mine in frame.items()}
    for role, name in names.items():
        token = theirs[role]
        source_ids[to_id(name)] = 0 if token is None else source_tokenizer.convert_tokens_to_ids(token)
    single = [*(f"{frame[token]}:0" for token in before), "$A:0", *(f"{frame[token]}:0" for token in after)]
    backend.post_processor = TemplateProcessing(
        single=single, pair=[*single[: -len(after) or None], "$B:0", *single[len(single) - len(after) :]],
        special_tokens=[(name, to_id(name)) for name in frame.values()],
    )  # fmt: skip
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=max_tokens,
        padding_side="right",
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
        split_special_tokens=not spell_mask,
        **names,
        **({"unk_token": unknown_token} if unknown_token else {}),
    )
    return wrapped, source_ids
