"""A model that only answers: its answers in every form, its ledger and budget, and training on it."""

from __future__ import annotations

import sqlite3

import numpy as np
import pytest
import torch

from hf_reprogram import InputError, ReprogrammedModel, reprogram
from hf_reprogram.errors import BudgetSpent
from hf_reprogram.sources.answers import FIXED, spread, to_logits
from hf_reprogram.sources.ledger import Ledger
from tests.contract.training import trainer_for
from tests.support.black_boxes import LABELS, Counted, of_images, of_sounds
from tests.support.frozen import bytes_of


def images(count, seed=1):
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def asked(source, rows):
    return source({"pixels": rows}, "logits")


# --------------------------------------------------------------------------------------------------------- answers


def test_probabilities_and_logits_give_the_same_soft_max():
    ask = Counted()
    logits = asked(of_images(lambda rows: ask.network(rows).detach(), answers="logits"), images(4))
    torch.testing.assert_close(asked(of_images(ask), images(4)).softmax(1), logits.softmax(1))


def test_what_pairs_leave_of_the_probability_is_spread_evenly():
    assert spread([("b", 0.6), ("d", 0.2)], ["a", "b", "c", "d"]).tolist() == pytest.approx([0.1, 0.6, 0.1, 0.2])
    rows = to_logits([[{"label": "a", "score": 1.0}], [("b", 0.5)]], 2, ["a", "b", "c"], "logits")
    assert np.exp(rows).tolist() == [pytest.approx([1, 1e-8, 1e-8]), pytest.approx([0.25, 0.5, 0.25])]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (np.ones((2, 4)), "is 2 x 4 for 2 inputs and 5 labels"),
        (np.full((2, 5), np.nan), "NaN or infinite"),
        (np.full((2, 5), 3.0), "which are no probabilities: set answers='logits'"),
        ("a text", "neither numbers nor pairs"),
        ([[("ant", 0.5)], [("zebra", 0.5)]], "'zebra', which is none of the source's labels"),
        ([[("ant", 0.5)], [("bee", 0.5), ("bee", 0.1)]], "'bee', twice"),
        ([[("ant", 0.5)], [("bee", 0.9), ("cat", 0.9)]], "sum of 1.8"),
    ],
)
def test_other_answers_are_refused_in_one_sentence(answer, message):
    with pytest.raises(InputError) as refused:
        to_logits(answer, 2, LABELS, "probabilities")
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": None}, "give image_size, or samples and sampling_rate"),
        ({"samples": 5}, "give image_size, or samples and sampling_rate"),
        ({"image_size": [3]}, "give the side in pixels, or height and width"),
        ({"answers": "scores"}, "choose one of probabilities, logits"),
        ({"budget": -1}, "budget is -1: give a whole number of samples, 0 or more"),
        ({"price_per_1000": -1.0}, "price_per_1000 is -1.0: give 0 or more"),
        ({"budget": 7}, "The budget is 7 samples, of which 7 are left, and 8 more are needed"),
        ({"ask": 5}, "give a function or an endpoint"),
    ],
)
def test_arguments_that_cannot_work_are_refused_in_one_sentence(options, message):
    with pytest.raises(InputError) as refused:
        of_images(**options)
    assert message in str(refused.value)


def test_inputs_of_another_size_are_refused():
    source = of_images()
    with pytest.raises(InputError, match="3 x 8 x 8, but this source takes 3 x 32 x 32"):
        asked(source, torch.rand(1, 3, 8, 8))
    with pytest.raises(InputError, match="it has no 'features'"):
        source({"pixels": images(1)}, "features")


# ------------------------------------------------------------------------------------------------ ledger and budget


def test_equal_rows_are_sent_once_and_known_ones_never_again():
    ask = Counted()
    source = of_images(ask, price_per_1000=4.0)
    rows = images(3)
    first = asked(source, torch.cat([rows, rows[:1]]))
    assert torch.equal(first[3], first[0])
    again = asked(source, torch.cat([images(1, seed=9), rows]))
    assert torch.equal(again[1:], first[:3])
    assert ask.rows == [FIXED, 3, 1]
    assert source.usage() == {"sent": 12, "cached": 4, "failed": 0, "cost": 0.048, "left": float("inf")}


def test_a_call_that_would_exceed_the_budget_is_refused_before_any_row_is_sent():
    ask = Counted()
    source = of_images(ask, budget=FIXED + 3)
    with pytest.raises(BudgetSpent, match="11 samples, of which 3 are left, and 4 more are needed: raise budget"):
        asked(source, images(4))
    asked(source, images(3))
    asked(source, images(3))  # known
    assert ask.rows == [FIXED, 3]
    assert source.left == 0


def test_a_file_is_paid_for_once_over_all_runs_and_can_be_replayed_offline(tmp_path):
    path = tmp_path / "ledger.sqlite"
    first = asked(of_images(ledger=path), images(3))
    again = Counted()
    assert torch.equal(asked(of_images(again, ledger=path), images(3)), first)
    assert again.rows == [FIXED]  # the model is recognised anew
    silent = Counted()
    offline = of_images(silent, ledger=path, offline=True)
    assert torch.equal(asked(offline, images(3)), first)
    with pytest.raises(InputError, match="offline is set, and 2 of the inputs are not in the ledger"):
        asked(offline, images(2, seed=5))
    assert silent.rows == []


def test_a_budget_counts_all_runs_with_the_file(tmp_path):
    path = tmp_path / "ledger.sqlite"
    asked(of_images(ledger=path, budget=30), images(10))
    again = of_images(ledger=path, budget=30)
    assert again.left == 30 - 2 * FIXED - 10
    asked(again, images(4, seed=2))
    spent = Counted()
    torch.testing.assert_close(asked(of_images(spent, ledger=path, budget=30), images(10)), asked(again, images(10)))
    assert spent.rows == []  # nothing is left, so nothing is asked


def test_two_ledgers_on_one_file_never_exceed_the_budget_together(tmp_path):
    one, other = (Ledger(tmp_path / "ledger.sqlite", budget=5) for _ in range(2))
    one.reserve(3)
    with pytest.raises(BudgetSpent):
        other.reserve(3)
    other.reserve(2)
    assert one.left == 0


def test_an_exchanged_model_is_noticed_by_the_ledger_and_by_an_adapter(tmp_path):
    path, source = tmp_path / "ledger.sqlite", of_images(ledger=tmp_path / "ledger.sqlite")
    model, _ = reprogram(source, "elsayed", ["no", "yes"])
    model.save_pretrained(tmp_path / "adapter")
    with pytest.raises(InputError, match="the provider has exchanged the model, so take a new ledger"):
        of_images(Counted(seed=1), ledger=path)
    with pytest.raises(InputError, match="belongs to a model of another name, version or labels than 'other'"):
        of_images(ledger=path, name="other")
    assert ReprogrammedModel.from_pretrained(tmp_path / "adapter", source=of_images()).source.spec == source.spec
    for other in (of_images(Counted(seed=1)), of_images(version="2")):
        with pytest.raises(InputError, match="was trained on another source"):
            ReprogrammedModel.from_pretrained(tmp_path / "adapter", source=other)
    with pytest.raises(InputError, match=r"pass the model with from_pretrained\(\.\.\., source=model\)"):
        ReprogrammedModel.from_pretrained(tmp_path / "adapter")


def test_a_function_that_fails_is_counted_and_its_error_is_its_own():
    def ask(rows):
        if len(rows) == 2:
            raise ZeroDivisionError("theirs")
        return Counted()(rows)

    source = of_images(ask)
    with pytest.raises(ZeroDivisionError, match="theirs"):
        asked(source, images(2))
    assert source.usage()["failed"] == 2


def test_a_file_that_is_no_ledger_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("no data base at all " * 100)
    with pytest.raises(InputError, match=r"The ledger .* cannot be used: file is not a database"):
        of_images(ledger=tmp_path / "notes.txt")


def test_a_ledger_from_before_the_order_of_answers_is_still_read(tmp_path):
    file = sqlite3.connect(tmp_path / "ledger.sqlite")
    file.execute("CREATE TABLE answers (digest BLOB PRIMARY KEY, logits BLOB NOT NULL) WITHOUT ROWID")
    file.execute("INSERT INTO answers VALUES (?, ?)", (b"old", np.float32([1, 2]).tobytes()))
    file.commit()
    file.close()
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.reserve(3)
    ledger.keep(b"new", [3.0, 4.0])
    assert {digest: row.tolist() for digest, row in ledger.known([b"old", b"new"]).items()} == {
        b"old": [1, 2],
        b"new": [3, 4],
    }
    assert ledger.reached == 3


def test_the_ledger_holds_no_inputs(tmp_path):
    source = of_images(ledger=tmp_path / "ledger.sqlite")
    asked(source, images(2))
    rows = sqlite3.connect(tmp_path / "ledger.sqlite").execute("SELECT digest, logits FROM answers").fetchall()
    assert {(len(digest), len(logits)) for digest, logits in rows} == {(32, 4 * len(LABELS))}


# -------------------------------------------------------------------------------------------------------- training

FEW = {"mask": "border", "border": 1, "label_mapping": "frequency", "gradients": {"rgf": {"q": 2}}}


def made(source, **options):
    torch.manual_seed(0)
    return reprogram(source, "elsayed", ["no", "yes"], **{**FEW, **options})


def test_training_leaves_the_model_behind_as_it_is(tmp_path):
    ask = Counted()
    before = bytes_of(ask.network)
    model, processor = made(of_images(ask))
    theta = model.transform.program.weight.detach().clone()
    trainer_for(model, processor, tmp_path).train()
    assert not torch.equal(model.transform.program.weight, theta)
    assert bytes_of(ask.network) == before
    assert model.source.usage()["sent"] == sum(ask.rows)


def test_the_exact_gradient_of_a_black_box_is_refused_and_an_estimate_is_the_default():
    with pytest.raises(InputError, match="the image_black_box source cannot be differentiated: leave it out, or name"):
        made(of_images(), gradients="exact")
    assert made(of_images(), gradients=None)[0].config.gradients == {"rgf": {"q": 25, "mu": 0.1}}


def state_of(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_a_run_that_is_cut_off_and_resumed_pays_for_no_sample_twice(tmp_path):
    plan = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2}
    whole = Counted()
    model, processor = made(of_images(whole, ledger=tmp_path / "whole.sqlite"))
    trainer_for(model, processor, tmp_path / "whole", **plan).train()
    expected = state_of(model)

    class Cut(Counted):
        def __call__(self, rows):
            if len(self.rows) == 5:  # the fixed inputs, the label map, and three steps
                raise KeyboardInterrupt
            return super().__call__(rows)

    cut, path = Cut(), tmp_path / "cut.sqlite"
    model, processor = made(of_images(cut, ledger=path, batch_size=None))
    with pytest.raises(KeyboardInterrupt):
        trainer_for(model, processor, tmp_path / "cut", **plan).train()
    again = Counted()
    model, processor = made(of_images(again, ledger=path))
    trainer_for(model, processor, tmp_path / "cut", **plan).train(
        resume_from_checkpoint=str(tmp_path / "cut" / "checkpoint-2")
    )
    assert all(torch.equal(value, expected[name]) for name, value in state_of(model).items())
    assert sum(cut.rows) + sum(again.rows) == sum(whole.rows) + FIXED  # the provider is checked once more
    offline = of_images(Counted(), ledger=path, offline=True)
    model, processor = made(offline)
    trainer_for(model, processor, tmp_path / "replayed", **plan).train()
    assert all(torch.equal(value, expected[name]) for name, value in state_of(model).items())


@pytest.mark.parametrize("budget", [100, 130, 173, 1000])
@pytest.mark.parametrize("strategy", ["epoch", "steps"])
def test_training_stops_within_the_budget_with_the_best_adapter(budget, strategy, tmp_path):
    scores = iter((0.5, 0.9, *[0.1] * 50))
    ask = Counted()
    model, processor = made(of_images(ask, budget=budget))
    trainer = trainer_for(
        model,
        processor,
        tmp_path,
        compute_metrics=lambda _: {"score": next(scores)},
        max_steps=20,
        eval_on_start=True,
        eval_strategy=strategy,
        eval_steps=2,
        save_strategy=strategy,
        save_steps=2,
        load_best_model_at_end=True,
        metric_for_best_model="score",
        greater_is_better=True,
    )
    trainer.train()
    assert sum(ask.rows) <= budget
    assert (trainer.state.global_step == 20) == (budget == 1000)
    assert trainer.state.global_step >= 2
    assert trainer.state.best_metric == 0.9
    assert trainer.state.best_model_checkpoint == str(tmp_path / "checkpoint-2")
    kept = ReprogrammedModel.from_pretrained(tmp_path / "checkpoint-2", source=model.source)
    assert all(torch.equal(value, kept.state_dict()[name]) for name, value in model.state_dict().items())


def test_a_step_that_the_budget_cuts_short_changes_nothing(tmp_path):
    model, processor = made(of_images(budget=FIXED + 16 + 16 + 10))  # the map, one step, and a part of another
    trainer = trainer_for(model, processor, tmp_path, max_steps=5)
    model.estimated.begin_step = lambda seed, step: _forget(model, seed, step)
    seen = []
    trainer.add_callback(_after_steps(lambda: seen.append(state_of(model))))
    trainer.train()
    assert trainer.state.global_step == 2
    assert all(torch.equal(value, seen[1][name]) for name, value in seen[0].items())


def _forget(model, seed, step):
    """Begin a step as if the last had cost nothing, so that the budget ends within the next."""
    type(model.estimated).begin_step(model.estimated, seed, step)
    model.estimated.asked = -1000


def _after_steps(call):
    from transformers import TrainerCallback

    class After(TrainerCallback):
        def on_step_end(self, *args, **kwargs):
            call()

    return After()


def test_sounds_train_too(tmp_path):
    source = of_sounds()
    model, processor = reprogram(source, "ar_scr", ["low", "high"], label_mapping="frequency", gradients="spsa")
    before = state_of(model)["transform.weight"]
    trainer_for(model, processor, tmp_path).train()
    assert not torch.equal(model.transform.weight, before)
