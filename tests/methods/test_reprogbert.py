"""ReprogBERT: its composition, the fill-mask pipeline, and a recipe of infilling."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForMaskedLM, AutoTokenizer, pipeline

from hf_reprogram import InputError, ReprogrammedModel, reprogram
from hf_reprogram.experiments.recipe import make_recipe
from hf_reprogram.experiments.run import train
from hf_reprogram.modalities.text import tokenize
from hf_reprogram.training.infilling import infill
from hf_reprogram.training.predict import predict_logits
from tests.support import tiny

MASK = "<|mask|>"
RESIDUES = "ACDEFGHIKLMNPQRSTVWY"


def make(source, **options):
    torch.manual_seed(0)
    return reprogram(source, "reprogbert", problem_type="infilling", **options)


def saved(model, processor, folder):
    for part in (model, processor):
        part.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("family", ["bert", "roberta", "modernbert", "albert"])
def test_outputs_are_the_tokens_of_the_targets_vocabulary(family, source_folder):
    model, processor = make(source_folder(family))
    assert model.label_names == list(RESIDUES)
    batch = processor([f"AC{MASK}", "W"], padding=True, return_tensors="pt")
    assert model(**batch).logits.shape == (*batch["input_ids"].shape, 20)
    assert set(model.trainable()) == {
        "transform.offset",
        *(f"mapping.{n}" for n, _ in model.mapping.named_parameters()),
    }
    assert model.transform.table(model.source).shape == (20, model.source.spec.embedding_width)


def test_the_mask_is_the_sources_own(source_folder):
    model, processor = make(source_folder("roberta"))
    own = tiny.FAMILIES["roberta"].tokenizer()
    assert processor.mask_token == MASK
    ids = processor(f"A{MASK}C", return_tensors="pt")
    embeds = model.transform(ids, model.source)["inputs_embeds"][0]
    assert torch.equal(embeds[2], model.source.embedding.weight[own.mask_token_id])


def test_the_loss_is_that_of_the_hidden_positions(source_folder):
    model, processor = make(source_folder("bert"))
    model.eval()
    batch = processor([f"AC{MASK}D{MASK}", f"{MASK}"], padding=True, return_tensors="pt")
    labels = torch.full_like(batch["input_ids"], -100)
    labels[0, 3], labels[0, 5], labels[1, 1] = 4, 7, 9
    with torch.no_grad():
        surprise = -model(**batch).logits.log_softmax(-1)
        expected = ((surprise[0, 3, 4] + surprise[0, 5, 7]) / 2 + surprise[1, 1, 9]) / 2
        torch.testing.assert_close(model(**batch, labels=labels).loss, expected)


def test_a_sparse_table_may_be_asked_for(source_folder):
    model, _ = make(source_folder("bert"), sparsity=4)
    assert model.transform.codes.shape == (20, 4)
    assert model.transform.offset is None


def test_kmers_and_given_tokenizers_name_the_outputs(source_folder):
    model, processor = make(source_folder("bert"), tokenizer="kmers", k=2)
    assert model.label_names == processor.convert_ids_to_tokens(list(range(20)))
    model, processor = make(source_folder("bert"), tokenizer=source_folder("roberta"), init="random")
    theirs = tiny.FAMILIES["roberta"].tokenizer()
    assert model.label_names == theirs.convert_ids_to_tokens(list(range(len(theirs))))
    (filled,) = infill(model.eval(), processor, [f"the film{MASK} was good"])
    assert filled.startswith("the film")
    assert filled.endswith(" was good")


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_the_fill_mask_pipeline_gives_the_models_probabilities(family, source_folder, tmp_path):
    model, processor = make(source_folder(family))
    folder = saved(model, processor, tmp_path)
    assert isinstance(AutoModelForMaskedLM.from_pretrained(folder), ReprogrammedModel)
    fill = pipeline("fill-mask", model=folder, device="cpu")
    assert fill.tokenizer.mask_token == MASK
    text = f"ACD{MASK}EF"
    with torch.no_grad():
        shares = model.eval()(**processor([text], return_tensors="pt")).logits.softmax(-1)[0, 4]
    found = fill(text, top_k=20)
    assert [entry["token_str"] for entry in found] == [RESIDUES[i] for i in shares.argsort(descending=True)]
    assert [entry["score"] for entry in found] == pytest.approx(shares.sort(descending=True).values.tolist(), abs=1e-5)
    assert [entry["sequence"] for entry in found] == [f"ACD{entry['token_str']}EF" for entry in found]
    assert infill(model, processor, [text]) == [found[0]["sequence"]]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"labels": ["a", "b"]}, "Infilling predicts the tokens of the target's vocabulary: leave labels out"),
        (
            {"problem_type": "single_label_classification", "labels": ["a", "b"]},
            "does not support the problem type 'single_label_classification'",
        ),
        ({"problem_type": "token_classification", "labels": ["a", "b"]}, "choose one of infilling"),
        ({"sparsity": 0}, "sparsity is 0"),
        ({"alternating": True}, "warmup_epochs and alternating are for sparse codes"),
        ({"reads": "mask"}, "Unknown option of reprogbert 'reads'"),
    ],
)
def test_what_it_cannot_do_is_one_sentence(options, sentence, source_folder):
    with pytest.raises(InputError) as refused:
        reprogram(source_folder("bert"), "reprogbert", **{"problem_type": "infilling", **options})
    assert sentence in str(refused.value)


def test_a_source_whose_tokenizer_has_no_mask_is_refused(source_folder):
    tokenizer = tiny.FAMILIES["bert"].tokenizer()
    tokenizer.mask_token = None
    with pytest.raises(InputError, match="Infilling needs a mask token"):
        make(source_folder("bert"), processor=tokenizer)


# ------------------------------------------------------------------------------------------------- a recipe


@pytest.fixture(scope="module")
def infilled(source_folder, tmp_path_factory):
    """A run on sequences whose hidden letter is always the one before it."""
    folder = tmp_path_factory.mktemp("infilling")
    random = np.random.default_rng(0)
    rows = []
    for _ in range(150):
        letters = random.choice(list("ACDE"), size=random.integers(2, 5))
        rows.append(("".join(letter * 2 for letter in letters), "01" * len(letters)))
    Dataset.from_dict({"text": [t for t, _ in rows], "label": [m for _, m in rows]}).to_parquet(folder / "data.parquet")
    recipe = make_recipe(
        {
            "source": source_folder("bert"),
            "method": {"name": "reprogbert", "tokenizer": "residues"},
            "task": {"dataset": str(folder / "data.parquet"), "text": ["text"], "problem": "infilling"},
            "training": {"num_train_epochs": 8, "per_device_train_batch_size": 8, "learning_rate": 3e-2},
            "baselines": ["majority"],
            "output": str(folder / "run"),
        }
    )
    return train(recipe, quiet=True), folder / "run"


def test_a_recipe_of_infilling_beats_the_majority(infilled):
    results, _ = infilled
    assert results["task"]["metrics"] == ["recovery", "perplexity"]
    majority = results["baselines"]["majority"]["test"]
    assert results["test"]["recovery"]["mean"] > majority["recovery"]["mean"] + 0.2
    assert 1 <= results["test"]["perplexity"]["mean"] < majority["perplexity"]["mean"]


def test_its_scores_are_those_of_the_saved_adapter_by_hand(infilled):
    results, folder = infilled
    from hf_reprogram.experiments.recipe import load_recipe
    from hf_reprogram.tasks.load import load_task

    task = load_task(load_recipe(folder / "recipe.json").task_options)
    model, processor = ReprogrammedModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    right, surprise = [], []
    for row in task.test:
        hidden = "".join(MASK if mark else letter for letter, mark in zip(row["text"], row["label"], strict=True))
        with torch.no_grad():
            shares = model(**processor(hidden, return_tensors="pt")).logits[0].log_softmax(-1)
        places = [i for i, mark in enumerate(row["label"]) if mark]
        guesses = [(RESIDUES.index(row["text"][i]), shares[i + 1]) for i in places]
        right.append(np.mean([int(share.argmax()) == answer for answer, share in guesses]))
        surprise += [-float(share[answer]) for answer, share in guesses]
    (record,) = results["seeds"].values()
    assert record["test"]["recovery"] == pytest.approx(np.mean(right))
    assert record["test"]["perplexity"] == pytest.approx(np.exp(np.mean(surprise)), rel=1e-4)


def test_hidden_letters_are_never_seen(infilled):
    """Texts that differ in what is hidden alone have the same inputs."""
    _, folder = infilled
    processor = AutoTokenizer.from_pretrained(folder)
    rows = Dataset.from_dict({"text": ["ACDE", "AWDY"], "label": [[0, 1, 0, 1]] * 2})
    data = tokenize({"train": rows}, processor, None, "infilling")["train"]
    assert data["input_ids"][0] == data["input_ids"][1]
    assert data["labels"][0] != data["labels"][1]
    logits = predict_logits(ReprogrammedModel.from_pretrained(folder), processor, data, quiet=True)
    np.testing.assert_array_equal(logits[0], logits[1])
