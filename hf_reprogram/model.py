"""`ReprogrammedModel`: the equation `y = OutputMapping(f(InputTransform(x | theta)) | omega)` as a transformers model."""

from __future__ import annotations

import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from .calibration import Calibration, check_untrained, read_calibration
from .config import ReprogramConfig
from .errors import InputError
from .files import staged
from .first_batch import FirstBatch
from .gradients import estimated
from .hub_arguments import access_arguments, hub_arguments
from .losses import Batch, check_labels
from .mappings import MAPPINGS
from .mappings.base import OutputMapping
from .mappings.target_scale import TargetScale
from .modalities.processors import check_without_code
from .parts import build, check_config, check_schedule, is_frozen, leave_source_out, options_as_they_are
from .publishing import html_table, public_config, short_card
from .sources.base import Source
from .sources.loading import restore_source
from .sources.tuning import for_adapter
from .transforms import TRANSFORMS
from .transforms.base import InputTransform
from .trust import trusts_code
from .weights import (
    Bounded,
    check_headers,
    count_numbers,
    load_weights,
    read_headers,
    remove_others,
    weight_files,
)

if TYPE_CHECKING:
    from .objectives.base import Objective

# The arguments of `from_pretrained` that go to the source's own `from_pretrained`.
_SOURCE_ARGUMENTS = ("dtype", "device_map", "attn_implementation", "quantization_config", "max_memory")


class ReprogrammedModel(PreTrainedModel):
    """A frozen source between a trained input transform (theta) and a trained output mapping (omega).

    It trains with the `Trainer` of transformers and saves theta and omega only, as `config.json` and a `model.safetensors` of a
    few KB. `from_pretrained`, the `AutoModelFor...` class of its task, and `pipeline` load it. If the config's `tune` names
    parts of the source, they are trained and saved too, in a private copy of the source (`hf_reprogram.sources.tuning`).

    Args:
        config: the names and options of the transform and the mapping, and the record of the source.
        source: the frozen source, which is never written to.

    Attributes:
        estimated: computes the loss in training with an estimated or a private gradient, as the config's `gradients` says; None
            for the exact gradient. With "cma_es" omega stays where it starts.
        objectives: what training minimises beside the loss of labelled examples (`hf_reprogram.objectives`); empty at first.

    Raises:
        InputError: the transform, the mapping, `tune` or `gradients` does not fit the source.

    >>> from hf_reprogram import reprogram
    >>> model, tokenizer = reprogram(text_source, "warp", ["no", "yes"], num_prompts=4)
    >>> {name: tuple(parameter.shape) for name, parameter in model.trainable().items()}
    {'transform.prompts': (4, 32), 'mapping.weight': (2, 32), 'mapping.bias': (2,)}
    """

    config_class = ReprogramConfig
    base_model_prefix = ""
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    accepts_loss_kwargs = False  # the loss is a mean over the batch, which gradient accumulation must not rescale
    _supports_sdpa = True

    config: ReprogramConfig
    transform: InputTransform
    mapping: OutputMapping
    source: Source
    calibration: Calibration | None

    def __init__(self, config: ReprogramConfig, source: Source):
        super().__init__(config)
        self.transform = build(TRANSFORMS, config.transform, "transform")
        self.mapping = build(MAPPINGS, config.mapping, "mapping")
        self.transform.check(source.spec)
        self.mapping.check(source.spec)
        if config.problem_type == "regression":
            self.mapping.target = TargetScale()
        self.source = source = for_adapter(source, config.tune or [])
        self.main_input_name = self.transform.takes
        device = source.device
        self.transform.to(device)
        self.mapping.to(device)
        fit = read_calibration(config.calibration, config.problem_type)
        self.calibration = None if fit is None else Calibration(fit).to(device)
        leave_source_out(self)
        # DDP leaves what is frozen alone: it is the same in every process, and may be sharded
        every = (f"source.{name}" for each in (source.named_parameters(), source.named_buffers()) for name, _ in each)
        self._ddp_params_and_buffers_to_ignore = [name for name in every if is_frozen(self, name)]
        self._first = FirstBatch()
        self.estimated = estimated(config, source, self.transform, self.mapping)
        self.objectives: list[Objective] = []
        self.in_schedule = False  # set by `hf_reprogram.schedule.begin_epoch`

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        input_values: Tensor | None = None,
        input_features: Tensor | None = None,
        table_values: Tensor | None = None,
        past_values: Tensor | None = None,
        image_features: Tensor | None = None,
        labels: Tensor | None = None,
        groups: Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
    ) -> SequenceClassifierOutput | tuple[Tensor, ...]:
        """Logits (batch, labels), or (batch, tokens, labels) with one label per token, and the loss if `labels` are given.

        The arguments are the columns that the adapter's processor makes. The transform needs the one that it `takes`, and
        ignores those of other modalities. See `hf_reprogram.losses` for the labels and the loss.

        Args:
            input_ids: token ids (batch, tokens) of the adapter's own tokenizer.
            attention_mask: (batch, tokens), 1 for a token and 0 for padding; by default there is no padding.
            token_type_ids: accepted, since tokenizers make them, and ignored: a template is one segment.
            pixel_values: images (batch, 3, height, width) of pixels from 0 to 1.
            input_values: sounds (batch, samples) from -1 to 1.
            input_features: spectrograms, for transforms that take them.
            table_values: rows of a table (batch, columns).
            past_values: time series (batch, length).
            image_features: an image's zero-shot features (batch, width), if they were computed before.
            labels: (batch,), (batch, labels) or (batch, tokens).
            groups: the group (batch,) of each example, from 0, for objectives that read it; it is no input of the model.
            output_hidden_states, output_attentions: refused if true, since the source computes only what the mapping reads.
            return_dict: False for the tuple (loss, logits), or (logits,) without labels.

        Returns:
            The logits, and the loss. The logits of a regression are in the target's own units, and its loss is that of the
            standardized target (`hf_reprogram.mappings.target_scale`).

        Raises:
            InputError: the argument that the transform takes is missing, an input cannot come from the adapter's processor,
                a label is no label of the problem, a calibrated adapter is trained, or options need a schedule.
        """
        if output_hidden_states or output_attentions:
            asked = "output_hidden_states" if output_hidden_states else "output_attentions"
            raise InputError(
                f"{asked}=True is not supported, since a reprogrammed model computes only what its mapping reads: leave it "
                "out, and call model.source.model for the states of the source."
            )
        given = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "pixel_values": pixel_values,
            "input_values": input_values,
            "input_features": input_features,
            "table_values": table_values,
            "past_values": past_values,
            "image_features": image_features,
        }
        batch = {name: value for name, value in given.items() if value is not None}
        if (takes := self.transform.takes) not in batch:
            raise InputError(
                f"The argument {takes} of forward is missing, and this adapter takes it (the batch has "
                f"{', '.join(batch) or 'no inputs'}): encode the examples with the processor that came with the adapter."
            )
        if trains := self.training and torch.is_grad_enabled():
            check_untrained(self)
        by = self.estimated if trains else None
        if by is not None and (labels is not None or by.private):
            loss, logits = by(self, batch, labels)
        else:
            outputs = self.source(self.inputs(batch), self.mapping.reads)
            logits, loss = self.logits_and_loss(outputs, batch, labels)
            if loss is not None and labels is not None and self.training:
                loss = self._with_objectives(loss, Batch(batch, labels, groups, logits)) + self.transform.penalty()
        output = SequenceClassifierOutput(loss=loss, logits=logits)
        plain = return_dict is False or (return_dict is None and not self.config.return_dict)
        return output.to_tuple() if plain else output

    def inputs(self, batch: dict[str, Tensor]) -> dict[str, Any]:
        """The source's inputs by name for a batch: what the transform makes of it, and the shift of a calibration."""
        made = self.transform(batch, self.source)
        return made if self.calibration is None else self.calibration.shifted(made)

    def logits_and_loss(self, outputs: Any, batch: dict[str, Tensor], labels: Tensor | None) -> tuple[Tensor, Any]:
        """The calibrated logits, and their loss without the transform's penalty; None without labels.

        Args:
            outputs: what the mapping reads, from the source.
            batch, labels: as for `forward`.
        """
        logits = self.mapping(outputs, self.source)
        if self.calibration is not None:
            logits = self.calibration.scaled(logits)
        if (target := self.mapping.target) is not None and (own := self.transform.target_scale(batch)) is not None:
            logits = target.standardized(own[0] + own[1] * logits)
        loss = None if labels is None else self._loss(logits, labels)
        return logits if target is None else target.restored(logits), loss

    def _with_objectives(self, loss: Tensor, batch: Batch) -> Tensor:
        """The loss of labelled examples, or zero where an objective trains without labels, and that of every objective."""
        loss = 0.0 * loss if any(objective.without_labels for objective in self.objectives) else loss
        return sum((objective.loss(self, batch) for objective in self.objectives), start=loss)

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss of a batch without the transform's penalty."""
        kind, target = self.config.problem_type, self.mapping.target
        if self._first.due(self, labels):
            check_labels(labels, logits.shape[-1], kind)
        if self.training and torch.is_grad_enabled() and not torch.compiler.is_compiling():
            check_schedule(self.transform, self.mapping, self.in_schedule)
        return self.mapping.loss(logits, labels if target is None else target.standardized(labels), kind)

    @property
    def label_names(self) -> list[str]:
        """The names of the outputs, in their order."""
        names: Any = self.config.id2label
        return [names[i] for i in range(len(names))]

    def trainable(self) -> dict[str, nn.Parameter]:
        """Theta, omega and the tuned weights of the source by name: every parameter that a checkpoint holds."""
        return {name: p for name, p in self.named_parameters() if not is_frozen(self, name)}

    def num_trainable(self) -> int:
        """The count of numbers in theta, omega and the tuned weights of the source."""
        return sum(parameter.numel() for parameter in self.trainable().values())

    def print_trainable_parameters(self) -> None:
        """Print the count of trained parameters, the count of all with the source's, and the share in percent."""
        trained, every = self.num_trainable(), sum(parameter.numel() for parameter in self.parameters())
        print(f"trainable params: {trained:,} || all params: {every:,} || trainable%: {100 * trained / every:.4f}")

    def get_input_embeddings(self) -> nn.Module:
        """The frozen input embedding of the source.

        Raises:
            InputError: the source takes no tokens.
        """
        embedding: nn.Module = self.source.embedding
        return embedding

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Refuse a new embedding, since the source is frozen."""
        raise InputError("The embedding of a frozen source cannot be exchanged or resized: reprogram another source.")

    def resize_token_embeddings(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse another number of tokens, since the source is frozen. Prompt slots need no new rows."""
        self.set_input_embeddings(self.source)

    def _repr_html_(self) -> str:
        """A short table for notebooks."""
        return html_table(self)

    def _set_gradient_checkpointing(
        self, enable: bool = True, gradient_checkpointing_func: Any = None, every_n_layers: int = 1
    ) -> None:
        self.gradient_checkpointing = enable
        self.source.checkpoint_activations(gradient_checkpointing_func if enable else None, every_n_layers)

    # ------------------------------------------------------------------------------------------ saving and loading

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> None:  # type: ignore[override]
        """Write `config.json` and `model.safetensors` (theta, omega and tuned weights only) into a folder.

        The files are moved into the folder when all of them are complete.

        Args:
            save_directory: the folder.
            kwargs: as for `PreTrainedModel.save_pretrained`.
        """
        self.config.transform = options_as_they_are(self.transform, self.config.transform, "transform")
        self.config.mapping = options_as_they_are(self.mapping, self.config.mapping, "mapping")
        if (state := kwargs.get("state_dict")) is not None:
            kwargs["state_dict"] = {name: value for name, value in state.items() if not is_frozen(self, name)}
        push = kwargs.pop("push_to_hub", False)
        hub = {
            name: kwargs.pop(name) for name in ("private", "revision", "create_pr", "commit_message") if name in kwargs
        }
        repo_id = kwargs.pop("repo_id", Path(save_directory).name)
        with staged(save_directory, last="config.json") as stage:
            super().save_pretrained(stage, **{"save_original_format": False, **kwargs})
            written = {file.name for file in stage.iterdir()}
        remove_others(save_directory, written)
        if push:
            self.push_to_hub(repo_id, token=kwargs.get("token"), **hub)

    def push_to_hub(  # type: ignore[override]
        self,
        repo_id: str,
        *,
        processor: Any = None,
        commit_message: str = "Upload a reprogramming adapter",
        private: bool | None = None,
        token: str | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        tags: list[str] | None = None,
    ) -> Any:
        """Upload theta, omega, their config and a short card. A card that the repository has already is kept.

        Args:
            repo_id: the repository, as "owner/name".
            processor: the adapter's processor, to be uploaded too.
            commit_message, private, token, revision, create_pr: as for `PreTrainedModel.push_to_hub`.
            tags: further tags of the card.

        Returns:
            The commit, as `huggingface_hub.CommitInfo`.

        Raises:
            InputError: the source is a local folder, which others do not have.
        """
        from huggingface_hub import HfApi

        config = public_config(self.config.to_dict())
        api = HfApi(token=token)
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        with TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            path = Path(folder)
            saved = json.loads((path / "config.json").read_text(encoding="utf-8"))
            (path / "config.json").write_text(json.dumps(public_config(saved), indent=2), encoding="utf-8")
            if not api.file_exists(repo_id, "README.md", revision=revision):
                card = short_card(config, repo_id, self.num_trainable(), tags)
                (path / "README.md").write_text(card, encoding="utf-8")
            if processor is not None:
                processor.save_pretrained(folder)
            return api.upload_folder(
                repo_id=repo_id,
                folder_path=folder,
                commit_message=commit_message,
                revision=revision,
                create_pr=create_pr,
            )

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        source: str | os.PathLike[str] | nn.Module | None = None,
        *,
        config: ReprogramConfig | None = None,
        source_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> ReprogrammedModel:
        """Load an adapter and its source. Code in a checkpoint is never run.

        Args:
            pretrained_model_name_or_path: the folder or Hub id of the adapter.
            source: the source as a name, a folder or a loaded model; by default the recorded one.
            config: the adapter's config; by default it is read from the folder.
            source_kwargs: arguments of the source's own `from_pretrained`; by default the dtype is the recorded one.
            kwargs: Hub arguments for the adapter's files, such as revision, token or cache_dir. dtype, device_map,
                attn_implementation, quantization_config and max_memory go to the source, and so does trust_remote_code,
                without which neither the source's own code nor that of a package that is not imported is run.

        Raises:
            InputError: the folder is incomplete, or the adapter was trained on another source.
        """
        hub = hub_arguments(kwargs)
        check_without_code(pretrained_model_name_or_path, hub)
        if config is None:
            config = ReprogramConfig.from_pretrained(pretrained_model_name_or_path, **hub)
        if not config.source:
            raise InputError(f"{os.fspath(pretrained_model_name_or_path)!r} is not an adapter of hf_reprogram.")
        check_config(config, trusts_code(kwargs) or trusts_code(source_kwargs or {}))
        files = weight_files(pretrained_model_name_or_path, hub)
        headers = read_headers(files)
        for_source = {name: kwargs[name] for name in _SOURCE_ARGUMENTS if kwargs.get(name) not in (None, "auto")}
        if kwargs.get("torch_dtype") not in (None, "auto"):
            for_source["dtype"] = kwargs["torch_dtype"]
        for_source.update(access_arguments(kwargs))
        if trusts_code(kwargs):
            for_source["trust_remote_code"] = True
        for_source.update(source_kwargs or {})
        frozen = restore_source(config.source, source, **for_source)
        with Bounded(count_numbers(headers)):
            model = cls(config, frozen)
        check_headers(model, headers, files[0])
        load_weights(model, files)
        for part in model.transform, model.mapping:
            part.check_state(frozen.spec)
        model.eval()
        return model
