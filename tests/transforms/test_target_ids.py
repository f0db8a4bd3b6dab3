"""Batches of token ids that do not come from the adapter's own tokenizer are refused."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoTokenizer, pipeline

from hf_reprogram import InputError, reprogram
from hf_reprogram.first_batch import FirstBatch
from hf_reprogram.transforms.target_ids import check_target_ids

ADAPTERS = {
    "warp": ("warp", "bert", {"num_prompts": 3}),
    "warp, no mask": ("warp", "gpt2", {"num_prompts": 3}),
    "r2dl": (
        "r2dl",
        "bert",
        {"tokenizer": "characters", "alphabet": list("abcdefghijklmnopqrstuvwxyz"), "sparsity": 4},
    ),
    "neekhara": ("neekhara", "bert-classifier", {"tokenizer": "residues"}),
}


@pytest.mark.parametrize("name", ADAPTERS)
def test_the_sources_own_tokenizer_is_refused_by_forward_and_by_a_pipeline(name, source_folder):
    method, family, options = ADAPTERS[name]
    model, processor = reprogram(source_folder(family), method, labels=2, **options)
    theirs = AutoTokenizer.from_pretrained(source_folder(family))
    with torch.no_grad():
        model(**processor(["good film", "bad"], padding=True, return_tensors="pt"))
    with pytest.raises(InputError, match="with the processor that came with this adapter"):
        model(**theirs("good film", return_tensors="pt"))
    with pytest.raises(InputError, match="with the processor that came with this adapter"):
        pipeline("text-classification", model=model, tokenizer=theirs)("good film")


def test_the_frame_is_looked_for_where_there_is_no_padding():
    ids = torch.tensor([[7, 1, 8, 9, 9], [9, 7, 8, 9, 9], [9, 9, 9, 9, 9]])
    mask = torch.tensor([[1, 1, 1, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 0, 0]])
    check_target_ids({"input_ids": ids, "attention_mask": mask}, 10, begins_with=7, ends_with=8)
    check_target_ids({"input_ids": ids}, 10)
    with pytest.raises(InputError, match="Row 0 of the batch ends with token id 9 instead of 8"):
        check_target_ids({"input_ids": ids[:1]}, 10, begins_with=7, ends_with=8)


class OnGpu:
    """All that is asked of a batch on an accelerator."""

    device = torch.device("cuda")


def test_on_an_accelerator_the_first_batch_of_each_phase_is_checked():
    first, module = FirstBatch(), torch.nn.Identity()
    assert [first.due(module, OnGpu()) for _ in range(3)] == [True, False, False]
    assert [first.due(module.eval(), OnGpu()) for _ in range(2)] == [True, False]
    assert first.due(module.train(), OnGpu())
    assert not first.due(module, torch.empty(1, device="meta"))
