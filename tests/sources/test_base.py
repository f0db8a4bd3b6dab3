"""Fingerprints: the same weights are recognised, also in another dtype; others are not."""

from __future__ import annotations

import json

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_reprogram.sources.base import fingerprint, same_fingerprint

WEIGHT = torch.randn(50, 16, generator=torch.Generator().manual_seed(0)) * 0.02


def test_a_fingerprint_is_plain_data_that_survives_json():
    found = fingerprint(WEIGHT)
    assert same_fingerprint(json.loads(json.dumps(found)), found)
    assert found["shape"] == [50, 16]
    assert found["dtype"] == "float32"


@settings(max_examples=20)
@given(st.integers(0, WEIGHT.numel() - 1))
def test_one_changed_number_is_noticed_in_the_same_dtype(index):
    changed = WEIGHT.clone()
    changed.view(-1)[index] += 1e-6
    assert not same_fingerprint(fingerprint(WEIGHT), fingerprint(changed))


def test_copies_in_other_dtypes_are_the_same_weights():
    versions = [fingerprint(WEIGHT.to(dtype)) for dtype in (torch.float32, torch.bfloat16, torch.float16)]
    assert all(same_fingerprint(one, other) for one in versions for other in versions)


def test_other_weights_in_another_dtype_are_noticed():
    other = torch.randn(50, 16, generator=torch.Generator().manual_seed(1)) * 0.02
    assert not same_fingerprint(fingerprint(WEIGHT), fingerprint(other.bfloat16()))
    assert not same_fingerprint(fingerprint(WEIGHT), fingerprint(WEIGHT.T))


def test_views_and_strides_do_not_matter():
    wide = torch.cat([WEIGHT, WEIGHT], 1)
    assert fingerprint(wide[:, :16]) == fingerprint(WEIGHT)
