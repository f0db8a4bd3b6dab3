"""The cost of a run in a table and in a sentence."""

from __future__ import annotations

import copy

import pytest

from hf_reprogram.reports.card import render_card
from hf_reprogram.reports.cost import cost_note, cost_rows
from hf_reprogram.reports.results import rows


@pytest.fixture
def results(finished):
    return copy.deepcopy(finished.results)


def test_the_table_has_the_costs_of_baselines_and_of_the_method(results):
    results["cost"]["flops"] = {"forward": 27_067_904, "training": 55_251_456, "batch_size": 8}
    results["cost"]["joules"] = {"mean": 1234.5, "std": 0.0, "n": 2}
    results["cost"]["memory"]["process"]["mean"] = 772_399_104.0
    majority, probe, warp = cost_rows(results)
    assert next(iter(majority.values())) == "majority class"
    assert probe["bytes shipped"] == f"{4 * results['baselines']['linear_probe']['trainable']:,}"
    assert probe["FLOPs of a prediction"] == ""
    assert warp["FLOPs of a training example"] == "55.3 M"
    assert warp["FLOPs of a prediction"] == "27.1 M"
    assert warp["memory"] == "772 MB"
    assert warp["joules"] == "1,234"
    assert warp["bytes shipped"] == f"{results['adapter_bytes']:,}"


def test_a_column_that_nothing_is_known_of_is_left_out(results):
    results["cost"]["joules"] = results["cost"]["flops"] = None
    assert {"joules", "FLOPs of a prediction"}.isdisjoint(cost_rows(results)[0])


def test_the_memory_of_an_accelerator_comes_first(results):
    results["cost"]["memory"]["accelerator"] = {"mean": 5e9, "std": 0.0, "n": 2}
    assert cost_rows(results)[-1]["memory"] == "5 GB"


def test_results_of_an_earlier_version_have_tables_and_a_card(results):
    del results["cost"]
    for entry in results["baselines"].values():
        del entry["cost"]
    assert cost_rows(results) == []
    assert cost_note(results) == ""
    assert len(rows(results)) == 4
    assert "FLOPs" not in render_card(results, "me/adapter")


def test_the_card_says_the_cost_in_one_sentence(results):
    note = cost_note(results)
    assert note.count(". ") == 0
    assert note in render_card(results, "me/adapter")


def test_a_black_box_has_the_rows_that_it_is_sent_in_place_of_operations():
    numbers = {"theta": 500, "omega": 0, "tuned": 0, "frozen": None}
    cost = {"numbers": numbers, "flops": {"forward": None, "training": None}, "rows_sent": 26, "joules": None}
    assert cost_note({"cost": cost, "trainable": 500, "adapter_bytes": 2048}) == (
        "The 2,048 bytes of the adapter hold 500 numbers, and a training example is sent 26 times a step."
    )
