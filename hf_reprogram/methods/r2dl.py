"""R2DL: representation reprogramming via dictionary learning (Vinod, Chen, Das 2020, arXiv 2012.03460; 2023, 2301.02120).

    V_T = Theta V_S,  Theta row-sparse;     y = omega . mean_t f(V_T[ids])_t + b

theta: sparse codes of the target's tokens over the source's.  omega: a linear layer on pooled features or on every token, or
a map of a source classifier's labels.

Theta starts as the s-sparse code, by orthogonal matching pursuit, of an initial table, and is then trained through the task's
loss; with `alternating`, every epoch trains densely and is re-sparsified at its end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import InputError, unknown
from ..mappings.label_map import assign
from ..sources.base import Source
from .base import Method, MethodInfo, Parts, Target
from .vocabulary import check_vocabulary, initialize_vocabulary, make_tokenizer, vocabulary


@dataclass
class R2DLOptions:
    """Options of R2DL.

    Attributes:
        tokenizer: "residues", "characters", "kmers", "smiles", "words" (`hf_reprogram.transforms.target_tokenizers`), or the
            Hub id or folder of any fast tokenizer.
        k: length of the k-mers.
        overlapping: one token per letter, which embeds the k-mer that starts there. Otherwise k-mers do not overlap.
        alphabet: letters of "characters" and "kmers"; by default those of the texts for "characters", and ACGT for "kmers".
        sparsity: s, source tokens a target token may combine; null for a free table.
        init: the initial table: "tokens" (the rows of as many source tokens, drawn at random) or "random" (mean and
            deviation of the source's table).
        warmup_epochs: epochs of dense training before the sparse codes are found.
        alternating: train densely and re-sparsify after every epoch.
        atoms: "tokens" (the source's table), or "ksvd": `num_atoms` atoms learned from it by K-SVD.
        num_atoms: of a learned dictionary.
        mapping: "dense"; "positions", which weighs the tokens by where they stand, for sequences that are aligned; or
            "label_map" for a source that is a classifier.
        max_positions: that "positions" weighs, at most the source's.
        labels_per_class: of a label map, drawn at random; by default min(10, source labels / classes).
        reads: what a dense layer sits on: "features" (mean over tokens), "first", "last" or "logits"; a label a token
            always reads every token.
        dropout: before the dense layer.
        standardize: whether the dense layer sees standardized features (`hf_reprogram.mappings.dense`).
    """

    tokenizer: str = "characters"
    k: int = 3
    overlapping: bool = False
    alphabet: list[str] | None = None
    sparsity: int | None = 16
    init: str = "tokens"
    warmup_epochs: int = 0
    alternating: bool = False
    atoms: str = "tokens"
    num_atoms: int = 256
    mapping: str = "dense"
    max_positions: int = 512
    labels_per_class: int | None = None
    reads: str | None = None
    dropout: float = 0.0
    standardize: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.alphabet, str):
            self.alphabet = list(self.alphabet)
        check_vocabulary(self)
        if self.mapping not in ("dense", "positions", "label_map"):
            raise unknown("mapping", self.mapping, ("dense", "positions", "label_map"))
        if self.overlapping and self.tokenizer != "kmers":
            raise InputError(f"overlapping is for tokenizer='kmers', not for {self.tokenizer!r}: leave it out.")


class R2DL(Method):
    """A vocabulary transform and a dense layer around a frozen text model."""

    info = MethodInfo(
        title="Reprogramming Language Models for Molecular Representation Learning (R2DL)",
        authors="Vinod, Chen, Das",
        year=2020,
        arxiv="2012.03460",
        label="R2DL",
        source="masked LM, encoder, causal LM, classifier, or any module with an input embedding",
        transform="vocabulary",
        mapping="dense",
        differs="in place of a dense Theta the table it spans is trained; codes are found by OMP",
    )
    Options = R2DLOptions
    problem_types = (
        "single_label_classification",
        "regression",
        "multi_label_classification",
        "token_classification",
    )
    training = {
        "learning_rate": 1e-1,
        "weight_decay": 0.0,
        "num_train_epochs": 30,
        "per_device_train_batch_size": 16,
        "lr_scheduler_type": "linear",
        "warmup_steps": 0.06,
        "max_grad_norm": 1.0,
    }

    options: R2DLOptions

    def compose(self, source: Source, processor: Any, target: Target) -> Parts:
        """A tokenizer of the target's alphabet, the vocabulary transform, and what reads its states."""
        options = self.options
        k = 1 if options.overlapping else options.k
        tokenizer, special_ids = make_tokenizer(options, processor, source.spec.max_tokens, target, k)
        transform = vocabulary(options, source, tokenizer, special_ids)
        transform["window"] = options.k if options.overlapping else 1
        return Parts(transform, self._mapping(source, target), tokenizer)

    def _mapping(self, source: Source, target: Target) -> dict[str, Any]:
        options, widths = self.options, source.spec.widths
        if options.mapping == "label_map":
            if "logits" not in widths or target.problem_type != "single_label_classification":
                raise InputError(
                    f"A label map takes the labels of a source classifier to those of a classification; this is a "
                    f"{source.spec.kind} source and a {target.problem_type.replace('_', ' ')}: use mapping='dense'."
                )
            groups = assign(target.num_labels, widths["logits"], labels_per_class=options.labels_per_class)
            return {
                "type": "label_map",
                "num_labels": target.num_labels,
                "width": widths["logits"],
                "assignment": groups,
            }
        if options.mapping == "positions":
            if "tokens" not in widths or target.per_token:
                raise InputError(
                    "mapping='positions' gives a label a sequence from a state a token: use 'dense' for a label a token, or a "
                    "source that has states."
                )
            return {
                "type": "positions",
                "num_labels": target.num_labels,
                "width": widths["tokens"],
                "max_tokens": min(options.max_positions, source.spec.max_tokens),
                "unit": widths["tokens"] ** -0.5,
            }
        offered = {"tokens"} & set(widths) if target.per_token else set(widths) - {"mask", "tokens", "decoder"}
        if target.per_token and not offered:
            raise InputError(
                f"A label a token needs a state a token, and this {source.spec.kind} source gives {', '.join(widths)} alone."
            )
        reads = "tokens" if target.per_token else options.reads or ("features" if "features" in widths else "logits")
        if reads not in offered:
            raise InputError(
                f"reads={reads!r} is not something a {source.spec.kind} source offers here: choose one of "
                f"{', '.join(sorted(offered))}."
            )
        return {
            "type": "dense",
            "num_labels": target.num_labels,
            "width": widths[reads],
            "reads": reads,
            "dropout": options.dropout,
            "standardize": options.standardize,
            "unit": widths[reads] ** -0.5,
        }

    def initialize(self, model: Any, processor: Any) -> None:
        """An initial table, its nearest sparse Theta, and a fresh dense layer."""
        initialize_vocabulary(self.options, model)
        model.mapping.reset()
