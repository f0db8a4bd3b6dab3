"""From a folder, a name or a model to a source: what kind it is, what is recorded, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, BertForPreTraining, BertForSequenceClassification, ElectraForPreTraining

from hf_reprogram import InputError, ReprogrammedModel
from hf_reprogram.sources import load_source, restore_source
from tests.support import tiny, tiny_dual, tiny_vision


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_the_kind_is_read_off_the_checkpoint(family, source_folder):
    source, reference = load_source(source_folder(family))
    assert source.spec.kind == reference["kind"] == tiny.FAMILIES[family].kind
    assert reference["name"] == source_folder(family)
    assert reference["dtype"] == "float32"
    json.dumps(reference)


def test_another_kind_can_be_asked_for(source_folder):
    source, reference = load_source(source_folder("bert"), kind="encoder")
    assert reference["kind"] == "encoder"
    assert not hasattr(source.model, "cls")


def save_classifier(folder, num_labels=7):
    """A BERT with a pooler and a classification head, as it was fine-tuned by somebody."""
    config = tiny.make_model("bert").config
    config.num_labels = num_labels
    model = BertForSequenceClassification(config).eval()
    model.save_pretrained(folder)
    return model


def test_a_checkpoint_of_a_classifier_is_one_and_its_own_logits_are_read(tmp_path):
    model = save_classifier(tmp_path)
    source, reference = load_source(str(tmp_path))
    assert reference["kind"] == source.spec.kind == "classifier"
    assert source.spec.widths["logits"] == 7
    ids = torch.tensor([[5, 9, 30, 31]])
    inputs = {"inputs_embeds": source.embed(ids), "attention_mask": torch.ones_like(ids)}
    with torch.no_grad():
        torch.testing.assert_close(source(inputs, "logits"), model(input_ids=ids).logits, rtol=1e-5, atol=1e-5)


def test_a_checkpoint_of_a_classifier_can_be_asked_for_as_an_encoder(tmp_path):
    save_classifier(tmp_path)
    source, reference = load_source(str(tmp_path), kind="encoder")
    assert reference["kind"] == "encoder"
    assert "logits" not in source.spec.widths


def test_a_missing_pooler_counts_where_it_is_read(source_folder, tmp_path):
    """A classifier's logits come through it, an encoder's states do not."""
    save_classifier(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    kept = {name: value for name, value in weights.items() if "pooler" not in name}
    assert len(kept) == len(weights) - 2
    save_file(kept, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"no weights for 'bert\.pooler.* and 1 more of BertForSequenceClassification"):
        load_source(str(tmp_path))
    assert load_source(str(tmp_path), kind="encoder")[1]["kind"] == "encoder"


def test_a_missing_pooler_of_a_dual_encoder_counts(tmp_path):
    folder = Path(tiny_dual.save_source(tmp_path / "source", "vision-text"))
    weights = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in weights.items() if not name.startswith("text_model.pooler")}
    assert len(kept) == len(weights) - 2
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(
        InputError, match=r"no weights for 'text_model\.pooler.* and 1 more of VisionTextDualEncoderModel"
    ):
        load_source(str(folder))


def test_a_pretraining_checkpoint_is_a_masked_lm(tmp_path):
    BertForPreTraining(tiny.make_model("bert").config).save_pretrained(tmp_path)
    assert load_source(str(tmp_path))[1]["kind"] == "masked_lm"


def test_a_masked_lm_checkpoint_without_the_head_is_an_encoder(tmp_path):
    """ELECTRA's published discriminators name a class with a masked-LM sister, but hold no such head."""
    config = tiny.make_model("electra").config
    ElectraForPreTraining(config).save_pretrained(tmp_path)
    assert load_source(str(tmp_path))[1]["kind"] == "encoder"


def test_weights_that_the_checkpoint_lacks_are_never_frozen_at_random(source_folder):
    with pytest.raises(InputError, match=r"has no weights for 'cls\.predictions.* and \d+ more of BertForMaskedLM"):
        load_source(source_folder("bert-encoder"), kind="masked_lm")


def test_a_loaded_model_is_wrapped_not_copied_and_its_folder_is_recorded(source_folder):
    model = AutoModel.from_pretrained(source_folder("bert"))
    source, reference = load_source(model)
    assert source.model is model
    assert reference["name"] == source_folder("bert")
    assert reference["kind"] == "encoder"
    assert not any(p.requires_grad for p in model.parameters())


def test_options_for_a_model_that_is_loaded_already_are_refused():
    with pytest.raises(InputError, match="'dtype' cannot change a model that is loaded already"):
        load_source(tiny.make_model("bert"), dtype=torch.bfloat16)


def test_options_for_a_source_that_is_made_already_are_refused():
    source = tiny_vision.make_source("vit")
    with pytest.raises(InputError, match="'image_size', 'dtype' cannot change a source that exists already"):
        load_source(source, image_size=64, dtype=torch.bfloat16)


def test_what_is_no_text_model_is_refused():
    with pytest.raises(InputError, match="Linear"):
        load_source(torch.nn.Linear(2, 2))


@pytest.mark.parametrize("model_type", ["t5", "patchtst"])
def test_an_unsupported_architecture_is_named(model_type, tmp_path):
    small = {
        "t5": {"d_model": 16, "num_layers": 1, "num_heads": 2, "d_kv": 8, "d_ff": 16, "vocab_size": 20},
        "patchtst": {
            "d_model": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "ffn_dim": 16,
            "context_length": 8,
        },
    }[model_type]
    model = AutoModel.from_config(AutoConfig.for_model(model_type, **small))
    model.save_pretrained(tmp_path)
    with pytest.raises(InputError, match=f"{type(model).__name__}' is not supported as a source"):
        load_source(str(tmp_path))


def test_an_unknown_kind_is_refused(source_folder):
    with pytest.raises(InputError, match=r"'masked'.*masked_lm"):
        load_source(source_folder("bert"), kind="masked")


def test_an_unknown_hub_id_without_a_network_is_one_sentence():
    with pytest.raises(InputError, match="'nobody/nothing' is neither a folder here nor a model") as refused:
        load_source("nobody/nothing")
    assert "network" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_folder_without_a_model_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="does not hold a model that transformers can load") as refused:
        load_source(str(tmp_path))
    assert "\n" not in str(refused.value)


def test_a_folder_with_a_truncated_weights_file_is_one_sentence(tmp_path):
    tiny.save_source(tmp_path, "bert")
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(InputError) as refused:
        load_source(str(tmp_path))
    assert str(tmp_path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_recorded_source_is_restored_in_its_dtype(source_folder):
    _, reference = load_source(source_folder("bert"), dtype=torch.bfloat16)
    restored = restore_source(json.loads(json.dumps(reference)))
    assert {p.dtype for p in restored.parameters()} == {torch.bfloat16}


def test_a_copy_elsewhere_and_a_copy_in_another_dtype_are_the_same_source(source_folder, tmp_path):
    _, reference = load_source(source_folder("gpt2"))
    copy = tiny.save_source(tmp_path / "copy", "gpt2")
    restore_source(reference, str(copy))
    assert next(restore_source(reference, str(copy), dtype=torch.bfloat16).parameters()).dtype == torch.bfloat16


def test_a_wider_source_is_refused(source_folder, tmp_path):
    _, reference = load_source(source_folder("bert"))
    wider = tiny.save_source(tmp_path / "wider", "bert", hidden_size=40)
    with pytest.raises(InputError, match="trained on another source") as refused:
        restore_source(reference, str(wider))
    assert "x 40" in str(refused.value)
    assert "x 32" in str(refused.value)


def test_a_family_that_embeds_ids_in_another_way_is_refused():
    """Given embeddings, such a model would silently compute something else than it was trained for."""
    model = tiny.make_model("bert-encoder")
    plain = model.forward
    model.forward = lambda input_ids=None, **inputs: plain(
        inputs_embeds=2 * model.get_input_embeddings()(input_ids)
        if input_ids is not None
        else inputs.pop("inputs_embeds"),
        **inputs,
    )
    with pytest.raises(InputError, match="embeddings in place of token ids change its output"):
        load_source(model)


def test_an_adapter_on_a_model_without_a_name_asks_for_it(tmp_path):
    model, processor = tiny.make_adapter(tiny.make_model("bert"), processor=tiny.FAMILIES["bert"].tokenizer())
    model.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="without a name: pass the model"):
        ReprogrammedModel.from_pretrained(tmp_path)
    again = ReprogrammedModel.from_pretrained(tmp_path, source=tiny.make_model("bert"))
    batch = tiny.batch_of(processor)
    with torch.no_grad():
        assert torch.equal(again(**batch).logits, model.eval()(**batch).logits)


def test_code_in_a_source_is_not_run(source_folder, tmp_path):
    """A source whose config points at code of its own is refused, since nobody said that it may run."""
    folder = tiny.save_source(tmp_path / "custom", "bert")
    model, _ = tiny.make_adapter(str(folder))
    model.save_pretrained(tmp_path / "adapter")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "custom-thing", "auto_map": {"AutoConfig": "evil.C", "AutoModelForMaskedLM": "evil.M"}}
    (folder / "config.json").write_text(json.dumps(config))
    ran = Path(tmp_path / "ran")
    (folder / "evil.py").write_text(f"open({str(ran)!r}, 'w').close()\n")
    with pytest.raises(InputError):
        ReprogrammedModel.from_pretrained(tmp_path / "adapter")
    assert not ran.exists()
