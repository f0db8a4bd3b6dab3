"""Inspection of a dual encoder's adapter: its image program is shown as any program over an image is."""

from __future__ import annotations

import json
from math import exp, tanh

import pytest
import torch
from PIL import Image

from hf_reprogram import reprogram
from hf_reprogram.inspection.adapter import describe, inspect_model, plot_model, why_undrawn
from tests.support import tiny_dual
from tests.support.tiny_vision import SIDE


def make(**options):
    source = tiny_dual.make_source("clip")
    tokenizer = tiny_dual.tokenizer()
    return reprogram(source, "reprogrammer", ["cat", "dog"], processor=tokenizer, border=4, **options)


def test_a_border_by_hand(tmp_path):
    model, processor = make(resolution=16)
    torch.nn.init.constant_(model.transform.canvas.program.weight, 2.0)  # in units of 0.1
    Image.new("RGB", (9, 9), (51, 51, 51)).save(tmp_path / "grey.png")
    found = inspect_model(model, processor, example=str(tmp_path / "grey.png"))
    assert found["canvas"] == {"size": [SIDE, SIDE], "holds": "image", "number": 1, "each": [SIDE, SIDE], "at": [0, 0]}
    acting = SIDE**2 - (SIDE - 8) ** 2
    assert found["program"]["numbers"] == 3 * acting
    assert found["program"]["share"] == pytest.approx(acting / SIDE**2)
    assert found["program"]["mean_change"] == pytest.approx(tanh(0.2), abs=1e-6)
    assert json.dumps(inspect_model(model, processor))
    assert plot_model(model, processor, tmp_path / "program.png", "A title").stat().st_size > 1000


def test_the_share_of_the_zero_shot_branch_is_told_trained_or_not():
    model, processor = make(alpha=0.25)
    assert inspect_model(model, processor)["alpha"] == 0.25
    trained, processor = make(alpha=0.4, learn_alpha=True)
    torch.nn.init.constant_(trained.mapping.alpha_logit, 1.0)
    found = inspect_model(trained, processor)
    assert found["alpha"] == pytest.approx(1 / (1 + exp(-1)))
    assert "alpha: 0.731, the share of the zero-shot branch" in describe(found).splitlines()


def test_without_an_image_program_there_is_none_to_show(tmp_path):
    model, processor = reprogram(
        tiny_dual.make_source("clip"),
        "reprogrammer",
        ["cat", "dog"],
        processor=tiny_dual.tokenizer(),
        image_program="none",
    )
    assert "program" not in json.loads(json.dumps(inspect_model(model, processor)))
    assert plot_model(model, processor, tmp_path / "program.png", "A title") is None
    assert why_undrawn(model) == (
        "the input transform 'dual' can draw an image program, and an example with it and without it, and this one has none"
    )
