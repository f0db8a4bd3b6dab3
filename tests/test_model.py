"""The wrapper and its config: what goes in, what comes out, what is kept."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub import ModelCard
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    pipeline,
)

from hf_reprogram import InputError, ReprogramConfig, ReprogrammedModel, reprogram
from hf_reprogram.weights import weights_bytes
from tests.support import tiny


@pytest.fixture
def adapter(source_folder):
    return tiny.make_adapter(source_folder("bert"), prompt_init="normal")


def test_the_config_is_plain_data_that_survives_a_folder(adapter, tmp_path):
    model, _ = adapter
    model.config.save_pretrained(tmp_path)
    again = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(again, ReprogramConfig)
    for name in ("source", "transform", "mapping", "method", "problem_type", "id2label", "label2id"):
        assert getattr(again, name) == getattr(model.config, name)
    assert model.config.method["name"] == "warp"
    assert set(model.config.source) == {"name", "kind", "revision", "dtype", "fingerprint"}


def test_a_config_without_parts_is_refused(adapter):
    source = adapter[0].source
    with pytest.raises(InputError, match="The config names no transform"):
        ReprogrammedModel(ReprogramConfig(), source)
    with pytest.raises(InputError, match="The config names no mapping"):
        ReprogrammedModel(ReprogramConfig(transform=adapter[0].config.transform, mapping={"width": 3}), source)


def test_token_types_are_accepted_and_ignored(adapter):
    model, processor = adapter
    batch = tiny.batch_of(processor)
    with torch.no_grad():
        expected = model(**batch).logits
        assert torch.equal(model(**batch, token_type_ids=torch.ones_like(batch["input_ids"])).logits, expected)


def test_the_state_is_theta_and_omega(adapter):
    model, _ = adapter
    names = {"transform.prompts", "mapping.weight", "mapping.bias"}
    assert set(model.trainable()) == names
    assert set(model.state_dict()) == names | {"mapping.mean", "mapping.deviation", "mapping.started"}
    assert {name for name, p in model.named_parameters() if p.requires_grad} == names
    assert model.num_trainable() == 3 * 32 + 2 * 33
    model.load_state_dict(model.state_dict())
    with pytest.raises(RuntimeError, match=r"mapping\.bias"):
        model.load_state_dict({name: value for name, value in model.state_dict().items() if name != "mapping.bias"})


def test_without_labels_there_is_no_loss(adapter):
    model, processor = adapter
    assert model(**tiny.batch_of(processor)).loss is None


def test_the_trainer_evaluates_logits_alone(adapter, tmp_path):
    model, processor = adapter
    data = tiny.tokenized(processor, 10)
    output = tiny.trainer_for(model, processor, data, tmp_path).predict(data)
    assert output.predictions.shape == (10, 2)
    assert "test_loss" in output.metrics


def test_saving_over_an_adapter_replaces_it(adapter, tmp_path):
    model, _ = adapter
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        model.transform.prompts.add_(1)
    model.save_pretrained(tmp_path)
    again = ReprogrammedModel.from_pretrained(tmp_path)
    assert torch.equal(again.transform.prompts, model.transform.prompts)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    assert weights_bytes(tmp_path) == (tmp_path / "model.safetensors").stat().st_size


@pytest.fixture
def uploads(monkeypatch):
    """The Hub: a list of (repository, texts of the files, options), one for every upload."""
    done = []

    class Api:
        def __init__(self, token=None):
            pass

        def create_repo(self, repo_id, **_):
            return SimpleNamespace(repo_id=repo_id)

        def file_exists(self, repo_id, name, **_):
            return repo_id == "me/old"

        def upload_folder(self, *, repo_id, folder_path, **options):
            files = {path.name: path.read_bytes().decode(errors="replace") for path in Path(folder_path).iterdir()}
            done.append((repo_id, files, options))

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    return done


@pytest.fixture
def public(adapter):
    """An adapter whose source has a name on the Hub, and whose method has an option that is a path."""
    adapter[0].config.source["name"] = "owner/bert"
    adapter[0].config.method["tokenizer"] = "/home/me/letters"
    return adapter


def test_a_model_pushes_its_own_card_and_no_path_of_this_computer(public, uploads):
    public[0].push_to_hub("me/adapter", commit_message="Hello", create_pr=True, tags=["films"])
    ((repo_id, files, options),) = uploads
    assert repo_id == "me/adapter"
    assert set(files) == {"config.json", "model.safetensors", "README.md"}
    assert (options["commit_message"], options["create_pr"]) == ("Hello", True)
    card = ModelCard(files["README.md"])
    assert card.data.library_name == "hf_reprogram"
    assert {"model-reprogramming", "warp", "films"} == {*card.data.tags}
    assert card.data.base_model == "owner/bert"
    assert "ore information needed" not in files["README.md"].lower()
    assert "/home/me" not in "".join(files.values())
    assert json.loads(files["config.json"])["method"]["tokenizer"] == "letters"
    assert public[0].config.method["tokenizer"] == "/home/me/letters"


def test_a_card_that_is_there_is_kept(public, uploads):
    public[0].push_to_hub("me/old")
    assert set(uploads[0][1]) == {"config.json", "model.safetensors"}


def test_saving_can_push_what_it_saved(public, uploads, tmp_path):
    public[0].save_pretrained(tmp_path / "mine", push_to_hub=True, repo_id="me/adapter", commit_message="Hello")
    ((repo_id, files, options),) = uploads
    assert (repo_id, options["commit_message"]) == ("me/adapter", "Hello")
    assert set(files) == {"config.json", "model.safetensors", "README.md"}
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == ["config.json", "model.safetensors"]


def test_a_local_source_is_not_pushed(adapter, uploads):
    with pytest.raises(InputError, match=r"source is the local folder .* set model\.config\.source"):
        adapter[0].push_to_hub("me/adapter")
    assert not uploads


def test_the_trainers_own_push_publishes_the_same(public, uploads, tmp_path, monkeypatch):
    model, processor = public
    monkeypatch.setattr(
        "transformers.Trainer.init_hf_repo", lambda self, **_: setattr(self, "hub_model_id", "me/adapter")
    )
    trainer = tiny.trainer_for(
        model, processor, tiny.tokenized(processor), tmp_path, push_to_hub=True, save_strategy="steps", save_steps=1
    )
    trainer.train()
    assert not uploads  # no checkpoint is pushed
    trainer.push_to_hub()
    ((_, files, options),) = uploads
    assert {"config.json", "model.safetensors", "README.md", "tokenizer.json"} <= set(files)
    assert "training_args.bin" not in files
    assert str(tmp_path) not in "".join(files.values())
    assert options["commit_message"] == "End of training"


def test_a_trainer_that_would_push_a_local_source_is_refused_before_training(adapter, tmp_path, monkeypatch):
    monkeypatch.setattr("transformers.Trainer.init_hf_repo", lambda *_, **__: None)
    with pytest.raises(InputError, match="source is the local folder"):
        tiny.trainer_for(*adapter, tiny.tokenized(adapter[1]), tmp_path, push_to_hub=True)


def test_source_options_reach_the_source(adapter, tmp_path):
    model, processor = adapter
    model.save_pretrained(tmp_path)
    eager = ReprogrammedModel.from_pretrained(tmp_path, attn_implementation="eager")
    assert eager.source.model.config._attn_implementation == "eager"
    half = ReprogrammedModel.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert half.source.embedding.weight.dtype == torch.bfloat16
    assert half.transform.prompts.dtype == torch.float32
    batch = tiny.batch_of(processor)
    with torch.no_grad():
        torch.testing.assert_close(eager(**batch).logits, model.eval()(**batch).logits, rtol=1e-4, atol=1e-4)


def test_an_adapter_given_its_loaded_source_does_not_load_another(adapter, tmp_path):
    model, _ = adapter
    model.save_pretrained(tmp_path)
    again = ReprogrammedModel.from_pretrained(tmp_path, source=model.source)
    assert again.source is model.source


def test_training_mode_reaches_the_parts_and_not_the_source(adapter):
    model = adapter[0].train()
    assert model.transform.training
    assert model.mapping.training
    assert not any(module.training for module in model.source.modules())


def test_code_named_by_a_checkpoint_is_not_run(adapter, tmp_path):
    model, _ = adapter
    model.save_pretrained(tmp_path)
    ran = tmp_path / "ran"
    (tmp_path / "evil.py").write_text(f"open({str(ran)!r}, 'w').close()\n")
    config = json.loads((tmp_path / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "evil.C", "AutoModelForSequenceClassification": "evil.M"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    ReprogrammedModel.from_pretrained(tmp_path)
    assert not ran.exists()


def test_an_adapter_in_several_files_loads_and_gives_way_to_one_in_a_single_file(adapter, tmp_path):
    model, _ = adapter
    model.save_pretrained(tmp_path, max_shard_size=100)
    names = {file.name for file in tmp_path.iterdir()}
    assert "model.safetensors.index.json" in names
    assert "model.safetensors" not in names
    again = ReprogrammedModel.from_pretrained(tmp_path)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    assert weights_bytes(tmp_path) > 0
    model.save_pretrained(tmp_path)
    assert {file.name for file in tmp_path.glob("model*")} == {"model.safetensors"}


@pytest.mark.parametrize(
    "name", ["../other.safetensors", "/tmp/other.safetensors", "sub/other.safetensors", "weights.bin"]
)
def test_an_index_that_names_files_elsewhere_is_refused(name, adapter, tmp_path):
    adapter[0].save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"mapping.bias": name}}))
    with pytest.raises(InputError, match=f"names '{name}', which is no safetensors file beside it"):
        ReprogrammedModel.from_pretrained(tmp_path)


def test_auto_classes_and_pipelines_take_a_moved_source(source_folder, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(source_folder("bert"), source)
    model, processor = reprogram(str(source), labels=["bad", "good"], num_prompts=2)
    for part in model, processor:
        part.save_pretrained(tmp_path / "adapter")
    source.rename(tmp_path / "moved")
    kept = {"source": str(tmp_path / "moved")}
    for auto_class in AutoModelForSequenceClassification, AutoModel:
        loaded = auto_class.from_pretrained(tmp_path / "adapter", **kept)
        assert isinstance(loaded, ReprogrammedModel)
        assert loaded.config.source == model.config.source
    assert len(pipeline("text-classification", model=str(tmp_path / "adapter"), model_kwargs=kept)("a film")) == 1
    with pytest.raises(InputError, match=r"source' is neither a folder here .* say where it is with source="):
        AutoModel.from_pretrained(tmp_path / "adapter")


def test_a_relative_source_is_found_from_another_working_directory(source_folder, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    shutil.copytree(source_folder("bert"), tmp_path / "models" / "bert")
    monkeypatch.chdir(tmp_path)
    for source in "models/bert", AutoModelForMaskedLM.from_pretrained("models/bert"):
        model, _ = reprogram(source, labels=2, num_prompts=2, processor=AutoTokenizer.from_pretrained("models/bert"))
        model.save_pretrained("adapter")
        with monkeypatch.context() as there:
            there.chdir("elsewhere")
            assert ReprogrammedModel.from_pretrained("../adapter").num_trainable() == model.num_trainable()
