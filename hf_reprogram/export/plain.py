"""A plain model of transformers with an adapter's trained vectors in its embedding table and in its last layer.

    embedding table     the source's rows, and those of the adapter's own tokens: prompts, or a vocabulary
    last layer          W x + b of the output mapping, with its unit, its standardization, a target's scale and a temperature
                        folded in

    the mapping reads                 becomes                                       its logits
    first, last, features, tokens     a model for token classification              of one token, of their mean, of all tokens
    mask of an encoder                the same                                      of the mask
    mask of a masked LM               a masked LM with a row per label              of the mask, the last rows of the vocabulary
    logits of a classifier            a classifier with another last layer          as they are

It is exact where a token's embedding depends on its id alone and the mapping is linear. The export is compared with the
adapter, since some architectures treat certain ids in a way of their own, or have more than one layer behind their states.
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..sources.heads import last_linear
from ..sources.quantized import quantization_of
from .examples import answer_in_words, difference, example_batch, shown_texts, tolerance

_OF_TOKENS = {
    "first": "logits = tokens[:, 0]  # the first token",
    "last": 'logits = tokens[torch.arange(len(tokens)), batch["attention_mask"].sum(1) - 1]  # the last token',
    "tokens": "logits = tokens  # one label per token",
    "mask": (
        'place = (batch["input_ids"] == tokenizer.mask_token_id).long().argmax(1)\n'
        "logits = tokens[torch.arange(len(tokens)), place]  # the mask"
    ),
}


def write_plain(model: Any, processor: Any, folder: Path) -> str | None:
    """Write a plain model, its tokenizer and a README that says how it is read.

    Args:
        model: a `ReprogrammedModel`, in eval mode on the CPU.
        processor: its tokenizer.
        folder: an empty folder.

    Returns:
        None; or why there is no such model, as the end of a sentence. Then nothing was written.
    """
    rows = model.transform.token_rows(model.source)
    affine = model.mapping.affine()
    if rows is None:
        return f"its input transform {model.config.transform['type']!r} is no table with one row per token"
    if affine is None:
        return f"its output mapping {model.config.mapping['type']!r} is not one linear layer"
    if quantization_of(model.source.model) is not None:
        return "the weights of its source are quantized"
    weight, bias = (part.detach().float() for part in affine)
    if (target := model.mapping.target) is not None:
        weight, bias = target.deviation * weight, target.mean + target.deviation * bias
    if (calibration := model.calibration) is not None:
        weight, bias = calibration.scaled(weight), calibration.scaled(bias)
    try:
        plain, reading = _folded(model, rows.detach(), weight, bias)
    except (KeyError, RuntimeError, ValueError, AttributeError) as error:
        return f"{type(model.source.model).__name__} has no room for its rows ({str(error).splitlines()[0]})"
    batch = example_batch(model, processor)
    with torch.no_grad():
        found, expected = _read(plain, processor, batch, reading), model(**batch).logits
    apart = difference(found, expected, batch["attention_mask"])
    if not apart <= tolerance(model):
        return f"its logits would differ by {apart:.1e}, since {type(plain).__name__} does more than look up rows"
    plain.save_pretrained(folder)
    processor.save_pretrained(folder)
    (folder / "README.md").write_text(_readme(model, plain, reading, shown_texts(processor)), encoding="utf-8")
    return None


def _folded(model: Any, rows: Tensor, weight: Tensor, bias: Tensor) -> tuple[Any, str]:
    """The plain model, and the lines of Python that make logits of its output."""
    config, names, reads = deepcopy(model.source.model.config), model.label_names, model.mapping.reads
    config.architectures, config.tie_word_embeddings, config.vocab_size = None, False, len(rows)
    if reads == "mask" and model.source.spec.kind == "masked_lm":
        return _masked_lm(model.source, config, rows, weight, bias)
    config.num_labels = len(names)
    config.id2label, config.label2id = dict(enumerate(names)), {name: i for i, name in enumerate(names)}
    if reads == "logits":
        config.problem_type = model.config.problem_type
        return _classifier(model.source, config, rows, weight, bias)
    first = "tokens = model(**batch).logits\n"
    return _of_tokens(model.source, config, rows, weight, bias), first + (
        _OF_TOKENS.get(reads) or _mean(model.transform)
    )


def _masked_lm(source: Any, config: Any, rows: Tensor, weight: Tensor, bias: Tensor) -> tuple[Any, str]:
    """A masked LM whose vocabulary ends with the labels."""
    config.vocab_size = len(rows) + len(weight)
    plain = type(source.model)(config)
    embeds = _names_of(plain, plain.get_input_embeddings().weight)
    decodes = _names_of(plain, plain.get_output_embeddings().weight)
    state = {}
    for name, value in source.model.state_dict().items():
        if name in embeds:
            state[name] = torch.cat([rows, rows.new_zeros(len(weight), rows.shape[1])])
        elif name in decodes:
            state[name] = torch.cat([_sized(value, len(rows)), weight])
        elif value.shape == (source.spec.vocab_size,):
            state[name] = torch.cat([_sized(value, len(rows)), bias])
        else:
            state[name] = value
    _load(plain, state)
    first = f"tokens = model(**batch).logits[:, :, {len(rows)}:]  # the rows of the labels\n"
    return plain, first + _OF_TOKENS["mask"]


def _classifier(source: Any, config: Any, rows: Tensor, weight: Tensor, bias: Tensor) -> tuple[Any, str]:
    """A classifier with another last layer."""
    ids = torch.zeros(1, 3, dtype=torch.long)
    _, head = last_linear(source.model, lambda: source.model(input_ids=ids).logits)
    if head is None:
        raise ValueError("its last layer is not linear")
    layer, plain = source.model.get_submodule(head), type(source.model)(config)
    state = {**source.model.state_dict(), **dict.fromkeys(_names_of(plain, plain.get_input_embeddings().weight), rows)}
    state[f"{head}.weight"] = weight @ layer.weight.float()
    if layer.bias is not None:
        state[f"{head}.bias"] = weight @ layer.bias.float() + bias
    elif bool(bias.any()):
        raise ValueError("its last layer has no bias")
    _load(plain, state)
    return plain, "logits = model(**batch).logits"


def _of_tokens(source: Any, config: Any, rows: Tensor, weight: Tensor, bias: Tensor) -> Any:
    """A model for token classification, which has one linear layer on the state of every token."""
    import transformers

    plain = transformers.AutoModelForTokenClassification.from_config(config)
    head = next((name for name in ("classifier", "score") if isinstance(getattr(plain, name, None), nn.Linear)), None)
    if head is None:
        raise ValueError("its model for tokens has no linear layer")
    base, kept = f"{plain.base_model_prefix}.", plain.state_dict()
    state = {base + name: value for name, value in source.base.state_dict().items() if base + name in kept}
    state |= dict.fromkeys(_names_of(plain, plain.get_input_embeddings().weight), rows)
    _load(plain, {**state, f"{head}.weight": weight, f"{head}.bias": bias})
    return plain


def _mean(transform: Any) -> str:
    """The lines that average the logits of the tokens, which are the logits of their average."""
    counted = 'counted = batch["attention_mask"][..., None].float()\n'
    if transform.num_prompts and not transform.options.averaged:
        first = transform.options.first_slot_id
        inside = f'(batch["input_ids"] >= {first}) & (batch["input_ids"] < {first + transform.num_prompts})'
        counted = f'counted = batch["attention_mask"].masked_fill({inside}, 0)[..., None].float()\n'
    return counted + "logits = (tokens * counted).sum(1) / counted.sum(1).clamp(min=1)  # the mean of the tokens"


def _names_of(model: nn.Module, weight: Tensor) -> set[str]:
    """The names under which a weight stands in a model's state."""
    return {name for name, value in model.state_dict(keep_vars=True).items() if value is weight}


def _sized(values: Tensor, length: int) -> Tensor:
    """The first `length` rows, with zeros where there are fewer."""
    kept = values.detach().float()[:length]
    return torch.cat([kept, kept.new_zeros(length - len(kept), *kept.shape[1:])])


def _load(plain: Any, state: dict[str, Tensor]) -> None:
    """Load a whole state into a model, whose weights take its dtype."""
    plain.load_state_dict({name: value.detach().clone() for name, value in state.items()})
    plain.eval()


def _read(model: Any, tokenizer: Any, batch: dict[str, Tensor], reading: str) -> Tensor:
    """What the README's lines make of a batch."""
    names: dict[str, Any] = {"torch": torch, "model": model, "tokenizer": tokenizer, "batch": batch}
    exec(reading, names)  # our own lines, run as a reader runs them
    logits: Tensor = names["logits"]
    return logits


def _readme(model: Any, plain: Any, reading: str, texts: list[str]) -> str:
    kind = "SequenceClassification" if reading.startswith("logits") else "TokenClassification"
    kind = "MaskedLM" if plain.get_output_embeddings() is not None else kind
    source = model.config.source.get("name") or type(model.source.model).__name__
    lines = "\n".join(f"    {line}" for line in reading.splitlines())
    return f"""# {(model.config.method or {}).get("name", "An adapter")} on {Path(source).name}, as a plain model

A frozen model with trained rows in its embedding table and in its last layer. It needs torch and transformers alone.

```python
import torch
from transformers import AutoModelFor{kind}, AutoTokenizer

folder = "."  # where this file is
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelFor{kind}.from_pretrained(folder)
texts = {texts!r}
batch = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
batch.pop("token_type_ids", None)
with torch.no_grad():
{lines}
```

{answer_in_words(model)}
"""
