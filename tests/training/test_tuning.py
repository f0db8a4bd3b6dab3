"""Training with a part of the source: what is saved, resumed and shared out, as where all of it is frozen."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from transformers import TrainerCallback

from hf_reprogram import InputError, ReprogrammedModel
from hf_reprogram.experiments.predictions import Predictor
from hf_reprogram.experiments.recipe import make_recipe
from hf_reprogram.inspection.adapter import inspect_adapter
from hf_reprogram.training.rates import own_optimizer, parameter_groups
from tests.contract.matrix import Case, batch_of, loaded
from tests.contract.training import arguments, saved, trainer_for
from tests.support import runs
from tests.support.frozen import bytes_of
from tests.training.test_distributed import COMMON, in_processes

ROOT = Path(__file__).parents[2]
DENSE = ("mapping", "dense")
CASES = [
    Case("bert", method="warp", options=(("num_prompts", 3), ("tune", ["norms", "positions"]))),
    Case("gpt2", method="warp", options=(("num_prompts", 3), ("tune", "all"))),
    Case("vit", method="elsayed", options=(("image_size", 16), DENSE, ("tune", [{"last_layers": 1}]))),
    Case("resnet", method="elsayed", options=(("image_size", 16), DENSE, ("tune", ["norms"]))),
    Case("clip", method="reprogrammer", options=(("tune", ["norms", {"last_layers": 1}]),)),
    Case("vit", method="cross_modal", options=(("tokenizer", "characters"), DENSE, ("tune", "all"))),
    Case(
        "gpt2",
        method="warp",
        options=(("num_prompts", 3), ("tune", ["norms", {"lora": {"r": 2, "target_modules": ["c_attn"]}}])),
    ),
]
cases = pytest.mark.parametrize("case", CASES, ids=str)


def made(case: Case, seed: int = 0):
    torch.manual_seed(seed)
    return case.make()


def state_of(model) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


RELOAD = """
import sys, torch
from hf_reprogram import ReprogrammedModel
for folder in sys.argv[1:]:
    model = ReprogrammedModel.from_pretrained(folder)
    with torch.no_grad():
        torch.save(model(**torch.load(folder + "/batch.pt")).logits, folder + "/logits.pt")
"""


@pytest.mark.slow
def test_frozen_bytes_stay_and_a_fresh_process_gives_the_same_logits(tmp_path):
    found = {}
    for case in CASES:
        original = loaded(case.source).source
        before = bytes_of(original)
        model, processor = made(case)
        trainer_for(model, processor, tmp_path / "trainer").train()
        tuned = model.source.pretrained
        after = bytes_of(model.source)
        assert bytes_of(original) == before
        changed = {name for name, value in after.items() if value != before.get(name.replace(".base_layer.", "."))}
        assert changed <= {*tuned}
        assert len(changed) > 0.6 * len(tuned)  # what is not read, such as the head of a classifier, stays
        assert not any(module.training for module in model.source.modules())
        folder = saved(model.eval(), processor, tmp_path / str(case))
        batch, _ = batch_of(model.transform.takes, processor)
        torch.save(batch, folder / "batch.pt")
        with torch.no_grad():
            found[str(folder)] = model(**batch).logits
        assert (folder / "model.safetensors").exists()
        assert {*load_file(folder / "model.safetensors")} == {*model.state_dict()}
    subprocess.run([sys.executable, "-c", RELOAD, *found], check=True, cwd=ROOT)
    for folder, logits in found.items():
        assert torch.equal(torch.load(f"{folder}/logits.pt"), logits), folder


@cases
def test_a_run_that_is_resumed_within_an_epoch_ends_as_the_whole_run(case, tmp_path):
    plan = {"max_steps": 4, "save_strategy": "steps", "save_steps": 3}
    model, processor = made(case)
    trainer_for(model, processor, tmp_path, **plan).train()
    again, processor = made(case, seed=7)
    trainer_for(again, processor, tmp_path, **plan).train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    whole, resumed = state_of(model), state_of(again)
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


@cases
def test_the_best_checkpoint_is_loaded_at_the_end_and_may_be_the_start(case, tmp_path):
    for best, values in ((2, (0.1, 0.9, 0.3)), (0, (0.9, 0.1, 0.2, 0.3))):
        scores = iter(values)
        model, processor = made(case)
        start = {name: model.source.get_parameter(name).clone() for name in model.source.pretrained}
        trainer = trainer_for(
            model, processor, tmp_path / str(best), compute_metrics=lambda _, scores=scores: {"score": next(scores)},
            eval_strategy="steps", eval_steps=1, save_strategy="steps", save_steps=1, load_best_model_at_end=True,
            metric_for_best_model="score", greater_is_better=True, eval_on_start=best == 0,
        )  # fmt: skip
        trainer.train()
        assert trainer.state.best_model_checkpoint == str(tmp_path / str(best) / f"checkpoint-{best}")
        kept = load_file(tmp_path / str(best) / f"checkpoint-{best}" / "model.safetensors")
        assert all(torch.equal(value, kept[name]) for name, value in state_of(model).items())
        same = all(torch.equal(model.source.get_parameter(name), value) for name, value in start.items())
        assert same == (best == 0)


@cases
def test_gradient_accumulation_leaves_the_weights_unchanged(case, tmp_path):
    outcomes = []
    for batch_size, accumulation in ((8, 1), (2, 4)):
        model, processor = made(case)
        trainer_for(
            model, processor, tmp_path / str(batch_size), max_steps=2, optim="sgd", learning_rate=0.02, max_grad_norm=0,
            per_device_train_batch_size=batch_size, gradient_accumulation_steps=accumulation,
        ).train()  # fmt: skip
        outcomes.append(state_of(model))
    for name, value in outcomes[0].items():
        torch.testing.assert_close(outcomes[1][name], value, rtol=1e-3, atol=1e-4)


def test_layers_may_be_computed_again_in_the_backward_pass(tmp_path):
    states = []
    for again in (False, True):
        model, processor = made(CASES[0])
        trainer_for(model, processor, tmp_path / str(again), activation_checkpointing=again, max_steps=2).train()
        states.append(state_of(model))
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------------------------------------------------------- rates


class Rates(TrainerCallback):
    """The learning rates of an optimizer's groups at the start."""

    def on_train_begin(self, args, state, control, optimizer=None, **kwargs):
        self.seen = [group["lr"] for group in optimizer.param_groups]


def test_the_tuned_weights_have_a_rate_of_their_own_and_norms_do_not_decay(tmp_path):
    model, _ = made(CASES[0])
    rates = {"theta_learning_rate": 0.1, "omega_learning_rate": 0.01}
    groups = parameter_groups(model, **rates, source_learning_rate=1e-4, weight_decay=0.5)
    assert [(group["lr"], group["weight_decay"]) for group in groups] == [
        (0.1, 0.5),
        (0.01, 0.5),
        (1e-4, 0.5),
        (1e-4, 0),
    ]
    assert [len(group["params"]) for group in groups] == [1, 2, 1, len(model.source.pretrained) - 1]
    with pytest.raises(InputError, match="the model tunes its source: give a number above 0"):
        parameter_groups(model, **rates)
    optimizer = own_optimizer(model, arguments(tmp_path, learning_rate=0.3), {"source_learning_rate": 1e-4})
    assert [group["lr"] for group in optimizer.param_groups] == [0.3, 0.3, 1e-4, 1e-4]


# -------------------------------------------------------------------------------------------------------------- recipes


def recipe(source, data, output, **changes):
    return runs.recipe(source, data, output, **{"tune": ["norms"], **changes})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tune": ["norm"]}, "tune names 'norm'"),
        ({"cache_text": 1}, "cache_text keeps states of a frozen source"),
        ({"tune": None, "training": {"source_learning_rate": 1e-3}}, "this recipe trains none"),
        ({"tune": [], "sweep": {"training.source_learning_rate": [1e-3]}}, "this recipe trains none"),
        ({"training": {"source_learning_rate": 0.0}}, "training.source_learning_rate is 0.0"),
    ],
)
def test_a_recipe_refuses_what_does_not_go_with_tune(changes, said, csv_file, tmp_path):
    with pytest.raises(InputError, match=said):
        recipe("owner/model", csv_file, tmp_path, **changes)
    for section in ({"source": {"name": "owner/model", "shard": True}}, {"method": "auto"}):
        plain = {"source": "owner/model", "method": "warp", "task": {"dataset": str(csv_file)}, "tune": ["norms"]}
        with pytest.raises(InputError, match="leave"):
            make_recipe({**plain, **section})


def test_a_run_counts_ships_and_describes_the_tuned_weights(source_folder, csv_file, tmp_path):
    training = {"source_learning_rate": 1e-3, "num_train_epochs": 2}
    results = runs.train(
        recipe(source_folder("bert"), csv_file, tmp_path / "run", training=training, baselines=["linear_probe"]),
        quiet=True,
    )
    model = ReprogrammedModel.from_pretrained(tmp_path / "run")
    tuned = sum(model.source.get_parameter(name).numel() for name in model.source.pretrained)
    assert (results["tune"], results["tuned"]) == (["norms"], tuned)
    assert results["trainable"] == model.num_trainable() == 3 * 32 + 2 * 33 + tuned
    assert json.loads((tmp_path / "run" / "config.json").read_text())["tune"] == ["norms"]
    card = ModelCard.load(tmp_path / "run" / "README.md").text
    assert "A partly frozen" in card
    assert f"were trained too (norms): their {tuned:,} new values" in " ".join(card.split())
    assert "No weight of" not in card
    found = inspect_adapter(str(tmp_path / "run"))
    assert found["trainable"] == model.num_trainable()
    assert found["frozen"] + found["trainable"] == sum(p.numel() for p in model.parameters())
    assert results["best_epochs"] != [0.0]
    assert results["start"]["test"] != results["test"]
    predictor = Predictor(str(tmp_path / "run"))
    digest = predictor.digest()
    with torch.no_grad():
        predictor.model.source.get_parameter(next(iter(predictor.model.source.pretrained))).add_(1)
    assert predictor.digest() != digest


@pytest.mark.slow
@pytest.mark.parametrize(
    "tune", [["norms", "positions"], "all", [{"lora": {"r": 2, "target_modules": ["query"]}}]], ids=str
)
def test_two_processes_tune_as_one_does(tune, source_folder, csv_file, tmp_path):
    values = {
        "source": source_folder("bert"),
        "method": {"name": "warp", "num_prompts": 3},
        "task": {"dataset": str(csv_file), "text": ["sentence"], "label": "kind", "max_train": 160},
        "training": {**COMMON, "per_device_train_batch_size": 8, "source_learning_rate": 1e-3},
        "tune": tune,
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({**values, "output": str(tmp_path / "two")}))
    in_processes(tmp_path / "recipe.yaml", "--quiet")
    values["training"]["per_device_train_batch_size"] = 16
    runs.train(make_recipe({**values, "output": str(tmp_path / "one")}), quiet=True)
    ours, theirs = (load_file(tmp_path / name / "runs" / "seed-0" / "model.safetensors") for name in ("one", "two"))
    assert {*ours} == {*theirs}
    assert any(name.startswith("source.") for name in ours)
    for name, weight in ours.items():
        assert (weight.float() - theirs[name].float()).abs().max() < 1e-3, name


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("norms", "'tune' is 'norms': give a list or null"),
        (["x"], "tune names 'x'"),
        ([{"last_layers": 99}], "bert has 2 that can be told apart"),
        ([], "does not fit its config.json in source.model"),
        (["all"], "does not fit its config.json in source.model"),
    ],
)
def test_a_config_that_names_other_parts_than_its_weights_is_refused(value, said, tmp_path):
    model, _ = made(CASES[0])
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "tune": value}))
    with pytest.raises(InputError) as refused:
        ReprogrammedModel.from_pretrained(tmp_path)
    assert said in str(refused.value)


def test_a_tuned_adapter_may_be_used_in_half_precision(tmp_path):
    model, _ = made(CASES[0])
    model.save_pretrained(tmp_path)
    half = ReprogrammedModel.from_pretrained(tmp_path, dtype=torch.bfloat16)
    name = next(iter(half.source.pretrained))
    assert torch.equal(half.source.get_parameter(name), model.source.get_parameter(name).bfloat16())
