"""Series as patches of words: every step against explicit loops, and a prompt that says what the numbers say."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from hf_reprogram import InputError
from hf_reprogram.sources import load_source
from hf_reprogram.transforms.series_patches import SeriesPatches, SeriesPatchesOptions, scale_of
from hf_reprogram.transforms.series_prompt import SLOT, prompt_tokens, strongest_lags, written
from tests.support import tiny

SIZES = {"length": 23, "patch": 8, "stride": 4, "d_model": 6, "heads": 2, "d_ff": 5, "prototypes": 7, "sparsity": 3}
SERIES = 50 + 3 * torch.randn(4, 23, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def source(source_folder):
    """A tiny encoder, and its tokenizer."""
    folder = source_folder("bert-encoder")
    return load_source(folder)[0], AutoTokenizer.from_pretrained(folder)


def made(source, **options) -> SeriesPatches:
    """An untrained transform on a source."""
    torch.manual_seed(0)
    spec = source.spec
    given = {"width": spec.embedding_width, "vocab_size": spec.vocab_size, "scale": 0.3, **SIZES, **options}
    patches = SeriesPatches(SeriesPatchesOptions(**given))
    patches.check(spec)
    patches.reset(source)
    return patches


def test_patches_are_cut_with_the_last_number_repeated(source):
    patches, series = made(source[0]), torch.arange(23.0)[None]
    longer = [*range(23), 22, 22, 22, 22]
    expected = [longer[start : start + 8] for start in range(0, 20, 4)]
    assert patches.patches(series)[0].tolist() == expected
    assert patches.options.number == len(expected) == 5


def test_embeddings_are_those_of_explicit_loops(source):
    """Instance normalisation, circular convolution of width 3, and attention to the prototypes, head by head."""
    frozen = source[0]
    patches = made(frozen)
    found = patches({"past_values": SERIES}, frozen)["inputs_embeds"]
    table, scale = frozen.embed(torch.arange(frozen.spec.vocab_size)), patches.options.scale
    words = torch.stack(
        [
            sum(code * table[word] for word, code in zip(support, codes, strict=True)) / scale
            for support, codes in zip(patches.codes.support, patches.codes.codes, strict=True)
        ]
    )
    kernel = patches.convolution.weight
    for row, series in enumerate(SERIES):
        normal = (series - series.mean()) / series.std(correction=0)
        cut = patches.patches(normal[None])[0]
        for place in range(5):
            near = [cut[(place + step) % 5] for step in (-1, 0, 1)]
            state = sum(kernel[:, :, step] @ near[step] for step in range(3))
            heads = []
            for head in range(2):
                part = slice(5 * head, 5 * head + 5)
                query = patches.query.weight[part] @ state + patches.query.bias[part]
                keys = words @ patches.key.weight[part].T
                values = words @ patches.value.weight[part].T + patches.value.bias[part]
                heads.append((keys @ query / math.sqrt(5)).softmax(0) @ values)
            expected = scale * (patches.out.weight @ torch.cat(heads) + patches.out.bias)
            torch.testing.assert_close(found[row, place], expected, rtol=1e-4, atol=1e-5)


def test_prototypes_start_as_words_and_stay_sparse(source):
    frozen = source[0]
    patches = made(frozen)
    table = frozen.embed(torch.arange(frozen.spec.vocab_size))
    distance = torch.cdist(patches.codes.table(frozen), table)
    assert distance.min(1).values.max() < 1e-3
    assert patches.codes.codes.shape == patches.codes.support.shape == (7, 3)


def test_a_dense_b_mixes_every_word(source):
    frozen = source[0]
    patches = made(frozen, sparsity=None)
    table = frozen.embed(torch.arange(frozen.spec.vocab_size))
    assert patches.dense_codes.shape == (7, len(table))
    torch.testing.assert_close(patches.prototypes(frozen), patches.dense_codes @ table / 0.3)


def test_words_are_kept_until_theta_changes(source, monkeypatch):
    frozen = source[0]
    patches, calls = made(frozen), []
    real = patches.prototypes
    monkeypatch.setattr(patches, "prototypes", lambda one: calls.append(1) or real(one))
    with torch.no_grad():
        first = patches({"past_values": SERIES}, frozen)["inputs_embeds"]
        assert torch.equal(patches({"past_values": SERIES}, frozen)["inputs_embeds"], first)
        assert len(calls) == 1
        patches.codes.codes.add_(1.0)
        assert not torch.equal(patches({"past_values": SERIES}, frozen)["inputs_embeds"], first)
        assert len(calls) == 2


def test_a_constant_series_is_zero_and_its_scale_one():
    mean, deviation = scale_of(torch.full((1, 9), 7.1))
    assert (round(mean.item(), 4), deviation.item()) == (7.1, 1.0)


# ---------------------------------------------------------------------------------------------------------- prompts


def test_the_prompt_says_the_statistics_of_the_normalised_series():
    """Ids are chosen so that each is the character that it stands for."""
    digits = torch.tensor([ord(sign) for sign in "0123456789+-"])
    trends = torch.tensor([[ord("u")], [ord("d")]])
    series = torch.tensor([[-1.234, 0.5, 12.0, -0.001, 2.0, 0.0]])
    text = "".join(map(chr, written(series, digits, trends)[0].tolist()))
    assert text[:12] == "-123+999+000"  # least, most (9.99 at most) and the lower median
    assert text[12] == "u"
    assert text[13:] == "".join(str(lag) for lag in strongest_lags(series, 3)[0].tolist())


def test_lags_are_those_of_the_circular_autocorrelation():
    series = np.random.default_rng(0).normal(size=(3, 30))
    expected = []
    for row in series:
        strength = [sum(row[t] * row[(t + lag) % 30] for t in range(30)) for lag in range(1, 16)]
        expected.append((np.argsort(strength)[::-1][:5] + 1).tolist())
    assert strongest_lags(torch.tensor(series), 5).tolist() == expected


def test_the_prompt_stands_before_the_patches_in_the_sources_own_words(source):
    tokenizer = source[1]
    frozen = load_source(tiny.make_model("bert-encoder", max_position_embeddings=256))[0]
    options = prompt_tokens(tokenizer, 23, "forecast the next 4 steps", "a made series")
    patches = made(frozen, **options)
    inputs, count = patches({"past_values": SERIES}, frozen), len(options["prompt"])
    assert inputs["inputs_embeds"].shape == (4, count + 5, frozen.spec.embedding_width)
    mean, deviation = scale_of(SERIES)
    ids = patches.prompt_ids((SERIES - mean) / deviation)
    assert torch.equal(inputs["inputs_embeds"][:, :count], frozen.embed(ids))
    without = made(frozen)({"past_values": SERIES}, frozen)["inputs_embeds"]
    assert torch.equal(inputs["inputs_embeds"][:, count:], without)
    fixed = patches.prompt != SLOT
    assert torch.equal(ids[:, fixed], patches.prompt[fixed].expand(4, -1))
    assert len({tuple(row) for row in ids.tolist()}) == 4
    assert options["prompt"][0] == tokenizer.cls_token_id
    assert options["prompt"][-1] == tokenizer.sep_token_id


# --------------------------------------------------------------------------------------------------------- refusals


def test_what_does_not_fit_is_refused_in_a_sentence(source, source_folder):
    frozen = source[0]
    with pytest.raises(InputError, match="A patch has 24 numbers and a series 23"):
        made(frozen, patch=24)
    with pytest.raises(InputError, match="positions, but bert has 64"):
        made(frozen, length=300)
    with pytest.raises(InputError, match="belongs to another source"):
        made(frozen).check(load_source(source_folder("albert"))[0].spec)
    with pytest.raises(InputError, match="give at most as many"):
        made(frozen, prototypes=10_000)
    with pytest.raises(InputError, match=r"this adapter takes \(series, 23\)"):
        made(frozen)({"past_values": SERIES[:, :20]}, frozen)
    with pytest.raises(InputError, match="NaN or infinities"):
        made(frozen)({"past_values": SERIES * float("nan")}, frozen)
