"""R2DL: what it composes for every kind of problem, and what loads it."""

from __future__ import annotations

import pytest
import torch
from datasets import Dataset
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    pipeline,
)

from hf_reprogram import InputError, ReprogrammedModel, reprogram
from tests.support import tiny

SEQUENCES = ["ACDEFGHIKL", "MNPQRSTVWY", "AAAA", "WXW", "K"]
MOLECULES = ["CC(=O)Oc1ccccc1C(=O)O", "C[C@H](N)C(=O)O", "Brc1ccccc1", "CCO", "O=C(NC)C(Cl)Cl"]


def make(source, labels=("bad", "good"), **options):
    torch.manual_seed(0)
    return reprogram(source, "r2dl", labels, **{"tokenizer": "residues", "sparsity": 3, **options})


def batch_of(processor, texts=SEQUENCES):
    return dict(processor(texts, padding=True, return_tensors="pt"))


# ------------------------------------------------------------------------------------------------- composition


def naive_states(model, processor, text):
    """Last hidden states of one text, from the source alone and a loop over the target's tokens."""
    options, table = model.transform.options, model.source.embedding.weight
    rows = []
    for token in processor(text)["input_ids"]:
        if str(token) in options.special_ids:
            rows.append(table[options.special_ids[str(token)]])
            continue
        of = [token] if token != options.unknown_id else range(options.num_tokens)
        sums = [
            sum(c * table[a] for c, a in zip(model.transform.codes[i], model.transform.support[i], strict=True))
            for i in of
        ]
        rows.append(sum(sums) / len(sums))
    return model.source.base(inputs_embeds=torch.stack(rows)[None]).last_hidden_state[0]


POOL = {"features": lambda states: states.mean(0), "first": lambda states: states[0], "last": lambda states: states[-1]}


@pytest.mark.parametrize(
    ("family", "reads"),
    [
        ("bert", None),
        ("bert", "features"),
        ("roberta", "first"),
        ("albert", "last"),
        ("gpt2", "last"),
        ("llama", "features"),
    ],
)
def test_logits_are_a_linear_layer_on_what_is_read(family, reads, source_folder):
    model, processor = make(source_folder(family), reads=reads)
    model.eval()
    with torch.no_grad():
        found = model(**batch_of(processor)).logits
        for row, text in zip(found, SEQUENCES, strict=True):
            state = POOL[reads or "features"](naive_states(model, processor, text))
            torch.testing.assert_close(row, model.mapping(state, model.source), rtol=1e-4, atol=1e-4)
    assert found.std(0).min() > 1e-3


def test_a_label_a_token_is_a_linear_layer_on_every_state(source_folder):
    model, processor = make(source_folder("bert"), ["H", "E", "C"], problem_type="token_classification")
    model.eval()
    batch = batch_of(processor)
    with torch.no_grad():
        found = model(**batch).logits
        for row, mask, text in zip(found, batch["attention_mask"], SEQUENCES, strict=True):
            expected = model.mapping(naive_states(model, processor, text), model.source)
            torch.testing.assert_close(row[mask.bool()], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("problem", "labels", "outputs", "names"),
    [
        ("single_label_classification", ["a", "b", "c"], 3, ["a", "b", "c"]),
        ("regression", None, 1, ["value"]),
        ("multi_label_classification", ["toxic"], 1, ["toxic"]),
        ("multi_label_classification", 12, 12, [f"LABEL_{i}" for i in range(12)]),
        ("token_classification", ["H", "E"], 2, ["H", "E"]),
    ],
)
def test_outputs_and_their_names_for_every_kind_of_problem(problem, labels, outputs, names, source_folder, tmp_path):
    model, processor = make(source_folder("bert"), labels, problem_type=problem)
    batch = batch_of(processor)
    shape = (*batch["input_ids"].shape, outputs) if problem == "token_classification" else (len(SEQUENCES), outputs)
    assert model(**batch).logits.shape == shape
    model.save_pretrained(tmp_path)
    assert ReprogrammedModel.from_pretrained(tmp_path).label_names == model.label_names == names


def test_a_batch_without_any_label_trains_without_nan(source_folder, tmp_path):
    model, processor = make(source_folder("bert"), ["a", "b", "c"], problem_type="multi_label_classification")
    nan = float("nan")
    loss = model(**batch_of(processor), labels=torch.full((len(SEQUENCES), 3), nan)).loss
    loss.backward()
    assert loss.item() == 0
    assert all((p.grad == 0).all() for p in model.trainable().values())
    start = {name: p.detach().clone() for name, p in model.trainable().items()}
    labels = [[nan] * 3] * 4 + [[1.0, nan, 0.0], [nan, nan, 1.0], [0.0, 1.0, nan], [nan] * 3]
    data = Dataset.from_dict({**processor(SEQUENCES[:4] * 2), "labels": labels})
    trainer = tiny.trainer_for(model, processor, data, tmp_path, max_steps=4, per_device_train_batch_size=4)
    trainer.train()
    for name, p in model.trainable().items():
        assert torch.isfinite(p).all(), name
        assert not torch.equal(p, start[name]), name


def test_a_label_that_is_missing_has_no_gradient(source_folder):
    model, processor = make(source_folder("bert"), ["a", "b"], problem_type="multi_label_classification")
    model(**batch_of(processor), labels=torch.tensor([[1.0, float("nan")]] * len(SEQUENCES))).loss.backward()
    first, second = model.mapping.linear.weight.grad
    assert first.abs().sum() > 0
    assert (second == 0).all()


# ------------------------------------------------------------------------------------------------- tokenizers


def test_kmers_are_tokens_of_the_target(source_folder):
    model, processor = make(source_folder("bert"), tokenizer="kmers", k=2)
    assert model.transform.options.num_tokens == 16 + 4
    assert processor.tokenize("ACGTA") == ["AC", "GT", "A"]
    assert model.transform.table(model.source).shape[0] == 20


def test_smiles_take_their_tokens_from_the_texts(source_folder, tmp_path):
    model, processor = make(source_folder("bert"), tokenizer="smiles", texts=MOLECULES)
    tokens = processor.tokenize("C[C@H](N)Br")
    assert tokens == ["C", "[C@H]", "(", "N", ")", "Br"]
    assert max(processor.convert_tokens_to_ids(tokens)) < model.transform.options.num_tokens
    for part in (model, processor):
        part.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again(MOLECULES) == processor(MOLECULES)
    with pytest.raises(InputError, match="takes its tokens from texts"):
        make(source_folder("bert"), tokenizer="smiles")


def test_an_alphabet_may_be_a_string(source_folder):
    model, _ = make(source_folder("bert"), tokenizer="characters", alphabet="ABC")
    assert model.transform.options.num_tokens == 3


@pytest.mark.parametrize("given", ["roberta", "albert", "gpt2", "llama"])
def test_a_given_tokenizer_of_a_folder_keeps_its_tokens(given, source_folder):
    model, processor = make(source_folder("bert"), tokenizer=source_folder(given), init="random")
    theirs = tiny.FAMILIES[given].tokenizer()
    text = "the film was good"
    inner = [i for i in processor(text)["input_ids"] if str(i) not in model.transform.options.special_ids]
    assert inner == theirs(text, add_special_tokens=False)["input_ids"]
    assert torch.isfinite(model(**batch_of(processor, [text, "a"])).logits).all()


def test_a_saved_adapters_tokenizer_can_be_given(source_folder, tmp_path):
    _, first = make(source_folder("bert"))
    first.save_pretrained(tmp_path)
    model, processor = make(source_folder("roberta"), tokenizer=str(tmp_path))
    assert processor.tokenize("ACX") == first.tokenize("ACX") == ["A", "C", "[UNK]"]
    assert torch.isfinite(model(**batch_of(processor)).logits).all()


def test_a_folder_without_a_tokenizer_is_refused(source_folder, tmp_path):
    tiny.make_model("bert").save_pretrained(tmp_path / "plain")
    for folder in ("plain", "nothing"):
        with pytest.raises(InputError, match="There is no tokenizer at"):
            make(source_folder("bert"), tokenizer=str(tmp_path / folder))


def test_a_tokenizer_that_does_not_belong_to_the_source_is_refused(source_folder):
    tokenizer = tiny.FAMILIES["gpt2"].tokenizer()
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})  # without making the embedding larger
    with pytest.raises(InputError, match=r"special token with the id \d+, but the source embeds \d+ tokens"):
        make(source_folder("gpt2"), processor=tokenizer)


def test_a_source_with_scaled_embeddings_starts_at_its_own_tokens():
    """Gemma multiplies its embeddings by the root of their width."""
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = {**tiny.FAMILIES["llama"].config, "head_dim": 16, "num_key_value_heads": 1}
    config = AutoConfig.for_model("gemma3_text", vocab_size=len(tiny.words.llama_bpe()), **sizes)
    torch.manual_seed(0)
    gemma = AutoModelForCausalLM.from_config(config).eval()
    model, processor = make(gemma, processor=tiny.words.llama_bpe(), reads="last")
    weight = gemma.get_input_embeddings().weight
    table = model.transform.table(model.source).detach()
    nearest = torch.cdist(table, weight * weight.shape[1] ** 0.5).min(-1)
    assert nearest.values.max() < 1e-3 * table.norm(dim=1).mean()
    alone = [model(**batch_of(processor, [text])).logits for text in SEQUENCES]
    torch.testing.assert_close(model(**batch_of(processor)).logits, torch.cat(alone), rtol=1e-4, atol=1e-4)


# ------------------------------------------------------------------------------------------------- classifiers


def test_a_label_map_on_a_classifier_is_the_mean_probability_of_its_labels(source_folder):
    model, processor = make(source_folder("bert-classifier"), mapping="label_map", labels_per_class=3)
    groups = model.mapping.options.assignment
    assert sorted(label for group in groups for label in group) == list(range(6))
    assert set(model.trainable()) == {"transform.codes"}
    model.eval()
    batch = batch_of(processor)
    with torch.no_grad():
        inputs = model.transform(batch, model.source)
        shares = model.source.model(**inputs).logits.softmax(-1)
        expected = torch.stack([shares[:, group].mean(1) for group in groups], 1)
        torch.testing.assert_close(model(**batch).logits.exp(), expected)


def test_more_classes_than_source_labels_is_one_sentence(source_folder):
    with pytest.raises(InputError, match="7 classes with 1 source labels each need 7, but the source has 6"):
        make(source_folder("bert-classifier"), list("abcdefg"), mapping="label_map")


@pytest.mark.parametrize(
    ("family", "options", "sentence"),
    [
        ("bert", {"mapping": "label_map"}, "kind is masked_lm, the problem single label classification"),
        ("bert", {"reads": "decoder"}, "reads='decoder' names no output of the masked_lm source that fits: choose one of "
         "features, first, last."),
        ("bert", {"reads": "mask"}, "reads='mask'"),
        ("bert", {"reads": "tokens"}, "reads='tokens'"),
        ("gpt2", {"reads": "first"}, "choose one of features, last"),
        ("bert", {"problem_type": "infilling", "labels": None}, "'r2dl' does not support the problem type 'infilling'"),
        ("bert-classifier", {"mapping": "label_map", "problem_type": "multi_label_classification"}, "use mapping='dense'"),
        ("bert", {"k": 0}, "k is 0: give a whole number, 1 or more"),
        ("bert", {"atoms": "ksvd", "num_atoms": 0}, "num_atoms is 0"),
        ("bert", {"atoms": "ksvd", "num_atoms": 2}, "sparsity is 3, but there are only 2 atoms"),
        ("bert", {"warmup_epochs": -1}, "warmup_epochs is -1"),
        ("bert", {"sparsity": "16"}, "sparsity is '16'"),
        ("bert", {"tokenizer": "kmers", "k": 9}, "use a smaller k"),
        ("bert", {"tokenizer": "characters", "alphabet": [chr(200 + i) for i in range(400)]}, "init='tokens' needs 400"),
    ],
)  # fmt: skip
def test_what_it_cannot_do_is_one_sentence(family, options, sentence, source_folder):
    with pytest.raises(InputError) as refused:
        make(source_folder(family), **options)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


# ------------------------------------------------------------------------------------------------- pipelines


def saved(model, processor, folder):
    for part in (model, processor):
        part.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize(
    ("family", "options"),
    [("bert", {}), ("gpt2", {"reads": "last"}), ("bert-classifier", {"mapping": "label_map"}), ("llama", {})],
)
def test_the_text_classification_pipeline_gives_the_models_probabilities(family, options, source_folder, tmp_path):
    model, processor = make(source_folder(family), **options)
    folder = saved(model, processor, tmp_path)
    with torch.no_grad():
        expected = model.eval()(**batch_of(processor)).logits.softmax(-1)
        assert torch.equal(
            AutoModelForSequenceClassification.from_pretrained(folder)(**batch_of(processor)).logits.softmax(-1),
            expected,
        )
    classify = pipeline("text-classification", model=folder, device="cpu")
    for row, scores in zip(expected, classify(SEQUENCES, top_k=None, batch_size=3), strict=True):
        by_label = {entry["label"]: entry["score"] for entry in scores}
        assert by_label == pytest.approx({"bad": row[0].item(), "good": row[1].item()}, abs=1e-4)


def test_the_pipeline_gives_each_of_several_labels_its_own_probability_and_a_regression_its_number(
    source_folder, tmp_path
):
    model, processor = make(source_folder("bert"), ["a", "b"], problem_type="multi_label_classification")
    classify = pipeline("text-classification", model=saved(model, processor, tmp_path / "several"), device="cpu")
    with torch.no_grad():
        expected = model.eval()(**batch_of(processor, ["ACD"])).logits.sigmoid()[0]
    found = {entry["label"]: entry["score"] for entry in classify("ACD", top_k=None)}
    assert found == pytest.approx({"a": expected[0].item(), "b": expected[1].item()}, abs=1e-5)
    model, processor = make(source_folder("bert"), None, problem_type="regression")
    number = pipeline("text-classification", model=saved(model, processor, tmp_path / "number"), device="cpu")
    with torch.no_grad():
        expected = model.eval()(**batch_of(processor, ["ACD"])).logits[0, 0].item()
    assert number("ACD")[0]["score"] == pytest.approx(expected, abs=1e-5)


def test_the_token_classification_pipeline_gives_a_label_for_every_letter(source_folder, tmp_path):
    model, processor = make(source_folder("bert"), ["H", "E", "C"], problem_type="token_classification")
    folder = saved(model, processor, tmp_path)
    assert isinstance(AutoModelForTokenClassification.from_pretrained(folder), ReprogrammedModel)
    mark = pipeline("token-classification", model=folder, device="cpu")
    for text in ("ACDEFGHIKL", "acXdw"):
        with torch.no_grad():
            shares = model.eval()(**batch_of(processor, [text])).logits.softmax(-1)[0, 1:-1]
        found = mark(text)
        assert [text[entry["start"] : entry["end"]] for entry in found] == list(text)
        assert [entry["entity"] for entry in found] == ["HEC"[i] for i in shares.argmax(-1)]
        assert [float(entry["score"]) for entry in found] == pytest.approx(shares.max(-1).values.tolist(), abs=1e-5)


def test_a_source_that_has_moved_is_given_to_the_adapter(source_folder, tmp_path):
    tiny.save_source(tmp_path / "old", "bert", seed=4)
    model, processor = make(str(tmp_path / "old"))
    folder = saved(model, processor, tmp_path / "adapter")
    (tmp_path / "old").rename(tmp_path / "new")
    with pytest.raises(InputError, match=r"old.* is neither a folder here nor a model"):
        ReprogrammedModel.from_pretrained(folder)
    with torch.no_grad():
        found = ReprogrammedModel.from_pretrained(folder, source=tmp_path / "new")(**batch_of(processor)).logits
        assert torch.equal(found, model.eval()(**batch_of(processor)).logits)


def test_a_second_stage_takes_over_codes_and_the_atoms_they_stand_on(source_folder, tmp_path):
    made = {}
    for name, seed in (("first", 0), ("second", 1)):
        torch.manual_seed(seed)
        given = {"init_from": tmp_path} if name == "second" else {}
        made[name], processor = reprogram(source_folder("bert"), "r2dl", ["a", "b"], tokenizer="residues", **given)
        if name == "first":
            made[name].save_pretrained(tmp_path)
            processor.save_pretrained(tmp_path)
    tables = [model.transform.table(model.source) for model in made.values()]
    torch.testing.assert_close(*tables, rtol=0, atol=0)


def test_a_dense_phase_may_follow_a_sparse_first_stage(source_folder, tmp_path):
    first, processor = reprogram(source_folder("bert"), "r2dl", ["a", "b"], tokenizer="residues")
    first.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    second, _ = reprogram(
        source_folder("bert"), "r2dl", ["a", "b"], tokenizer="residues", alternating=True, init_from=tmp_path
    )
    torch.testing.assert_close(first.transform.table(first.source), second.transform.table(second.source))


def test_a_first_stage_with_another_vocabulary_is_refused(source_folder, tmp_path):
    first, processor = reprogram(source_folder("bert"), "r2dl", ["a", "b"], tokenizer="characters", alphabet="ACGT")
    first.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="another vocabulary"):
        reprogram(
            source_folder("bert"), "r2dl", ["a", "b"], tokenizer="characters", alphabet="TGCA", init_from=tmp_path
        )


def test_a_first_stage_of_another_size_is_refused(source_folder, tmp_path):
    first, processor = reprogram(source_folder("bert"), "r2dl", ["a", "b"], tokenizer="residues", sparsity=4)
    first.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="20 x 4 there and 20 x 8 here"):
        reprogram(source_folder("bert"), "r2dl", ["a", "b"], tokenizer="residues", sparsity=8, init_from=tmp_path)


def test_rows_that_are_taken_over_bring_what_their_features_are_standardized_by(source_folder, tmp_path):
    options = {"method": "r2dl", "labels": ["bad", "good"], "tokenizer": "residues", "sparsity": 2, "standardize": True}
    first, processor = reprogram(source_folder("bert"), **options)
    first.mapping.fit(torch.randn(9, first.mapping.options.width) + 3)
    first.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    second, _ = reprogram(source_folder("bert"), init_from=tmp_path, **options)
    assert torch.equal(second.mapping.linear.weight, first.mapping.linear.weight)
    assert torch.equal(second.mapping.mean, first.mapping.mean)
    assert torch.equal(second.mapping.deviation, first.mapping.deviation)
