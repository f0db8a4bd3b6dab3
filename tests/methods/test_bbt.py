"""BBT, and WARP's prompts in a subspace: the paper's numbers, A z by hand, what stays fixed, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from transformers import TrainingArguments

from hf_reprogram import InputError, ReprogrammedModel
from hf_reprogram.inspection.adapter import describe, inspect_model
from hf_reprogram.methods import METHODS
from hf_reprogram.methods.bbt import BBT, BBTOptions
from hf_reprogram.transforms.prompt_slots import PromptSlotsOptions
from tests.support import tiny

WORDS = {"bad": "bad", "good": "great"}


def made(source, **options):
    return tiny.make_adapter(source, **{"method": "bbt", "subspace": 6, **options})


def trainer_for(model, processor, folder, **plan):
    plan = {**BBT.training, "max_steps": 4, "per_device_train_batch_size": 16, **plan}
    return tiny.trainer_for(model, processor, tiny.tokenized(processor), folder, **plan)


def test_the_settings_are_the_papers(tmp_path):
    options = BBTOptions()
    assert (options.num_prompts, options.subspace) == (50, 500)
    args = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, **BBT(options).arguments())
    assert (args.optim, args.learning_rate, args.max_grad_norm) == ("sgd", 1.0, 0.0)
    assert args.max_steps * BBT.gradients["cma_es"]["popsize"] == 8000
    assert BBT.gradients["cma_es"]["sigma"] == 1.0
    assert BBT(BBT.read_options({"preset": "paper", "verbalizer": WORDS}, "option of bbt")).arguments() == BBT.training


@pytest.mark.parametrize("name", ["warp", "bbt"])
def test_prompts_are_the_masks_embedding_plus_a_times_z(name, source_folder):
    model, processor = made(source_folder("bert"), method=name)
    source, slots = model.source, model.transform
    chosen = model.config.transform["subspace"]
    assert dict(slots.named_parameters()).keys() == {"z"}
    assert chosen["deviation"] == pytest.approx(float(source.embedding.weight.std()) / math.sqrt(6))
    matrix = np.random.RandomState(chosen["seed"]).standard_normal((3 * tiny.WIDTH, 6)) * chosen["deviation"]
    z = torch.linspace(-1, 1, 6)
    mask = source.embedding.weight[processor.mask_token_id]
    assert torch.equal(slots.vectors(source), mask.expand(3, -1))  # z starts at zero
    with torch.no_grad():
        slots.z.copy_(z)
    moved = torch.from_numpy(matrix @ z.double().numpy()).float().view(3, tiny.WIDTH)
    torch.testing.assert_close(slots.vectors(source), mask + moved)


def test_the_spread_of_prompts_is_that_of_the_embeddings(source_folder):
    model, processor = made(source_folder("bert"), num_prompts=20, subspace=400, template="20 $A $B [MASK]")
    with torch.no_grad():
        model.transform.z.normal_()
    mask = model.source.embedding.weight[processor.mask_token_id]
    moved = (model.transform.vectors(model.source) - mask).detach()
    assert float(moved.std()) == pytest.approx(float(model.source.embedding.weight.std()), rel=0.15)


def test_every_model_has_an_a_of_its_own_and_words_take_turns(source_folder):
    torch.manual_seed(0)
    models = [made(source_folder("bert"), prompt_init="words", init_words=["good", "?"])[0] for _ in range(2)]
    seeds = {model.config.transform["subspace"]["seed"] for model in models}
    assert len(seeds) == 2
    good, mark, again = models[0].transform.vectors(models[0].source)
    assert torch.equal(good, again)
    assert not torch.equal(good, mark)


@pytest.mark.parametrize("options", [{"verbalizer": WORDS}, {}], ids=["words", "probe"])
def test_z_is_all_that_moves_after_the_start_and_the_adapter_is_small(options, source_folder, tmp_path):
    model, processor = made(source_folder("bert"), **options)
    assert [name for name, p in model.trainable().items() if p.requires_grad] == ["transform.z"]
    start = model.mapping.weight.detach().clone()
    trainer_for(model, processor, tmp_path / "run").train()
    assert torch.equal(model.mapping.weight, start) == bool(options)  # a probe is fitted before the first step
    assert model.transform.z.any()
    model.eval().save_pretrained(tmp_path / "adapter")
    again = ReprogrammedModel.from_pretrained(tmp_path / "adapter")
    batch = processor(["a good film", "bad"], padding=True, return_tensors="pt")
    with torch.no_grad():
        assert torch.equal(again(**batch).logits, model(**batch).logits)
    assert sum(value.numel() for name, value in again.state_dict().items() if name.startswith("transform.")) == 6


def test_the_loss_of_the_training_data_falls(source_folder, tmp_path):
    torch.manual_seed(0)
    model, processor = made(source_folder("bert"), verbalizer=WORDS, num_prompts=6)
    trainer = trainer_for(model, processor, tmp_path, max_steps=25, logging_strategy="steps", logging_steps=1)
    trainer.train()
    losses = [record["loss"] for record in trainer.state.log_history if "loss" in record]
    assert min(losses[-5:]) < 0.95 * losses[0]


def test_a_resumed_run_ends_as_the_whole_run_bit_for_bit(source_folder, tmp_path):
    plan = {"max_steps": 6, "save_strategy": "steps", "save_steps": 4}
    states = []
    for resume in (None, str(tmp_path / "checkpoint-4")):
        torch.manual_seed(0)
        model, processor = made(source_folder("bert"))
        trainer_for(model, processor, tmp_path, **plan).train(resume_from_checkpoint=resume)
        states.append(model.state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_a_subspace_can_be_trained_by_gradients_too_and_goes_on_from_another(source_folder, tmp_path):
    model, processor = made(source_folder("gpt2"), method="warp", prompt_init="words", init_words=["good"])
    tiny.trainer_for(model, processor, tiny.tokenized(processor), tmp_path / "run", max_steps=2).train()
    model.save_pretrained(tmp_path / "first")
    second, _ = made(
        source_folder("gpt2"), method="warp", prompt_init="words", init_words=["bad"], init_from=str(tmp_path / "first")
    )
    assert second.transform.z.any()
    assert torch.equal(second.transform.vectors(second.source), model.transform.vectors(model.source))
    second.save_pretrained(tmp_path / "second")
    again = ReprogrammedModel.from_pretrained(tmp_path / "second")
    assert torch.equal(again.transform.vectors(again.source), model.transform.vectors(model.source))


def test_prompts_in_a_subspace_are_described_compiled_and_rows_of_a_plain_model(source_folder):
    model, processor = made(source_folder("bert"))
    with torch.no_grad():
        model.transform.z.normal_()
    model.mapping.reset()
    found = inspect_model(model, processor)
    assert len(found["prompts"]) == 3
    assert found["effect"]["gradient"] > 0
    assert found["effect"]["logit_change"] > 0
    assert "transform.z 6" in describe(found)
    batch = processor(["a good film"], return_tensors="pt")
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(**batch).logits, model(**batch).logits)
    first, vectors = model.transform.options.first_slot_id, model.transform.vectors(model.source)
    assert torch.equal(model.transform.token_rows(model.source)[first : first + 3], vectors)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"subspace": 0}, "subspace is 0: give a whole number, 1 or more."),
        ({"deep": True}, "subspace is for prompts at the input, and deep is true: leave one of them out."),
        ({"num_prompts": 0}, "subspace is for prompts at the input, and num_prompts is 0: leave one of them out."),
        ({"prompt_init": "normal"}, "subspace starts at tokens, and prompt_init is 'normal': use 'mask' or 'words'."),
        ({"start": "none"}, "omega at random numbers that bbt does not train: give a verbalizer, or start: probe."),
        ({"preset": "paper"}, "omega at random numbers that bbt does not train: give a verbalizer, or start: probe."),
        ({"num_prompts": 0, "subspace": None}, "num_prompts is 0: give a whole number, 1 or more."),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(options, message):
    with pytest.raises(InputError) as refused:
        METHODS["bbt"].read_options(options, "option of bbt")
    assert message in str(refused.value)


GOOD = {"size": 5, "seed": 0, "deviation": 0.1, "start": [4]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"deviation": 0.0}, "deviation is 0.0: give a number above 0."),
        ({"start": []}, "start is []: give a list of whole numbers, each 0 or more."),
        ({"seed": 2**40}, "give a whole number of at most 16,777,216"),
        ({"sizes": 3}, "Unknown option of subspace 'sizes'"),
        ({"layers": 1, "hidden": 32}, "A subspace is for prompts at the input alone"),
    ],
)
def test_a_config_with_another_subspace_is_refused(changes, message):
    of_slots = {name: changes[name] for name in changes if name in ("layers", "hidden")}
    subspace = {**GOOD, **{name: value for name, value in changes.items() if name not in of_slots}}
    with pytest.raises(InputError) as refused:
        PromptSlotsOptions("2 $A 2 $B", width=32, first_slot_id=112, subspace=subspace, **of_slots)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 2**23}, "needs a matrix of more than 268,435,456: choose a smaller one, or fewer prompts."),
        ({"start": [5000]}, "The prompts start from token 5000, but the source has"),
    ],
)
def test_an_adapter_of_another_size_or_source_is_refused(change, message, source_folder):
    model, _ = made(source_folder("bert"))
    config = model.config
    config.transform["subspace"] = {**config.transform["subspace"], **change}
    with pytest.raises(InputError) as refused:
        ReprogrammedModel(config, model.source)
    assert message in str(refused.value)
