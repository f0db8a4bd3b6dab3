"""What inspection says of an adapter is so."""

from __future__ import annotations

import json

import pytest
import torch

from hf_reprogram.inspection.adapter import describe, inspect_adapter, inspect_model
from hf_reprogram.inspection.confusions import confusion_lines
from hf_reprogram.sources.probe import nearest_tokens
from hf_reprogram.transforms import TRANSFORMS
from hf_reprogram.transforms.base import InputTransform
from hf_reprogram.transforms.prompt_slots import PromptSlots
from tests.support import tiny, words


def test_counts_template_and_labels(finished):
    found = inspect_adapter(str(finished.folder))
    json.dumps(found)
    assert found["trainable"] == 162
    assert found["parts"] == {"transform.prompts": 96, "mapping.weight": 64, "mapping.bias": 2}
    assert (found["method"], found["kind"], found["reads"]) == ("warp", "masked_lm", "mask")
    assert found["labels"] == ["bad", "good"]
    assert [word for word in found["template"].split() if word in ("[MASK]", *(f"<|prompt_{i}|>" for i in range(3)))] == [
        "<|prompt_0|>", "<|prompt_1|>", "[MASK]", "<|prompt_2|>"
    ]  # fmt: skip


def test_prompts_that_are_words_are_nearest_to_these_words(source_folder):
    model, processor = tiny.make_adapter(
        source_folder("bert"), prompt_init="words", init_words=["good", "dull"], num_prompts=2,
        verbalizer={"bad": "bad", "good": "great"},
    )  # fmt: skip
    found = inspect_model(model, processor, top=3)
    assert [tokens[0] for tokens in found["prompts"]] == [("good", 1.0), ("dull", 1.0)]
    assert [tokens[0] for tokens in found["classes"]] == [("bad", 1.0), ("great", 1.0)]
    assert all(len(tokens) == 3 for tokens in found["prompts"])


def test_nearest_tokens_by_hand():
    table = torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    processor = words.wordpiece()
    ((best, cosine), second) = nearest_tokens(torch.tensor([[0.0, 5.0]]), table, processor, 2)[0]
    assert (best, cosine) == (processor.convert_ids_to_tokens(1), 1.0)
    assert second == (processor.convert_ids_to_tokens(2), pytest.approx(0.707, abs=1e-3))


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_every_kind_of_source_can_be_inspected(family, source_folder):
    model, processor = tiny.make_adapter(source_folder(family), prompt_init="normal")
    before = model.transform.prompts.detach().clone()
    found = inspect_model(model, processor)
    assert found["effect"]["gradient"] > 1e-6
    assert found["effect"]["logit_change"] > 1e-6
    assert torch.equal(model.transform.prompts, before)
    assert model.transform.prompts.grad is None
    assert ("classes" in found) == (model.source.spec.kind != "encoder")
    assert describe(found).count("\n  prompt ") == 3


def test_an_adapter_without_prompts_can_be_inspected(source_folder):
    found = inspect_model(*tiny.make_adapter(source_folder("bert"), num_prompts=0))
    assert "prompts" not in found
    assert "effect" not in found
    assert "mapping.weight 64" in describe(found)


def test_prompts_that_cannot_matter_are_noticed(source_folder):
    model, processor = tiny.make_adapter(source_folder("gpt2"), prompt_init="normal")
    with torch.no_grad():
        model.mapping.weight.zero_()
    assert inspect_model(model, processor)["effect"] == {"gradient": 0, "logit_change": 0}
    assert "The prompts do not reach the output" in describe(inspect_model(model, processor))


def test_the_description_names_the_source_and_numbers(finished):
    text = describe(inspect_adapter(str(finished.folder)))
    assert text.startswith("warp on ")
    assert "trained numbers: 162 (transform.prompts 96, mapping.weight 64, mapping.bias 2)" in text
    assert "labels: bad, good" in text


def test_the_confusions_on_test_stand_beside_the_rest(finished):
    found = inspect_adapter(str(finished.folder))
    counts = finished.results["seeds"][str(finished.results["best_seed"])]["confusion"]
    assert found["confusion"] == {"labels": ["bad", "good"], "counts": counts}
    right = counts[0][0] + counts[1][1]
    text = describe(found)
    assert f"test: {right} of {sum(map(sum, counts))} right (one row per true class" in text
    assert f"  bad  {counts[0][0]:>3} {counts[0][1]:>3}\n  good {counts[1][0]:>3} {counts[1][1]:>3}" in text


def test_of_many_classes_the_commonest_mistakes_are_named():
    counts = [[0] * 20 for _ in range(20)]
    counts[3][3], counts[3][7], counts[5][1] = 1000, 12, 40
    assert confusion_lines([f"class {i}" for i in range(20)], counts) == [
        "test: 1,000 of 1,052 right; the most frequent mistakes:",
        "      40  class 5 taken for class 1",
        "      12  class 3 taken for class 7",
    ]


class Curve:
    """A drawing that is neither views nor a heat map, as a transform of sounds would return."""

    def plot(self, path, title):
        """Writes its title as text."""
        path.write_text(title)
        return path


def test_a_transform_may_draw_what_it_likes(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(PromptSlots, "picture", lambda self, probe: Curve(), raising=True)
    inspect_adapter(str(finished.folder), plot=tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_text().startswith("warp on ")


@pytest.mark.parametrize("name", TRANSFORMS.names())
def test_a_transform_names_what_it_draws(name):
    draws = TRANSFORMS[name].picture is not InputTransform.picture
    assert bool(TRANSFORMS[name].drawing) == draws
