"""The attack by losses, by hand."""

from __future__ import annotations

import pytest

from hf_reprogram import InputError
from hf_reprogram.privacy import membership_auc


def test_the_auc_counts_pairs_in_order_and_half_of_the_ties():
    assert membership_auc([0.0, 1.0, 2.0], [1.0, 3.0]) == pytest.approx(4.5 / 6)  # 1 < 1 is a tie, 2 < 1 is wrong
    assert membership_auc([1.0], [1.0]) == 0.5


def test_the_calibrated_attack_does_not_count_examples_that_are_easy_for_anyone():
    members, others, before, others_before = [0.9, 0.1], [0.2, 0.01], [2.0, 1.0], [0.25, 0.02]
    assert membership_auc(members, others) == 0.25
    assert membership_auc(members, others, before, others_before) == 1.0


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        (([], [1.0]), "none or not finite"),
        (([float("nan")], [1.0]), "none or not finite"),
        (([1.0], [1.0], [1.0, 2.0], [1.0]), "There are 1 losses and 2 of the start"),
        (([1.0], [1.0], [1.0]), "give them for both or for none"),
    ],
)
def test_losses_that_cannot_be_compared_are_refused(losses, message):
    with pytest.raises(InputError, match=message):
        membership_auc(*losses)
