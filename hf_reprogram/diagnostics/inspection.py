"""What an adapter is and what its prompts do: for `hf-reprogram inspect`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..model import ReprogrammedModel


def inspect_adapter(adapter: str, source: str | None = None, top: int = 5) -> dict[str, Any]:
    """Load an adapter and describe it; see `inspect_model`."""
    from ..training.evaluate import load_adapter

    return inspect_model(*load_adapter(adapter, source), top=top)


def inspect_model(model: ReprogrammedModel, processor: Any, top: int = 5) -> dict[str, Any]:
    """Parameter counts, template, nearest tokens, and whether the prompts matter.

    Args:
        model: with prompt slots or a vocabulary.
        processor: its tokenizer.
        top: nearest tokens to give for each vector.

    Returns:
        `trainable` and `frozen` counts, `parts` (numbers by parameter), `template` as tokens, `prompts` and `classes`
        (nearest source tokens with their cosine; classes only where they live in the decoder's space), and `effect`:
        whether a probe text's loss has a gradient with respect to the prompts, and how far its logits move when the
        prompts are replaced by the mask's (or the mean) embedding. With a vocabulary: `vocabulary`, the source tokens that
        each target token became.
    """
    trainable = {name: parameter.numel() for name, parameter in model.trainable().items()}
    found: dict[str, Any] = {
        "method": (model.config.method or {}).get("name"),
        "source": model.config.source["name"],
        "kind": model.source.spec.kind,
        "frozen": sum(parameter.numel() for parameter in model.source.parameters()),
        "trainable": sum(trainable.values()),
        "parts": trainable,
        "reads": model.mapping.reads,
        "labels": model.label_names,
    }
    if hasattr(model.transform, "template"):
        found["template"] = processor.decode(processor("…", "…")["input_ids"])
    prompts: Any = getattr(model.transform, "prompts", None)
    if prompts is not None:
        found["prompts"] = nearest_tokens(prompts.detach(), model.source.embedding.weight, processor, top)
        found["effect"] = prompt_effect(model, processor)
    if hasattr(model.transform, "fit_table"):
        from .vocabulary import combinations

        found["sparsity"] = model.transform.options.sparsity
        found["vocabulary"] = combinations(model, processor, top)
    weight: Any = getattr(model.mapping, "weight", None)
    table = _decoder_table(model)
    if weight is not None and table is not None and table.shape[1] == weight.shape[1]:
        found["classes"] = nearest_tokens(weight.detach(), table, processor, top)
    return found


@torch.no_grad()
def nearest_tokens(vectors: Tensor, table: Tensor, processor: Any, top: int) -> list[list[tuple[str, float]]]:
    """For each of `vectors` (n, width) the `top` rows of `table` (vocabulary, width) of largest cosine, as tokens."""
    cosine = F.normalize(vectors.float(), dim=-1) @ F.normalize(table.detach().float(), dim=-1).T
    best = cosine[:, : len(processor)].topk(min(top, cosine.shape[1]))
    return [
        [(processor.convert_ids_to_tokens(int(i)), round(float(v), 3)) for i, v in zip(ids, values, strict=True)]
        for ids, values in zip(best.indices, best.values, strict=True)
    ]


def prompt_effect(model: ReprogrammedModel, processor: Any, text: str = "This is a short example.") -> dict[str, float]:
    """Whether prompts receive gradient and change the output.

    Returns:
        `gradient`: norm of d(first logit)/d(prompts) on a probe text; 0 means the prompts cannot learn.
        `logit_change`: largest change of a logit when every prompt becomes the mean of the embedding table; 0 means
        the prompts do not reach the output.
    """
    prompts: Any = model.transform.prompts
    batch = processor([text], return_tensors="pt").to(prompts.device)
    with torch.enable_grad():
        logits = model(**batch).logits
        (gradient,) = torch.autograd.grad(logits[0, 0], prompts)
    saved = prompts.detach().clone()
    with torch.no_grad():
        prompts.copy_(model.source.embedding.weight.float().mean(0).expand_as(prompts))
        change = (model(**batch).logits - logits).abs().max()
        prompts.copy_(saved)
    return {"gradient": float(gradient.norm()), "logit_change": float(change)}


def _decoder_table(model: ReprogrammedModel) -> Tensor | None:
    """The decoder's rows, if class vectors live in their space."""
    if model.source.spec.kind not in ("masked_lm", "causal_lm") or model.mapping.reads not in ("mask", "last"):
        return None
    return model.source.model.get_output_embeddings().weight


def describe(found: dict[str, Any]) -> str:
    """The same as text for a terminal."""
    lines = [
        f"{found['method'] or 'adapter'} on {found['source']} ({found['kind']})",
        f"trained numbers: {found['trainable']:,} ({', '.join(f'{k} {v:,}' for k, v in found['parts'].items())})",
        f"frozen numbers:  {found['frozen']:,}",
        f"reads: {found['reads']}; labels: {', '.join(found['labels'])}",
    ]
    if "template" in found:
        lines.append(f"template: {found['template']}")
    for title, key, names in (
        ("nearest tokens of each prompt", "prompts", None),
        ("nearest tokens of each class vector", "classes", found["labels"]),
    ):
        if key in found:
            lines.append(f"{title}:")
            for index, tokens in enumerate(found[key]):
                name = names[index] if names else f"prompt {index}"
                lines.append(f"  {name:<16} {'  '.join(f'{token} {cosine:.2f}' for token, cosine in tokens)}")
    if "vocabulary" in found:
        how = f"at most {found['sparsity']} source tokens each" if found["sparsity"] else "nearest source tokens"
        lines.append(f"what the target's tokens became ({how}):")
        for name, tokens in found["vocabulary"].items():
            lines.append(f"  {name:<12} {'  '.join(f'{value:+.2f} {token}' for token, value in tokens)}")
    if "effect" in found:
        effect = found["effect"]
        lines.append(
            f"prompts: gradient norm {effect['gradient']:.3g}; logits change by up to {effect['logit_change']:.3g} without them"
        )
        if effect["gradient"] == 0 or effect["logit_change"] == 0:
            lines.append("The prompts do not reach the output: check the template and what is read.")
    return "\n".join(lines)
