"""Models behind an address, against a real HTTP server on this computer: retries, concurrency, keys, and the budget."""

from __future__ import annotations

import copy
import logging
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import constants

from hf_reprogram import InputError, reprogram
from hf_reprogram.errors import BudgetSpent
from hf_reprogram.sources import BlackBox, InferenceEndpoint, JsonEndpoint
from hf_reprogram.sources.answers import FIXED
from tests.contract.training import trainer_for
from tests.sources.test_black_box import asked, images
from tests.support.black_boxes import LABELS, of_images, of_texts, served

KEY = "sk-never-to-be-seen"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def server():
    with served() as (made, url):
        made.url = url
        yield made


@pytest.fixture(autouse=True)
def reachable(monkeypatch):
    """The Hub's client refuses every address in its offline mode, in which the tests may run."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("TEST_KEY", KEY)


def json_endpoint(url, **options):
    return JsonEndpoint(
        url,
        to_request=lambda row: {"pixels": row.round(4).tolist()},
        from_response=lambda data: [(one["label"], one["score"]) for one in data],
        **{"wait": 0.01, **options},
    )


def inference_endpoint(url, **options):
    return InferenceEndpoint(url, "image-classification", **{"wait": 0.01, **options})


BOTH = pytest.mark.parametrize("endpoint", [json_endpoint, inference_endpoint], ids=["json", "inference"])


@BOTH
def test_the_answers_are_those_of_the_model_behind(endpoint, server):
    rows = (images(5) * 255).round() / 255  # as a PNG holds them
    expected = server.ask(rows)
    source = of_images(endpoint(server.url))
    torch.testing.assert_close(asked(source, rows).exp(), expected, rtol=1e-3, atol=1e-4)
    assert server.samples == source.usage()["sent"] == FIXED + 5


def test_sounds_are_sent_as_wav(server):
    endpoint = InferenceEndpoint(server.url, "audio-classification", wait=0.01)
    source = BlackBox(endpoint, ["quiet", "loud"], samples=400, sampling_rate=8000)
    answer = source({"waveform": torch.full((1, 400), 0.25)}, "logits").exp()
    torch.testing.assert_close(answer, torch.tensor([[0.75, 0.25]]), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", ["inference", "json"])
def test_texts_are_sent_as_they_are(kind, server):
    if kind == "inference":
        endpoint = InferenceEndpoint(server.url, "text-classification", wait=0.01)
    else:
        endpoint = JsonEndpoint(
            server.url,
            to_request=lambda text: {"inputs": text},
            from_response=lambda data: [(one["label"], one["score"]) for one in data[0]],
        )
    source = of_texts(endpoint)
    logits = source({"input_ids": torch.tensor([[0, 4], [1, 1], [0, 4]])}, "logits")
    torch.testing.assert_close(logits.softmax(1)[:2], server.ask_texts(["alpha omega", "beta beta"]))
    assert server.samples == FIXED + 2


@BOTH
def test_busy_servers_are_asked_again_and_each_attempt_is_paid(endpoint, server):
    source = of_images(endpoint(server.url, concurrency=1))
    server.script = [429, 503, None, 500]
    asked(source, images(2))
    assert source.usage() == {"sent": FIXED + 5, "cached": 0, "failed": 3, "cost": 0.0, "left": float("inf")}
    assert server.samples == FIXED + 5


@BOTH
@pytest.mark.parametrize(("status", "attempts"), [(401, 1), (503, 3)])
def test_a_server_that_refuses_for_good_ends_the_call_in_one_sentence(endpoint, status, attempts, server):
    source = of_images(endpoint(server.url, retries=2, concurrency=1))
    server.script = [status] * 3
    with pytest.raises(InputError) as refused:
        asked(source, images(2))
    assert f": status {status}; what was answered before is kept" in str(refused.value)
    assert "secret" not in str(refused.value)
    assert server.samples == FIXED + attempts
    assert ("after 3 attempts" in str(refused.value)) == (attempts == 3)


def test_what_was_answered_before_a_failure_is_not_paid_for_again(server):
    source = of_images(json_endpoint(server.url, retries=0, concurrency=1))
    server.script = [None, None, 500]
    with pytest.raises(InputError):
        asked(source, images(4))
    asked(source, images(4))
    assert source.usage()["sent"] == server.samples == FIXED + 3 + 2


@BOTH
def test_the_budget_holds_under_concurrency_and_retries(endpoint, server, tmp_path):
    """Attempts that fail are paid for, so that the last samples are refused in the middle of a call."""
    source = of_images(endpoint(server.url, concurrency=8), budget=FIXED + 20, ledger=tmp_path / "ledger.sqlite")
    server.script = [500, None, 429] * 10
    with pytest.raises(BudgetSpent):
        asked(source, images(18))
    assert server.samples <= FIXED + 20
    assert source.usage()["sent"] == server.samples
    assert source.left == 0


def test_a_copy_shares_the_endpoint_and_the_budget(server):
    source = of_images(json_endpoint(server.url), budget=FIXED + 3)
    asked(copy.deepcopy(source), images(2))
    assert source.usage()["left"] == 1


def test_no_more_requests_at_once_than_allowed(server):
    source = of_images(json_endpoint(server.url, concurrency=3))
    server.delay = 0.02
    asked(source, images(12))
    assert 1 < server.most <= 3


def test_a_server_that_is_gone_or_slow_ends_the_call(server):
    source = of_images(json_endpoint(server.url, retries=1, timeout=0.2, concurrency=1))
    server.delay = 1.0
    with pytest.raises(InputError, match="gave no answer after 2 attempts: ReadTimeout"):
        asked(source, images(1))
    with pytest.raises(InputError, match="gave no answer after 2 attempts: ConnectError"):
        of_images(json_endpoint("http://127.0.0.1:9/", retries=1, concurrency=1))


def test_the_key_is_sent_and_seen_nowhere_else(server, caplog, tmp_path, capsys):
    caplog.set_level(logging.DEBUG)
    for endpoint in (json_endpoint(server.url, key="TEST_KEY"), inference_endpoint(server.url, key="TEST_KEY")):
        source = of_images(endpoint, ledger=tmp_path / type(endpoint).__name__)
        asked(source, images(1))
        server.script = [403]
        with pytest.raises(InputError) as refused:
            asked(source, images(1, seed=4))
        model, _ = reprogram(source, "elsayed", ["no", "yes"])
        model.save_pretrained(tmp_path / "adapter")
        shown = [
            str(refused.value),
            repr(refused.getrepr(chain=True)),
            repr(endpoint),
            str(vars(endpoint)),
            repr(model),
        ]
        assert KEY not in "".join(shown)
    assert server.keys == [f"Bearer {KEY}"] * len(server.keys)
    assert KEY not in caplog.text + "".join(capsys.readouterr())
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert files
    assert all(KEY.encode() not in file.read_bytes() for file in files)


def test_without_a_key_none_of_this_computer_is_sent(server, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", KEY)
    of_images(json_endpoint(server.url))
    of_images(inference_endpoint(server.url))
    assert KEY not in str(server.keys)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"key": "NO_SUCH_VARIABLE"}, "key is 'NO_SUCH_VARIABLE', but there is no environment variable of this name"),
        ({"address": f"http://me:{KEY}@127.0.0.1/"}, "holds a password or a query, which logs would show"),
        ({"address": f"http://127.0.0.1/?key={KEY}"}, "holds a password or a query, which logs would show"),
        ({"address": "owner/model"}, "give a URL that starts with http:// or https://"),
        ({"timeout": 0.0}, "timeout is 0.0: give a number of seconds above 0"),
        ({"retries": -1}, "retries is -1: give a whole number, 0 or more"),
        ({"concurrency": 0}, "concurrency is 0: give a whole number, 1 or more"),
    ],
)
def test_arguments_that_cannot_work_are_refused_in_one_sentence(options, message):
    with pytest.raises(InputError) as refused:
        json_endpoint(**{"url": options.pop("address", "http://127.0.0.1/"), **options})
    assert message in str(refused.value)
    assert KEY not in str(refused.value)


def test_training_on_a_server_sends_what_the_ledger_says(server, tmp_path):
    source = of_images(json_endpoint(server.url, concurrency=4), ledger=tmp_path / "ledger.sqlite")
    options = {"mask": "border", "border": 1, "gradients": {"rgf": {"q": 2}}, "label_mapping": "frequency"}
    model, processor = reprogram(source, "elsayed", ["no", "yes"], **options)
    trainer_for(model, processor, tmp_path).train()
    assert server.samples == source.usage()["sent"]
    assert np.isfinite(model.transform.program.weight.detach().numpy()).all()
    assert {*LABELS} == {*source.spec.labels}


CHILD = """
import sys, torch
from pathlib import Path
from hf_reprogram import reprogram
from hf_reprogram.sources import JsonEndpoint
from tests.contract.training import trainer_for
from tests.support.black_boxes import of_images

url, folder, resume = sys.argv[1], Path(sys.argv[2]), sys.argv[3] or None
endpoint = JsonEndpoint(
    url,
    to_request=lambda row: {"pixels": row.round(4).tolist()},
    from_response=lambda data: [(one["label"], one["score"]) for one in data],
    concurrency=2,
)
torch.manual_seed(0)
source = of_images(endpoint, ledger=folder / "ledger.sqlite")
options = {"mask": "border", "border": 1, "gradients": {"rgf": {"q": 2}}, "label_mapping": "frequency"}
model, processor = reprogram(source, "elsayed", ["no", "yes"], **options)
plan = {"max_steps": 8, "save_strategy": "steps", "save_steps": 2}
trainer_for(model, processor, folder, **plan).train(resume_from_checkpoint=resume)
print(source.usage()["sent"])
"""


@pytest.mark.slow
def test_a_run_that_is_killed_and_resumed_pays_twice_for_what_was_under_way_alone(server, tmp_path):
    def child(resume):
        command = [sys.executable, "-c", CHILD, server.url, str(tmp_path), resume]
        return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)

    server.delay = 0.02
    first = child("")
    while not (tmp_path / "checkpoint-4" / "trainer_state.json").exists() and first.poll() is None:
        time.sleep(0.01)
    time.sleep(0.1)
    first.kill()
    first.wait()
    again = child(str(tmp_path / "checkpoint-4"))
    printed = again.communicate(timeout=300)[0]
    assert again.returncode == 0
    twice = len(server.bodies) - len({*server.bodies})
    assert FIXED <= twice <= FIXED + 2  # the provider was checked again, and two requests may have been under way
    assert server.samples <= int(printed.split()[-1]) <= server.samples + 2  # no sample was sent that is not counted
