"""WARP: word-level adversarial reprogramming (Hambardzumyan, Khachatrian, May 2021, arXiv 2101.00121).

    y_c = omega_c . h([CLS] p_1..p_i  S1  p_i+1..p_j [MASK] p_j+1..p_k  S2  p_k+1..p_K [SEP])  + b_c

Theta is the K prompt embeddings p (K, d), which replace word embeddings at reserved slots. Omega is C class vectors (C, d) and
biases (C,), applied to h, the state at [MASK] after the masked-LM head's transform. Together they have K * d + C * (d + 1)
numbers.

Extensions are ours. `reads="first"` applies the class vectors to the state at [CLS]. A causal source is read at its last
token, with the prompt after the text. A source without a masked-LM head is read by its mean over tokens, or at the mask; the
mean leaves the slots out.
`deep=True` adds prompts to the states of the slots before every further layer.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any

import torch

from ..errors import InputError, unknown
from ..options import check_whole
from ..sources.base import Source, SourceSpec
from ..transforms.prompt_subspace import subspace_of
from ..transforms.template import Template, apply_template
from .base import Method, MethodInfo, MethodOptions, Parts, Target

KINDS = ("masked_lm", "encoder", "causal_lm")
READS = {"masked_lm": "mask", "encoder": "features", "causal_lm": "last"}  # by default: where each kind was trained
PAPER_WORDS = ('"', "?", ".", ",", "!")


@dataclass
class WarpOptions(MethodOptions):
    """Options of WARP.

    Attributes:
        num_prompts: K, the number of prompt slots; with 0 only the class vectors are trained.
        template: the places of the slots (`hf_reprogram.transforms.template`); by default the gaps share them evenly.
        prompt_init: the initial prompts: "mask" (the embedding of the mask token, as in the paper), "words" (`init_words` in
            turn) or "normal" (normal, with the mean and the deviation of the embedding table). By default "mask" if the
            tokenizer has a mask, else "normal".
        init_words: the words for `prompt_init="words"`; by default the paper's punctuation marks.
        verbalizer: one word per label, from whose decoder row the class vector starts (the paper's WARP_init).
        reads: the state that the mapping reads: "mask", "first", "last" or "features" (mean over tokens). The default is "mask"
            for a masked LM, "last" for a causal one, and "features" for an encoder without a language model's head.
        deep: whether the slots have prompts before every layer, and not only at the input
            (`hf_reprogram.transforms.prompt_slots`).
        subspace: d, to train so many numbers in place of K * width: the prompts are p_0 + A z with a fixed random A
            (`hf_reprogram.transforms.prompt_subspace`). They start at tokens: at "mask" if the tokenizer has a mask, else at
            "words".
    """

    num_prompts: int = 20
    template: str | None = None
    prompt_init: str | None = None
    init_words: list[str] = field(default_factory=lambda: list(PAPER_WORDS))
    verbalizer: dict[str, str] | None = None
    reads: str | None = None
    deep: bool = False
    subspace: int | None = None

    def __post_init__(self) -> None:
        check_whole(0, num_prompts=self.num_prompts)
        if self.template is not None:
            self.num_prompts = Template.parse(self.template).num_prompts
        if self.prompt_init not in (None, "mask", "words", "normal"):
            raise unknown("prompt_init", self.prompt_init, ("mask", "words", "normal"))
        if self.deep and not self.num_prompts:
            raise InputError("deep is for prompts, and num_prompts is 0: give at least 1, or leave deep out.")
        if self.subspace is not None:
            check_whole(subspace=self.subspace)
            if self.deep or not self.num_prompts:
                given = "deep is true" if self.deep else "num_prompts is 0"
                raise InputError(f"subspace is for prompts at the input, and {given}: leave one of them out.")
            if self.prompt_init == "normal":
                raise InputError("subspace starts at tokens, and prompt_init is 'normal': use 'mask' or 'words'.")
        if not self.init_words:
            raise InputError("init_words is empty: give at least one word to start the prompts from.")


class Warp(Method):
    """Prompt slots and a verbalizer around a frozen text model.

    >>> from hf_reprogram import reprogram
    >>> model, tokenizer = reprogram(text_source, "warp", ["bad", "good"], num_prompts=4)
    >>> model.num_trainable()  # K * d + C * (d + 1) with K = 4, d = 32 and C = 2
    194
    >>> tokenizer.decode(tokenizer("a lovely film")["input_ids"]).count("prompt")
    4
    """

    info = MethodInfo(
        title="WARP: Word-level Adversarial ReProgramming",
        authors="Hambardzumyan, Khachatrian, May",
        year=2021,
        arxiv="2101.00121",
        label="WARP",
        source="masked LM; also encoder and causal LM",
        transform="prompt_slots",
        mapping="verbalizer",
        differs="encoders without a masked-LM head and causal language models are our extension; class vectors act on "
        "standardized states and start as a linear probe, where the paper's start at random (preset: paper)",
    )
    Options = WarpOptions
    training = {
        "learning_rate": 1e-3,
        "weight_decay": 0.0,
        "num_train_epochs": 30,
        "per_device_train_batch_size": 8,
        "lr_scheduler_type": "linear",
        "warmup_steps": 0.06,
        "max_grad_norm": 1.0,
    }

    tuned = {"learning_rate": 1e-2}
    soft_start = True
    searched = {"num_prompts": (20, 8, 0)}

    options: WarpOptions

    def arguments(self) -> dict[str, Any]:
        """See `Method.arguments`. With K = 0 the learning rate is a tenth."""
        made = super().arguments()
        return made if self.options.num_prompts else {**made, "learning_rate": made["learning_rate"] / 10}

    def compose(self, source: Source, processor: Any, target: Target) -> Parts:
        """A tokenizer with the template, the prompt slots, and the verbalizer on the state that `reads` names."""
        options, spec = self.options, source.spec
        if spec.kind not in KINDS:
            remedy = (
                "use source_kind='encoder' to leave its head out"
                if spec.kind == "classifier"
                else "use a language model"
            )
            raise InputError(
                f"WARP needs a source of kind {', '.join(KINDS[:-1])} or {KINDS[-1]}, and the source's kind is {spec.kind}: "
                f"{remedy}."
            )
        reads = options.reads or READS[spec.kind]
        readable = set(spec.widths) - {"tokens", "decoder"}
        if reads not in readable:
            raise InputError(
                f"reads={reads!r} names no output of the {spec.kind} source that fits: choose one of "
                f"{', '.join(sorted(readable))}."
            )
        template = (
            Template.parse(options.template) if options.template else Template.default(options.num_prompts, reads)
        )
        if template.has_mask != (reads == "mask"):
            raise InputError(
                f"reads={reads!r} does not fit the template {str(template)!r}: put [MASK] into the template for reads='mask', "
                "and for no other."
            )
        templated, first_slot = apply_template(processor, template, spec.max_tokens)
        transform = {
            "type": "prompt_slots",
            "template": str(template),
            "width": spec.embedding_width,
            "first_slot_id": first_slot,
            "mask_token_id": templated.mask_token_id if template.has_mask else None,
            "averaged": False,
        }
        if options.deep:
            if spec.layers < 2:
                raise InputError(
                    f"deep=True needs a source with layers of their own, and {spec.family} has none that take prompts: leave "
                    "it out."
                )
            transform |= {"layers": spec.layers - 1, "hidden": spec.widths["tokens"]}
        if options.subspace is not None:
            transform["subspace"] = subspace_of(source, options.subspace, self._start_ids(processor))
        width = spec.widths[reads]
        mapping = {"type": "verbalizer", "num_labels": target.num_labels, "width": width, "reads": reads}
        if options.verbalizer is not None:  # the words are the start
            mapping["start"] = "none"
        elif options.start != "none":
            mapping["unit"] = width**-0.5
        return Parts(transform, mapping, templated)

    def alternatives(self, spec: SourceSpec, problem_type: str) -> list[list[dict[str, Any]]]:
        """The state to read, unless a template or a verbalizer decides it; see `Method.alternatives`."""
        if self.options.template is not None or self.options.verbalizer is not None or spec.kind not in KINDS:
            return []
        others = {"masked_lm": "features", "encoder": "first", "causal_lm": "features"}
        return [[{"reads": READS[spec.kind]}, {"reads": others[spec.kind]}]]

    @torch.no_grad()
    def initialize(self, model: Any, processor: Any) -> None:
        """Set the prompts, and start fresh class vectors or those of the verbalizer's words."""
        options, source = self.options, model.source
        if options.subspace is not None:
            model.transform.subspace.draw(source.device)
        elif options.num_prompts:
            model.transform.prompts.copy_(self._prompts(source, processor))
        model.mapping.reset()
        if options.verbalizer is not None:
            words = _words_of_labels(options.verbalizer, model.label_names)
            ids = torch.tensor([_first_token(processor, word) for word in words], device=source.device)
            rows, biases = source.output_rows(ids)
            if rows.shape[1] != model.mapping.weight.shape[1]:
                raise InputError(
                    f"A verbalizer needs decoder rows of the width of the state, and they are {rows.shape[1]} wide, but "
                    f"{model.mapping.reads!r} is {model.mapping.weight.shape[1]} wide: use reads='mask' or reads='last'."
                )
            model.mapping.weight.copy_(rows)
            model.mapping.bias.copy_(biases)

    def _prompts(self, source: Source, processor: Any) -> torch.Tensor:
        """The initial prompts (K, width)."""
        count, table = self.options.num_prompts, source.embedding.weight
        how = self.options.prompt_init or ("normal" if processor.mask_token is None else "mask")
        if how == "normal":
            rows = table.float()
            start: torch.Tensor = rows.mean(0) + rows.std(0) * torch.randn(count, table.shape[1]).to(table.device)
            return start
        ids = self._start_ids(processor)
        return source.embed(torch.tensor([ids[i % len(ids)] for i in range(count)], device=table.device)).float()

    def _start_ids(self, processor: Any) -> list[int]:
        """The ids of the tokens that the prompts start from in turn: the mask, or the words where there is none."""
        if (self.options.prompt_init or ("words" if processor.mask_token is None else "mask")) == "words":
            return [_first_token(processor, word) for word in self.options.init_words[: self.options.num_prompts]]
        if processor.mask_token is None:
            raise InputError(
                "prompt_init='mask' needs a mask token, which this tokenizer lacks: use 'words' or 'normal'."
            )
        return [processor.mask_token_id]


def _words_of_labels(verbalizer: dict[str, str], labels: list[str]) -> list[str]:
    """The verbalizer's words in the order of the labels."""
    for label, word in verbalizer.items():
        if not isinstance(word, str):
            raise InputError(f"The verbalizer's word for {label!r} is {word!r}, not text: put it in quotes.")
        if label not in labels:
            raise unknown("label in the verbalizer", label, labels)
    for label in labels:
        if label not in verbalizer:
            raise InputError(
                f"The verbalizer has no word for the label {label!r}: give one for each of {', '.join(labels)}."
            )
    return [verbalizer[label] for label in labels]


def _first_token(processor: Any, word: str) -> int:
    """The token id of a word within a sentence. If the word has several tokens, it is the first one, with a warning."""
    ids = processor(f" {word.strip()}", add_special_tokens=False)["input_ids"]
    if not ids or ids[0] == processor.unk_token_id:
        raise InputError(f"The word {word!r} is not in the source's vocabulary: choose another.")
    if len(ids) > 1:
        pieces = processor.convert_ids_to_tokens(ids)
        warnings.warn(f"The word {word!r} is {len(ids)} tokens ({' '.join(pieces)}): using the first.", stacklevel=2)
    return int(ids[0])
