"""WARP as the paper has it: sizes, defaults, initialisation, losses, and what it refuses."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from transformers import TrainingArguments

from hf_reprogram import InputError
from hf_reprogram.mappings import MAPPINGS
from hf_reprogram.mappings.verbalizer import Verbalizer, VerbalizerOptions
from hf_reprogram.methods import METHODS
from hf_reprogram.methods.warp import Warp, WarpOptions
from hf_reprogram.transforms import TRANSFORMS
from hf_reprogram.transforms.prompt_slots import PromptSlots, PromptSlotsOptions
from hf_reprogram.transforms.template import Template
from tests.support import tiny, words


@pytest.mark.parametrize(
    ("width", "prompts", "classes", "numbers"),
    [(1024, 20, 3, 23_555), (128, 8, 2, 1_282), (1024, 0, 2, 2_050), (128, 8, 3, 1_411)],
)
def test_trained_numbers_are_the_papers(width, prompts, classes, numbers):
    with torch.device("meta"):
        theta = PromptSlots(PromptSlotsOptions(str(Template.default(prompts, "mask")), width, 50265, 50264))
        omega = Verbalizer(VerbalizerOptions(classes, width))
    count = sum(p.numel() for module in (theta, omega) for p in module.parameters())
    assert count == numbers == prompts * width + classes * (width + 1)


def test_training_defaults_are_the_papers_and_valid(tmp_path):
    args = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, **Warp.training)
    assert (args.learning_rate, args.weight_decay, args.num_train_epochs) == (1e-3, 0.0, 30)
    assert (args.per_device_train_batch_size, args.max_grad_norm) == (8, 1.0)
    assert args.get_warmup_steps(1000) == 60
    assert WarpOptions().num_prompts == 20
    assert Warp(WarpOptions(num_prompts=8, start="none")).arguments() == Warp.training
    assert Warp(WarpOptions(num_prompts=0, start="none")).arguments() == {**Warp.training, "learning_rate": 1e-4}
    assert Warp(WarpOptions()).arguments() == {**Warp.training, "learning_rate": 1e-2}


@pytest.mark.parametrize(("prompts", "template"), [(20, "5 $A 5 [MASK] 5 $B 5"), (8, "2 $A 2 [MASK] 2 $B 2")])
def test_default_template_is_the_papers(prompts, template, source_folder):
    model, _ = tiny.make_adapter(source_folder("bert"), num_prompts=prompts)
    assert model.config.transform["template"] == template
    assert model.num_trainable() == prompts * tiny.WIDTH + 2 * (tiny.WIDTH + 1)


def test_a_template_says_how_many_prompts_there_are(source_folder):
    model, _ = tiny.make_adapter(source_folder("bert"), num_prompts=20, template="1 $A [MASK] $B 2")
    assert model.transform.prompts.shape == (3, tiny.WIDTH)
    assert model.config.method["num_prompts"] == 3


# ------------------------------------------------------------------------------------------------- initialisation


@pytest.mark.parametrize("family", tiny.MASKED)
def test_prompts_start_from_the_embedding_of_the_mask(family, source_folder):
    model, processor = tiny.make_adapter(source_folder(family))
    mask = model.source.embedding.weight[processor.mask_token_id]
    assert torch.equal(model.transform.prompts, mask.expand(3, -1))


def test_prompts_start_from_words_in_turn(source_folder):
    model, processor = tiny.make_adapter(
        source_folder("bert"), num_prompts=5, prompt_init="words", init_words=["good", "?"]
    )
    ids = processor.convert_tokens_to_ids(["good", "?", "good", "?", "good"])
    assert torch.equal(model.transform.prompts, model.source.embedding.weight[ids])


def test_default_words_are_the_papers_punctuation(source_folder):
    model, processor = tiny.make_adapter(source_folder("bert"), num_prompts=5, prompt_init="words")
    ids = processor.convert_tokens_to_ids(['"', "?", ".", ",", "!"])
    assert torch.equal(model.transform.prompts, model.source.embedding.weight[ids])


def test_normal_prompts_have_the_tables_mean_and_deviation_in_every_column():
    """The default where there is no mask token."""
    torch.manual_seed(0)
    source = tiny.make_model("gpt2", n_positions=4000)
    table = source.get_input_embeddings().weight
    with torch.no_grad():
        table.mul_(torch.linspace(0.1, 3, table.shape[1])).add_(torch.linspace(-1, 1, table.shape[1]))
    model, _ = tiny.make_adapter(source, processor=words.gpt2_bpe(), template="$A [SEP] $B 2000")
    prompts = model.transform.prompts
    few = 5 / math.sqrt(len(prompts))
    assert ((prompts.mean(0) - table.mean(0)) / table.std(0)).abs().max() < few
    assert (prompts.std(0) / table.std(0) - 1).abs().max() < few


def test_normal_prompts_can_be_asked_for(source_folder):
    prompts = tiny.make_adapter(source_folder("bert"), prompt_init="normal")[0].transform.prompts
    assert prompts.std(0).min() > 0


@pytest.mark.parametrize("family", [*tiny.MASKED, *tiny.CAUSAL])
def test_without_prompts_a_verbalizer_gives_the_sources_own_logits_of_its_words(family, source_folder):
    """The class vectors are the decoder's rows and biases: at K = 0 nothing has been reprogrammed yet."""
    model, processor = tiny.make_adapter(
        source_folder(family), num_prompts=0, labels=["neg", "pos"], verbalizer={"pos": "good", "neg": "bad"}
    )
    texts, _ = words.texts(4, seed=5)
    ids = [processor(f" {word}", add_special_tokens=False)["input_ids"] for word in ("bad", "good")]
    assert [len(word) for word in ids] == [1, 1]
    for text in texts:
        batch = processor(text, return_tensors="pt")
        with torch.no_grad():
            vocabulary = model.source.model(**batch).logits[0]
            at = (batch["input_ids"][0] == processor.mask_token_id).nonzero() if processor.mask_token else [-1]
            expected = vocabulary[int(at[0]), [ids[0][0], ids[1][0]]]
            torch.testing.assert_close(model(**batch).logits[0], expected, rtol=1e-4, atol=1e-4)


def test_a_word_of_several_tokens_warns_and_its_first_is_used(source_folder):
    with pytest.warns(UserWarning, match=r"'plots' is 2 tokens \(plot ##s\): using the first") as caught:
        model, processor = tiny.make_adapter(source_folder("bert"), verbalizer={"bad": "bad", "good": "plots"})
    assert len(caught) == 1
    rows, biases = model.source.output_rows(torch.tensor(processor.convert_tokens_to_ids(["bad", "plot"])))
    assert torch.equal(model.mapping.weight, rows)
    assert torch.equal(model.mapping.bias, biases)


def test_whole_words_do_not_warn(source_folder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tiny.make_adapter(source_folder("bert"), verbalizer={"bad": "bad", "good": "good"}, prompt_init="words")


def test_without_a_verbalizer_class_vectors_start_as_a_fresh_linear_layer(source_folder):
    one, other = (tiny.make_adapter(source_folder("bert"), start="none")[0].mapping for _ in range(2))
    assert one.weight.abs().max() <= tiny.WIDTH**-0.5
    assert one.weight.std() > 0.05
    assert not torch.equal(one.weight, other.weight)
    assert one.bias.tolist() == [0, 0]


# ---------------------------------------------------------------------------------------------------------- losses


def test_the_loss_is_the_cross_entropy_by_hand(source_folder):
    model, processor = tiny.make_adapter(source_folder("bert"), labels=["a", "b", "c"])
    batch = tiny.batch_of(processor, 4)
    output = model(**batch, labels=torch.tensor([0, 2, 1, 2]))
    by_hand = 0.0
    for row, label in zip(output.logits.tolist(), [0, 2, 1, 2], strict=True):
        by_hand += math.log(sum(math.exp(value) for value in row)) - row[label]
    assert output.loss.item() == pytest.approx(by_hand / 4, abs=1e-5)


def test_a_regression_has_one_output_and_the_mean_squared_error(source_folder):
    model, processor = tiny.make_adapter(source_folder("bert"), labels=None, problem_type="regression")
    assert model.num_trainable() == 3 * tiny.WIDTH + tiny.WIDTH + 1
    batch = tiny.batch_of(processor, 3)
    targets = [0.5, 4.0, 2.5]
    output = model.eval()(**batch, labels=torch.tensor(targets))
    assert output.logits.shape == (3, 1)
    by_hand = sum((row[0] - y) ** 2 for row, y in zip(output.logits.tolist(), targets, strict=True)) / 3
    assert output.loss.item() == pytest.approx(by_hand, rel=1e-5)


# --------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"num_prompts": -1}, "num_prompts is -1: give a whole number"),
        ({"num_prompts": 2.5}, "num_prompts is 2.5"),
        ({"prompt_init": "words_"}, "'words_': did you mean 'words'"),
        ({"init_words": []}, "init_words is empty"),
        ({"num_promts": 8}, "option of warp 'num_promts': did you mean 'num_prompts'"),
        ({"reads": "tokens"}, "reads='tokens' names no output"),
        ({"verbalizer": {"bad": False, "good": True}}, "word for 'bad' is False, not text"),
        ({"reads": "masks"}, "reads='masks' names no output of the masked_lm source"),
        ({"reads": "first", "template": "1 $A [MASK] $B"}, "does not fit the template"),
        ({"reads": "mask", "template": "1 $A $B"}, "does not fit the template"),
        ({"template": "1 $A [MASK]"}, "$B 0 times"),
        ({"num_prompts": 62}, "leaves none for the text: use fewer than 61 prompts"),
        ({"verbalizer": {"bad": "bad"}}, "no word for the label 'good'"),
        ({"verbalizer": {"bad": "bad", "goood": "good"}}, "'goood': did you mean 'good'"),
        ({"verbalizer": {"bad": "bad", "good": "中"}}, "'中' is not in the source's vocabulary"),
        ({"prompt_init": "words", "init_words": ["中"]}, "'中' is not in the source's vocabulary"),
    ],
)
def test_options_that_cannot_work_are_refused_by_name(options, sentence, source_folder):
    with pytest.raises(InputError) as refused:
        tiny.make_adapter(source_folder("bert"), **options)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("family", "options", "sentence"),
    [
        ("gpt2", {"reads": "mask"}, "reads='mask' names no output of the causal_lm source"),
        ("gpt2", {"prompt_init": "mask"}, "prompt_init='mask' needs a mask token"),
        ("bert-encoder", {"verbalizer": {"bad": "bad", "good": "good"}}, "no vocabulary decoder"),
        ("albert", {"verbalizer": {"bad": "bad", "good": "good"}, "reads": "features"}, "decoder rows of the width of"),
    ],
)
def test_what_a_source_does_not_offer_is_refused(family, options, sentence, source_folder):
    with pytest.raises(InputError) as refused:
        tiny.make_adapter(source_folder(family), **options)
    assert sentence in str(refused.value)


def test_info_names_registered_parts_and_the_paper():
    for name in METHODS.names():
        info = METHODS[name].info
        assert issubclass(TRANSFORMS[info.transform], torch.nn.Module)
        assert issubclass(MAPPINGS[info.mapping], torch.nn.Module)
        assert info.title
        assert info.authors
        assert 2015 < info.year < 2100
        assert info.arxiv.split(".")[0].isdigit() or (info.venue and not info.arxiv)
