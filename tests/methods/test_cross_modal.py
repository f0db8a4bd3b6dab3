"""Cross-modal reprogramming: its composition on image sources, training, and the saved folder."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from datasets import Dataset
from PIL import Image
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from hf_reprogram import InputError, ReprogrammedModel, reprogram
from hf_reprogram.experiments.recipe import make_recipe
from hf_reprogram.experiments.run import train
from hf_reprogram.inspection.adapter import probe_of
from hf_reprogram.weights import weights_bytes
from tests.support import tiny, tiny_vision, words

TEXTS, LABELS = words.texts(24)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A function from a family's name to the folder of its tiny image source."""
    made = {}

    def folder(family: str):
        if family not in made:
            made[family] = str(tiny_vision.save_source(tmp_path_factory.mktemp("images") / family, family))
        return made[family]

    return folder


def make(source, labels=("bad", "good"), **options):
    torch.manual_seed(0)
    return reprogram(source, "cross_modal", labels, **{"texts": TEXTS, **options})


def batch_of(processor, texts=TEXTS):
    return dict(processor(list(texts), padding=True, truncation=True, return_tensors="pt"))


def tensors_of(module) -> dict[str, torch.Tensor]:
    """Copies of every parameter and buffer, non-persistent buffers included."""
    return {name: value.clone() for name, value in (*module.named_parameters(), *module.named_buffers())}


@pytest.fixture
def photo(tmp_path):
    """A file of a small picture."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return str(tmp_path / "photo.png")


# --------------------------------------------------------------------------------------------------- composition


@pytest.mark.parametrize(
    ("family", "patch_size", "places"), [("vit", 8, 16), ("swin", 4, 64), ("convnext", 4, 64), ("resnet", 16, 4)]
)
def test_a_patch_is_as_large_as_the_sources_own(family, patch_size, places, sources):
    model, processor = make(sources(family))
    assert model.transform.options.patch_size == patch_size
    assert processor.model_max_length == model.transform.options.places == places
    assert model.transform.table.shape == (len(processor), 3, patch_size, patch_size)
    assert model.transform.folds(model.source.spec) == (family != "resnet")
    assert set(model.trainable()) == {"transform.table"}


def test_the_vocabulary_is_the_most_frequent_words_then_unknown_and_padding(sources):
    model, processor = make(sources("vit"), max_vocabulary=5)
    counts = {word: sum(text.split().count(word) for text in TEXTS) for word in " ".join(TEXTS).split()}
    kept = sorted(counts, key=lambda word: (-counts[word], word))[:5]
    assert [*kept, "[UNK]", "<|pad|>"] == processor.convert_ids_to_tokens(list(range(7)))
    assert len(processor) == model.transform.options.num_tokens == 7
    assert model.transform.options.pad_id == model.config.pad_token_id == 6
    assert processor(f" {kept[0].upper()},{kept[1]} zzz ")["input_ids"] == [0, 5, 1, 5]


def test_the_most_frequent_tokens_are_kept_in_mind(sources, tmp_path):
    texts = ["ACGTACGT", "ACTT", "GTAC", "ACAC"]  # AC 6, GT 3, TT 1
    model, processor = make(sources("vit"), tokenizer="kmers", k=2, texts=texts)
    assert processor.convert_ids_to_tokens(model.transform.options.frequent) == ["AC", "GT", "TT"]
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    again = ReprogrammedModel.from_pretrained(tmp_path)
    assert list(again.transform.picture(probe_of(again, processor)).added) == ["AC", "GT", "TT"]
    untold, _ = make(sources("vit"), tokenizer="kmers", k=2, texts=None)
    assert untold.transform.options.frequent == []


@pytest.mark.parametrize(
    ("options", "text", "tokens"),
    [
        ({"tokenizer": "kmers", "k": 2}, "acgta", ["AC", "GT", "A"]),
        ({"tokenizer": "characters", "alphabet": "ABC"}, "ACB", ["A", "C", "B"]),
        ({"tokenizer": "residues"}, "MKV", ["M", "K", "V"]),
    ],
    ids=str,
)
def test_other_alphabets(options, text, tokens, sources):
    model, processor = make(sources("vit"), **options)
    assert processor.tokenize(text) == tokens
    assert processor(text)["input_ids"] == processor.convert_tokens_to_ids(tokens)
    assert model.transform.options.num_tokens == len(processor)


def test_a_given_tokenizer_keeps_its_whole_vocabulary_without_its_frame(sources, source_folder):
    theirs = tiny.FAMILIES["bert"].tokenizer()
    model, processor = make(sources("vit"), tokenizer=source_folder("bert"), texts=None)
    assert len(processor) == model.transform.options.num_tokens == len(theirs) + 1
    assert processor("the film")["input_ids"] == theirs("the film", add_special_tokens=False)["input_ids"]
    assert model(**batch_of(processor)).logits.shape == (24, 2)


def test_the_label_map_deals_the_labels_the_base_is_most_likely_to_be(sources, photo):
    model, _ = make(sources("vit"), ["a", "b", "c"], labels_per_class=2)
    grey = torch.full((1, 3, 32, 32), 0.5)
    first = model.source({"pixels": grey}, "logits")[0].argsort(descending=True).tolist()
    assert model.mapping.options.assignment == [[first[0], first[3]], [first[1], first[4]], [first[2], first[5]]]
    on_photo, _ = make(sources("vit"), ["a", "b", "c"], labels_per_class=2, bounded=True, base_image=photo)
    assert on_photo.mapping.options.assignment != model.mapping.options.assignment
    by_default, _ = make(sources("vit"), ["a", "b", "c"])
    assert [len(labels) for labels in by_default.mapping.options.assignment] == [4, 4, 4]


def test_a_logit_is_the_largest_of_its_classs_labels(sources):
    model, processor = make(sources("vit"))
    batch = batch_of(processor)
    with torch.no_grad():
        theirs = model.source(model.transform(batch, model.source), "logits")
        expected = torch.stack([theirs[:, labels].amax(1) for labels in model.mapping.options.assignment], 1)
        torch.testing.assert_close(model.eval()(**batch).logits, expected)


@pytest.mark.parametrize("aggregate", ["mean_logit", "mean_probability"])
def test_other_aggregates(aggregate, sources):
    model, processor = make(sources("vit"), aggregate=aggregate)
    batch = batch_of(processor)
    with torch.no_grad():
        theirs = model.source(model.transform(batch, model.source), "logits")
        groups = model.mapping.options.assignment
        if aggregate == "mean_logit":
            expected = torch.stack([theirs[:, labels].mean(1) for labels in groups], 1)
        else:
            expected = torch.stack([theirs.softmax(1)[:, labels].mean(1) for labels in groups], 1).log()
        torch.testing.assert_close(model.eval()(**batch).logits, expected)


@pytest.mark.parametrize(("how", "aggregate"), [("frequency", "max_logit"), ("blm", "mean_logit")])
def test_a_label_map_may_be_fitted(how, aggregate, sources):
    model, processor = make(sources("vit"), label_mapping=how)
    assert model.mapping.options.aggregate == aggregate
    batch = batch_of(processor)
    with torch.no_grad():
        answers = model.source(model.transform(batch, model.source), "logits")
        model.mapping.fit(answers, torch.tensor(LABELS), model.source)
        assert model.eval()(**batch).logits.shape == (24, 2)


@pytest.mark.parametrize(
    ("problem", "labels", "reads", "outputs"),
    [
        ("single_label_classification", ["a", "b", "c"], "features", 3),
        ("single_label_classification", ["a", "b"], "probabilities", 2),
        ("multi_label_classification", ["a", "b"], "logits", 2),
        ("regression", None, "features", 1),
    ],
)
def test_a_dense_layer_reads_features_logits_or_probabilities(problem, labels, reads, outputs, sources):
    model, processor = make(sources("vit"), labels, problem_type=problem, mapping="dense", reads=reads)
    batch = batch_of(processor)
    with torch.no_grad():
        read = model.source(model.transform(batch, model.source), "features" if reads == "features" else "logits")
        linear, unit = model.mapping.linear, model.mapping.options.unit
        expected = (read.softmax(1) if reads == "probabilities" else read) @ (unit * linear.weight.T) + linear.bias
        torch.testing.assert_close(model.eval()(**batch).logits, expected, rtol=1e-4, atol=1e-5)
    assert expected.shape == (24, outputs)


def test_an_encoder_without_labels_takes_a_dense_layer():
    source = tiny_vision.make_source("vit", head=False)
    model, processor = make(source, mapping="dense")
    assert model(**batch_of(processor)).logits.shape == (24, 2)
    with pytest.raises(InputError, match="use mapping='dense'"):
        make(source)


def test_a_bounded_program_stays_within_eps_deviations_of_the_base(sources, photo):
    for base in (None, photo):
        model, processor = make(sources("vit"), bounded=True, eps=0.5, base_image=base)
        with torch.no_grad():
            model.transform.table.normal_(std=5)
            pixels = model.transform.image(model.transform.placed(batch_of(processor)))
        if base is None:
            start = torch.full((3, 32, 32), 0.5)
        else:
            with Image.open(photo) as image:
                resized = image.resize((32, 32), Image.Resampling.BICUBIC)
            start = torch.from_numpy(np.array(resized)).permute(2, 0, 1) / 255
        moved = (pixels - start).abs().amax((0, 2, 3))
        expected = 0.5 * torch.tensor(tiny_vision.STD)
        torch.testing.assert_close(moved, expected, rtol=0, atol=1e-3)
        assert (moved <= expected + 1e-6).all()
        assert model.transform.folds(model.source.spec) == (base is None)


# ----------------------------------------------------------------------------------------- training, saving, loading


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("vit", {}),
        ("swin", {"mapping": "dense"}),
        ("resnet", {"patch_size": 4}),
        ("vit", {"bounded": True, "eps": 1.0, "base_image": True}),
    ],
    ids=["vit", "swin", "resnet", "base image"],
)
def test_training_lowers_the_loss_and_the_saved_folder_is_the_model(family, options, sources, photo, tmp_path):
    options = {**options, "base_image": photo} if options.get("base_image") else options
    model, processor = make(sources(family), **options)
    before, batch = tensors_of(model.source), batch_of(processor)
    labels = torch.tensor(LABELS)

    def loss():
        with torch.no_grad():
            return model.eval()(**batch, labels=labels).loss.item()

    first = loss()
    data = Dataset.from_dict({**processor(TEXTS, truncation=True), "labels": LABELS})
    trainer = tiny.trainer_for(
        model, processor, data, tmp_path / "run", max_steps=40, learning_rate=1e-1, per_device_train_batch_size=8
    )
    trainer.train()
    assert loss() < 0.9 * first
    assert all(torch.equal(value, before[name]) for name, value in tensors_of(model.source).items())
    assert not any(p.requires_grad for p in model.source.parameters())

    folder = tmp_path / "adapter"
    for part in (model, processor):
        part.save_pretrained(folder)
    held = sum(value.numel() * value.element_size() for value in model.state_dict().values())
    assert weights_bytes(folder) < held + 2000
    again = AutoTokenizer.from_pretrained(folder)
    assert again(TEXTS, padding=True, truncation=True) == processor(TEXTS, padding=True, truncation=True)
    with torch.no_grad():
        expected = model.eval()(**batch).logits
        for loaded in (
            ReprogrammedModel.from_pretrained(folder),
            AutoModelForSequenceClassification.from_pretrained(folder),
        ):
            assert torch.equal(loaded(**batch).logits, expected)
    classify = pipeline("text-classification", model=str(folder), device="cpu")
    for row, scores in zip(expected.softmax(-1), classify(TEXTS, top_k=None, truncation=True), strict=True):
        by_label = {entry["label"]: entry["score"] for entry in scores}
        assert by_label == pytest.approx({"bad": row[0].item(), "good": row[1].item()}, abs=1e-4)


def test_padding_on_the_left_and_the_rest_of_the_batch_do_not_change_a_row(sources):
    model, processor = make(sources("vit"))
    model.eval()
    right = batch_of(processor)
    with torch.no_grad():
        expected = model(**right).logits
        torch.testing.assert_close(model(**tiny.on_the_left(right)).logits, expected, rtol=1e-4, atol=1e-4)
        alone = torch.cat([model(**batch_of(processor, [text])).logits for text in TEXTS])
    torch.testing.assert_close(alone, expected, rtol=1e-4, atol=1e-4)
    assert expected.std(0).min() > 1e-4


def test_a_new_adapter_starts_from_the_table_of_a_trained_one(sources, tmp_path):
    model, processor = make(sources("vit"))
    for part in (model, processor):
        part.save_pretrained(tmp_path)
    again, _ = make(sources("vit"), ["good", "bad"], init_from=tmp_path)
    assert torch.equal(again.transform.table, model.transform.table)
    with pytest.raises(InputError, match="has another vocabulary"):
        make(sources("vit"), init_from=tmp_path, max_vocabulary=5)


def test_a_recipe_is_scored_and_saved(sources, tmp_path):
    texts, labels = words.texts(80, seed=1)
    rows = {"text": texts, "label": ["good" if label else "bad" for label in labels]}
    Dataset.from_dict(rows).to_csv(tmp_path / "data.csv")
    recipe = make_recipe(
        {
            "source": sources("vit"),
            "method": {"name": "cross_modal", "max_vocabulary": 12},
            "task": {"dataset": str(tmp_path / "data.csv"), "text": ["text"]},
            "training": {"num_train_epochs": 2, "per_device_train_batch_size": 8, "learning_rate": 5e-2},
            "output": str(tmp_path / "run"),
        }
    )
    results = train(recipe, quiet=True)
    (record,) = results["seeds"].values()
    assert record["validation"]["accuracy"] == max(entry["accuracy"] for entry in record["history"])
    model = ReprogrammedModel.from_pretrained(tmp_path / "run")
    assert model.transform.options.num_tokens == 14
    assert model.label_names == ["bad", "good"]


# ------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"patch_size": 5}, "patch_size is 5, which does not divide the canvas of 32 x 32 pixels"),
        ({"patch_size": 0}, "patch_size is 0: give a whole number, 1 or more"),
        ({"max_vocabulary": 1.5}, "max_vocabulary is 1.5"),
        ({"k": 0}, "k is 0: give a whole number"),
        ({"eps": 0.0, "bounded": True}, "eps is 0.0: give a number more than 0"),
        ({"eps": 9.0, "bounded": True}, "eps is 9, which changes a pixel by"),
        ({"l2": float("nan")}, "l2' is nan: give finite numbers"),
        ({"base_image": "photo.png"}, "base_image is for bounded=True"),
        ({"base_image": "no-such.png", "bounded": True}, "base_image='no-such.png' is not an image that can be read"),
        ({"base_image": "no-such.png", "bounded": True, "mapping": "dense"}, "base_image='no-such.png'"),
        ({"texts": None}, "'words' takes its tokens from texts: give the training texts"),
        ({"tokenizer": "wrods"}, "Unknown target tokenizer 'wrods': did you mean 'words'"),
        ({"mapping": "label"}, "Unknown mapping 'label': did you mean 'label_map'"),
        ({"labels": list("abcdefghijklm")}, "13 classes with 1 source labels each need 13, but the source has 12"),
        ({"labels_per_class": 7}, "2 classes with 7 source labels each need 14"),
        ({"problem_type": "regression", "labels": None}, "use mapping='dense'"),
        (
            {"problem_type": "token_classification"},
            "'cross_modal' does not support the problem type 'token_classification'",
        ),
    ],
)
def test_what_it_cannot_do_is_one_sentence(options, sentence, sources):
    with pytest.raises(InputError) as refused:
        make(sources("vit"), **options)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_source_of_tokens_is_refused(source_folder):
    with pytest.raises(InputError, match="takes no images: use an image classifier"):
        make(source_folder("bert"))


def test_a_text_longer_than_the_canvas_is_refused_unless_it_is_cut(sources):
    model, processor = make(sources("vit"))
    long = ["the film " * 20]
    assert processor(long, truncation=True)["input_ids"][0] == processor("the film")["input_ids"] * 8
    with pytest.raises(InputError, match="A text has 40 tokens, but the canvas has 16 patches"):
        model(**processor(long, return_tensors="pt"))
