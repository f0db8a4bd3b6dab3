"""What a model that is pushed to the Hub says of itself: a short card, and a config without paths of the local machine.

`hf-reprogram push` publishes the full card of a run instead, with its results (`hf_reprogram.reports.card`).
"""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

from .errors import InputError


def without_folder(value: Any) -> Any:
    """An option without its folder: a local path, for example of a tokenizer or a mask, becomes its last part.

    >>> without_folder("/home/me/mask.png"), without_folder(20)
    ('mask.png', 20)
    """
    local = isinstance(value, str) and (Path(value).is_absolute() or Path(value).exists())
    return Path(value).name if local else value


def check_public(name: str) -> None:
    """Raise `InputError` if the name of a source is a local folder, which others do not have.

    >>> check_public("google-bert/bert-base-uncased")
    >>> check_public("/home/me/bert")
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: The adapter's source is the local folder '/home/me/bert', which others do not have: set \
model.config.source["name"] to its name on the Hub, owner/name.
    """
    if Path(name).is_absolute() or Path(name).is_dir() or name.count("/") > 1:
        raise InputError(
            f"The adapter's source is the local folder {name!r}, which others do not have: set "
            'model.config.source["name"] to its name on the Hub, owner/name.'
        )


def public_config(config: dict[str, Any]) -> dict[str, Any]:
    """A config without local paths in the options of the method and of the transform.

    Raises:
        InputError: the source is a local folder.

    >>> public_config({"source": {"name": "owner/bert"}, "method": {"tokenizer": "/home/me/letters"}})["method"]
    {'tokenizer': 'letters'}
    """
    check_public((config.get("source") or {}).get("name", ""))
    cleaned = {
        part: {key: without_folder(value) for key, value in (config.get(part) or {}).items()}
        for part in ("method", "transform")
    }
    return {**config, **cleaned}


def in_words(tune: list[Any]) -> str:
    """The parts of a source that an adapter tunes (`hf_reprogram.sources.tuning`), in words.

    >>> in_words(["norms", {"last_layers": 2}])
    'norms and the last 2 layers'
    >>> in_words([{"lora": {"target_modules": ["query", "value"], "r": 8, "lora_alpha": 16}}])
    'LoRA of rank 8 on query, value'
    """
    return " and ".join(map(_part_in_words, tune))


def _part_in_words(part: Any) -> str:
    if isinstance(part, str):
        return "all weights" if part == "all" else part
    if "lora" not in part:
        return f"the last {part['last_layers']} layers"
    targets = part["lora"]["target_modules"]
    where = "all linear layers" if targets == "all-linear" else ", ".join(targets)
    return f"LoRA of rank {part['lora'].get('r', 8)} on {where}"


def html_table(model: Any) -> str:
    """A short table of a model, for notebooks.

    Args:
        model: a `ReprogrammedModel`.

    >>> from hf_reprogram import reprogram
    >>> html_table(reprogram(text_source, "warp", ["no", "yes"], num_prompts=4)[0]).count("<tr>")
    6
    """
    config, names = model.config, model.label_names
    reference, calibration = config.source, config.calibration
    frozen = f"frozen but for {in_words(config.tune)}" if config.tune else "frozen"
    rows = {
        "method": (config.method or {}).get("name", ""),
        "source": f"{reference.get('name') or model.source.spec.family} ({model.source.spec.kind}, {frozen})",
        "input transform": config.transform["type"],
        "output mapping": config.mapping["type"],
        "labels": ", ".join(names) if len(names) <= 10 else f"{len(names):,}",
        "trained numbers": f"{model.num_trainable():,}",
        **({"temperature": f"{calibration.get('temperature', 1):.3g}"} if calibration else {}),
    }
    cells = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows.items())
    return f"<table>{cells}</table>"


def short_card(config: dict[str, Any], repo_id: str, trained: int, tags: list[str] | None = None) -> str:
    """The card of an adapter without results, as Markdown with its metadata.

    Args:
        config: as from `public_config`.
        repo_id: the repository of the adapter.
        trained: the count of trained numbers.
        tags: further tags.

    >>> config = {"source": {"name": "owner/bert"}, "method": {"name": "warp"}, "id2label": {0: "no", 1: "yes"}}
    >>> print(short_card(config, "me/adapter", 194).splitlines()[-1])
    Labels: no, yes.
    """
    from huggingface_hub import ModelCardData

    name, method = config["source"].get("name", ""), (config.get("method") or {}).get("name", "a method of its own")
    base = {"base_model": name, "base_model_relation": "adapter"} if name else {}
    data = ModelCardData(library_name="hf_reprogram", tags=["model-reprogramming", method, *(tags or ())], **base)
    labels = [str(label) for label in config["id2label"].values()]
    changed = "No weight of it was changed; this"
    if tune := config.get("tune"):
        changed = f"Parts of it were trained too ({in_words(tune)}), and their new weights are among these; this"
    calibrated = ""
    if calibration := config.get("calibration"):
        examples = (calibration.get("record") or {}).get("examples")
        where = f" on {examples:,} held-out examples" if examples else ""
        calibrated = f" It was calibrated{where}: its logits are divided by {calibration.get('temperature', 1):.4g}."
    return f"""---
{data.to_yaml()}
---

# {name.split("/")[-1] or "A model"} reprogrammed with {method}

A {"partly " if tune else ""}frozen {name or "model"} between a trained input transform and a trained output mapping. {changed}
repository holds only the {trained:,} trained numbers.{calibrated}

```python
from hf_reprogram import ReprogrammedModel

model = ReprogrammedModel.from_pretrained("{repo_id}")
```

Labels: {", ".join(labels[:20])}{f" and {len(labels) - 20} more" if len(labels) > 20 else ""}.
"""
