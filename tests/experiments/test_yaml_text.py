"""YAML is read by the rules of version 1.2: nothing becomes another value than it looks, and nothing ends in a traceback."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_reprogram import InputError
from hf_reprogram.experiments.yaml_text import read_yaml
from tests.support.refusals import refusal


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[yes, no, on, off]", ["yes", "no", "on", "off"]),
        ("[true, False, null, ~]", [True, False, None, None]),
        ("[0, -1, +3, 12]", [0, -1, 3, 12]),
        ("[007, 0x1f, 1_000, 12:30, 2024-01-01]", ["007", "0x1f", "1_000", "12:30", "2024-01-01"]),
        ("[0.5, .5, 1., 0e0, 1.2.3]", [0.5, 0.5, 1.0, 0.0, "1.2.3"]),
        ("a: '1'", {"a": "1"}),
        ("<<: {a: 1, b: 2}\na: 3", {"a": 3, "b": 2}),
    ],
)
def test_values_are_what_they_look_like(text, value):
    assert read_yaml(text, "mine") == value


REFUSED = {
    "a: &x [*x]": "nested more than 20 levels deep, or holds itself",
    "[" * 3000: "nested more than 20 levels deep, or holds itself",
    "a: " + "9" * 5000: "no number of a usual size",
    "a: 99999999999999999999": "a whole number beyond 2",
    "a: {b: 1,\n b: 2}": "line 2 has the key 'b' a second time",
    "a: !!python/object/apply:os.system [ls]": "could not determine a constructor for the tag",
    "? [1]\n: 2": "is not valid YAML",
    "a: *b": "undefined alias",
    "\x00": "is not valid YAML",
}


@pytest.mark.parametrize("text", REFUSED, ids=range(len(REFUSED)))
def test_what_is_no_plain_data_is_refused(text):
    with pytest.raises(InputError, match=REFUSED[text]) as error:
        read_yaml(text, "mine")
    assert "\n" not in str(error.value)


@given(st.text(alphabet="ab01-+.e:[]{},&*!?#'\"\n \t~<|>%@`", max_size=60))
def test_any_text_is_read_or_refused_in_one_sentence(text):
    assert "\n" not in (refusal(read_yaml, text, "mine") or "")
