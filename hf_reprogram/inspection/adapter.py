"""What an adapter is, and what its prompts, its program and its label map do: for `hf-reprogram inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import InputError
from ..mappings.label_map import LabelMap
from ..mappings.rvp import ReweightedMap
from ..mappings.similarity import Similarity
from ..model import ReprogrammedModel
from .images import describe_images, inspect_images, plot_images, takes_images


def inspect_adapter(
    adapter: str, source: str | None = None, top: int = 5, example: str | None = None, plot: Path | None = None
) -> dict[str, Any]:
    """Load an adapter and describe it; see `inspect_model`.

    Args:
        adapter: a folder or a Hub id.
        source: where the source is, if not where the adapter recorded it.
        top, example: see `inspect_model`.
        plot: where to write a PNG of its vocabulary or its program; None for none.

    Raises:
        InputError: there is no such adapter, nothing of it can be drawn, or matplotlib is not installed.
    """
    from ..experiments.evaluate import load_adapter, recorded

    model, processor = load_adapter(adapter, source)
    found = inspect_model(model, processor, top, example)
    results = recorded(adapter, "results.json")
    if results and "confusion" in results["seeds"][str(results["best_seed"])]:
        found["confusion"] = {
            "labels": results["task"]["labels"],
            "counts": results["seeds"][str(results["best_seed"])]["confusion"],
        }
    if plot is None:
        return found
    title = f"{found['method']} on {Path(found['source']).name}"
    if "vocabulary" in found:
        from .vocabulary import plot_combinations

        plot_combinations(found["vocabulary"], plot, title, "coefficient" if found["sparsity"] else "cosine")
    elif "program" in found:
        plot_images(model, processor, plot, title, example)
    else:
        raise InputError(f"{adapter!r} has no vocabulary to plot: it is an adapter of {found['method']}.")
    return found


def inspect_model(model: ReprogrammedModel, processor: Any, top: int = 5, example: str | None = None) -> dict[str, Any]:
    """Parameter counts, template, nearest tokens, and whether the prompts matter; the program of images; the label map.

    Args:
        model: any.
        processor: its own, of the target's data; None for rows of numbers.
        top: nearest tokens to give for each vector, and source labels for each class.
        example: what to see a program on; see `hf_reprogram.inspection.images.inspect_images`.

    Returns:
        `trainable` and `frozen` counts, `parts` (numbers by parameter), `template` as tokens, `prompts` and `classes`
        (nearest source tokens with their cosine; classes only where they live in the decoder's space), and `effect`:
        whether a probe text's loss has a gradient with respect to the prompts, and how far its logits move when the
        prompts are replaced by the mask's (or the mean) embedding. With a vocabulary: `vocabulary`, the source tokens that
        each target token became. Of images: `canvas` and `program`, see `inspect_images`. With a label map: `label_map`, see
        `label_table`. Where a zero-shot branch is blended in: `alpha`, its share, trained or not.

    Raises:
        InputError: the example is not what the adapter takes.
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
    if isinstance(model.mapping, Similarity):
        with torch.no_grad():
            found["alpha"] = float(model.mapping.alpha())
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
    if takes_images(model):
        found |= inspect_images(model, processor, example)
    elif example is not None:
        raise InputError("An example is for the program of an image source, which this adapter has not: leave it out.")
    if isinstance(model.mapping, LabelMap | ReweightedMap):
        found["label_mapping"] = model.mapping.options.how
        found["label_map"] = label_table(model, top)
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


def label_table(model: ReprogrammedModel, top: int = 5) -> dict[str, dict[str, Any]] | None:
    """The source labels that stand for each class.

    Args:
        model: with a label map, or RVP's.
        top: source labels for each class.

    Returns:
        {class: {"number": how many source labels count for it, "labels": [(name, weight), ...] heaviest first}}; where the
        source does not name its labels the names are their numbers. None if the map is still to be fitted.
    """
    mapping: Any = model.mapping
    try:
        table = mapping.table(model.source.spec.labels, model.label_names, most=mapping.options.width)
    except InputError:  # there is nothing to map with yet
        return None
    rows: dict[str, list[tuple[str, float]]] = {name: [] for name in model.label_names}
    for name, label, weight in table:
        rows[name].append((label, round(weight, 3)))
    return {name: {"number": len(labels), "labels": labels[:top]} for name, labels in rows.items()}


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
    if "alpha" in found:
        lines.append(f"alpha: {found['alpha']:.3g}, the share of the zero-shot branch")
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
    if "program" in found:
        lines += describe_images(found)
    if "label_mapping" in found:
        lines += _label_lines(found)
    if "confusion" in found:
        lines += _confusion_lines(**found["confusion"])
    if "effect" in found:
        effect = found["effect"]
        lines.append(
            f"prompts: gradient norm {effect['gradient']:.3g}; logits change by up to {effect['logit_change']:.3g} without them"
        )
        if effect["gradient"] == 0 or effect["logit_change"] == 0:
            lines.append("The prompts do not reach the output: check the template and what is read.")
    return "\n".join(lines)


def _label_lines(found: dict[str, Any]) -> list[str]:
    """The label map, a line a class."""
    if found["label_map"] is None:
        return [f"label map ({found['label_mapping']}): still to be fitted, which training does"]
    width = min(24, max(12, *map(len, found["label_map"])))
    lines = [f"source labels of each class, with their weights ({found['label_mapping']}):"]
    for name, entry in found["label_map"].items():
        labels = "; ".join(f"{weight:.2f} {label}" for label, weight in entry["labels"])
        more = entry["number"] - len(entry["labels"])
        lines.append(f"  {name:<{width}} {labels}{f'; {more} more' if more else ''}")
    return lines


def _confusion_lines(labels: list[str], counts: list[list[int]], most: int = 15) -> list[str]:
    """The confusion matrix on test; of more than `most` classes the commonest mistakes alone."""
    total, right = sum(map(sum, counts)), sum(row[index] for index, row in enumerate(counts))
    head = f"test: {right:,} of {total:,} right"
    if len(labels) > most:
        wrong = [(n, i, j) for i, row in enumerate(counts) for j, n in enumerate(row) if i != j and n]
        worst = sorted(wrong, key=lambda entry: -entry[0])[:most]
        return [
            f"{head}; the commonest mistakes:",
            *(f"  {n:>6,}  {labels[i]} taken for {labels[j]}" for n, i, j in worst),
        ]
    name = min(24, max(map(len, labels)))
    width = max(3, *(len(f"{n:,}") for row in counts for n in row))
    lines = [f"{head} (a row a true class, a column a prediction in the same order):"]
    for label, row in zip(labels, counts, strict=True):
        lines.append(f"  {label[:name]:<{name}} {' '.join(f'{n:>{width},}' for n in row)}")
    return lines
