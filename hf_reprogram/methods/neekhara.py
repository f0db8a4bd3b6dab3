"""Adversarial reprogramming of text classifiers (Neekhara, Hussain, Dubnov, Koushanfar 2019, arXiv 1809.01829).

    y = label map( f( V_S[argmax Conv1d(target tokens)] ) )

V_S is the source's embedding table. Theta is a convolution from target tokens to source tokens. It is trained through a Gumbel
soft-max whose temperature falls (equations 2 to 4 of the paper). Omega maps the source's own labels. For a source without
labels, omega is a dense layer on its features.

A `BlackBox` of texts has no V_S: the chosen tokens are joined into a text, which is sent. Theta's gradient is then estimated
from the answers to texts that are drawn, the paper's black-box attack: "reinforce" of `hf_reprogram.gradients.reinforce`, which
says what differs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import InputError, unknown
from ..mappings.label_map import assign
from ..sources.base import Source
from ..transforms.contextual_vocabulary import check_convolution
from .base import Method, MethodInfo, MethodOptions, Parts, Target
from .vocabulary import frame_ids, make_tokenizer


@dataclass
class NeekharaOptions(MethodOptions):
    """Options of Neekhara 2019.

    Attributes:
        tokenizer: "residues", "characters", "kmers", "smiles", "words" (`hf_reprogram.transforms.target_tokenizers`), or the
            Hub id or folder of any fast tokenizer.
        k: the length of the k-mers.
        alphabet: the letters of "characters" and "kmers"; by default those of the texts for "characters", and ACGT for "kmers".
        kernel_size: the odd number of target tokens that decide one source token.
        temperature: the first and the last temperature of the Gumbel soft-max, which a black box and "reinforce" do without.
        temperature_epochs: the number of epochs over which the temperature falls.
        label_mapping: "identity" (class i is the source's label i, as in the paper), "random", or "frequency" (fitted to the
            source's answers in one pass over the training data, whose samples a black box counts).
        labels_per_class: the number of source labels per class, unless label_mapping="identity".
    """

    tokenizer: str = "characters"
    k: int = 3
    alphabet: list[str] | None = None
    kernel_size: int = 5
    temperature: tuple[float, float] = (2.0, 0.01)
    temperature_epochs: int = 15
    label_mapping: str = "identity"
    labels_per_class: int | None = None

    def __post_init__(self) -> None:
        check_convolution(self.kernel_size, self.temperature, self.temperature_epochs)
        self.temperature = tuple(self.temperature)  # type: ignore[assignment]  # YAML has lists
        if isinstance(self.alphabet, str):
            self.alphabet = list(self.alphabet)
        if self.label_mapping not in ("identity", "random", "frequency"):
            raise unknown("label_mapping", self.label_mapping, ("identity", "random", "frequency"))
        if self.labels_per_class is not None and self.label_mapping == "identity":
            raise InputError(
                "labels_per_class is for label_mapping='random' and 'frequency', and the identity has one: leave it out."
            )


class Neekhara(Method):
    """A contextual vocabulary and a label map around a frozen text classifier.

    >>> from hf_reprogram import reprogram
    >>> model, tokenizer = reprogram(text_classifier, "neekhara", ["no", "yes"], texts=["ACGT", "GATT"])
    >>> model.transform.weight.shape  # the source's tokens, 4 letters, 5 neighbours
    torch.Size([112, 4, 5])

    >>> from hf_reprogram.sources import BlackBox
    >>> source = BlackBox(lambda texts: [[("long", 0.5 + 0.5 * (len(text) > 20))] for text in texts], ["long", "short"],
    ...     tokenizer=["a", "the", "unbelievable"])
    >>> reprogram(source, "neekhara", ["no", "yes"], texts=["ACGT", "GATT"])[0].config.gradients
    {'reinforce': {'samples': 8, 'reward': 'loss'}}
    """

    info = MethodInfo(
        title="Adversarial Reprogramming of Text Classification Neural Networks",
        authors="Neekhara, Hussain, Dubnov, Koushanfar",
        year=2019,
        arxiv="1809.01829",
        label="Neekhara et al.",
        source="classifier, also one that only answers; any source with features",
        transform="contextual_vocabulary",
        mapping="label_map",
        differs="a source without labels of its own gets a dense layer; the black-box variant has several draws, a "
        "leave-one-out baseline, minus the loss as reward and all positions from the start, where theirs has one draw, no "
        "baseline, the reward +1 or -1, and opens the positions over 30 epochs",
    )
    Options = NeekharaOptions
    training = {
        "learning_rate": 1e-3,
        "weight_decay": 0.0,
        "num_train_epochs": 20,
        "per_device_train_batch_size": 32,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 1.0,
    }

    options: NeekharaOptions

    def compose(self, source: Source, processor: Any, target: Target) -> Parts:
        """A tokenizer of the target's alphabet, the convolution, and the label map."""
        options, spec = self.options, source.spec
        tokenizer, special_ids = make_tokenizer(options, processor, spec.max_tokens, target)
        ordinary = min(special_ids)
        transform = {
            "type": "contextual_vocabulary",
            "num_tokens": ordinary - (tokenizer.unk_token_id == ordinary - 1),
            "vocab_size": spec.vocab_size,
            "special_ids": {str(ours): theirs for ours, theirs in special_ids.items()},
            "kernel_size": options.kernel_size,
            "temperature": list(options.temperature),
            "temperature_epochs": options.temperature_epochs,
            **frame_ids(tokenizer),
        }
        if "logits" in spec.widths and target.problem_type == "single_label_classification":
            width = spec.widths["logits"]
            mapping = {"type": "label_map", "num_labels": target.num_labels, "width": width}
            if options.label_mapping == "frequency":
                mapping |= {"how": "frequency", "labels_per_class": options.labels_per_class}
            else:
                groups = assign(target.num_labels, width, options.label_mapping, options.labels_per_class)
                mapping["assignment"] = groups
        elif "features" in spec.widths:
            width = spec.widths["features"]
            mapping = {"type": "dense", "num_labels": target.num_labels, "width": width, "reads": "features"}
        else:
            raise InputError(
                f"The {spec.kind} source has logits alone, which map to a single-label classification only: use a source with "
                "features."
            )
        return Parts(transform, mapping, tokenizer)

    def initialize(self, model: Any, processor: Any) -> None:
        """Start a fresh convolution and a fresh mapping."""
        model.transform.reset()
        model.mapping.reset()
