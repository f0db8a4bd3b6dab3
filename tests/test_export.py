"""Compiled and exported models give the numbers of the eager model, in training too."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.export import Dim
from torch.utils.data import DataLoader

from hf_reprogram import reprogram
from hf_reprogram.schedule import begin_epoch
from tests.support import tiny, tiny_dual, tiny_vision


def text(folder, family, method="warp", **options):
    model, processor = reprogram(str(tiny.save_source(folder, family)), method, labels=2, **options)
    return model, {
        count: dict(processor(["good film", "bad bad film", "a"][:count], padding=True, return_tensors="pt"))
        for count in (2, 3)
    }


def letters(folder, family, method, **options):
    """A method with an alphabet of its own, with a letter that it does not know."""
    source = str((tiny_vision if family == "vit" else tiny).save_source(folder, family))
    model, processor = reprogram(source, method, **{"labels": 2, "tokenizer": "residues", **options})
    texts = ["ACDEFG", "WXK", "K"]
    return model, {count: dict(processor(texts[:count], padding=True, return_tensors="pt")) for count in (2, 3)}


def table(folder):
    features = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
    model, _ = reprogram(
        str(tiny_vision.save_source(folder, "vit")), "fraud", labels=2, features=features, mapping="dense"
    )
    model.transform.fit(features)
    return model, {count: {"table_values": torch.from_numpy(features[:count])} for count in (2, 3)}


def numbers(folder):
    rows = np.random.default_rng(0).normal(size=(30, 6)).astype(np.float32)
    model, _ = reprogram(str(tiny.save_source(folder, "gpt2")), "fpt_numbers", labels=2, features=rows, patch=2)
    return model, {count: {"table_values": torch.from_numpy(rows[:count])} for count in (2, 3)}


def fitted(folder, **options):
    """An adapter whose label map is fitted to an epoch's data."""
    model, batches = image(folder, **options)
    rows = [{"pixel_values": pixels, "labels": torch.tensor(i % 2)} for i, pixels in enumerate(torch.rand(8, 3, 8, 8))]
    begin_epoch(model, 0, DataLoader(rows, 4))
    return model, batches


def images(model, side):
    return model, {count: {"pixel_values": torch.rand(count, 3, side, side)} for count in (2, 3)}


def image(folder, **options):
    return images(reprogram(str(tiny_vision.save_source(folder, "vit")), "elsayed", labels=2, **options)[0], 8)


def dual(folder, **options):
    source = str(tiny_dual.save_source(folder, "clip"))
    return images(reprogram(source, "reprogrammer", labels=["cat", "dog"], **options)[0], tiny_vision.SIDE)


CASES = {
    "text, mask": lambda folder: text(folder, "bert", num_prompts=2),
    "text, last": lambda folder: text(folder, "gpt2", num_prompts=2),
    "text, first": lambda folder: text(folder, "bert-encoder", num_prompts=2, reads="first"),
    "own vocabulary": lambda folder: text(folder, "bert", "r2dl", tokenizer="residues", sparsity=4),
    "image": lambda folder: image(folder, label_mapping="random"),
    "image, features": lambda folder: image(folder, mapping="dense"),
    "dual": lambda folder: dual(folder, text_program="low_rank", alpha=0.3),
    "contextual vocabulary": lambda folder: letters(folder, "bert-classifier", "neekhara"),
    "vocabulary, k-mers": lambda folder: letters(
        folder, "bert", "r2dl", sparsity=4, tokenizer="kmers", k=2, overlapping=True, mapping="positions"
    ),
    "vocabulary, one label per token": lambda folder: letters(
        folder, "bert", "r2dl", problem_type="token_classification", mapping="window"
    ),
    "token map": lambda folder: letters(folder, "bert", "reprogbert", problem_type="infilling", labels=None),
    "label map": lambda folder: fitted(folder, label_mapping="frequency"),
    "label map, weights": lambda folder: fitted(folder, label_mapping="blm", aggregate="mean_probability"),
    "rvp": lambda folder: fitted(folder, mapping="rvp", labels_per_class=3),
    "canvas, scale": lambda folder: image(folder, mapping="dense", learn_scale=True),
    "sample mask": lambda folder: images(
        reprogram(str(tiny_vision.save_source(folder, "vit")), "smm", labels=2, mapping="dense")[0], 8
    ),
    "table": table,
    "token patches": lambda folder: letters(folder, "vit", "cross_modal", mapping="dense", l2=0.1),
    "dual, context": lambda folder: dual(folder, text_program="context", size=3),
    "dual, table": lambda folder: dual(folder, text_program="table"),
    "text, mask, tuned": lambda folder: text(folder, "bert", num_prompts=2, tune=["norms", "positions"]),
    "text, lora": lambda folder: text(
        folder, "bert", num_prompts=2, tune=[{"lora": {"r": 2, "target_modules": ["value"]}}]
    ),
    "dual, tuned": lambda folder: dual(folder, text_program="none", image_program="full", tune=["norms"]),
    "patches of numbers": numbers,
    "patches of images": lambda folder: images(
        reprogram(str(tiny.save_source(folder, "gpt2")), "fpt", labels=2, image_size=16)[0], 16
    ),
}


def changed(model):
    """The model with a random theta and omega, so that every part has an effect."""
    with torch.no_grad():
        for parameter in model.trainable().values():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


SLOW = [pytest.param(name, marks=() if name in ("text, mask", "image") else pytest.mark.slow) for name in CASES]


@pytest.fixture(scope="module", params=SLOW)
def case(request, tmp_path_factory):
    torch.manual_seed(0)
    model, batches = CASES[request.param](tmp_path_factory.mktemp("source") / "source")
    return request.param, changed(model), batches


def close(found, expected):
    torch.testing.assert_close(torch.as_tensor(found), expected, rtol=1e-4, atol=1e-4)


def logits(model, batch):
    with torch.no_grad():
        return model(**batch).logits


def test_a_compiled_model_gives_the_same_logits_and_gradients(case):
    _, model, batches = case
    model.in_schedule = True  # of a temperature
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    close(logits(compiled, batches[3]), logits(model, batches[3]))
    shape = logits(model, batches[2]).shape[:-1]
    labels = torch.arange(shape.numel()).view(shape) % 2  # one for each text, or for each token

    def step(run):
        torch.manual_seed(0)  # of noise
        model.train()
        model.zero_grad()
        loss = run(**batches[2], labels=labels).loss
        loss.backward()
        model.eval()
        return loss.detach(), {name: p.grad.clone() for name, p in model.trainable().items() if p.grad is not None}

    (ours, gradients), (theirs, expected) = step(compiled), step(model)
    close(ours, theirs)
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-3, atol=1e-4)
    torch._dynamo.reset()


def test_an_exported_model_gives_the_same_logits_for_other_sizes(case):
    _, model, batches = case
    free = {0: Dim.DYNAMIC, 1: Dim.DYNAMIC} if "input_ids" in batches[2] else {0: Dim.DYNAMIC}
    with torch.no_grad():
        program = torch.export.export(
            model, (), batches[2], dynamic_shapes=dict.fromkeys(batches[2], free), strict=False
        )
        for batch in batches.values():
            close(program.module()(**batch).logits, logits(model, batch))
    assert model.source.spec.kind != "dual" or model.source._given.value is None


@pytest.mark.filterwarnings("default:.*LeafSpec:FutureWarning")  # of torch.onnx itself
def test_onnx_runtime_gives_the_same_logits(case, tmp_path):
    _, model, batches = case
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    with torch.no_grad():
        torch.onnx.export(model, (), tmp_path / "model.onnx", kwargs=batches[2], dynamo=True, verbose=False)
    session = runtime.InferenceSession(str(tmp_path / "model.onnx"))
    names = [given.name for given in session.get_inputs()]
    (found,) = session.run(None, {name: batches[2][name].numpy() for name in names})
    close(found, logits(model, batches[2]))
