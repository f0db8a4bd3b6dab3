"""The vocabulary transform: the table it spans, its special rows, folding, and how it becomes and stays sparse."""

from __future__ import annotations

import pytest
import torch

from hf_reprogram import InputError, ReprogrammedModel, reprogram
from tests.support import tiny


def make(source, labels=("bad", "good"), **options):
    torch.manual_seed(0)
    return reprogram(source, "r2dl", labels, tokenizer="residues", **{"sparsity": 4, **options})


@pytest.fixture
def made(source_folder):
    """An adapter with 4 source tokens a residue, whose codes are random."""
    model, processor = make(source_folder("bert"), init="random")
    return model.eval(), processor


def rows(model) -> torch.Tensor:
    """Theta, dense: (target tokens, source tokens)."""
    transform = model.transform
    dense = torch.zeros(transform.options.num_tokens, model.source.spec.vocab_size)
    return dense.scatter_add_(1, transform.support, transform.codes.detach())


def test_the_table_is_theta_times_the_sources_embeddings(made):
    model, _ = made
    expected = rows(model) @ model.source.embedding.weight
    torch.testing.assert_close(model.transform.table(model.source), expected, rtol=1e-5, atol=1e-6)


def test_a_sequence_becomes_rows_of_the_table_between_the_sources_own_special_tokens(made, source_folder):
    model, processor = made
    inputs = model.transform(processor(["ACD", "A"], padding=True, return_tensors="pt"), model.source)
    table, embedding = model.transform.table(model.source), model.source.embedding.weight
    own = tiny.FAMILIES["bert"].tokenizer()
    cls, sep, pad = embedding[own.cls_token_id], embedding[own.sep_token_id], embedding[own.pad_token_id]
    torch.testing.assert_close(inputs["inputs_embeds"][0], torch.stack([cls, table[0], table[1], table[2], sep]))
    torch.testing.assert_close(inputs["inputs_embeds"][1], torch.stack([cls, table[0], sep, pad, pad]))
    assert inputs["attention_mask"].tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]


def test_an_unknown_letter_is_the_average_letter(made):
    model, processor = made
    inputs = model.transform(processor("X", return_tensors="pt"), model.source)
    torch.testing.assert_close(inputs["inputs_embeds"][0, 1], model.transform.table(model.source).mean(0))


def test_an_empty_sequence_has_logits(made):
    model, processor = made
    with torch.no_grad():
        assert torch.isfinite(model(**processor([""], return_tensors="pt")).logits).all()


def test_ids_past_the_vocabulary_are_refused(made):
    model, _ = made
    with pytest.raises(InputError, match="token id 999"):
        model.transform({"input_ids": torch.tensor([[999]])}, model.source)


def test_the_folded_table_gives_what_the_codes_give_and_is_computed_once(made, monkeypatch):
    model, processor = made
    batch = processor(["ACDW", "KX"], padding=True, return_tensors="pt")
    with_gradient = model(**batch).logits
    calls = []
    whole = model.transform._whole_table
    monkeypatch.setattr(model.transform, "_whole_table", lambda source: calls.append(1) or whole(source))
    with torch.no_grad():
        for _ in range(3):
            torch.testing.assert_close(model(**batch).logits, with_gradient, rtol=1e-5, atol=1e-5)
    assert len(calls) == 1


def test_the_folded_table_follows_the_codes(made):
    model, processor = made
    batch = processor("ACDW", return_tensors="pt")
    with torch.no_grad():
        before = model(**batch).logits
        model.transform.codes.add_(1.0)
        assert not torch.allclose(model(**batch).logits, before)
        model.load_state_dict(
            {name: value * 0.5 for name, value in model.state_dict().items() if "codes" in name}, False
        )
        after = model(**batch).logits
        model.transform._folded.forget()
        torch.testing.assert_close(model(**batch).logits, after)


def test_codes_are_those_of_orthogonal_matching_pursuit(made):
    sklearn = pytest.importorskip("sklearn.linear_model")
    model, _ = made
    atoms = model.source.embedding.weight.double().numpy()
    target = torch.randn(20, atoms.shape[1], generator=torch.Generator().manual_seed(3))
    error = model.transform.fit_table(target, model.source)
    norms = (atoms**2).sum(1, keepdims=True) ** 0.5
    unit = atoms / norms.clip(1e-12)  # the padding token's row is zero
    expected = sklearn.orthogonal_mp(unit.T, target.double().numpy().T, n_nonzero_coefs=4).T @ unit
    found = model.transform.table(model.source).detach()
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float32), rtol=1e-3, atol=1e-4)
    assert error == pytest.approx(float((found - target).norm() / target.norm()), rel=1e-5)
    assert 0 < error < 1


def test_a_row_that_is_a_source_token_keeps_places_for_its_neighbours(source_folder):
    model, _ = make(source_folder("bert"), init="tokens")
    transform = model.transform
    assert ((transform.codes != 0).sum(1) == 1).all()  # each is one source token exactly
    assert all(len(set(row)) == 4 for row in transform.support.tolist())
    torch.testing.assert_close(transform.codes.max(1).values, torch.ones(20))


def test_initial_rows_are_drawn_with_the_seed_and_differ(source_folder):
    first, second = (make(source_folder("bert"))[0] for _ in range(2))
    assert torch.equal(first.transform.table(first.source), second.transform.table(second.source))
    table = first.transform.table(first.source).detach()
    assert len(torch.unique(table, dim=0)) == 20


def test_a_random_start_has_the_statistics_of_the_sources_table(source_folder):
    model, _ = make(source_folder("bert"), init="random", sparsity=None)
    table, source = model.transform.table(model.source).detach(), model.source.embedding.weight
    assert float(table.std()) == pytest.approx(float(source.std()), rel=0.15)


def train(source, folder, epochs=3, **options):
    model, processor = make(source, **options)
    sequences = ["ACDEFGHIKL", "MNPQRSTVWY", "AAAA", "WWWW"] * 4
    from datasets import Dataset

    data = Dataset.from_dict({**processor(sequences), "labels": [0, 1] * 8})
    trainer = tiny.trainer_for(
        model, processor, data, folder, max_steps=-1, num_train_epochs=epochs, learning_rate=3e-2
    )
    return trainer, model, processor


@pytest.mark.parametrize(
    "options", [{}, {"alternating": True}, {"warmup_epochs": 2}, {"atoms": "ksvd", "num_atoms": 32}]
)
def test_after_training_no_row_combines_more_than_s_atoms(source_folder, tmp_path, options):
    trainer, model, processor = train(source_folder("bert"), tmp_path, **options)
    start = model.transform.table(model.source).detach().clone()
    trainer.train()
    assert set(dict(model.transform.named_parameters())) == {"codes"}
    assert model.transform.codes.shape == (20, 4)
    assert not torch.allclose(model.transform.table(model.source), start)
    model.save_pretrained(tmp_path / "adapter")
    again = ReprogrammedModel.from_pretrained(tmp_path / "adapter")
    batch = processor(["ACDW", "KX"], padding=True, return_tensors="pt")
    with torch.no_grad():
        assert torch.equal(again(**batch).logits, model.eval()(**batch).logits)


def test_alternating_trains_densely_and_is_sparse_at_the_end_of_every_epoch(source_folder, tmp_path):
    from transformers import TrainerCallback

    trainer, model, _ = train(source_folder("bert"), tmp_path, alternating=True)
    seen = []

    class Look(TrainerCallback):
        def on_step_end(self, *_, **__):
            seen.append(("step", bool(model.transform.offset.any())))

        def on_epoch_end(self, *_, **__):
            seen.append(("epoch", bool(model.transform.offset.any())))

    trainer.add_callback(Look())  # after Schedule
    trainer.train()
    assert all(dense for kind, dense in seen if kind == "step")
    assert [dense for kind, dense in seen if kind == "epoch"] == [False] * 3


def test_after_the_warm_up_the_support_stays_and_the_codes_move(source_folder, tmp_path):
    from transformers import TrainerCallback

    trainer, model, _ = train(source_folder("bert"), tmp_path, epochs=4, warmup_epochs=2, init="random")
    supports, codes = [], []

    class Look(TrainerCallback):
        def on_epoch_end(self, *_, **__):
            supports.append(model.transform.support.clone())
            codes.append(model.transform.codes.detach().clone())

    trainer.add_callback(Look())
    trainer.train()
    assert not torch.equal(supports[0], supports[1])
    assert torch.equal(supports[1], supports[2])
    assert torch.equal(supports[2], supports[3])
    assert not torch.equal(codes[2], codes[3])


def test_a_learned_dictionary_travels_with_the_adapter(source_folder):
    model, _ = make(source_folder("bert"), atoms="ksvd", num_atoms=32)
    assert model.state_dict()["transform.atoms"].shape == (32, model.source.spec.embedding_width)
    assert int(model.transform.support.max()) < 32
    norms = model.transform.atoms.norm(dim=1)
    assert bool((norms > 0).all())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sparsity": 0}, "sparsity is 0"),
        ({"sparsity": 10**6}, "only"),
        ({"sparsity": None, "alternating": True}, "warmup_epochs and alternating are for sparse codes"),
        ({"init": "zeros"}, "init"),
        ({"tokenizer": "residuals"}, "did you mean 'residues'"),
        ({"reads": "sideways"}, "sideways"),
        ({"mapping": "label_map"}, "mapping='label_map' needs a source classifier"),
    ],
)
def test_options_that_cannot_work_are_refused(source_folder, options, words):
    with pytest.raises(InputError) as refused:
        reprogram(source_folder("bert"), "r2dl", ["a", "b"], **{"tokenizer": "residues", **options})
    assert words in str(refused.value)


def test_bf16_source_with_fp32_codes_gives_nearly_the_same(source_folder):
    logits = []
    for dtype in ("float32", "bfloat16"):
        model, processor = make(source_folder("bert"), source_kwargs={"dtype": dtype})
        assert model.transform.codes.dtype == torch.float32
        with torch.no_grad():
            logits.append(model.eval()(**processor("ACDW", return_tensors="pt")).logits.float())
    torch.testing.assert_close(*logits, rtol=0.1, atol=0.2)


def test_overlapping_kmers_are_rows_of_letters_in_order(source_folder):
    torch.manual_seed(0)
    model, processor = reprogram(
        source_folder("bert"),
        "r2dl",
        ["a", "b"],
        tokenizer="kmers",
        k=3,
        overlapping=True,
        sparsity=None,
        init="random",
    )
    table = model.transform.table(model.source)
    assert table.shape[0] == 4**3
    batch = processor(["ACGTN", "ACG"], padding=True, return_tensors="pt")
    embeds = model.transform(batch, model.source)["inputs_embeds"]
    row = {word: ["ACGT".index(letter) for letter in word] for word in ("ACG", "CGT")}
    index = {word: 16 * a + 4 * b + c for word, (a, b, c) in row.items()}
    mean = table.mean(0)
    torch.testing.assert_close(embeds[0, 1], table[index["ACG"]])
    torch.testing.assert_close(embeds[0, 2], table[index["CGT"]])
    for position in (3, 4, 5):  # GTN, TN and N meet the unknown letter
        torch.testing.assert_close(embeds[0, position], mean)
    torch.testing.assert_close(embeds[1, 1], table[index["ACG"]])
    torch.testing.assert_close(embeds[1, 2], mean)  # CG ends
    plain = source_folder("bert")
    framed = reprogram(plain, "r2dl", ["a", "b"], tokenizer="kmers", k=1, sparsity=None)[0]
    own = framed.transform(batch, framed.source)["inputs_embeds"]
    torch.testing.assert_close(embeds[:, 0], own[:, 0])  # special tokens stay the source's
    torch.testing.assert_close(embeds[1, 4:], own[1, 4:])


@pytest.mark.parametrize("tokens", [1, 2])
def test_a_text_shorter_than_the_window_is_the_mean(source_folder, tokens):
    model, processor = reprogram(source_folder("bert"), "r2dl", ["a", "b"], tokenizer="kmers", k=3, overlapping=True)
    embeds = model.transform(processor("A" * tokens, return_tensors="pt"), model.source)["inputs_embeds"]
    for position in range(1, 1 + tokens):
        torch.testing.assert_close(embeds[0, position], model.transform.table(model.source).mean(0))


def test_inspection_names_overlapping_kmers(source_folder):
    from hf_reprogram.inspection.adapter import inspect_model

    model, processor = reprogram(source_folder("bert"), "r2dl", ["a", "b"], tokenizer="kmers", k=2, overlapping=True)
    assert list(inspect_model(model, processor)["vocabulary"])[:5] == ["AA", "AC", "AG", "AT", "CA"]


def test_overlapping_is_for_kmers(source_folder):
    with pytest.raises(InputError, match="overlapping is for tokenizer='kmers'"):
        reprogram(source_folder("bert"), "r2dl", ["a", "b"], tokenizer="residues", overlapping=True)
