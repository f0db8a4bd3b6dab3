"""A recipe that was changed at random is a recipe, or is refused in one sentence."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_reprogram.experiments.recipe import make_recipe
from tests.support.refusals import refusal

RECIPES = [
    {
        "source": "bert-base-uncased",
        "method": {"name": "warp", "num_prompts": 4, "template": "{prompt} {text} {mask}"},
        "task": {"dataset": "mine.csv", "text": "text", "label": "label", "few_shot": 16},
        "training": {"learning_rate": 0.01, "num_train_epochs": 3},
        "seeds": [0, 1],
        "sweep": {"training.learning_rate": [0.01, 0.1]},
        "baselines": ["majority", {"linear_probe": {"reads": "features"}}],
    },
    {
        "source": {"name": "google/vit-base-patch16-224", "image_size": 112},
        "method": {"name": "ilm_vp", "image_size": 84},
        "task": {"dataset": "pets", "image": "image", "max_test": 100},
        "training": {"bf16": True, "max_steps": 10},
        "ood": {"semantic": {"textures": {"dataset": "dtd"}}},
        "baselines": ["majority"],
    },
]
VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1, 3, 10**9, 2**63, 10**30, 0.5, -0.5, 1e308, math.nan, math.inf),
    *("", "x", "warp", "a.b", "../x", "\n", "é" * 300, [], [1, 2], [[]], [None], {}, {"a": 1}, {"name": 1}, {1: 2}),
]


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values within plain data."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [(*at, key) for key, _ in items] + [path for key, item in items for path in places(item, (*at, key))]


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """A recipe with one to three values replaced, taken out, or put under a key of another name."""
    recipe = copy.deepcopy(draw(st.sampled_from(RECIPES)))
    for _ in range(draw(st.integers(1, 3))):
        *path, last = draw(st.sampled_from(places(recipe) or [("source",)]))
        inner = recipe
        for key in path:
            inner = inner[key]
        how = draw(st.sampled_from(["replace", "remove", "add"]))
        if how == "remove" and isinstance(inner, dict):
            inner.pop(last, None)
        elif how == "add" and isinstance(inner, dict):
            inner[draw(st.sampled_from(["", "x", "name", "text", "seed", 3]))] = copy.deepcopy(
                draw(st.sampled_from(VALUES))
            )
        else:
            inner[last] = copy.deepcopy(draw(st.sampled_from(VALUES)))
    return recipe


def check(recipe: Any) -> None:
    message = refusal(make_recipe, recipe)
    assert message is None or ("\n" not in message.strip() and len(message) < 2000)


@settings(deadline=None, max_examples=150)
@given(mutated())
def test_a_changed_recipe_is_right_or_refused(recipe):
    check(recipe)


@pytest.mark.slow
@settings(deadline=None, max_examples=2000)
@given(mutated())
def test_many_changed_recipes_are_right_or_refused(recipe):
    check(recipe)
