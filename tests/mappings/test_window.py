"""Windows of token states: the fast layer is the naive one, and its start is logistic regression on whole windows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hf_reprogram import InputError, ReprogrammedModel, reprogram
from hf_reprogram.losses import IGNORE
from hf_reprogram.mappings import window as window_file
from hf_reprogram.mappings.linear_fit import STRENGTHS
from hf_reprogram.mappings.window import Window, WindowOptions, drawn_tokens, side_by_side
from tests.support import tiny
from tests.support.frozen import bytes_of


def made(window=2, unit=1.0, **options):
    torch.manual_seed(0)
    mapping = Window(WindowOptions(num_labels=3, width=5, window=window, unit=unit, **options))
    mapping.reset()
    return mapping.eval()


def texts(count=3, tokens=7, width=5, seed=0):
    """Token states of texts of unlike lengths: the second is padded on the right, the third on the left."""
    states = torch.randn(count, tokens, width, generator=torch.Generator().manual_seed(seed)) * 3 + 1
    states[1, 4:] = 0
    states[2, :2] = 0
    return states


def naive(mapping, states):
    """A matrix of windows, one token after the other."""
    mean, deviation = getattr(mapping, "mean", torch.zeros(5)), getattr(mapping, "deviation", torch.ones(5))
    beyond, reach, rows = torch.zeros(5), mapping.options.window, []
    for text in states:
        z = [(state - mean) / deviation if state.any() else beyond for state in text]
        z = [beyond] * reach + z + [beyond] * reach
        rows.append(torch.stack([torch.cat(z[t : t + 2 * reach + 1]) for t in range(len(text))]))
    return torch.stack(rows)


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize(("window", "tokens"), [(0, 7), (2, 7), (4, 7), (4, 3), (9, 5)])
def test_logits_are_those_of_states_side_by_side(window, tokens, standardize):
    mapping = made(window, unit=0.5, standardize=standardize)
    states = texts()[:, :tokens]
    if standardize:
        mapping.fit(states[states.ne(0).any(-1)])
    expected = naive(mapping, states) @ (0.5 * mapping.linear.weight).T + mapping.linear.bias
    torch.testing.assert_close(mapping(states, None), expected)


def test_windows_of_single_tokens_are_those_of_a_naive_loop():
    states, mapping = texts(), made()
    places = drawn_tokens(torch.where(states.ne(0).any(-1), 1, IGNORE), 9)
    assert len(places) == 9
    found = side_by_side(states, places, 2).flatten(1)
    assert torch.equal(found, naive(mapping, states)[places[:, 0], places[:, 1]])


def labelled(count, seed):
    """Texts whose labels depend on a neighbour's state; their first and last tokens have none."""
    random = torch.Generator().manual_seed(seed)
    states = torch.randn(count, 8, 5, generator=random) * torch.tensor([1.0, 5.0, 0.2, 1.0, 1.0]) + 2
    labels = torch.bucketize(states[:, :, 0].roll(1, 1).contiguous(), torch.tensor([1.5, 2.5]))
    labels[:, 0] = labels[:, -1] = IGNORE
    states[::2, 6:], labels[::2, 5:] = 0, IGNORE
    return states, labels


def oracle(train, test, window, strength):
    """The probabilities that scikit-learn gives to the labelled tokens of `test`."""
    rows = train[0][train[1] != IGNORE]
    mapping = made(window, standardize=True)
    mapping.mean, mapping.deviation = rows.mean(0), rows.std(0, correction=0)
    fit = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=5000))
    fit.fit(naive(mapping, train[0])[train[1] != IGNORE].numpy(), train[1][train[1] != IGNORE].numpy())
    return fit.predict_proba(naive(mapping, test[0])[test[1] != IGNORE].numpy())


def test_the_start_is_logistic_regression_on_standardized_windows(monkeypatch):
    train, held = labelled(60, 0), labelled(30, 1)
    monkeypatch.setattr(window_file, "MOST_NUMBERS", 200 * 5 * 3)  # fewer than there are labelled tokens
    kept = drawn_tokens(train[1], 200)
    few = torch.full_like(train[1], IGNORE)
    few[kept[:, 0], kept[:, 1]] = train[1][kept[:, 0], kept[:, 1]]
    mapping = made(1, unit=0.2, start="probe")
    read = {"train": lambda reads, most: train, "held": lambda reads, most: held}
    mapping.begin_epoch(0, read["train"], None)
    mapping.begin(read["train"], read["held"], "token_classification", None)
    torch.testing.assert_close(mapping.mean, train[0][train[1] != IGNORE].mean(0))
    with torch.no_grad():
        found = mapping(held[0], None).softmax(-1)[held[1] != IGNORE].numpy()
    labels = held[1][held[1] != IGNORE].numpy()
    distances, losses = [], []
    for strength in STRENGTHS:
        expected = oracle((train[0], few), held, 1, strength)
        distances.append(np.abs(found - expected).max())
        losses.append(-np.log(expected[np.arange(len(labels)), labels]).mean())
    assert min(distances) < 0.02
    assert np.argmin(distances) == np.argmin(losses)
    assert (found.argmax(1) == labels).mean() > 0.8  # a single state does not know the neighbour's
    mapping.begin(None, None, None, None)  # nothing to fit any more


def test_what_is_standardized_without_a_start_is_found_before_the_first_epoch():
    mapping, train = made(1, standardize=True), labelled(10, 0)
    assert mapping.scheduled() == ["standardize"]
    mapping.begin_epoch(0, lambda reads, most: train, None)
    torch.testing.assert_close(mapping.deviation, train[0][train[1] != IGNORE].std(0, correction=0))
    assert mapping.scheduled() == []


def test_dropout_acts_in_training_alone():
    mapping, states = made(dropout=0.5), texts()
    assert torch.equal(mapping(states, None), mapping(states, None))
    assert not torch.equal(mapping.train()(states, None), mapping(states, None))


@pytest.mark.parametrize("family", ["bert", "gpt2", "modernbert"])
def test_padding_and_reloading_do_not_change_a_token(family, source_folder, tmp_path):
    model, processor = reprogram(
        source_folder(family), "r2dl", ["a", "b"], problem_type="token_classification", tokenizer="residues",
        mapping="window", context=2,
    )  # fmt: skip
    model.mapping.fit(torch.randn(50, model.mapping.options.width) + 1)
    model.eval()
    before = bytes_of(model.source)
    letters = ["ACDEFGHIK", "MW", "X"]
    together = processor(letters, padding=True, return_tensors="pt")
    left = tiny.on_the_left(together)
    alone = [processor(text, return_tensors="pt") for text in letters]
    with torch.no_grad():
        batched = model(**together).logits
        moved = model(**left).logits
        single = torch.cat([model(**one).logits[0] for one in alone])
    torch.testing.assert_close(batched[together["attention_mask"] != 0], single, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(moved[left["attention_mask"] != 0], single, rtol=1e-4, atol=1e-4)
    labels = torch.where(together["attention_mask"] != 0, 1, IGNORE)
    model.mapping.skip_start()
    model.in_schedule = True
    model.train()(**together, labels=labels).loss.backward()
    assert model.mapping.linear.weight.grad.ne(0).any()
    assert bytes_of(model.source) == before
    model.save_pretrained(tmp_path)
    again = ReprogrammedModel.from_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(again(**together).logits, batched)


def test_what_no_window_can_read_is_refused(source_folder):
    with pytest.raises(InputError, match="mapping='window' needs one label per token"):
        reprogram(source_folder("bert"), "r2dl", ["a", "b"], tokenizer="residues", mapping="window")
    with pytest.raises(InputError, match="context is -1: give a whole number, 0 or more"):
        reprogram(source_folder("bert"), "r2dl", ["a", "b"], tokenizer="residues", mapping="window", context=-1)
    with pytest.raises(InputError, match="Unknown output of the source for a window 'features'"):
        WindowOptions(num_labels=2, width=3, reads="features")
    with pytest.raises(InputError, match="dropout is 1"):
        WindowOptions(num_labels=2, width=3, dropout=1)
