"""Parts of a source are trained in a private copy: what is selected, what is shared, and what must not go stale."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from hf_reprogram import InputError, ReprogrammedModel, reprogram
from hf_reprogram.sources import load_source
from hf_reprogram.sources.tuning import for_adapter, read_tune, tuned_names, untuned
from tests.contract.matrix import Case, batch_of, loaded
from tests.support import tiny
from tests.support.frozen import bytes_of
from tests.support.modules import Recurrent


def refused(part: str, call, *arguments, **options) -> None:
    """Assert that a call is refused with a sentence that holds this part."""
    with pytest.raises(InputError) as caught:
        call(*arguments, **options)
    assert part in str(caught.value)


def names(source: str, *tune) -> list[str]:
    return tuned_names(loaded(source).source, list(tune))


# ---------------------------------------------------------------------------------------------------------- selection


@pytest.mark.parametrize(
    "source", ["bert", "albert", "distilbert", "llama", "vit", "swin", "convnext", "resnet", "clip"]
)
def test_norms_are_the_weights_whose_names_or_modules_say_so_and_no_matrices(source):
    model, chosen = loaded(source).source, set(names(source, "norms"))
    assert chosen
    for name, module in model.named_modules():
        norm = isinstance(module, nn.LayerNorm | nn.BatchNorm2d) or type(module).__name__ == "LlamaRMSNorm"
        for own, _ in module.named_parameters(recurse=False):
            assert (f"{name}.{own}" in chosen) == norm


@pytest.mark.parametrize(
    ("source", "ends"),
    [
        ("bert", ["position_embeddings.weight"]),
        ("gpt2", ["wpe.weight"]),
        ("vit", ["position_embeddings"]),
        ("clip", ["position_embedding.weight"] * 2),  # of both towers
    ],
)
def test_positions_are_learned_embeddings_of_places(source, ends):
    assert all(name.endswith(end) for name, end in zip(names(source, "positions"), ends, strict=True))


def test_the_last_layers_are_those_of_each_tower():
    assert {name.split(".layer.")[1][0] for name in names("bert", {"last_layers": 1})} == {"1"}
    assert {name.split(".")[1] for name in names("clip", {"last_layers": 1})} == {"text_model", "vision_model"}
    assert {name.split(".layers.")[1][0] for name in names("clip", {"last_layers": 1})} == {"1"}
    assert len(names("gpt2", {"last_layers": 2})) == 2 * len(names("gpt2", {"last_layers": 1}))


def test_all_is_every_weight_once_and_parts_add_up():
    source = loaded("bert").source
    assert names("bert", "all") == [name for name, _ in source.named_parameters()]
    both = names("bert", "norms", "positions", "norms")
    assert sorted(both) == sorted({*names("bert", "norms"), *names("bert", "positions")})


@pytest.mark.parametrize("tune", ["norm", ["layers"], [{"last_layers": 0}], [{"last_layers": True}], 3, [["norms"]]])
def test_an_unknown_part_is_refused(tune):
    refused("tune", read_tune, tune)


def test_a_part_that_a_source_lacks_is_refused_and_names_the_source():
    refused("llama has no learned position embeddings", names, "llama", "positions")
    refused("bert has 2 that can be told apart", names, "bert", {"last_layers": 3})
    refused("resnet has 0 that can be told apart: name norms or all", names, "resnet", {"last_layers": 1})


def test_weights_that_cannot_be_trained_are_refused(source_folder):
    half = {"source_kwargs": {"dtype": "bfloat16"}}
    refused("dtype: float32", reprogram, source_folder("bert"), "warp", ["a", "b"], tune="norms", **half)
    quantized = load_source(tiny.make_model("bert"), "masked_lm")[0]
    quantized.model.config.quantization_config = {"quant_method": "bitsandbytes", "load_in_8bit": True}
    refused("weights of it in bert are quantized", tuned_names, quantized, ["all"])
    assert tuned_names(quantized, ["norms"])
    spread = load_source(tiny.make_model("bert"), "masked_lm")[0]
    spread.model.bert._hf_hook = object()
    refused("leave device_map or tune out", tuned_names, spread, ["norms"])


# -------------------------------------------------------------------------------------------------------------- copies


@pytest.mark.parametrize("source", ["bert", "gpt2", "vit", "clip", "lstm", "convolutions", "resnet"])
def test_a_copy_shares_what_is_frozen_and_holds_what_is_tuned(source):
    original = loaded(source).source
    before = bytes_of(original)
    tune = ["all"] if source in ("lstm", "convolutions") else ["norms"]
    made = for_adapter(original, tune)
    theirs = dict(original.named_parameters(remove_duplicate=False))
    for name, weight in made.named_parameters(remove_duplicate=False):
        tied = [first for first, each in made.named_parameters() if each is weight]
        assert weight.requires_grad == (tied[0] in made.pretrained)
        assert (weight.data_ptr() == theirs[name].data_ptr()) != weight.requires_grad
        assert weight is not theirs[name]
    ours, others = {*map(id, made.modules())}, {*map(id, original.modules())}
    assert not ours & others
    with torch.no_grad():
        for name in made.pretrained:
            made.get_parameter(name).add_(1)
    assert bytes_of(original) == before
    assert bytes_of(untuned(made)) == before
    assert not any(weight.requires_grad for weight in untuned(made).parameters())


def test_tied_weights_stay_tied_in_the_copy_and_are_stored_once():
    made = for_adapter(loaded("bert").source, ["all"])
    model = made.model
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert len({*made.pretrained}) == len(list(made.parameters()))


def test_what_a_source_keeps_beside_its_model_belongs_to_the_copy():
    """Views for compiled models, the embedding of a module, and the text tower with given embeddings."""
    for source in ("bert", "vit", "clip"):
        original = loaded(source).source
        made = for_adapter(original, ["all"])
        for view in [*getattr(made, "_headless", []), *getattr(made, "_with_embeds", [])]:
            assert {*map(id, view.parameters())} <= {*map(id, made.parameters())}
    recurrent = for_adapter(load_source(Recurrent())[0], ["all"])
    assert recurrent.embedding is next(part for part in recurrent.modules() if isinstance(part, nn.Embedding))
    text = load_source(tiny.make_model("gpt2"), "causal_lm")[0]
    text.cache_text(2**20)
    assert for_adapter(text, ["norms"]).text_cache is None
    assert text.text_cache is not None


def test_moving_one_source_does_not_move_the_other():
    original = load_source(tiny.make_model("bert"), "masked_lm")[0]
    made = for_adapter(original, ["norms"])
    made.double()
    assert {weight.dtype for weight in original.parameters()} == {torch.float32}
    assert {weight.dtype for weight in made.parameters()} == {torch.float64}
    assert {weight.dtype for weight in untuned(made).parameters()} == {torch.float64}


# ---------------------------------------------------------------------------------------------------------- adapters


def adapter(source: str = "bert", tune=("norms",), method: str = "warp", **options) -> SimpleNamespace:
    torch.manual_seed(0)
    options = {"num_prompts": 3, **options} if method == "warp" else options
    model, processor = Case(source, method=method, options=(*options.items(), ("tune", list(tune)))).make()
    return SimpleNamespace(
        model=model,
        processor=processor,
        **dict(zip(("batch", "labels"), batch_of(model.transform.takes, processor), strict=True)),
    )


def step(made: SimpleNamespace) -> None:
    """A step of a fused optimizer, which does not change the version of a weight."""
    optimizer = torch.optim.SGD(made.model.trainable().values(), lr=0.1, fused=True)
    made.model.mapping.skip_start()
    made.model.train()(**made.batch, labels=made.labels).loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    made.model.eval()


@torch.no_grad()
def logits(made: SimpleNamespace) -> torch.Tensor:
    return made.model(**made.batch).logits


def test_the_state_is_theta_omega_and_exactly_the_tuned_weights():
    model = adapter(tune=["norms", "positions"]).model
    tuned = {f"source.{name}" for name in names("bert", "norms", "positions")}
    assert {name for name in model.state_dict() if name.startswith("source.")} == tuned
    assert {name for name, weight in model.named_parameters() if weight.requires_grad} == set(model.trainable())
    assert tuned < set(model.trainable())
    assert model.num_trainable() == sum(weight.numel() for weight in model.trainable().values())
    ignored = set(model._ddp_params_and_buffers_to_ignore)
    assert not ignored & set(model.trainable())
    assert {name for name, weight in model.named_parameters() if not weight.requires_grad} <= ignored
    assert "frozen but for norms and positions" in model._repr_html_()
    state = model.state_dict()
    del state[next(name for name in state if name.endswith("position_embeddings.weight"))]
    with pytest.raises(RuntimeError, match="position_embeddings"):
        model.load_state_dict(state)


def test_two_adapters_on_one_source_give_their_own_logits():
    source = loaded("bert").source
    before = bytes_of(source)
    one, two, plain = adapter(tune=["norms"]), adapter(tune=["positions"]), adapter(tune=[])
    assert plain.model.source is source
    start = logits(plain)
    assert torch.equal(logits(one), start)
    step(one), step(two)
    assert torch.equal(logits(plain), start)
    assert not torch.equal(logits(one), start)
    assert not torch.equal(logits(one), logits(two))
    assert bytes_of(source) == before


def test_a_tuned_source_stands_for_the_pretrained_one_and_its_bare_model_is_refused(tmp_path):
    made = adapter(tune=["all"])
    step(made)
    made.model.save_pretrained(tmp_path)
    expected = logits(made)
    again = ReprogrammedModel.from_pretrained(tmp_path, source=made.model.source)
    assert torch.equal(again(**made.batch).logits, expected)
    assert load_source(made.model.source)[1] == loaded("bert").reference
    other = reprogram(made.model.source, "warp", ["a", "b"], processor=loaded("bert").tokenizer)[0]
    assert bytes_of(other.source) == bytes_of(loaded("bert").source)
    refused("belongs to an adapter that tunes it", load_source, made.model.source.model)


def test_an_adapter_of_other_tune_is_refused_to_start_from_and_of_the_same_is_taken(tmp_path):
    made = adapter(tune=["norms"])
    step(made)
    made.model.save_pretrained(tmp_path), made.processor.save_pretrained(tmp_path)
    again = adapter(tune=["norms"], init_from=str(tmp_path))
    assert all(
        torch.equal(weight, again.model.trainable()[name])
        for name, weight in made.model.trainable().items()
        if name.startswith("source.")
    )
    with pytest.raises(InputError, match="use the same tune"):
        adapter(tune=["positions"], init_from=str(tmp_path))


def reloaded(made: SimpleNamespace, folder) -> torch.Tensor:
    """The logits of the same adapter around another copy of the source, which has kept nothing."""
    made.model.save_pretrained(folder)
    fresh = ReprogrammedModel.from_pretrained(folder, source=load_source(untuned(made.model.source))[0])
    with torch.no_grad():
        return fresh(**made.batch).logits


@pytest.mark.parametrize(
    ("source", "method", "options"),
    [
        ("bert", "warp", {}),
        ("bert", "r2dl", {"tokenizer": "characters", "sparsity": 4}),
        ("lstm", "r2dl", {"tokenizer": "characters", "sparsity": None}),
        ("vit", "cross_modal", {"tokenizer": "characters", "mapping": "dense"}),
        ("clip", "reprogrammer", {"text_program": "low_rank"}),
        ("clip", "reprogrammer", {"text_program": "none", "image_program": "full"}),
        ("clip", "reprogrammer", {"text_program": "context", "alpha": 0.4}),
    ],
)
def test_what_is_kept_between_calls_follows_the_tuned_weights(source, method, options, tmp_path):
    """Folded tables, class texts and their features, after a step and after a change by hand, as a fresh load has them."""
    made = adapter(source, ["all"], method, **options)
    first = logits(made)
    step(made)
    assert not torch.equal(logits(made), first)
    torch.testing.assert_close(logits(made), reloaded(made, tmp_path), rtol=0, atol=0)
    with torch.no_grad():
        for name in made.model.source.pretrained:
            made.model.source.get_parameter(name).mul_(1.01)
    torch.testing.assert_close(logits(made), reloaded(made, tmp_path), rtol=0, atol=0)


def test_a_gradient_reaches_the_tables_that_are_made_of_the_embeddings():
    made = adapter("bert", ["all"], "reprogbert", tokenizer="characters", problem_type="infilling", labels=None)
    made.model.train()(**made.batch).logits.sum().backward()
    assert made.model.source.embedding.weight.grad.abs().sum() > 0


def test_features_and_states_from_before_training_are_refused():
    made = adapter("clip", ["norms"], "reprogrammer", text_program="none", image_program="none")
    refused("would be out of date", made.model, **made.batch, image_features=torch.zeros(6, 24))
    refused("leave the cache out", adapter("gpt2").model.source.cache_text, 2**20)
