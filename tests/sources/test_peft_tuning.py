"""LoRA as a part of `tune`: the same as peft's own, in a private copy, and nothing of it elsewhere."""

from __future__ import annotations

import json
from copy import deepcopy

import pytest
import torch
from huggingface_hub import ModelCard
from peft import IA3Config, LoraConfig, get_peft_model
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModelForSequenceClassification

from hf_reprogram import InputError, ReprogrammedModel, reprogram
from hf_reprogram.sources import load_source, peft_tuning
from hf_reprogram.sources.tuning import for_adapter, read_tune, tuned_names, untuned
from tests.contract.matrix import loaded
from tests.sources.test_tuning import adapter, logits, refused, step
from tests.support import runs, tiny, tiny_vision
from tests.support.frozen import bytes_of


def lora(*targets: str, r: int = 2, **options):
    return {"lora": {"r": r, "lora_alpha": 4, "target_modules": list(targets) or ["query", "value"], **options}}


@torch.no_grad()
def randomize(module, seed: int = 0) -> None:
    """Give A and B random values, in the order of the layers."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in module.named_parameters():
        if ".lora_" in name:
            weight.copy_(torch.randn(weight.shape, generator=generator))


# ---------------------------------------------------------------------------------------------------- the same as peft


@pytest.mark.parametrize(
    ("source", "options"),
    [
        ("bert-classifier", {}),
        ("bert-classifier", {"layers_to_transform": [1], "use_rslora": True}),
        ("gpt2", {"target_modules": ["c_attn", "mlp.c_proj"]}),
        ("vit", {"target_modules": ["q_proj", "fc2"]}),
    ],
)
def test_the_logits_are_those_of_get_peft_model_with_the_same_weights(source, options):
    original = loaded(source).source
    options = {**lora()["lora"], **options}
    ours = for_adapter(original, read_tune({"lora": options}))
    theirs = get_peft_model(deepcopy(original.model), LoraConfig(fan_in_fan_out=source == "gpt2", **options)).eval()
    assert len(ours.pretrained) > 2
    randomize(ours), randomize(theirs)
    torch.manual_seed(0)
    with torch.no_grad():
        if source == "vit":
            pixels = torch.rand(3, 3, tiny_vision.SIDE, tiny_vision.SIDE)
            found, expected = ours({"pixels": pixels}, "logits"), theirs(ours._normalised(pixels)).logits
        else:
            inputs = {"inputs_embeds": torch.randn(3, 5, tiny.WIDTH), "attention_mask": torch.ones(3, 5).long()}
            if source == "gpt2":
                found, expected = ours(inputs, "tokens"), theirs.base_model.model.base_model(**inputs).last_hidden_state
            else:
                found, expected = ours(inputs, "logits"), theirs(**inputs).logits
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    weights = {name.removeprefix("base_model.model.") for name, p in theirs.named_parameters() if p.requires_grad}
    assert {name.removeprefix("model.").replace(".tune.", ".default.") for name in ours.pretrained} == weights


def test_a_config_of_peft_is_the_same_as_data():
    data = lora("query", "value", layers_to_transform=[0])
    assert read_tune(LoraConfig(task_type="SEQ_CLS", **data["lora"])) == read_tune([data]) == [data]
    assert read_tune(["norms", LoraConfig(**lora("value", "query")["lora"])]) == ["norms", lora()]
    assert json.loads(json.dumps(read_tune(data))) == [data]


# ---------------------------------------------------------------------------------------------------------- adapters


@pytest.mark.parametrize("tune", [[lora("query")], ["norms", lora("query")], [lora("query", "value")]], ids=str)
def test_it_starts_at_the_pretrained_model_and_the_original_is_left_alone(tune):
    original = loaded("bert").source
    before = bytes_of(original)
    plain, one, two = adapter(tune=[]), adapter(tune=tune), adapter(tune=tune)
    for made in (one, two):
        made.model.transform.load_state_dict(plain.model.transform.state_dict())
        made.model.mapping.load_state_dict(plain.model.mapping.state_dict())
        torch.testing.assert_close(logits(made), logits(plain), rtol=0, atol=1e-6)
    start = logits(two)
    step(one)
    assert (logits(one) - start).abs().max() > 1e-4
    assert torch.equal(logits(two), start)
    assert plain.model.source is original
    assert bytes_of(original) == before
    assert not any("lora" in name for name, _ in original.named_modules())
    theirs = dict(original.named_parameters())
    for name, weight in one.model.source.named_parameters():
        assert weight.requires_grad == (name in one.model.source.pretrained)
        if not weight.requires_grad:
            assert weight.data_ptr() == theirs[name.replace(".base_layer.", ".")].data_ptr()
    assert not any(module.training for module in one.model.source.modules())


def test_only_its_weights_get_gradients_and_are_the_state():
    made = adapter(tune=[lora()])
    model = made.model
    randomize(model.source)
    model.mapping.skip_start()
    model.train()(**made.batch, labels=made.labels).loss.backward()
    moved = {name for name, weight in model.named_parameters() if weight.grad is not None and weight.grad.any()}
    assert (
        moved == set(model.trainable()) == {name for name, _ in model.named_parameters() if name in model.state_dict()}
    )
    tuned = {name for name in model.state_dict() if name.startswith("source.")}
    assert len(tuned) == 2 * 2 * 2
    assert all(name.rpartition(".tune.")[0].endswith(("lora_A", "lora_B")) for name in tuned)
    assert model.num_trainable() == 3 * tiny.WIDTH + 2 * (tiny.WIDTH + 1) + 4 * 2 * 2 * tiny.WIDTH
    frozen = {name for name, weight in model.named_parameters() if not weight.requires_grad}
    assert frozen <= set(model._ddp_params_and_buffers_to_ignore)
    assert "frozen but for LoRA of rank 2 on query, value" in model._repr_html_()


def test_the_file_holds_a_and_b_alone_and_a_reload_is_equal(tmp_path):
    made = adapter(tune=["norms", lora()])
    step(made), step(made)
    made.model.save_pretrained(tmp_path)
    kept = {name for name in load_file(tmp_path / "model.safetensors") if name.startswith("source.")}
    assert kept == {f"source.{name}" for name in made.model.source.pretrained}
    assert not any("base_layer" in name for name in kept)
    assert json.loads((tmp_path / "config.json").read_text())["tune"] == ["norms", lora()]
    for again in (
        ReprogrammedModel.from_pretrained(tmp_path),
        ReprogrammedModel.from_pretrained(tmp_path, source=made.model.source),
        AutoModelForSequenceClassification.from_pretrained(tmp_path),
    ):
        assert torch.equal(again(**made.batch).logits, logits(made))
    half = ReprogrammedModel.from_pretrained(tmp_path, dtype=torch.bfloat16)
    torch.testing.assert_close(half(**made.batch).logits.float(), logits(made), rtol=0, atol=0.1)


@pytest.mark.parametrize("tune", [[lora()], [lora(), {"last_layers": 1}], ["all", lora("query")]], ids=str)
def test_the_pretrained_source_comes_back(tune):
    original = loaded("bert").source
    made = adapter(tune=tune)
    step(made)
    before = bytes_of(original)
    assert bytes_of(untuned(made.model.source)) == before
    assert load_source(made.model.source)[1] == loaded("bert").reference
    again = reprogram(made.model.source, "warp", ["a", "b"], tune=["norms"], processor=loaded("bert").tokenizer)[0]
    assert not any("lora" in name for name, _ in again.source.named_modules())
    assert bytes_of(untuned(again.source)) == before
    refused("belongs to an adapter that tunes it", load_source, made.model.source.model)


def test_a_layer_may_be_tuned_and_have_lora_on_top():
    made = for_adapter(loaded("bert").source, read_tune([{"last_layers": 1}, lora("query")]))
    ends = {
        name.split(".layer.1.attention.self.")[1] for name in made.pretrained if ".layer.1.attention.self.q" in name
    }
    assert ends == {
        f"query.{end}" for end in ("base_layer.weight", "base_layer.bias", "lora_A.tune.weight", "lora_B.tune.weight")
    }


def test_a_source_in_half_precision_may_have_it():
    source = load_source(tiny.make_model("bert").bfloat16(), "masked_lm")[0]
    model, _ = reprogram(source, "warp", ["a", "b"], tune=[lora()], processor=loaded("bert").tokenizer)
    assert {weight.dtype for weight in model.source.parameters() if weight.requires_grad} == {torch.float32}


def test_another_adapter_starts_from_it_if_its_options_are_the_same(tmp_path):
    made = adapter(tune=[lora()])
    step(made)
    made.model.save_pretrained(tmp_path), made.processor.save_pretrained(tmp_path)
    again = adapter(tune=["norms", lora()], init_from=str(tmp_path)).model
    for name in made.model.source.pretrained:
        assert torch.equal(again.source.get_parameter(name), made.model.source.get_parameter(name))
    with pytest.raises(InputError, match="has LoRA of other options than this model"):
        adapter(tune=[lora(r=4)], init_from=str(tmp_path))
    with pytest.raises(InputError, match="use the same tune"):
        adapter(tune=["norms"], init_from=str(tmp_path))


@pytest.mark.slow
def test_a_run_counts_and_describes_it(source_folder, csv_file, tmp_path):
    training = {"source_learning_rate": 1e-3, "num_train_epochs": 1}
    recipe = runs.recipe(source_folder("bert"), csv_file, tmp_path / "run", tune=[lora()], training=training)
    results = runs.train(recipe, quiet=True)
    assert (results["tune"], results["tuned"]) == ([lora()], 4 * 2 * 2 * tiny.WIDTH)
    card = " ".join(ModelCard.load(tmp_path / "run" / "README.md").text.split())
    assert "were trained too (LoRA of rank 2 on query, value): their 512 new values are in this repository" in card


# ------------------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("tune", "said"),
    [
        (lora(r=0), "r of lora is 0"),
        (lora(rank=3), "Unknown option of lora 'rank'"),
        (lora(lora_dropout=0.1), "lora_dropout is 0.1, and a source stays in eval mode"),
        (lora(lora_alpha=0), "lora_alpha is 0"),
        (lora(layers_to_transform=[-1]), "layers_to_transform is [-1]"),
        ({"lora": {}}, "Missing option of lora: 'target_modules'"),
        ({"lora": {"target_modules": ".*query"}}, "target_modules is '.*query': give a list of names"),
        ({"lora": ["query"]}, "mapping of keys to values"),
        ([lora(), lora("key")], "tune names lora twice"),
        (LoraConfig(target_modules=["query"], use_dora=True), "Unknown option of lora 'use_dora'"),
        (IA3Config(target_modules=["query"], feedforward_modules=[]), "it takes a LoraConfig alone"),
    ],
)
def test_options_that_cannot_work_are_refused(tune, said):
    refused(said, read_tune, tune)


def test_without_peft_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(peft_tuning, "find_spec", lambda _: None)
    refused("pip install 'hf_reprogram[lora]'", read_tune, lora())


@pytest.mark.parametrize(
    ("source", "options", "said"),
    [
        ("bert", lora("query", "qkv"), "'qkv' in target_modules, and bert has no linear layer of that name"),
        ("bert", lora("qkv"), "choose among query, key, value, dense"),
        ("bert-classifier", lora("classifier"), "'classifier' in target_modules"),
        ("bert", lora("query", layers_to_transform=[0, 7]), "names 7, and 'query' of bert is in layers 0, 1"),
        ("resnet", lora("dense"), "resnet has none"),
        ("lstm", lora("dense"), "Recurrent has none"),
    ],
)
def test_what_a_source_lacks_is_refused_with_what_it_has(source, options, said):
    refused(said, tuned_names, loaded(source).source, read_tune(options))


def test_sources_that_cannot_have_it_are_refused():
    def source(change):
        made = load_source(tiny.make_model("bert"), "masked_lm")[0]
        change(made.model)
        return made

    def quantized(**config):
        return lambda model: setattr(model.config, "quantization_config", config)

    tune = read_tune(lora())
    refused("leave device_map", tuned_names, source(lambda model: setattr(model.bert, "_hf_hook", object())), tune)
    refused("quantized by gptq", tuned_names, source(quantized(quant_method="gptq")), tune)
    assert tuned_names(source(quantized(quant_method="bitsandbytes", load_in_8bit=True)), tune) == []
    other = load_source(get_peft_model(tiny.make_model("bert"), LoraConfig(target_modules=["query"])))[0]
    refused("merge them with merge_and_unload()", tuned_names, other, tune)
    layer = source(lambda model: None)
    layer.model.bert.encoder.layer[0].unshard = None
    refused("leave shard or tune out", tuned_names, layer, tune)


class Weight(nn.Parameter):
    """A weight of another library."""


def test_a_weight_of_another_library_is_refused():
    model = tiny.make_model("bert")
    query = model.bert.encoder.layer[0].attention.self.query
    query.weight = Weight(query.weight.detach())
    refused("quantized by another library", tuned_names, load_source(model, "masked_lm")[0], read_tune(lora()))
