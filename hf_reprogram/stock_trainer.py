"""What the stock `Trainer` of transformers does for a `ReprogrammedModel`, and does not for another model.

Importing `hf_reprogram` wraps two of its methods (`hf_reprogram.auto`); for any other model they do as before.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from torch import nn
from torch.utils.data import DataLoader

from .errors import InputError
from .model import ReprogrammedModel
from .privacy import PoissonBatches
from .publishing import check_public


def own_push(push: Callable[..., Any]) -> Callable[..., Any]:
    """A `Trainer.push_to_hub` that publishes a `ReprogrammedModel` by its own `push_to_hub`, and any other model as before."""

    @wraps(push)
    def push_to_hub(
        self: Any,
        commit_message: str = "End of training",
        blocking: bool = True,
        token: str | None = None,
        **kwargs: Any,
    ) -> Any:
        if not isinstance(self.model, ReprogrammedModel):
            return push(self, commit_message, blocking, token, **kwargs)
        check_public(self.model.config.source.get("name", ""))
        if self.hub_model_id is None:
            self.init_hf_repo(token=token, private=kwargs.get("private"))
        if not self.is_world_process_zero():
            return None
        return self.model.push_to_hub(
            self.hub_model_id,
            processor=self.processing_class,
            commit_message=commit_message,
            token=token or self.args.hub_token,
            revision=kwargs.get("revision") or self.args.hub_revision,
            private=kwargs.get("private"),
        )

    return push_to_hub


def own_batches(make: Callable[..., Any]) -> Callable[..., Any]:
    """A `Trainer.get_train_dataloader` that draws Poisson batches for a model with private gradients, and else does as before.

    Their expected size is `per_device_train_batch_size`. Whatever `train_sampling_strategy` says has no effect on them.
    """

    @wraps(make)
    def get_train_dataloader(self: Any) -> Any:
        loader = make(self)
        if not private_in(self.model):
            return loader
        if not hasattr(loader.dataset, "__len__"):
            raise InputError(
                "dp_sgd draws each batch from all training examples, and these are a stream: leave streaming out."
            )
        drawn = DataLoader(
            loader.dataset,
            batch_sampler=PoissonBatches(len(loader.dataset), self._train_batch_size, self.args.seed),
            collate_fn=loader.collate_fn,
            num_workers=loader.num_workers,
            pin_memory=loader.pin_memory,
            worker_init_fn=loader.worker_init_fn,
        )
        return self.accelerator.prepare(drawn)

    return get_train_dataloader


def private_in(model: nn.Module | None) -> list[Any]:
    """The reprogrammed models in a Trainer's model whose gradients are private."""
    return [each for each in models_in(model) if each.estimated is not None and each.estimated.private]


def models_in(model: nn.Module | None) -> list[ReprogrammedModel]:
    """The reprogrammed models in a Trainer's model, which may be compiled or a part of another module."""
    return [] if model is None else [part for part in model.modules() if isinstance(part, ReprogrammedModel)]
