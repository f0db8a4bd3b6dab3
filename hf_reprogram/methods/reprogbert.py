"""ReprogBERT: infilling sequences of another alphabet with a frozen masked LM (Melnyk et al. 2023, arXiv 2210.07144).

    p(token at a hidden position) = soft-max( decoder_S( f(Theta V_S[ids]) ) Gamma )

Theta is the vocabulary transform of R2DL. Omega is Gamma (N_S, N_T), a linear map from the source's tokens to the target's
after the masked-LM decoder. The adapter's tokenizer has a mask token, `processor.mask_token`.
`hf_reprogram.training.infilling` predicts the tokens at masks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from ..sources.base import Source
from .base import Method, MethodInfo, MethodOptions, Parts, Target
from .vocabulary import check_vocabulary, initialize_vocabulary, make_tokenizer, vocabulary


@dataclass
class ReprogBERTOptions(MethodOptions):
    """Options of ReprogBERT, with the meaning that they have in R2DL.

    Attributes:
        tokenizer: "residues", "characters", "kmers", "smiles", "words" (`hf_reprogram.transforms.target_tokenizers`), or the
            Hub id or folder of any fast tokenizer.
        k: the length of the k-mers.
        alphabet: the letters of "characters" and "kmers"; by default those of the texts for "characters", and ACGT for "kmers".
        sparsity: s, the largest number of source tokens that a target token combines; null for a free table.
        init: the initial table: "tokens" (the rows of source tokens that are drawn at random) or "random" (normal, with the
            mean and the deviation of the source's table).
        warmup_epochs: the number of epochs of dense training before the sparse codes are computed.
        alternating: whether every epoch trains densely and is sparsified again at its end.
        atoms: "tokens" (the source's table), or "ksvd" (`num_atoms` atoms, learned from it by K-SVD).
        num_atoms: the number of atoms with atoms="ksvd".
    """

    tokenizer: str = "residues"
    k: int = 3
    alphabet: list[str] | None = None
    sparsity: int | None = None
    init: str = "tokens"
    warmup_epochs: int = 0
    alternating: bool = False
    atoms: str = "tokens"
    num_atoms: int = 256

    def __post_init__(self) -> None:
        check_vocabulary(self)


class ReprogBERT(Method):
    """A vocabulary transform and a token map around a frozen masked LM.

    >>> from hf_reprogram import reprogram
    >>> model, tokenizer = reprogram(text_source, "reprogbert", problem_type="infilling")
    >>> masked = tokenizer(f"MK{tokenizer.mask_token}LA", return_tensors="pt")
    >>> model(**masked).logits.shape  # [CLS], 5 residues, [SEP]; 20 amino acids
    torch.Size([1, 7, 20])
    """

    info = MethodInfo(
        title="Reprogramming Pretrained Language Models for Antibody Sequence Infilling (ReprogBERT)",
        authors="Melnyk, Chenthamarakshan, Chen, Das, Dhurandhar, Padhi, Das",
        year=2023,
        arxiv="2210.07144",
        label="ReprogBERT",
        source="masked LM",
        transform="vocabulary",
        mapping="token_map",
        differs="the decoder and Gamma are folded into one matrix; theta is a free table unless sparsity is set",
        pipeline_tag="fill-mask",
    )
    Options = ReprogBERTOptions
    problem_types = ("infilling",)
    training = {
        "learning_rate": 1e-3,
        "weight_decay": 0.0,
        "num_train_epochs": 30,
        "per_device_train_batch_size": 32,
        "lr_scheduler_type": "linear",
        "warmup_steps": 0.06,
        "max_grad_norm": 1.0,
    }

    options: ReprogBERTOptions

    def compose(self, source: Source, processor: Any, target: Target) -> Parts:
        """A tokenizer with a mask, the vocabulary transform, and a map to the target's tokens."""
        if source.spec.kind != "masked_lm":
            raise InputError(
                f"Infilling needs a masked LM with its head, and the source's kind is {source.spec.kind}: use another source."
            )
        tokenizer, special_ids = make_tokenizer(self.options, processor, source.spec.max_tokens, target)
        if tokenizer.mask_token is None:
            raise InputError("Infilling needs a mask token, which the source's tokenizer lacks: use another source.")
        transform = vocabulary(self.options, source, tokenizer, special_ids)
        names = tokenizer.convert_ids_to_tokens(list(range(transform["num_tokens"])))
        mapping = {
            "type": "token_map",
            "num_labels": len(names),
            "width": source.spec.widths["decoder"],
            "vocab_size": source.spec.vocab_size,
        }
        return Parts(transform, mapping, tokenizer, labels=names)

    def initialize(self, model: Any, processor: Any) -> None:
        """Start with an initial table, or the sparse Theta nearest to it if sparsity is set, and a small random Gamma."""
        initialize_vocabulary(self.options, model)
        model.mapping.reset()
