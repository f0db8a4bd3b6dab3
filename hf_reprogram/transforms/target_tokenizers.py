"""Tokenizers of the target's alphabet: characters, residues, k-mers, SMILES tokens, words, or any other fast tokenizer.

Each is a fast tokenizer over the target's own vocabulary. Its ordinary tokens have the ids 0 to N_T - 1. The special tokens of
the source's tokenizer follow: padding, the mask, and the tokens before and after a text. Each special token has the source's
embedding under its target id. Padding, truncation, offsets, collators and pipelines work unchanged.

A letter that is not in the vocabulary becomes the token `[UNK]`, whose embedding is the mean of all others. So an unknown or
ambiguous letter (X in a protein, N in DNA) is the average letter. Rare amino acids are read as the ones that they replace: U
(selenocysteine) as C, and O (pyrrolysine) as K. Words are lower-cased. Each character that is neither a letter, a digit nor a
space is a token of its own. A word that is not in the vocabulary is one `[UNK]`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import product
from typing import Any

from ..errors import InputError, unknown
from ..modalities.processors import LONGEST
from .template import special_frame

RESIDUES = tuple("ACDEFGHIKLMNPQRSTVWY")
NUCLEOTIDES = tuple("ACGT")
UNKNOWN = "[UNK]"

# The usual tokens of SMILES: bracket atoms, two-letter halogens, ring closures of two digits, then single characters
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
        texts: the training texts, whose tokens are the vocabulary of "characters", "smiles" and "words", most frequent first.
        k: the length of the k-mers; shorter ones are tokens too, for the end of a sequence.
        alphabet: the letters of "characters" and "kmers"; by default the letters of `texts`, and ACGT.
        most: the number of most frequent tokens of `texts` to take; None for all.

    Raises:
        InputError: the kind needs texts or an alphabet and has none, or a letter of the alphabet is not one character.

    >>> target_vocabulary("smiles", ["CC(=O)Cl", "CCO"])
    ['C', 'O', '(', ')', '=', 'Cl']
    >>> len(target_vocabulary("kmers", k=3))  # 64 of three letters, 16 of two and 4 of one
    84
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
        raise InputError(f"The tokenizer {kind!r} takes its tokens from texts: give the training texts as texts=...")
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
    """A fast tokenizer of the target's alphabet, and the source's id of each of its special tokens.

    Args:
        source_tokenizer: the source's tokenizer, whose special tokens frame a text; None for a source without one.
        kind: one of `KINDS`.
        max_tokens: the number of the source's positions; longer texts are truncated.
        texts, k, alphabet, most: see `target_vocabulary`.
        spell_mask: whether a special token in a text is read as a token, which infilling needs; else it is read as letters.

    Returns:
        The tokenizer, and a dictionary from the target's to the source's id of each special token.

    >>> residues, special_ids = target_tokenizer(tokenizer, "residues", max_tokens=64)
    >>> residues.tokenize("MKVX")
    ['M', 'K', 'V', '[UNK]']
    >>> len(special_ids)  # [CLS], [SEP], [PAD] and [MASK]
    4
    """
    from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers
    from tokenizers.models import WordLevel

    if k < 1:
        raise InputError(f"k is {k}: k-mers have at least 1 letter.")
    tokens = target_vocabulary(kind, texts, k, alphabet, most)
    if len(tokens) < 2:
        raise InputError(f"The target's vocabulary has {len(tokens)} token: give texts or an alphabet with at least 2.")
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
    """A copy of any fast tokenizer that has the source's special tokens in place of its own.

    Its ordinary tokens keep their ids. Its own special tokens are not used.

    Args:
        tokenizer: a fast tokenizer for the target's texts.
        source_tokenizer, max_tokens, spell_mask: see `target_tokenizer`.

    Returns:
        The tokenizer, and a dictionary from the target's to the source's id of each special token.

    Raises:
        InputError: the tokenizer is not a fast one.

    >>> framed, special_ids = framed_tokenizer(tokenizer, tokenizer, max_tokens=64)
    >>> framed.convert_ids_to_tokens(framed("a film")["input_ids"])
    ['<|CLS|>', 'a', 'film', '<|SEP|>']
    """
    import copy

    if getattr(tokenizer, "backend_tokenizer", None) is None:
        raise InputError(f"{type(tokenizer).__name__} is not a fast tokenizer: convert it to one first.")
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
        model_max_length=min(max_tokens, LONGEST),
        padding_side="right",
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
        split_special_tokens=not spell_mask,
        **names,
        **({"unk_token": unknown_token} if unknown_token else {}),
    )
    return wrapped, source_ids
