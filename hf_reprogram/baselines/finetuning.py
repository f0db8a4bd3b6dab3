"""Training the whole network: the source's architecture from scratch, and full fine-tuning of the source.

Of a source for images, sounds or another input of a fixed size, the tower that computes its features is trained, with a fresh
linear layer (`baselines.image_tower`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import SequenceClassifierOutput

from ..errors import InputError, unknown
from ..hub_arguments import repository_files
from ..losses import target_loss
from ..mappings.window import window_logits
from ..options import check_whole
from ..sources.pooling import at_least_one, mean_over_tokens
from ..sources.text import max_tokens, plain_tokenizer
from ..tasks.inputs import task_modality
from ..tasks.labels import problem_of
from ..tasks.problems import PROBLEMS
from ..transforms.base import TokenTable
from ..trust import file_arguments, weight_arguments
from . import image_tower
from .base import Baseline, Outcome, Run, Setting
from .search import best_of

if TYPE_CHECKING:
    from ..sources.base import SourceSpec
    from ..tasks.task import Task

RATES = (
    1e-4,
    5e-4,
)  # learning rates of a network for tokens, and from scratch; `image_tower.RATES` has those to fine-tune


@dataclass
class FineTuningOptions:
    """Options of `from_scratch` and `fine_tuning`.

    Attributes:
        learning_rate: learning rates; the first seed chooses one on validation. By default 1e-4 and 5e-4 for texts and from
            scratch, 1e-5 and 3e-5 to fine-tune a source for images or sounds.
        tokens: "source" reads the text in the source's own tokens, with the classification head of transformers. "target"
            reads it in the method's tokens, with a linear layer on the states. Images and sounds fill the source's input.
        context: with one label per token, the number of neighbours on either side whose states the linear layer reads too.
    """

    learning_rate: list[float] = field(default_factory=list)
    tokens: str = "source"
    context: int = 0

    def __post_init__(self):
        check_whole(0, context=self.context)
        if isinstance(self.learning_rate, int | float):
            self.learning_rate = [float(self.learning_rate)]
        if self.tokens not in ("source", "target"):
            raise unknown("tokens", self.tokens, ("source", "target"))


class FromScratch(Baseline):
    """The source's architecture with fresh weights, all of them trained, for as many epochs as the method."""

    title = "from scratch"
    Options = FineTuningOptions
    native = True
    reads = "features"
    pretrained = False

    def check(self, recipe: Run) -> None:
        """See `Baseline.check`."""
        super().check(recipe)
        self._check_problem(problem_of(recipe.task_options))
        modality = task_modality(recipe.task_options)
        if modality is not None and not modality.letters and self.options.tokens == "target":
            raise InputError(
                f"The examples of this task are {modality.noun}, and {self.title} reads them as they are: leave tokens: target "
                "out."
            )

    def _check_problem(self, problem: str) -> None:
        if self.options.tokens == "source" and PROBLEMS[problem].per_token:
            raise InputError(
                f"In the problem {problem!r} the method's tokens have the labels: give {self.title} the option tokens: target."
            )
        if self.options.context and not PROBLEMS[problem].per_token:
            raise InputError(
                f"context of {self.title} is {self.options.context}, and the problem {problem!r} has no label per token: leave "
                "it out."
            )

    def check_source(self, spec: SourceSpec, task: Task) -> None:
        """See `Baseline.check_source`."""
        if not task.modality.letters or self.options.tokens == "source":
            super().check_source(spec, task)

    def run(self, setting: Setting) -> Outcome:
        """See `Baseline.run`."""
        if not setting.task.modality.letters:
            return self._run_tower(setting)
        self._check_problem(setting.task.problem_type)
        if self.options.tokens == "target":
            tokenizer, make_model = _on_target_tokens(setting, self.pretrained, self.options.context)
        else:
            tokenizer, make_model = _on_source_tokens(setting, self.pretrained)
        return best_of(setting, tokenizer, make_model, self._grid(setting, RATES)).outcome()

    def _run_tower(self, setting: Setting) -> Outcome:
        processor, data, make_tower = image_tower.fresh(setting)
        return best_of(setting, processor, make_tower, self._grid(setting, RATES), data=data).outcome()

    def _grid(self, setting: Setting, rates: tuple[float, ...]) -> list[dict[str, Any]]:
        further = {"context": self.options.context} if setting.task.per_token else {}
        return [{"learning_rate": rate, **further} for rate in self.options.learning_rate or rates]


class FineTuning(FromScratch):
    """The pretrained source with all of its weights trained, for as many epochs as the method."""

    title = "fine-tuning"
    pretrained = True

    def _run_tower(self, setting: Setting) -> Outcome:
        start, grid = image_tower.Start(setting), self._grid(setting, image_tower.RATES)
        return best_of(setting, start.processor, lambda _: start.tower(), grid, data=start.data).outcome()


def _on_source_tokens(setting: Setting, pretrained: bool) -> tuple[Any, Any]:
    """The source's tokenizer, and a maker of transformers' own classifier."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    recipe, task = setting.recipe, setting.task
    files = file_arguments(recipe.source_kwargs)
    config = AutoConfig.from_pretrained(recipe.source["name"], **files)
    config.num_labels, config.problem_type = max(1, len(task.labels)), task.problem_type
    weights = weight_arguments({**files, **repository_files(recipe.source_kwargs)})

    def make_model(_: Any) -> Any:
        if pretrained:
            model = AutoModelForSequenceClassification.from_pretrained(
                recipe.source["name"], config=config, dtype=torch.float32, **weights
            )
        else:
            model = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
        return Several(model) if task.problem_type == "multi_label_classification" else model

    tokenizer = plain_tokenizer(
        recipe.source["name"],
        max_tokens(AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)),
        files,
    )
    config.pad_token_id = tokenizer.pad_token_id
    return tokenizer, make_model


def _on_target_tokens(setting: Setting, pretrained: bool, context: int = 0) -> tuple[Any, Any]:
    """The method's tokenizer, and a function that makes the network, all of it trained."""
    from transformers import AutoModel

    _, tokenizer = setting.make()

    def make_model(_: Any) -> Any:
        model, _ = setting.make()
        base, transform = model.source.base, model.transform
        rows, row_ids, table = len(tokenizer), None, None
        if isinstance(transform, TokenTable):  # it maps tokens to rows and has their initial embeddings
            with torch.no_grad():
                table = transform.folded(model.source)
            rows, row_ids = len(table), transform.row_ids
        elif pretrained:
            raise InputError(
                f"fine_tuning with tokens: target needs a method with a vocabulary, and {type(transform).__name__} has none: "
                "leave tokens: target out."
            )
        if not pretrained:
            base, table = AutoModel.from_config(base.config, dtype=torch.float32), None
        return Whole(base, rows, model.config.num_labels, setting.task, table, row_ids, context)

    return tokenizer, make_model


class Several(nn.Module):
    """A multi-label classifier of transformers with the loss of `hf_reprogram.losses`, which skips missing labels."""

    def __init__(self, model: Any):
        super().__init__()
        self.model = model

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> SequenceClassifierOutput:
        """Logits (batch, labels), and the loss if there are labels."""
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        if token_type_ids is not None:
            inputs["token_type_ids"] = token_type_ids
        logits = self.model(**inputs).logits
        loss = None if labels is None else target_loss(logits, labels, "multi_label_classification")
        return SequenceClassifierOutput(loss=loss, logits=logits)


class Whole(nn.Module):
    """A network on the target's tokens, all of it trained: an embedding, an encoder, and a linear layer on its states.

    Args:
        base: the encoder, which takes embeddings.
        rows: the number of rows of the embedding.
        num_labels: the number of logits.
        task: the task. With one label per token each state is read, otherwise their mean over tokens.
        table: initial embeddings (rows, width); by default random ones with the deviation of the encoder's own embeddings.
        row_ids: a function from token ids to rows of the embedding; by default the identity.
        context: with one label per token, the number of neighbours on either side whose states are read too.
    """

    def __init__(
        self,
        base: Any,
        rows: int,
        num_labels: int,
        task: Any,
        table: Tensor | None = None,
        row_ids: Callable[[Tensor], Tensor] | None = None,
        context: int = 0,
    ):
        super().__init__()
        unused = base.get_input_embeddings().weight  # the encoder's own words
        self.row_ids = row_ids or (lambda ids: ids)
        self.embedding = nn.Embedding(rows, unused.shape[1])
        nn.init.normal_(self.embedding.weight, std=float(unused.detach().float().std()))
        if table is not None:
            self.embedding.weight.data[: len(table)] = table
        self.base = base.float().requires_grad_(True)
        unused.requires_grad_(False)  # nor is a pooler used
        if getattr(base, "pooler", None) is not None:
            base.pooler.requires_grad_(False)
        self.head = nn.Linear((2 * context + 1) * base.config.hidden_size, num_labels)
        self.per_token, self.problem_type = task.per_token, task.problem_type

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor | None = None
    ) -> SequenceClassifierOutput:
        """Logits, and the loss of `hf_reprogram.losses` if there are labels."""
        attention_mask = at_least_one(attention_mask)
        embeds = self.embedding(self.row_ids(input_ids))
        hidden = self.base(inputs_embeds=embeds, attention_mask=attention_mask).last_hidden_state
        if self.per_token:
            states = hidden * attention_mask[..., None].to(hidden.dtype)
            logits = window_logits(states, self.head.weight, self.head.bias)
        else:
            logits = self.head(mean_over_tokens(hidden, attention_mask))
        loss = None if labels is None else target_loss(logits, labels, self.problem_type)
        return SequenceClassifierOutput(loss=loss, logits=logits)
