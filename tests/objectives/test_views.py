"""Views: what they change, what they never touch, and that random numbers alone decide."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Dataset

from hf_reprogram import InputError, reprogram
from hf_reprogram.modalities import MODALITIES
from hf_reprogram.objectives import views
from hf_reprogram.objectives.base import TrainingData
from hf_reprogram.objectives.views import ImageViews, SeriesViews, SoundViews, TextViews, ViewOptions

BASES = str.maketrans("ACGT", "TGCA")


def random(seed=0):
    return torch.Generator().manual_seed(seed)


def of(kind, **options):
    """Views of arrays, without any data behind them."""
    made = object.__new__(kind)
    made.options = ViewOptions(**options)
    return made


def of_texts(processor, texts, **options):
    task = SimpleNamespace(options=SimpleNamespace(max_length=None), modality=MODALITIES["text"])
    return TextViews(
        TrainingData(task, processor, 4, unlabelled=Dataset.from_dict({"text": texts})), ViewOptions(**options)
    )


@pytest.fixture
def prompts(source_folder):
    return reprogram(source_folder("bert"), "warp", ["no", "yes"], num_prompts=3)[1]


@pytest.mark.parametrize("kind", [ImageViews, SoundViews, SeriesViews])
def test_views_depend_on_their_random_numbers_alone_and_keep_shape_and_range(kind):
    shape = (6, 3, 16, 16) if kind is ImageViews else (6, 100)
    values = torch.rand(shape, generator=random(3))
    for strong in (0.0, 1.0):
        seen = of(kind).change(values, random(), strong)
        assert torch.equal(seen, of(kind).change(values, random(), strong))
        assert not torch.equal(seen, of(kind).change(values, random(1), strong))
        assert seen.shape == values.shape
        assert kind is SeriesViews or (seen.min() >= -1 and seen.max() <= 1)


@pytest.mark.parametrize("kind", [ImageViews, SoundViews, SeriesViews])
def test_a_strong_view_is_further_from_the_input_than_a_weak_one(kind):
    places = torch.linspace(0, 3, 256)
    values = 0.5 + 0.3 * torch.sin(places * 6)
    values = values.view(1, 1, 16, 16).repeat(40, 3, 1, 1) if kind is ImageViews else values.repeat(40, 1)
    weak, strong = (of(kind).change(values, random(), factor) for factor in (0.0, 1.0))
    assert (strong - values).abs().mean() > 1.3 * (weak - values).abs().mean() > 0


def test_images_are_mirrored_only_where_that_is_asked_for():
    ramp = torch.linspace(0, 1, 32).expand(64, 3, 32, 32)
    rising = of(ImageViews).change(ramp, random(), 0.0)
    assert (rising[..., -1] >= rising[..., 0]).all()
    mirrored = of(ImageViews, mirror=True).change(ramp, random(), 0.0)
    share = (mirrored[..., -1] < mirrored[..., 0]).float().mean()
    assert 0.3 < share < 0.7


def test_a_weak_view_of_an_image_is_the_image_moved_by_an_eighth_at_most():
    point = torch.zeros(50, 3, 33, 33)
    point[:, :, 16, 16] = 1
    seen = of(ImageViews).change(point, random(), 0.0)[:, 0]
    rows, columns = (seen.sum(axis).argmax(-1) for axis in (2, 1))
    assert (rows - 16).abs().max() <= 5
    assert (columns - 16).abs().max() <= 5
    assert len(set(rows.tolist())) > 3


def test_no_special_token_is_left_out_and_words_are(prompts):
    views = of_texts(prompts, ["a lovely film with great music", "dull plot"] * 20)
    plain = prompts(["a lovely film with great music"], return_special_tokens_mask=True)
    special = [i for i, mark in zip(plain["input_ids"][0], plain["special_tokens_mask"][0], strict=True) if mark]
    assert len(special) > 3  # the three prompts among them
    strong = views.strong(range(40), random())
    lengths = strong["attention_mask"].sum(1)
    for row in strong["input_ids"].tolist():
        assert [i for i in row if i in special and i != prompts.pad_token_id] == special
    whole = views.plain(range(40))["attention_mask"].sum(1)
    assert 0.15 < 1 - (lengths - len(special)).sum() / (whole - len(special)).sum() < 0.45
    assert (lengths > len(special)).all()  # one word stays at least
    assert views.plain([0])["input_ids"][0].tolist() == plain["input_ids"][0]


def test_weak_views_of_texts_leave_fewer_words_out(prompts):
    views = of_texts(prompts, ["a lovely film with great music"] * 50)
    kept = [kind(range(50), random())["attention_mask"].sum().item() for kind in (views.weak, views.strong)]
    assert kept[0] > kept[1]


def test_letters_of_dna_are_replaced_and_its_other_strand_is_asked_for(prompts):
    texts = ["ACGTTGCAACGGTACC" * 3] * 40
    dna = of_texts(prompts, texts)
    assert dna.alphabet == "DNA"
    read = [dna._read(text, random(seed), strong=True) for seed, text in enumerate(texts)]
    changed = np.mean([a != b for one, two in zip(read, texts, strict=True) for a, b in zip(one, two, strict=True)])
    assert {len(one) for one in read} == {48}
    assert 0.04 < changed < 0.12  # a tenth is drawn, a quarter of these is the same letter
    other = texts[0][::-1].translate(BASES)
    near = lambda text, target: np.mean([a != b for a, b in zip(text, target, strict=True)]) < 0.2  # noqa: E731
    both = of_texts(prompts, texts, mirror=True)
    strands = [near(both._read(text, random(seed), strong=False), other) for seed, text in enumerate(texts)]
    assert not any(near(one, other) for one in read)
    assert 0.2 < np.mean(strands) < 0.8


def test_another_smiles_is_the_same_molecule(prompts):
    Chem = pytest.importorskip("rdkit.Chem")
    texts = ["CC(=O)Oc1ccccc1C(=O)O", "C1CCCCC1O"]
    smiles = of_texts(prompts, texts)
    assert smiles.alphabet == "SMILES"
    read = {smiles._read(texts[0], random(seed), strong=False) for seed in range(10)}
    assert len(read) > 3
    assert {Chem.CanonSmiles(one) for one in read} == {Chem.CanonSmiles(texts[0])}
    assert views.other_smiles("no molecule", 1) == "no molecule"


def test_smiles_without_rdkit_are_refused(prompts, monkeypatch):
    monkeypatch.setattr(views, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="need rdkit"):
        of_texts(prompts, ["CC(=O)O", "c1ccccc1"])
