"""The contextual vocabulary: its convolution, its temperature, and which rows of the source's table come out."""

from __future__ import annotations

import pytest
import torch
from datasets import Dataset

from hf_reprogram import InputError, reprogram
from hf_reprogram.schedule import begin_epoch
from hf_reprogram.transforms.contextual_vocabulary import ContextualVocabulary, ContextualVocabularyOptions
from tests.support import tiny

TEXTS = ["ACDEFGH", "WX", "KKKWYACDEF"]


def make(source, **options):
    torch.manual_seed(0)
    model, processor = reprogram(source, "neekhara", ["a", "b"], tokenizer="residues", **options)
    return model.eval(), processor


@pytest.fixture
def made(source_folder):
    """An adapter on a classifier, its processor and a padded batch with an unknown letter."""
    model, processor = make(source_folder("bert-classifier"))
    return model, processor, processor(TEXTS, padding=True, return_tensors="pt")


def naive_logits(transform, row):
    """A bias, and for each ordinary neighbour its column of the kernel, one position after the other."""
    n, k = transform.options.num_tokens, transform.options.kernel_size
    found = []
    for t in range(len(row)):
        logits = transform.bias.detach().clone()
        for place in range(k):
            neighbour = t + place - k // 2
            if 0 <= neighbour < len(row) and row[neighbour] < n:
                logits += transform.weight.detach()[:, row[neighbour], place]
        found.append(logits)
    return torch.stack(found)


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_the_convolution_is_a_loop_over_neighbours(kernel_size, source_folder):
    model, processor = make(source_folder("bert-classifier"), kernel_size=kernel_size)
    ids = processor(TEXTS, padding=True, return_tensors="pt")["input_ids"]
    expected = torch.stack([naive_logits(model.transform, row) for row in ids.tolist()])
    torch.testing.assert_close(model.transform.logits(ids).detach(), expected, rtol=1e-5, atol=1e-6)
    assert expected.std(1).mean() > 1e-3  # positions differ


def test_unknown_tokens_and_special_ones_contribute_nothing_to_their_neighbours(made):
    model, processor, _ = made
    first = processor.convert_tokens_to_ids("A")
    alone = model.transform.logits(torch.tensor([[first]]))[0, 0]
    for other in (processor.unk_token_id, processor.pad_token_id, *processor.all_special_ids):
        among = model.transform.logits(torch.tensor([[other, other, first, other, other]]))[0, 2]
        torch.testing.assert_close(among, alone)


def test_afterwards_every_embedding_is_the_row_of_the_most_probable_source_token(made):
    model, processor, batch = made
    found = model.transform(batch, model.source)
    chosen = model.transform.logits(batch["input_ids"]).argmax(-1)
    ordinary = batch["input_ids"] <= processor.unk_token_id
    table = model.source.embedding.weight
    assert torch.equal(found["inputs_embeds"][ordinary], table[chosen[ordinary]])
    assert torch.equal(found["attention_mask"], batch["attention_mask"])
    assert len(chosen[ordinary].unique()) > 5


def test_special_tokens_keep_the_sources_embeddings_in_training_too(made):
    model, processor, batch = made
    own = tiny.CLASSIFIERS["bert-classifier"].tokenizer()
    pairs = {
        processor.convert_tokens_to_ids("<|CLS|>"): own.cls_token_id,
        processor.convert_tokens_to_ids("<|SEP|>"): own.sep_token_id,
        processor.pad_token_id: own.pad_token_id,
        processor.mask_token_id: own.mask_token_id,
    }
    assert {int(ours): theirs for ours, theirs in model.transform.options.special_ids.items()} == pairs
    for training in (False, True):
        embeds = model.train(training).transform(batch, model.source)["inputs_embeds"]
        for ours, theirs in pairs.items():
            found = embeds[batch["input_ids"] == ours]
            assert torch.equal(found, model.source.embedding.weight[theirs].expand_as(found))


def test_noise_is_drawn_in_training_only(made):
    model, _, batch = made

    def embed():
        return model.transform(batch, model.source)["inputs_embeds"]

    assert torch.equal(embed(), embed())
    model.train()
    assert not torch.equal(embed(), embed())


def test_in_training_the_rows_are_those_of_a_gumbel_soft_max_at_the_temperature(made):
    model, _, batch = made
    model.train()
    transform, table = model.transform, model.source.embedding.weight
    logits = transform.logits(batch["input_ids"])
    for epoch in (0, 9):
        transform.begin_epoch(epoch)
        torch.manual_seed(5)
        found = transform(batch, model.source)["inputs_embeds"]
        torch.manual_seed(5)
        noise = -torch.empty(logits.shape).exponential_().log()
        expected = ((logits + noise) / transform.tau).softmax(-1) @ table
        ordinary = batch["input_ids"] < transform.options.num_tokens
        torch.testing.assert_close(found[ordinary], expected[ordinary], rtol=1e-4, atol=1e-5)


def test_a_cold_soft_max_is_nearly_a_row_of_the_table(made):
    model, _, batch = made
    model.train().transform.begin_epoch(100)
    embeds = model.transform(batch, model.source)["inputs_embeds"]
    distance = torch.cdist(embeds.flatten(0, 1), model.source.embedding.weight).min(-1).values
    assert distance.median() < 1e-3


def test_the_temperature_falls_linearly_from_the_first_to_the_last_epoch():
    transform = ContextualVocabulary(ContextualVocabularyOptions(5, 7))
    assert transform.tau == 2.0
    seen = []
    for epoch in range(20):
        transform.begin_epoch(epoch)
        seen.append(transform.tau)
    assert seen[:15] == pytest.approx([2.0 - 1.99 * epoch / 14 for epoch in range(15)])
    assert seen[14:] == pytest.approx([0.01] * 6)


def test_a_single_epoch_of_falling_starts_at_the_first_and_stays_at_the_last():
    transform = ContextualVocabulary(ContextualVocabularyOptions(5, 7, temperature_epochs=1, temperature=[1.0, 0.5]))
    for epoch, tau in ((0, 1.0), (1, 0.5), (2, 0.5)):
        transform.begin_epoch(epoch)
        assert transform.tau == tau


def test_the_trainer_sets_the_temperature_of_every_epoch_and_again_when_it_resumes_within_one(source_folder, tmp_path):
    taus = {}

    def train(name, **arguments):
        model, processor = make(source_folder("bert-classifier"), temperature_epochs=3)
        data = Dataset.from_dict({**processor(["ACDEF", "WYWYW"] * 8), "labels": [0, 1] * 8})
        trainer = tiny.trainer_for(
            model, processor, data, tmp_path / "run", max_steps=-1, num_train_epochs=3, save_strategy="steps", save_steps=1
        )  # fmt: skip
        step = trainer.training_step
        taus[name] = []
        trainer.training_step = lambda *a, **k: taus[name].append(model.transform.tau) or step(*a, **k)
        trainer.train(**arguments)
        return model

    whole = train("whole")
    resumed = train("resumed", resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-6"))  # in mid of the second
    assert taus["whole"] == pytest.approx([2.0] * 4 + [1.005] * 4 + [0.01] * 4)
    assert taus["resumed"] == taus["whole"][6:]
    for name, value in whole.trainable().items():
        assert torch.equal(value, resumed.trainable()[name]), name


def test_gradients_reach_kernel_and_bias_only(made):
    model, _, batch = made
    model.train()
    begin_epoch(model, 0, None)
    model(**batch, labels=torch.tensor([0, 1, 0])).loss.backward()
    assert model.transform.weight.grad.abs().sum() > 0
    assert model.transform.bias.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in model.source.parameters())


def test_empty_sequences_are_the_same_alone_and_in_a_batch(source_folder):
    model, processor = make(source_folder("gpt2"))  # which puts nothing around a text
    with torch.no_grad():
        together = model(**processor(["ACDE", ""], padding=True, return_tensors="pt")).logits
        alone = model(**processor([""], return_tensors="pt")).logits
    torch.testing.assert_close(together[1], alone[0], rtol=1e-4, atol=1e-4)
    assert torch.isfinite(together).all()


def test_a_bf16_source_gets_bf16_embeddings(source_folder):
    model, processor = make(source_folder("bert-classifier"), source_kwargs={"dtype": "bfloat16"})
    batch = processor(TEXTS, padding=True, return_tensors="pt")
    for training in (False, True):
        assert model.train(training).transform(batch, model.source)["inputs_embeds"].dtype == torch.bfloat16
    assert model.transform.weight.dtype == torch.float32


def test_ids_past_the_vocabulary_are_refused(made):
    model, *_ = made
    with pytest.raises(InputError, match="token id 999, but the target's vocabulary has 25"):
        model.transform({"input_ids": torch.tensor([[999]])}, model.source)


def test_another_source_is_refused(made, source_folder):
    model, *_ = made
    other, _ = make(source_folder("roberta"))
    with pytest.raises(InputError, match=r"for \d+ source tokens, but the source has \d+"):
        model.transform.check(other.source.spec)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"kernel_size": 4}, "kernel_size is 4: give an odd number"),
        ({"kernel_size": -1}, "kernel_size is -1"),
        ({"kernel_size": "5"}, "kernel_size is '5'"),
        ({"temperature": 1.0}, "temperature is 1.0: give two numbers above 0"),
        ({"temperature": [2.0]}, "temperature is [2.0]"),
        ({"temperature": [2.0, 0.0]}, "temperature is [2.0, 0.0]"),
        ({"temperature_epochs": 0}, "temperature_epochs is 0"),
    ],
)
def test_options_that_cannot_work_are_refused_before_the_source_is_loaded(options, sentence):
    with pytest.raises(InputError) as refused:
        reprogram("nobody/nothing", "neekhara", ["a", "b"], **options)
    assert sentence in str(refused.value)
