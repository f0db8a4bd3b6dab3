"""Similarities, the residual blend and the contrastive loss against sums written out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from hf_reprogram import InputError
from hf_reprogram.mappings.similarity import Similarity, SimilarityOptions, contrastive_loss
from hf_reprogram.sources.dual import Pair

WIDTH, CLASSES, TEMPLATES, BATCH = 6, 3, 2, 5


def unit(*shape):
    return F.normalize(torch.randn(*shape), dim=-1)


@pytest.fixture
def pair():
    torch.manual_seed(0)
    text = (CLASSES, TEMPLATES, WIDTH)
    return Pair(unit(BATCH, WIDTH), unit(*text), torch.tensor(7.0), unit(BATCH, WIDTH), unit(*text))


def make(**options):
    mapping = Similarity(SimilarityOptions(CLASSES, WIDTH, **options))
    mapping.reset()
    return mapping.eval()


def expected(image, text, scale):
    centre = [sum(row) / TEMPLATES for row in text]
    return torch.stack([torch.stack([scale * torch.dot(u, c / c.norm()) for c in centre]) for u in image])


def without(pair):
    return pair._replace(plain_image=None, plain_text=None)


def test_logits_are_scaled_cosines_with_the_mean_template(pair):
    torch.testing.assert_close(make()(without(pair), None), expected(pair.image, pair.text, 7.0))


def test_alpha_one_is_the_zero_shot_branch_and_alpha_zero_the_other_bit_for_bit(pair):
    zero_shot = without(pair._replace(image=pair.plain_image, text=pair.plain_text))
    assert torch.equal(make(alpha=1.0)(pair, None), make()(zero_shot, None))
    mapping = make(alpha=0.3)
    mapping.set_alpha(0)
    assert torch.equal(mapping(pair, None), make()(without(pair), None))


def test_both_sides_are_blended_and_not_normalised_again(pair):
    def centre(text):
        return F.normalize(text.mean(1), dim=-1)

    image = 0.6 * pair.image + 0.4 * pair.plain_image
    text = 0.6 * centre(pair.text) + 0.4 * centre(pair.plain_text)
    torch.testing.assert_close(make(alpha=0.4)(pair, None), 7 * image @ text.T)


def test_the_blend_is_read_at_evaluation_only_unless_alpha_is_trained():
    assert [make().reads, make(alpha=0.4).reads] == ["pair", "residual"]
    assert make(alpha=0.4).train().reads == "pair"
    assert make(alpha=0.4, learn_alpha=True).train().reads == "residual"
    assert [make().residual, make(alpha=0.4).residual] == [False, True]


def test_a_trained_alpha_starts_where_it_is_told_and_gets_a_gradient(pair):
    mapping = make(alpha=0.4, learn_alpha=True)
    torch.testing.assert_close(mapping(pair, None), make(alpha=0.4)(pair, None))
    mapping(pair, None).square().sum().backward()
    assert mapping.alpha_logit.grad.abs() > 0
    with pytest.raises(InputError, match="cannot be set"):
        mapping.set_alpha(0.2)


def test_the_contrastive_loss_is_the_sum_written_out():
    torch.manual_seed(1)
    logits, labels = torch.randn(4, 3, requires_grad=True), torch.tensor([0, 2, 1, 2])
    total, values = 0.0, logits.tolist()
    for i in range(4):
        row = [math.exp(values[i][labels[j]]) for j in range(4)]
        column = [math.exp(values[j][labels[i]]) for j in range(4)]
        for weights in (row, column):
            p = weights[i] / sum(weights)
            total -= 0.8 * (1 - p) ** 4 * math.log(p)
    found = contrastive_loss(logits, labels)
    assert found.item() == pytest.approx(total / 8, rel=1e-5)
    mapping = make(loss="contrastive")
    assert torch.equal(mapping.loss(logits, labels, "single_label_classification"), found)
    plain = make().loss(logits, labels, "single_label_classification")
    torch.testing.assert_close(plain, F.cross_entropy(logits, labels))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"alpha": 1.2}, "alpha is 1.2"),
        ({"alpha": True}, "alpha is True"),
        ({"alpha": 0, "learn_alpha": True}, "start between 0 and 1"),
        ({"loss": "focal"}, "'focal'"),
    ],
)
def test_options_out_of_range_are_refused(options, sentence):
    with pytest.raises(InputError, match=sentence):
        make(**options)
