"""R2DL: representation reprogramming via dictionary learning (Vinod, Chen, Das 2020, arXiv 2012.03460; 2023, 2301.02120).

    V_T = Theta V_S,  Theta row-sparse;     y = omega . mean_t f(V_T[ids])_t + b

V_S (N_S, width) is the source's embedding table, and V_T (N_T, width) that of the target's tokens. Theta (N_T, N_S) has sparse
codes of the target's tokens over the source's. Omega is a linear layer on pooled features or on every token, or a map of a
source classifier's labels.

Theta starts as the s-sparse code of an initial table, by orthogonal matching pursuit. Then the task's loss trains it. With
`alternating`, every epoch trains a dense table, which is sparsified again at the end of the epoch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import InputError, unknown
from ..mappings.label_map import assign
from ..options import check_whole
from ..sources.base import Source, SourceSpec
from .base import Method, MethodInfo, MethodOptions, Parts, Target
from .vocabulary import check_vocabulary, initialize_vocabulary, make_tokenizer, vocabulary

MAPPINGS = ("dense", "positions", "window", "label_map")


@dataclass
class R2DLOptions(MethodOptions):
    """Options of R2DL.

    Attributes:
        tokenizer: "residues", "characters", "kmers", "smiles", "words" (`hf_reprogram.transforms.target_tokenizers`), or the
            Hub id or folder of any fast tokenizer.
        k: the length of the k-mers.
        overlapping: whether there is one token per letter, which embeds the k-mer that starts there. Otherwise k-mers do not
            overlap.
        alphabet: the letters of "characters" and "kmers"; by default those of the texts for "characters", and ACGT for "kmers".
        sparsity: s, the largest number of source tokens that a target token combines; null for a free table.
        init: the initial table: "tokens" (the rows of source tokens that are drawn at random) or "random" (normal, with the
            mean and the deviation of the source's table).
        warmup_epochs: the number of epochs of dense training before the sparse codes are computed.
        alternating: whether every epoch trains densely and is sparsified again at its end.
        atoms: "tokens" (the source's table), or "ksvd" (`num_atoms` atoms, learned from it by K-SVD).
        num_atoms: the number of atoms with atoms="ksvd".
        mapping: "dense"; "positions", with trained weights per position, for aligned sequences; "window", which reads a token's
            neighbours too, for one label per token; or "label_map", for a source that is a classifier.
        context: the number of neighbours on either side that mapping="window" reads.
        max_positions: the number of positions with a weight, for mapping="positions"; at most that of the source.
        labels_per_class: the number of source labels per class, drawn at random, with mapping="label_map"; by default min(10,
            source labels / classes).
        reads: the input of a dense layer: "features" (mean over tokens), "first", "last" or "logits". With one label per token,
            the layer always reads every token.
        dropout: the share of the dense layer's input that is dropped in training.
        standardize: whether the dense layer reads standardized features (`hf_reprogram.mappings.dense`); by default it does
            if it starts from the probe.
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
    context: int = 4
    max_positions: int = 512
    labels_per_class: int | None = None
    reads: str | None = None
    dropout: float = 0.0
    standardize: bool | None = None

    def __post_init__(self) -> None:
        if isinstance(self.alphabet, str):
            self.alphabet = list(self.alphabet)
        check_vocabulary(self)
        check_whole(0, context=self.context)
        if self.mapping not in MAPPINGS:
            raise unknown("mapping", self.mapping, MAPPINGS)
        if self.overlapping and self.tokenizer != "kmers":
            raise InputError(f"overlapping is for tokenizer='kmers', not for {self.tokenizer!r}: leave it out.")


class R2DL(Method):
    """A vocabulary transform and a dense layer around a frozen text model.

    >>> from hf_reprogram import reprogram
    >>> model, tokenizer = reprogram(text_source, "r2dl", ["no", "yes"], tokenizer="residues", sparsity=4)
    >>> model.transform.codes.shape  # 20 amino acids of at most 4 source tokens
    torch.Size([20, 4])
    >>> model(**tokenizer(["MKVLA", "GGSW"], padding=True, return_tensors="pt")).logits.shape
    torch.Size([2, 2])
    """

    info = MethodInfo(
        title="Reprogramming Language Models for Molecular Representation Learning (R2DL)",
        authors="Vinod, Chen, Das",
        year=2020,
        arxiv="2012.03460",
        label="R2DL",
        source="masked LM, encoder, causal LM, classifier, or any module with an input embedding",
        transform="vocabulary",
        mapping="dense",
        differs="dense phases train the table that Theta spans, where the paper trains a dense Theta; codes are computed by "
        "orthogonal matching pursuit",
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

    tuned = {"learning_rate": 2e-2, "omega_learning_rate": 5e-3}
    soft_start = True
    searched = {"sparsity": (16, 4, 64)}

    options: R2DLOptions

    def compose(self, source: Source, processor: Any, target: Target) -> Parts:
        """A tokenizer of the target's alphabet, the vocabulary transform, and the mapping."""
        options = self.options
        k = 1 if options.overlapping else options.k
        tokenizer, special_ids = make_tokenizer(options, processor, source.spec.max_tokens, target, k)
        transform = vocabulary(options, source, tokenizer, special_ids)
        transform["window"] = options.k if options.overlapping else 1
        return Parts(transform, self._mapping(source, target), tokenizer)

    def alternatives(self, spec: SourceSpec, problem_type: str) -> list[list[dict[str, Any]]]:
        """The state that a dense layer reads, or weights of positions, or a window of states; see `Method.alternatives`."""
        if self.options.mapping != "dense":
            return []
        if problem_type == "token_classification":
            return [[{"mapping": "dense"}, {"mapping": "window"}]]
        found: list[dict[str, Any]] = [
            {"reads": reads} for reads in ("features", "first", "last") if reads in spec.widths
        ]
        return [[*found, {"mapping": "positions"}] if "tokens" in spec.widths else found]

    def _mapping(self, source: Source, target: Target) -> dict[str, Any]:
        options, widths = self.options, source.spec.widths
        if options.mapping == "label_map":
            if "logits" not in widths or target.problem_type != "single_label_classification":
                raise InputError(
                    f"mapping='label_map' needs a source classifier and a single-label classification, and the source's "
                    f"kind is {source.spec.kind}, the problem {target.problem_type.replace('_', ' ')}: use mapping='dense'."
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
                    "mapping='positions' needs one label per sequence and a source with one state per token: use "
                    "mapping='dense', or another source."
                )
            return {
                "type": "positions",
                "num_labels": target.num_labels,
                "width": widths["tokens"],
                "max_tokens": min(options.max_positions, source.spec.max_tokens),
                "unit": widths["tokens"] ** -0.5,
            }
        if options.mapping == "window" and not target.per_token:
            raise InputError(
                f"mapping='window' needs one label per token, and the problem is {target.problem_type.replace('_', ' ')}: use "
                "mapping='dense'."
            )
        readable = {"tokens"} & set(widths) if target.per_token else set(widths) - {"mask", "tokens", "decoder"}
        if target.per_token and not readable:
            raise InputError(
                f"One label per token needs one state per token, and the {source.spec.kind} source has {', '.join(widths)} "
                "alone: use a source with states."
            )
        reads = "tokens" if target.per_token else options.reads or ("features" if "features" in widths else "logits")
        if reads not in readable:
            raise InputError(
                f"reads={reads!r} names no output of the {source.spec.kind} source that fits: choose one of "
                f"{', '.join(sorted(readable))}."
            )
        width, further = widths[reads], {}
        if options.mapping == "window":
            width, further = (2 * options.context + 1) * width, {"window": options.context}
        return {
            "type": options.mapping,
            "num_labels": target.num_labels,
            "width": widths[reads],
            "reads": reads,
            "dropout": options.dropout,
            "standardize": options.standardize,
            "unit": width**-0.5,
            **further,
        }

    def initialize(self, model: Any, processor: Any) -> None:
        """Start with the sparse Theta nearest to an initial table, and a fresh mapping."""
        initialize_vocabulary(self.options, model)
        model.mapping.reset()
