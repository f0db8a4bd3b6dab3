"""Models in wrappers of other libraries, LoRA, and the files of a repository that a source is in."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from torch import nn
from transformers import AutoModel, AutoModelForMaskedLM

from hf_reprogram import InputError, ReprogrammedModel, reprogram
from hf_reprogram.sources import load_source, restore_source
from hf_reprogram.sources.wrapped import unwrapped
from tests.support import tiny


@pytest.fixture
def bert(source_folder):
    return AutoModelForMaskedLM.from_pretrained(source_folder("bert"))


def with_lora(model, seed=0):
    tuned = get_peft_model(model, LoraConfig(target_modules=["query"]))
    torch.manual_seed(seed)
    for name, weight in tuned.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(weight)
    return tuned


@pytest.fixture
def lora_folder(bert, source_folder, tmp_path):
    with_lora(bert).save_pretrained(tmp_path / "lora")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(f"{source_folder('bert')}/{name}", tmp_path / "lora")
    return str(tmp_path / "lora")


@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.compile], ids=["DataParallel", "compile"])
def test_the_model_in_a_wrapper_is_the_source(wrap, bert, source_folder):
    source, record = load_source(wrap(bert))
    assert source.model is bert
    assert (record["kind"], record["name"]) == ("masked_lm", source_folder("bert"))


def test_the_model_in_a_sentence_encoder_is_the_source(source_folder):
    encoder = AutoModel.from_pretrained(source_folder("bert"))
    library = type("SentenceTransformer", (nn.Sequential,), {"__module__": "sentence_transformers.model"})
    assert unwrapped(library(nn.Sequential(encoder), nn.Identity())) is encoder


def same_logits(model, other, processor) -> bool:
    batch = tiny.batch_of(processor)
    with torch.no_grad():
        return torch.equal(model.eval()(**batch).logits, other.eval()(**batch).logits)


def test_a_model_with_lora_keeps_it_and_is_needed_again(bert, source_folder, tmp_path):
    plain, processor = reprogram(source_folder("bert"), labels=2, num_prompts=2)
    tuned = with_lora(bert)
    model, _ = reprogram(tuned, labels=2, num_prompts=2)
    model.mapping.load_state_dict(plain.mapping.state_dict())
    model.transform.load_state_dict(plain.transform.state_dict())
    assert not same_logits(plain, model, processor)
    model.save_pretrained(tmp_path)
    assert same_logits(model, ReprogrammedModel.from_pretrained(tmp_path, source=tuned), processor)
    with pytest.raises(InputError, match="a model without a name"):
        ReprogrammedModel.from_pretrained(tmp_path)
    with pytest.raises(InputError, match="with LoRA weights of sha256"):
        ReprogrammedModel.from_pretrained(tmp_path, source=source_folder("bert"))
    other = with_lora(AutoModelForMaskedLM.from_pretrained(source_folder("bert")), seed=1)
    with pytest.raises(InputError, match="with LoRA weights of sha256"):
        ReprogrammedModel.from_pretrained(tmp_path, source=other)


def test_a_folder_of_a_lora_adapter_is_a_source(lora_folder, tmp_path):
    model, processor = reprogram(lora_folder, labels=2, num_prompts=2)
    assert model.config.source["name"] == lora_folder
    assert "tuner" in model.config.source["fingerprint"]
    model.save_pretrained(tmp_path / "adapter")
    assert same_logits(model, ReprogrammedModel.from_pretrained(tmp_path / "adapter"), processor)


def test_a_lora_adapter_without_its_base_is_refused(lora_folder):
    path = Path(lora_folder, "adapter_config.json")
    values = json.loads(path.read_text())
    for base, message in ((None, "names no base model"), ("no/such", "The source 'no/such' is neither a folder")):
        path.write_text(json.dumps({**values, "base_model_name_or_path": base}))
        with pytest.raises(InputError, match=message):
            load_source(lora_folder)


def test_a_trained_prompt_is_no_part_of_the_layers(source_folder):
    encoder = AutoModel.from_pretrained(source_folder("bert"))
    prompted = get_peft_model(encoder, PromptTuningConfig(task_type="FEATURE_EXTRACTION", num_virtual_tokens=3))
    with pytest.raises(InputError, match="type PROMPT_TUNING, which is a prompt"):
        load_source(prompted)


def test_a_kind_of_transformers_is_not_given_to_another_module():
    with pytest.raises(InputError, match="The kind 'encoder' is for models of transformers, and Embedding is none"):
        load_source(nn.Embedding(30, 8), kind="encoder")


# ------------------------------------------------------------------------------------ the files of a repository


def test_a_subfolder_and_a_variant_are_found_again(bert, source_folder, tmp_path):
    shutil.copytree(source_folder("bert"), tmp_path / "repo" / "inner")
    (tmp_path / "repo" / "inner" / "model.safetensors").unlink()
    bert.save_pretrained(tmp_path / "repo" / "inner", variant="fp16")
    files = {"subfolder": "inner", "variant": "fp16"}
    model, processor = reprogram(str(tmp_path / "repo"), labels=2, num_prompts=2, source_kwargs=files)
    assert model.config.source["files"] == files
    model.save_pretrained(tmp_path / "adapter")
    assert same_logits(model, ReprogrammedModel.from_pretrained(tmp_path / "adapter"), processor)


def test_a_gguf_file_is_asked_for_wherever_the_source_is_read(source_folder, monkeypatch):
    import transformers

    folder, asked = source_folder("bert"), {}
    for name in ("AutoConfig", "AutoTokenizer", "AutoModelForMaskedLM"):
        auto = getattr(transformers, name)

        def load(*args, name=name, original=auto.from_pretrained, **kwargs):
            asked.setdefault(name, set()).add(kwargs.pop("gguf_file", None))
            return original(*args, **kwargs)

        monkeypatch.setattr(auto, "from_pretrained", load)
    reprogram(folder, labels=2, num_prompts=2, source_kwargs={"gguf_file": "model.gguf"})
    assert all("model.gguf" in files for files in asked.values())


@pytest.mark.parametrize("path", ["../other", "/etc", 3])
def test_an_adapter_cannot_lead_out_of_the_folder_of_its_source(path, source_folder):
    _, record = load_source(source_folder("bert"))
    with pytest.raises(InputError, match=r"no path inside of the source|'files'"):
        restore_source({**record, "files": {"subfolder": path}})
