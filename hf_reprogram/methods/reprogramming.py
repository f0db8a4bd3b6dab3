"""`reprogram` makes a model that is ready to train, from a pretrained model and a list of labels."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import asdict
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import nn

from ..config import ReprogramConfig
from ..errors import InputError, shown
from ..gradients import is_private, private_options, read_gradients
from ..label_names import label_list
from ..modalities.processors import open_tokenizer
from ..model import ReprogrammedModel
from ..sources.base import same_fingerprint
from ..sources.loading import load_source
from ..sources.peft_tuning import is_lora
from ..sources.tuning import available, check_precision, read_tune
from ..trust import file_arguments
from . import METHODS
from .base import Target

# A config of transformers knows three problem types; the logits' shape says whether there is one class per token.
_CONFIG_TYPES = {
    "token_classification": "single_label_classification",
    "infilling": "single_label_classification",
    "forecast": "regression",
}


def reprogram(
    source: str | os.PathLike[str] | nn.Module,
    method: str = "warp",
    labels: Any = None,
    *,
    problem_type: str = "single_label_classification",
    texts: Any = None,
    features: Any = None,
    processor: Any = None,
    source_kind: str | None = None,
    source_kwargs: dict[str, Any] | None = None,
    init_from: str | os.PathLike[str] | None = None,
    tune: Any = None,
    gradients: Any = None,
    **options: Any,
) -> tuple[ReprogrammedModel, Any]:
    """Wrap a frozen source for a new task.

    Args:
        source: a Hub id, a folder, or a loaded model.
        method: a name from `hf-reprogram methods`.
        labels: the names of the target's classes, or their number; None or 1 for a regression, None for infilling, and for a
            forecast its horizon, the number of steps. Names may be a list, an array, a `Series`, an `Index`, a
            `datasets.ClassLabel`, an `id2label` or a `label2id`.
        problem_type: "single_label_classification", "regression", "multi_label_classification", "token_classification",
            "infilling" or "forecast". Not every method supports all of them.
        texts: the training texts, for methods that take the target's vocabulary from them (SMILES, characters): a list, an
            array or a `Series`.
        features: the training rows (n, columns), for methods that take tables.
        processor: the source's tokenizer; by default it is loaded from the source's name.
        source_kind: the source's kind (`hf_reprogram.sources.base.SourceSpec`); by default the checkpoint decides.
        source_kwargs: arguments of the source's `from_pretrained`, such as dtype, revision or device_map.
        init_from: the folder or Hub id of a trained adapter on the same source. The new model starts from its theta, and from
            its omega for labels of the same name. This is the two-stage training of WARP, for example MNLI before RTE. If the
            adapter tunes its source, the new model must tune the same weights, and starts from theirs. A calibration of the
            adapter is left behind.
        tune: the parts of the source that are trained too: a list of "norms", "positions", {"last_layers": n} and LoRA, as
            {"lora": {...}} or a `peft.LoraConfig`; or "all" (`hf_reprogram.sources.tuning`). The source itself is not changed:
            the model gets a private copy of what is tuned, and the adapter holds the new values. There is no dropout. By
            default the method decides; most tune nothing.
        gradients: how theta's gradient is estimated in training, such as "rgf", "cma_es" or {"spsa": {"q": 10}}, or "exact"
            (`hf_reprogram.gradients`). By default the method decides, and a source that cannot be differentiated has "rgf", or
            "reinforce" for a method that chooses source tokens. {"dp_sgd": {"epsilon": 8.0}} protects the training examples;
            omega then starts without a look at them, and `texts` and `features` are public.
        options: the method's own options; see its `Options`.

    Returns:
        The model, and the processor for the target's data. The processor is None for tables.

    Raises:
        InputError: an argument cannot work.

    >>> model, tokenizer = reprogram(text_source, method="warp", labels=["no", "yes"], num_prompts=4)
    >>> model.num_trainable()  # 4 prompts of width 32, and 2 classes of width 32 with a bias
    194
    >>> model(**tokenizer(texts, padding=True, return_tensors="pt")).logits.shape
    torch.Size([4, 2])
    """
    chosen = METHODS[method]
    if problem_type not in chosen.problem_types:
        raise InputError(
            f"The method {method!r} does not support the problem type {problem_type!r}: choose one of "
            f"{', '.join(chosen.problem_types)}."
        )
    names = _label_names(labels, problem_type)
    estimator = read_gradients(chosen.gradients if gradients is None else gradients)
    if is_private(estimator):
        options = private_options(options)
    values = chosen.read_options(options, f"option of {method}")
    parts_to_tune = None if tune is None else read_tune(tune)
    texts = None if texts is None else _texts(texts)
    features = None if features is None else _rows(features)
    frozen, reference = load_source(source, source_kind, **(source_kwargs or {}))
    if gradients is not None and not estimator and not frozen.differentiable:
        raise InputError(
            f"gradients is {shown(gradients)}, but the {frozen.spec.kind} source cannot be differentiated: leave it out, or "
            "name an estimator."
        )
    if parts_to_tune is None:
        parts_to_tune = available(frozen, chosen.tune)
    check_precision(frozen, parts_to_tune)
    if processor is None:
        processor = frozen.load_processor(reference["name"], file_arguments(source_kwargs or {}))
    recipe = chosen(values)
    target = Target(len(names), problem_type, texts, features, names)
    parts = recipe.compose(frozen, processor, target)
    names = parts.labels or names
    settings: dict[str, Any] = dict(
        source=reference,
        transform=parts.transform,
        mapping=recipe.started(parts.mapping),
        method={"name": method, **asdict(values)},
        tune=parts_to_tune,
        gradients=estimator,
        problem_type=_CONFIG_TYPES.get(problem_type, problem_type),
        id2label=dict(enumerate(names)),
        label2id={name: i for i, name in enumerate(names)},
        **{name: getattr(parts.processor, name, None) for name in ("pad_token_id", "bos_token_id", "eos_token_id")},
    )
    model = ReprogrammedModel(ReprogramConfig(**settings), frozen)
    if features is not None:
        model.transform.fit(features)
    recipe.initialize(model, parts.processor)
    if init_from is not None:
        start_from(model, init_from, parts.processor)
    return model, parts.processor


@torch.no_grad()
def start_from(model: ReprogrammedModel, adapter: str | os.PathLike[str], processor: Any = None) -> list[str]:
    """Copy theta, tuned weights, and omega's rows for labels of the same name, from a trained adapter on the same source.

    Args:
        model: the new model, which is changed.
        adapter: the folder or Hub id of the trained adapter.
        processor: the new model's processor. Its vocabulary must be that of the adapter if theta has entries for single tokens.

    Returns:
        The labels whose rows were copied. All other rows keep their fresh start.

    Raises:
        InputError: there is no adapter, or its source, method, options or vocabulary differ, or it tunes other weights.

    >>> import tempfile
    >>> trained, _ = reprogram(text_source, "warp", ["entailment", "contradiction", "neutral"])
    >>> model, _ = reprogram(text_source, "warp", ["entailment", "not_entailment"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     trained.save_pretrained(folder)
    ...     start_from(model, folder)
    ['entailment']
    """
    try:
        config = ReprogramConfig.from_pretrained(adapter)
    except (OSError, ValueError) as error:
        raise InputError(f"init_from={os.fspath(adapter)!r} has no adapter: train one there first.") from error
    if not config.source:
        raise InputError(f"init_from={os.fspath(adapter)!r} is not an adapter of hf_reprogram.")
    if not same_fingerprint(config.source["fingerprint"], model.config.source["fingerprint"]):
        raise InputError(
            f"init_from={os.fspath(adapter)!r} was trained on {config.source['name']!r}, not on this source: use an adapter of "
            "the same source."
        )
    other = ReprogrammedModel.from_pretrained(adapter, source=model.source, config=config)
    if config.transform["type"] != model.config.transform["type"]:
        raise InputError(
            f"init_from={os.fspath(adapter)!r} has the transform {config.transform['type']}, and this model has "
            f"{model.config.transform['type']}: start from an adapter of the same method."
        )
    per_token = processor is not None and model.transform.per_token
    if per_token and open_tokenizer(adapter).get_vocab() != processor.get_vocab():
        raise InputError(
            f"init_from={os.fspath(adapter)!r} has another vocabulary than this model: use its tokenizer, with "
            f"tokenizer={os.fspath(adapter)!r}, or the same texts."
        )
    if missing := {*other.source.pretrained} - {*model.source.pretrained}:
        raise InputError(
            f"init_from={os.fspath(adapter)!r} tunes {len(missing)} weights of the source that this model leaves frozen: use "
            f"the same tune, {config.tune}."
        )
    for entry in filter(is_lora, config.tune or []):
        if entry not in (model.config.tune or []):  # of another rank the shapes differ, with another alpha the outputs
            raise InputError(
                f"init_from={os.fspath(adapter)!r} has LoRA of other options than this model: use the same, "
                f"{shown(entry['lora'])}."
            )
    model.transform.start_from(other.transform)
    for name in other.source.pretrained:
        model.source.get_parameter(name).copy_(other.source.get_parameter(name))
    if config.mapping != {**model.config.mapping, "num_labels": config.mapping.get("num_labels")}:
        return []
    if config.problem_type != model.config.problem_type or not model.mapping.row_per_class:
        return []
    shared = [name for name in model.label_names if name in other.label_names]
    for ours_p, theirs_p in zip(model.mapping.parameters(), other.mapping.parameters(), strict=True):
        for name in shared if len(ours_p) == len(model.label_names) else ():
            ours_p[model.label_names.index(name)] = theirs_p[other.label_names.index(name)]
    if shared:  # the rows belong to features that are standardized in the same way
        for name, buffer in other.mapping.named_buffers():
            model.mapping.get_buffer(name).copy_(buffer)
        if "started" in model.mapping._buffers:  # classes without rows start on the new data, together with the others
            model.mapping.started.fill_(float(len(shared) == len(model.label_names)))
    return shared


def _rows(features: Any) -> np.ndarray:
    """Training rows as an array (n, features), checked."""
    try:
        table = np.array(features, dtype=float)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"features is not a table of numbers ({error}): give the same count of numbers in every row."
        ) from error
    if table.ndim != 2 or not table.size:
        raise InputError(
            f"features is {' x '.join(map(str, table.shape))}: give training rows (n, features) of numbers."
        )
    return table


def _texts(texts: Any) -> list[str]:
    """Training texts as a list, checked."""
    values = texts.tolist() if hasattr(texts, "tolist") else texts
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise InputError(f"texts is {texts!r:.100}: give a list of texts.")
    values = list(values)
    for place, value in enumerate(values):
        if not isinstance(value, str):
            raise InputError(
                f"texts holds {value!r:.100} at place {place}, which is no text: leave it out or write it as one."
            )
    return values


def step_names(horizon: Any) -> list[str]:
    """The names of the steps of a forecast, from their number or from the names themselves.

    >>> step_names(3)
    ['t+1', 't+2', 't+3']
    """
    if isinstance(horizon, list) and horizon and horizon == [f"t+{step + 1}" for step in range(len(horizon))]:
        return horizon
    if not isinstance(horizon, Integral) or isinstance(horizon, bool) or horizon < 1:
        raise InputError(
            f"labels is {horizon!r:.100}: a forecast takes its horizon there, a number of steps, 1 or more."
        )
    return [f"t+{step + 1}" for step in range(int(horizon))]


def _label_names(labels: Any, problem_type: str) -> list[str]:
    """Names of the outputs, checked."""
    if problem_type == "infilling":
        if labels is not None:
            raise InputError("Infilling predicts the tokens of the target's vocabulary: leave labels out.")
        return []
    if problem_type == "regression":
        if labels is not None and not (isinstance(labels, Integral) and labels == 1):
            raise InputError(f"A regression has one output and no label names: leave labels={labels!r:.100} out.")
        return ["value"]
    if problem_type == "forecast":
        return step_names(labels)
    names = [] if labels is None else label_list(labels)
    if len(names) < (1 if problem_type == "multi_label_classification" else 2):
        raise InputError(f"A classification needs at least 2 labels, not {len(names)}: name them in labels=[...].")
    return names
