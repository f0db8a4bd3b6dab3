"""Model cards: valid metadata for the Hub, and every section filled from what the run recorded."""

from __future__ import annotations

import copy
import re

import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard

from hf_reprogram import reprogram
from hf_reprogram.ood.report import average, ood_report
from hf_reprogram.reports.card import card_metadata, render_card, write_card

ON_THE_HUB = "FacebookAI/roberta-large"


@pytest.fixture
def results(finished):
    """Results to change: of a run on a source folder and a csv file."""
    return copy.deepcopy(finished.results)


@pytest.fixture
def hub_results(results):
    """The same, as if source and data had come from the Hub."""
    results["source"].update(name=ON_THE_HUB, revision="722cf37b1afa9454edce342e7895e588b6ff1d59")
    results["task"].update(
        dataset="nyu-mll/glue", name="sst2", title="sst2", notes=["A note on the data."], on_hub=True, test_split="validation"
    )  # fmt: skip
    results["sweep"] = [
        {"values": {"training.learning_rate": rate}, "validation": {"accuracy": rate * 10}} for rate in (0.01, 0.03)
    ]
    return results


SECTIONS = re.compile(
    r"\A---\n.+?\n---\n\n# .+ reprogrammed for .+ with WARP\n\n"
    r"A frozen .+ reprogrammed with WARP \(.+ 2021\)\..+\n"
    r"## Use\n\n```python\nimport hf_reprogram\nfrom transformers import pipeline\n\n"
    r"classify = pipeline\(\"text-classification\", model=\"me/adapter\"\)\nclassify\(.+\)\n```\n.+"
    r"## Results\n\n\|  \| accuracy \|.+\n(\|.+\|\n){3,}\n.+in percent, on the test split\. Nothing was selected on it.+"
    r"## Data\n\n`.+`.*: [\d,]+ train, [\d,]+ validation, [\d,]+ test examples\. Labels: bad, good\.\n.+"
    r"## Training\n\n\| setting \| value \|\n\|---\|---\|\n(\| .+ \| .+ \|\n)+.+"
    r"## Limits\n\n.+"
    r"## Reference\n\n.+ \(2021\)\. WARP: Word-level Adversarial ReProgramming\. arXiv:2101\.00121\.\n\n"
    r"Made with hf_reprogram \d+\.\d+\.\d+ \(.*torch .+\)\.\n\Z",
    re.DOTALL,
)


@pytest.mark.parametrize("which", ["results", "hub_results"])
def test_every_section_is_filled(which, request):
    card = render_card(request.getfixturevalue(which), "me/adapter")
    assert SECTIONS.match(card), card
    assert not re.search(r"\{\{|\}\}|\{%|None|nan|undefined", card)
    assert "\n\n\n\n" not in card


def test_a_source_of_the_hub_is_the_base_model_of_an_adapter(hub_results):
    card = ModelCard(render_card(hub_results, "me/adapter"))
    data = card.data.to_dict()
    assert data["base_model"] == ON_THE_HUB
    assert data["base_model_relation"] == "adapter"
    assert data["library_name"] == "hf_reprogram"
    assert data["pipeline_tag"] == "text-classification"
    assert data["datasets"] == ["nyu-mll/glue"]
    assert data["metrics"] == ["accuracy"]
    assert {"model-reprogramming", "warp"} <= set(data["tags"])
    assert f"https://huggingface.co/{ON_THE_HUB}" in card.text
    assert "(revision 722cf37b1afa)" in card.text
    assert "A note on the data." in card.text


def test_a_source_folder_and_a_file_are_not_claimed_to_be_on_the_hub(results):
    card = ModelCard(render_card(results, "me/adapter"))
    data = card.data.to_dict()
    assert "base_model" not in data
    assert "base_model_relation" not in data
    assert "datasets" not in data
    assert "huggingface.co/bert" not in card.text


def test_no_path_of_the_machine_that_trained_is_published(results, finished):
    card = render_card(results, "me/adapter")
    assert str(finished.folder.parent) not in card
    assert str(finished.csv.parent) not in card


def test_scores_are_evaluation_results(hub_results):
    (entry,) = ModelCard(render_card(hub_results, "me/adapter")).data.eval_results
    assert entry.metric_type == "accuracy"
    assert entry.metric_value == pytest.approx(hub_results["test"]["accuracy"]["mean"], abs=1e-4)
    assert (entry.dataset_type, entry.dataset_config, entry.dataset_split) == ("nyu-mll/glue", "sst2", "validation")


def test_metrics_are_called_as_on_the_hub(hub_results):
    numbers = {"mean": 0.5, "std": 0.1, "n": 2}
    hub_results["task"]["metrics"] = ["matthews", "pearson", "spearman"]
    hub_results["test"] = hub_results["validation"] = dict.fromkeys(hub_results["task"]["metrics"], numbers)
    assert card_metadata(hub_results, "me/adapter").metrics == ["matthews_correlation", "pearsonr", "spearmanr"]


def test_the_metadata_block_is_plain_yaml(hub_results):
    block = render_card(hub_results, "me/adapter").split("---\n")[1]
    assert yaml.safe_load(block)["base_model"] == ON_THE_HUB


def test_the_tables_hold_the_measured_numbers(hub_results):
    card = render_card(hub_results, "me/adapter")
    test = hub_results["test"]["accuracy"]
    assert f"| WARP | {100 * test['mean']:.1f} ± {100 * test['std']:.1f} | {hub_results['trainable']} |" in card
    assert "| majority class | 50.0 ± 0.0 | 0 |" in card
    assert "| linear probe |" in card
    assert "| 0.03 | 30.0 |" in card  # the sweep
    assert "| learning_rate | `0.03` |" in card
    assert "| method.num_prompts | `3` |" in card


def test_pairs_are_shown_as_pairs(results):
    assert 'classify("A text.")' in render_card(results, "me/adapter")
    results["task"]["pair"] = True
    assert '"text_pair": "A second one."' in render_card(results, "me/adapter")


def test_names_with_markup_stay_text(results):
    results["task"]["labels"] = ["{{ 7 * 7 }}", "a\nb"]
    results["method"]["template"] = "1 $A | $B"
    card = render_card(results, "me/adapter")
    assert "{{ 7 * 7 }}, a b" in card
    assert r"| method.template | `1 $A \| $B` |" in card


def test_the_card_is_written_beside_the_adapter(results, tmp_path, finished):
    assert write_card(results, tmp_path).read_text() == render_card(results, tmp_path.name)
    assert (finished.folder / "README.md").read_text() == render_card(results, "films-adapter")


# ------------------------------------------------------------------------------------------------- other problems

KINDS = {
    "several": ({"problem": "multi_label_classification", "metrics": ["roc_auc"]}, {"tokenizer": "smiles"}),
    "number": ({"problem": "regression", "metrics": ["rmse", "pearson"], "labels": []}, {"tokenizer": "smiles"}),
    "letters": ({"problem": "token_classification"}, {"tokenizer": "residues"}),
    "classes": ({"problem": "single_label_classification"}, {"tokenizer": "kmers"}),
    "hidden": (
        {"problem": "infilling", "metrics": ["recovery", "perplexity"], "labels": []},
        {"name": "reprogbert", "tokenizer": "residues"},
    ),
}


@pytest.fixture(params=KINDS)
def other(request, results):
    """Results as of R2DL or ReprogBERT on another kind of problem; its name and they."""
    task, method = KINDS[request.param]
    results["task"] |= {"pair": False, **task}
    results["method"] = {"name": "r2dl", **method}
    numbers = {"mean": 0.5, "std": 0.1, "n": 2}
    results["test"] = results["validation"] = dict.fromkeys(results["task"]["metrics"], numbers)
    results["start"] = {"test": results["test"]}
    results["gain"] = {key: {"mean": 0.02, "error": 0.01, "n": 2} for key in results["task"]["metrics"]}
    results["baselines"] = {}
    return request.param, results


def test_the_pipeline_is_that_of_the_problem(other):
    kind, results = other
    tag = {"letters": "token-classification", "hidden": "fill-mask"}.get(kind, "text-classification")
    card = ModelCard(render_card(results, "me/adapter"))
    assert card.data.to_dict()["pipeline_tag"] == tag
    assert {entry.task_type for entry in card.data.eval_results} == {tag}
    assert f'pipeline("{tag}", model="me/adapter")' in card.text
    assert "the tokenizer of the target's own alphabet" in card.text
    assert "prompt" not in card.text.split("## Training")[0]


def test_the_example_runs_on_an_adapter_of_its_kind(other, source_folder, tmp_path):
    """As it stands in the card, on an adapter in the folder that it names."""
    kind, results = other
    texts = ["CC(=O)Oc1ccccc1", "ACGT"] if kind in ("several", "number") else None
    labels = None if kind in ("number", "hidden") else ["bad", "good"]
    model, processor = reprogram(
        source_folder("bert"), results["method"]["name"], labels, problem_type=results["task"]["problem"],
        tokenizer=results["method"]["tokenizer"], texts=texts,
    )  # fmt: skip
    for part in (model, processor):
        part.save_pretrained(tmp_path)
    example = re.search(r"```python\n(.+?)```", render_card(results, str(tmp_path)), re.DOTALL)[1]
    lines = [line for line in example.splitlines() if line and not line.startswith(" ")]
    names: dict = {}
    exec("\n".join(lines[:-1]), names)
    answer = eval(lines[-1].partition("  #")[0], names)
    if kind == "letters":
        assert [entry["word"] for entry in answer] == list("MKTAYIAKQR")
    elif kind == "hidden":
        assert re.fullmatch("MKTAY[A-Z]AKQR", answer[0])
    elif kind == "several":
        assert {entry["label"] for entry in answer} == {"bad", "good"}
    else:
        assert len(answer) == 1


def test_what_is_predicted_is_said(other):
    kind, results = other
    said = {
        "several": "Labels, each of which is present, absent or missing: bad, good.",
        "number": "The label is a number.",
        "letters": "Labels per letter: bad, good.",
        "classes": "Labels: bad, good.",
        "hidden": "The model predicts hidden tokens.",
    }
    assert f"test examples. {said[kind]}" in render_card(results, "me/adapter")


def test_units_are_said(other):
    kind, results = other
    said = {
        "number": "over 2 seeds, in percent, rmse as it is, on the test split",
        "hidden": "over 2 seeds, in percent, perplexity as it is, on the test split",
    }
    assert said.get(kind, "over 2 seeds, in percent, on the test split") in render_card(results, "me/adapter")
    assert "where rmse was 0.50 ± 0.10" in render_card(results, "me/adapter") or kind != "number"


def test_results_that_do_not_say_their_problem_are_of_classes_or_a_number(results):
    del results["task"]["problem"]
    assert 'classify("A text.")\n' in render_card(results, "me/adapter")
    results["task"]["labels"] = []
    assert "The label is a number." in render_card(results, "me/adapter")


def test_the_folder_of_a_given_tokenizer_is_not_published(results):
    results["method"]["tokenizer"] = "/home/somebody/tokenizers/mine"
    card = render_card(results, "me/adapter")
    assert "somebody" not in card
    assert "| method.tokenizer | `mine` |" in card


# ------------------------------------------------------------------------------------------------ out of distribution


@pytest.fixture
def shifted(results):
    """Results with reports of two seeds on a covariate set, a corruption at two levels and two semantic sets."""
    labels = [0, 1, 1, 0]
    made = []
    for right in (4, 3):
        logits = np.eye(2)[[*labels[:right], *(1 - label for label in labels[right:])]] * 3
        corrupted = {"jpeg": dict.fromkeys((1, 5), (logits[:2], labels[:2]))}
        semantic = {"noise": np.zeros((3, 2)), "tex|tures": logits[:1]}
        made.append(ood_report(logits, labels, {"sketches": (logits, labels)}, corrupted, semantic, tpr=0.9))
    sets = {"covariate": {"sketches": {"dataset": "me/sketches", "name": None}},
            "semantic": {name: {"dataset": "images", "name": "dtd"} for name in ("noise", "tex|tures")}}  # fmt: skip
    results["ood"] = {"report": average(made), "sets": sets}
    results["baselines"]["linear_probe"]["ood"] = average(made[1:])
    return results


def test_the_table_of_shifts_has_a_row_for_every_classifier_that_was_asked(shifted):
    card = ModelCard(render_card(shifted, "me/adapter")).text
    section = card.split("## Out of distribution")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    assert rows[0] == "|  | ID | sketches | corruptions | FPR90 | AUROC | AUPR | aggregate |"
    assert [row.split(" | ")[0] for row in rows[2:]] == ["| linear probe", "| WARP"]
    assert rows[2].startswith("| linear probe | 75.0 | 75.0 | 100.0 | ")
    assert rows[3].startswith("| WARP | 87.5 ± 17.7 | 87.5 ± 17.7 | 100.0 ± 0.0 | ")
    assert "The OOD score is msp" in section
    assert "Images of the same classes: sketches (`me/sketches`, 4)." in section
    assert "Images of other classes: noise (`images` dtd, 3), tex|tures (`images` dtd, 1)." in section
    assert "Corruptions: jpeg, levels 1, 5, of 2 test images." in section


def test_a_swept_alpha_is_a_row_of_its_own(shifted):
    report = shifted["ood"]["report"]
    entries = [{"alpha": alpha, "validation": {}, "report": report} for alpha in (0.0, 0.4)]
    shifted["ood"] |= {"alpha": 0.0, "alphas": entries, "chosen_alpha": 0.4}
    card = render_card(shifted, "me/adapter")
    assert "| WARP | 87.5" in card
    assert "| Residual WARP, alpha 0.4 | 87.5" in card
    assert "The values 0, 0.4 of alpha were tried; 0.4 was the best on validation of those between 0 and 1." in card
    shifted["ood"]["chosen_alpha"] = 0.0
    card = render_card(shifted, "me/adapter")
    assert "WARP, alpha" not in card
    assert "The values 0, 0.4 of alpha were tried; 0 was the best on validation." in card


def test_without_shifts_there_is_no_such_section(results):
    assert "Out of distribution" not in render_card(results, "me/adapter")
