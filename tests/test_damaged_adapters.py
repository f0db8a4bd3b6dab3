"""An adapter whose files were changed by anybody loads and answers in finite numbers, or is refused in one sentence."""

from __future__ import annotations

import copy
import json
import math
import shutil
import tempfile
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from hf_reprogram import InputError, ReprogrammedModel
from tests.contract.matrix import Case, batch_of, loaded

CASES = [
    Case("bert", method="warp", options=(("num_prompts", 3),)),
    Case("bert", method="r2dl", options=(("tokenizer", "characters"), ("sparsity", 4), ("mapping", "positions"))),
    Case("bert-classifier", method="neekhara", options=(("tokenizer", "characters"),)),
    Case("vit", method="ilm_vp", options=(("image_size", 16),)),
    Case("vit", method="elsayed", options=(("image_size", 16), ("mapping", "rvp"), ("labels_per_class", 3))),
    Case("vit", method="smm", options=(("mapping", "dense"),)),
    Case("vit", method="fraud"),
    Case("vit", method="cross_modal", options=(("tokenizer", "characters"), ("mapping", "dense"))),
    Case("clip", method="reprogrammer"),
    Case("clip", method="reprogrammer", options=(("text_program", "context"), ("size", 3), ("alpha", 0.4))),
]
VALUES = [
    *(None, True, False, 0, -1, 1, 2, 3, 64, 4097, 10**9, 2**31, 2**63, 10**30, -(10**30), 0.5, -0.5, 1e-320, 1e308),
    *(
        math.nan,
        math.inf,
        -math.inf,
        "",
        "x",
        "mask",
        "../../etc",
        "/",
        "\n",
        "é" * 300,
        [],
        [1, 2],
        [[]],
        {},
        {"a": 1},
    ),
]


@cache
def saved(case: Case) -> SimpleNamespace:
    """A trained adapter's folder, its source and a batch."""
    torch.manual_seed(0)
    model, processor = case.make()
    with torch.no_grad():
        for parameter in model.trainable().values():
            parameter.normal_(std=0.1)
    mapping = getattr(model.mapping, "label_map", model.mapping)
    if hasattr(mapping, "fitted"):
        mapping.fit(torch.randn(20, mapping.options.width), torch.arange(20) % 2)
    folder = Path(tempfile.mkdtemp(prefix="damaged-"))
    model.save_pretrained(folder)
    batch, _ = batch_of(model.transform.takes, processor, 2)
    return SimpleNamespace(folder=folder, source=loaded(case.source).source, batch=batch)


def paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The places of all values within plain data."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    inner = [path for key, item in items for path in paths(item, (*at, key))]
    return [at, *inner] if at else inner


def within(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


@st.composite
def changed(draw: Any, plain: Any) -> Any:
    """Plain data with one to three values deleted, replaced, moved, nested or made up."""
    plain = copy.deepcopy(plain)
    for _ in range(draw(st.integers(1, 3))):
        if not (places := paths(plain)):
            break
        *parents, last = draw(st.sampled_from(places))
        parent = within(plain, tuple(parents))
        value, other = parent[last], copy.deepcopy(within(plain, draw(st.sampled_from(places))))
        how = draw(st.sampled_from(["delete", "replace", "replace", "swap", "nest", "list", "deep", "add", "number"]))
        if how == "delete":
            del parent[last]
        elif how == "add" and isinstance(parent, dict):
            parent[draw(st.sampled_from(["unknown", "type", "trust_remote_code", "attn_implementation"]))] = other
        elif how == "number" and isinstance(value, int | float):
            parent[last] = draw(st.sampled_from([value + 1, value - 1, -value, value * 2, value * 10**6, float(value)]))
        elif how == "deep":
            for _ in range(100):
                value = [value]
            parent[last] = value
        else:
            made = {"swap": other, "nest": {"a": value}, "list": [value]}
            parent[last] = made[how] if how in made else copy.deepcopy(draw(st.sampled_from(VALUES)))
    return plain


@st.composite
def damaged(draw: Any) -> tuple[Any, str]:
    """A folder with a copy of an adapter, of which one file was changed, and what was done."""
    adapter = saved(draw(st.sampled_from(CASES)))
    folder = Path(tempfile.mkdtemp(prefix="damaged-")) / "adapter"
    shutil.copytree(adapter.folder, folder)
    config, weights = folder / "config.json", folder / "model.safetensors"
    how = draw(st.sampled_from(["config"] * 6 + ["header", "header", "tensors", "tensors", "bytes", "index", "file"]))
    if how == "config":
        plain = draw(changed(json.loads(config.read_text())))
        config.write_text(json.dumps(plain))
    elif how == "header":
        held = weights.read_bytes()
        length = int.from_bytes(held[:8], "little")
        header = json.dumps(draw(changed(json.loads(held[8 : 8 + length])))).encode()
        weights.write_bytes(len(header).to_bytes(8, "little") + header + held[8 + length :])
    elif how == "tensors":
        save_file(draw(other_tensors(load_file(weights))), weights)
    elif how == "bytes":
        file = draw(st.sampled_from([config, weights]))
        held = file.read_bytes()
        at = draw(st.integers(0, min(len(held), 200)))
        made = [held[:at], held[: len(held) - at], b"", held + b"x", held[:at] + b"\xff" + held[at + 1 :], b"[" * 10**5]
        if file == weights and at >= 8 + int.from_bytes(held[:8], "little"):
            made.pop(4)  # another finite number is no damage that shows
        file.write_bytes(draw(st.sampled_from(made)))
    elif how == "index":
        weights.rename(folder / "model-00001-of-00001.safetensors")
        right: Any = {
            "weight_map": dict.fromkeys(
                sorted(load_file(adapter.folder / "model.safetensors")), "model-00001-of-00001.safetensors"
            )
        }
        (folder / "model.safetensors.index.json").write_text(
            json.dumps(draw(st.one_of(st.just(right), changed(right))))
        )
    else:
        file = draw(st.sampled_from([config, weights]))
        file.unlink()
        if draw(st.booleans()):
            file.mkdir()
    return adapter, str(folder), draw(st.booleans())


@st.composite
def other_tensors(draw: Any, state: dict[str, Any]) -> dict[str, Any]:
    """The tensors of an adapter with one of them missing, added, of another dtype or shape, or not finite."""
    name = draw(st.sampled_from(sorted(state)))
    value = state[name]
    how = draw(st.sampled_from(["missing", "extra", "dtype", "shape", "nan", "index"]))
    if how == "missing":
        del state[name]
    elif how == "extra":
        state[draw(st.sampled_from(["more", f"source.{name}", f"{name}.{name}"]))] = value.clone()
    elif how == "dtype":
        state[name] = value.to(
            draw(st.sampled_from([torch.float64, torch.bfloat16, torch.int32, torch.int64, torch.bool]))
        )
    elif how == "shape":
        state[name] = (
            draw(
                st.sampled_from(
                    [value[None], value.flatten(), value.flatten()[:0], value.repeat(2, *[1] * (value.dim() - 1))]
                )
            )
            if value.dim()
            else value[None]
        )
    elif how == "nan" and value.is_floating_point():
        state[name] = torch.full_like(value, draw(st.sampled_from([math.nan, math.inf])))
    elif not value.is_floating_point() and value.dtype != torch.bool:
        state[name] = torch.full_like(value, draw(st.sampled_from([-2, -1, 10**6, 2**31 - 1])))
    return {key: tensor.contiguous() for key, tensor in state.items()}


@torch.no_grad()
def check(example: Any) -> None:
    adapter, folder, by_name = example
    refusal = ""
    try:
        model = ReprogrammedModel.from_pretrained(folder, source=None if by_name else adapter.source)
        logits = model(**adapter.batch).logits
    except InputError as error:
        refusal = str(error)
    else:
        assert logits.isfinite().all()
    finally:
        shutil.rmtree(Path(folder).parent)
    assert "\n" not in refusal
    assert len(refusal) < 1000


LONG = settings(max_examples=2000, suppress_health_check=list(HealthCheck), derandomize=False)


@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(damaged())
def test_a_damaged_adapter_answers_or_is_refused_in_one_sentence(example):
    check(example)


@pytest.mark.slow
@LONG
@given(damaged())
def test_two_thousand_damaged_adapters_answer_or_are_refused_in_one_sentence(example):
    check(example)


@pytest.mark.parametrize(
    ("section", "values"),
    [
        ("mapping", {"num_labels": 10**9}),
        ("mapping", {"width": 10**12}),
        ("transform", {"width": 10**30}),
        ("transform", {"template": "99999999 $A [MASK] $B"}),
    ],
)
def test_a_size_is_refused_before_memory_is_taken(section, values, tmp_path):
    adapter = saved(CASES[0])
    shutil.copytree(adapter.folder, tmp_path / "adapter")
    config = json.loads((tmp_path / "adapter" / "config.json").read_text())
    config[section] |= values
    (tmp_path / "adapter" / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        InputError, match=r"whole number of at most|names a tensor of 99999999 x 32 numbers|2 labels in id2label"
    ):
        ReprogrammedModel.from_pretrained(tmp_path / "adapter", source=adapter.source)
