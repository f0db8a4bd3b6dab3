"""Templates: read, written, shared out as in the paper."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_reprogram import InputError
from hf_reprogram.transforms.template import SLOT, Template

counts = st.integers(0, 30)


@st.composite
def templates(draw) -> str:
    """Any valid template: numbers of slots between the text, its pair, and perhaps a mask and a separator."""
    words = ["$A", "$B"]
    for word in draw(st.sets(st.sampled_from(["[MASK]", "[SEP]"]))):
        words.insert(draw(st.integers(0, len(words))), word)
    pieces = [str(n) for n in draw(st.lists(counts, max_size=2))]
    for word in words:
        pieces += [word, *(str(n) for n in draw(st.lists(counts, max_size=2)))]
    return " ".join(pieces)


@given(templates())
def test_a_template_survives_being_written_and_read(text):
    template = Template.parse(text)
    assert Template.parse(str(template)) == template
    assert str(Template.parse(str(template))) == str(template)
    assert template.num_prompts == sum(int(word) for word in text.split() if word.isdigit())
    assert template.has_mask == ("[MASK]" in text)


@given(templates(), st.booleans())
def test_a_layout_holds_every_slot_once_in_order_and_the_pair_only_if_there_is_one(text, pair):
    template = Template.parse(text)
    layout = template.layout("<m>", "<s>", pair)
    slots = [token for token in layout if token.startswith("<|prompt_")]
    assert slots == [SLOT.format(i) for i in range(template.num_prompts)]
    assert layout.count("$A") == 1
    assert layout.count("$B") == int(pair)
    assert layout.count("<m>") == int(template.has_mask)
    assert layout.count("<s>") == int(pair and "[SEP]" in text)


@given(st.integers(0, 200), st.sampled_from(["mask", "first", "features", "last"]))
def test_default_templates_hold_k_slots_shared_evenly(count, reads):
    template = Template.default(count, reads)
    assert template.num_prompts == count
    assert template.has_mask == (reads == "mask")
    if reads == "last":
        assert template.slots_follow_text
    else:
        shares = [piece for piece in template.pieces if isinstance(piece, int)]
        gaps = 4 if reads == "mask" else 3
        shares += [0] * (gaps - len(shares))
        assert max(shares) - min(shares) <= 1


@pytest.mark.parametrize(
    ("count", "reads", "written"),
    [
        (20, "mask", "5 $A 5 [MASK] 5 $B 5"),
        (8, "mask", "2 $A 2 [MASK] 2 $B 2"),
        (0, "mask", "$A [MASK] $B"),
        (7, "mask", "2 $A 2 [MASK] 2 $B 1"),
        (6, "first", "2 $A 2 $B 2"),
        (6, "last", "$A [SEP] $B 6"),
    ],
)
def test_default_templates_are_the_papers(count, reads, written):
    assert str(Template.default(count, reads)) == written


def test_slots_follow_text_only_when_none_stands_before_or_between():
    assert Template.parse("$A [SEP] $B 4").slots_follow_text
    assert not Template.parse("1 $A $B 4").slots_follow_text
    assert not Template.parse("$A 1 $B 4").slots_follow_text


def test_no_slots_leave_no_trace():
    assert str(Template.parse("0 $A 0 [MASK] $B 0")) == "$A [MASK] $B"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("5 $A 5 [MASQUE] $B", "'[MASQUE]'"),
        ("-1 $A $B", "'-1'"),
        ("5 $A 5", "$B 0 times"),
        ("5 $B", "$A 0 times"),
        ("$A $A $B", "$A 2 times"),
        ("$A [MASK] [MASK] $B", "[MASK] 2 times"),
        ("$B 3 $A", "$B before $A"),
        ("", "$A 0 times"),
    ],
)
def test_a_template_that_cannot_be_is_refused_by_name(text, named):
    with pytest.raises(InputError) as refused:
        Template.parse(text)
    assert named in str(refused.value)
