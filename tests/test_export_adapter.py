"""Exported adapters give the adapter's logits in a process that has not this package."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from hf_reprogram import InputError, ReprogrammedModel
from hf_reprogram.export import export_adapter
from hf_reprogram.export.examples import example_batch
from hf_reprogram.modalities.text import TEXT
from hf_reprogram.training.adapter import load_adapter
from tests.support import adapters, tiny
from tests.support.adapters import FILMS, RESIDUES, TEXTS

PLAIN = {  # a source, a method and its options; and texts
    "mask": ("bert", "warp", {"num_prompts": 3, "reads": "mask"}, TEXTS),
    "mask of roberta": ("roberta", "warp", {"num_prompts": 3, "reads": "mask", "start": "none"}, TEXTS),
    "mask without a head": ("bert-encoder", "warp", {"num_prompts": 3, "reads": "mask"}, TEXTS),
    "first": ("bert-encoder", "warp", {"num_prompts": 3, "reads": "first"}, TEXTS),
    "mean": ("bert", "warp", {"num_prompts": 3, "reads": "features"}, TEXTS),
    "last": ("gpt2", "warp", {"num_prompts": 3, "reads": "last"}, TEXTS),
    "number": ("bert", "warp", {"num_prompts": 3, "reads": "first", "problem_type": "regression"}, TEXTS),
    "table": ("bert", "r2dl", {"tokenizer": "residues", "sparsity": 4, "mapping": "dense"}, RESIDUES),
    "tuned": ("bert-encoder", "warp", {"num_prompts": 3, "reads": "first", "tune": ["norms"]}, TEXTS),
}
QUICK = ("mask",)
RUN = """
import json, re, sys
sys.modules["hf_reprogram"] = None
folder, texts = sys.argv[1], json.loads(sys.argv[2])
code = re.search(r"```python\\n(.*?)```", open(folder + "/README.md").read(), re.S)[1]
code = code.replace('folder = "."', f"folder = {folder!r}")
code = re.sub(r"^texts = .*$", lambda _: f"texts = {texts!r}", code, flags=re.M)
exec(code)
print(json.dumps(logits.tolist()))
"""


def made(folder, family, method, options):
    """The folder of an adapter with random theta, omega, mean and deviation."""
    source = str(tiny.save_source(folder / "source", family))
    labels = None if options.get("problem_type") == "regression" else FILMS
    model, processor = adapters.reprogram(source, method, labels, **options)
    torch.manual_seed(0)
    with torch.no_grad():
        for value in model.trainable().values():
            value.add_(0.3 * torch.randn_like(value))
        if getattr(model.mapping.options, "standardize", False):
            model.mapping.standardize(torch.randn(20, model.mapping.options.width) * 3 + 1)
        if model.mapping.target is not None:
            model.mapping.target.fit(torch.tensor([100.0, 300.0]))
    model.save_pretrained(folder / "adapter")
    processor.save_pretrained(folder / "adapter")
    return folder / "adapter"


def expected(adapter, texts):
    model = ReprogrammedModel.from_pretrained(adapter)
    processor = TEXT.load_processor(adapter)
    with torch.no_grad():
        return model(**processor(texts, padding=True, return_tensors="pt")).logits.numpy()


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in PLAIN])
def test_a_plain_folder_gives_the_same_logits_without_this_package(tmp_path, name):
    family, method, options, texts = PLAIN[name]
    adapter = made(tmp_path, family, method, options)
    assert export_adapter(adapter, tmp_path / "out") == "plain"
    run = [sys.executable, "-c", RUN, str(tmp_path / "out"), json.dumps(texts)]
    done = subprocess.run(run, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    found = np.array(json.loads(done.stdout.splitlines()[-1]))
    theirs = expected(adapter, texts)
    np.testing.assert_allclose(found, theirs, rtol=0, atol=1e-4 * max(1, np.abs(theirs).max()))


ONNX = {
    "image": ("vit", "digits"),
    "label map": ("vit", "words"),
    "texts as patches": ("vit", "residues"),
    "deep prompts": ("bert", "deep"),
    "table": ("vit", "table"),
    "dual": ("clip", "animals"),
    "sound": ("wav2vec2", "words"),
    "series": ("wav2vec2", "series"),
    "labels of tokens": ("bert", "letters"),
}


@pytest.mark.filterwarnings("default:.*LeafSpec:FutureWarning")  # of torch.onnx itself
@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n == "label map" else pytest.mark.slow) for n in ONNX])
def test_what_cannot_be_folded_becomes_onnx(tmp_path, name):
    runtime = pytest.importorskip("onnxruntime")
    family, one = ONNX[name]
    adapter = adapters.save(tmp_path / "adapter", adapters.source(tmp_path / "source", family), family, one)
    if name == "deep prompts":
        with pytest.raises(InputError, match=r"has no graph of ONNX .*serve it with hf-reprogram serve"):
            export_adapter(adapter, tmp_path / "out")
        assert not (tmp_path / "out").exists()
        assert not [*tmp_path.glob(".out*")]
        return
    assert export_adapter(adapter, tmp_path / "out") == "onnx"
    model, processor = load_adapter(adapter)
    batch = example_batch(model, processor)
    batch = {key: torch.cat([values, values[:1]]) for key, values in batch.items()}
    session = runtime.InferenceSession(str(tmp_path / "out" / "model.onnx"))
    (found,) = session.run(None, {given.name: batch[given.name].numpy() for given in session.get_inputs()})
    with torch.no_grad():
        np.testing.assert_allclose(found, model(**batch).logits.numpy(), rtol=1e-3, atol=1e-3)
    readme = (tmp_path / "out" / "README.md").read_text()
    assert re.search(f"`{model.transform.takes}`.* \\(", readme)
    assert "hf_reprogram" not in readme


def test_an_export_overwrites_nothing(tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="exists already"):
        export_adapter("nowhere", tmp_path / "out")
    assert [*(tmp_path / "out").iterdir()] == []


def test_a_form_that_an_adapter_cannot_have_is_refused(tmp_path):
    adapter = adapters.save(tmp_path / "adapter", adapters.source(tmp_path / "source", "vit"), "vit", "digits")
    with pytest.raises(InputError, match="since its input transform 'canvas' is no table with one row per token"):
        export_adapter(adapter, tmp_path / "out", form="plain")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter", "source"]
