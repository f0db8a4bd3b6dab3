"""A data set may be an object in memory wherever the name of one goes."""

from __future__ import annotations

from copy import deepcopy

import pandas as pd
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, IterableDataset, Value

from hf_reprogram import InputError
from hf_reprogram.experiments.recipe import make_recipe
from hf_reprogram.tasks.load import load_task
from hf_reprogram.tasks.memory import held
from hf_reprogram.tasks.options import TaskOptions

COLUMNS = {"text": ["good", "bad"] * 10, "label": [1, 0] * 10}
ROWS = Dataset.from_dict(
    COLUMNS, features=Features({"text": Value("string"), "label": ClassLabel(names=["no", "yes"])})
)


@pytest.mark.parametrize(
    ("data", "labels", "sizes"),
    [
        (ROWS, ["no", "yes"], (16, 4)),
        (pd.DataFrame(COLUMNS, index=range(5, 25)), ["0", "1"], (16, 4)),
        (DatasetDict(train=ROWS, test=ROWS.select(range(6))), ["no", "yes"], (20, 6)),
        ({"train": pd.DataFrame(COLUMNS), "test": Dataset.from_dict(COLUMNS)}, ["0", "1"], (20, 20)),
    ],
    ids=["Dataset", "DataFrame", "DatasetDict", "dictionary"],
)
def test_data_in_memory_are_a_task(data, labels, sizes):
    task = load_task(TaskOptions(data))
    assert (task.labels, (len(task.train), len(task.test))) == (labels, sizes)
    assert {(row["text"], row["label"]) for row in task.train} == {("good", 1), ("bad", 0)}
    assert task.title.startswith("data in memory (")


def test_a_recipe_records_a_name_of_the_data():
    recipe = make_recipe({"source": "unused", "method": "warp", "task": {"dataset": ROWS, "text": "text"}})
    assert str(recipe.task["dataset"]) == f"data in memory (20 rows, {ROWS._fingerprint})"
    assert deepcopy(recipe.task)["dataset"].splits["train"] is ROWS
    assert load_task(recipe.with_values({"method.num_prompts": 3}).task_options).labels == ["no", "yes"]


def test_other_objects_are_refused():
    with pytest.raises(
        InputError, match=r"task\.dataset is 3: give a Hub id, a file, a folder, a Dataset or a DataFrame"
    ):
        TaskOptions(3)
    with pytest.raises(InputError, match="The split 'test' of the dataset is of type list"):
        held({"train": ROWS, "test": [1]})
    with pytest.raises(InputError, match="The dataset is streamed"):
        held(IterableDataset.from_generator(lambda: iter([{"a": 1}])))
