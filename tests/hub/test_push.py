"""Pushing: adapter files alone, with a card that names where they will be."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import pytest
from huggingface_hub import ModelCard

from hf_reprogram import InputError
from hf_reprogram.hub.push import push_adapter
from tests.support import runs


class FakeHub:
    """Stands in for `HfApi`: records what would be uploaded."""

    def __init__(self):
        self.created, self.files, self.options = None, {}, None

    def create_repo(self, repo_id, **options):
        self.created = (repo_id, options)
        return SimpleNamespace(repo_id=repo_id)

    def create_commit(self, repo_id, operations, **options):
        for operation in operations:
            with operation.as_file() as file:
                self.files[operation.path_in_repo] = file.read()
        self.options = options
        address = f"https://huggingface.co/{repo_id}"
        pr = f"{address}/discussions/1" if options.get("create_pr") else None
        return SimpleNamespace(commit_url=f"{address}/commit/1", pr_url=pr)


@pytest.fixture
def hub(monkeypatch):
    fake = FakeHub()
    monkeypatch.setattr("huggingface_hub.HfApi", lambda *_, **__: fake)
    return fake


SOURCE = "google-bert/bert-base-uncased"


def test_the_adapters_own_files_are_uploaded_in_one_commit(hub, finished):
    address = push_adapter(finished.folder, "me/adapter", source=SOURCE)
    assert address == "https://huggingface.co/me/adapter/commit/1"
    assert hub.created == ("me/adapter", {"private": False, "exist_ok": True})
    assert set(hub.files) == {
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "results.json", "README.md",
        "recipe.json", "learning_curve.png", "confusion_matrix.png",
    }  # fmt: skip
    assert hub.files["model.safetensors"] == runs.weights(finished.folder)


def test_the_source_is_named_as_others_find_it_and_nothing_here_changes(hub, finished):
    before = (finished.folder / "config.json").read_bytes()
    push_adapter(finished.folder, "me/adapter", source=SOURCE)
    ours, theirs = json.loads(before), json.loads(hub.files["config.json"])
    assert theirs["source"].pop("name") == SOURCE
    del ours["source"]["name"]
    assert theirs == ours
    assert (finished.folder / "config.json").read_bytes() == before
    card = ModelCard(hub.files["README.md"].decode())
    assert card.data.base_model == SOURCE


def test_no_path_of_this_machine_is_uploaded(hub, finished):
    push_adapter(finished.folder, "me/adapter", source=SOURCE)
    for name, content in hub.files.items():
        assert str(finished.csv.parent).encode() not in content, name
        assert str(finished.folder.parent).encode() not in content, name


def test_no_path_of_an_option_is_uploaded(hub, finished, tmp_path):
    folder = shutil.copytree(finished.folder, tmp_path / "copy")
    for name in ("config.json", "recipe.json", "results.json"):
        content = json.loads((folder / name).read_text())
        content["method"] |= {"mask": str(tmp_path / "mask.png"), "tokenizer": str(tmp_path)}
        (folder / name).write_text(json.dumps(content))
    push_adapter(folder, "me/adapter", source=SOURCE)
    assert not any(str(tmp_path.parent).encode() in content for content in hub.files.values())
    for name in ("config.json", "recipe.json", "results.json"):
        assert json.loads(hub.files[name])["method"]["mask"] == "mask.png"


def test_no_path_of_a_set_outside_of_the_distribution_is_uploaded(hub, finished, tmp_path):
    folder = shutil.copytree(finished.folder, tmp_path / "adapter")
    recipe = json.loads((folder / "recipe.json").read_text())
    here = {"dataset": str(tmp_path / "textures")}
    recipe["ood"] = {
        "covariate": {"shift": dict(here)},
        "semantic": {"dtd": {"dataset": "images", "name": "dtd"}, "own": here},
    }
    (tmp_path / "textures").mkdir()
    (folder / "recipe.json").write_text(json.dumps(recipe))
    push_adapter(folder, "me/adapter", source=SOURCE)
    ood = json.loads(hub.files["recipe.json"])["ood"]
    assert ood["covariate"]["shift"]["dataset"] == ood["semantic"]["own"]["dataset"] == "textures"
    assert ood["semantic"]["dtd"] == {"dataset": "images", "name": "dtd"}


def test_the_card_names_the_repository(hub, finished):
    push_adapter(finished.folder, "me/adapter", source=SOURCE)
    card = hub.files["README.md"].decode()
    assert 'model="me/adapter"' in card
    assert 'from_pretrained("me/adapter"' in card
    assert finished.folder.name not in card


def test_an_adapter_on_a_folder_asks_what_it_is_on_the_hub(hub, finished):
    with pytest.raises(InputError, match="which others do not have: name it on the Hub with source=owner/name"):
        push_adapter(finished.folder, "me/adapter")
    assert hub.created is None


def test_an_adapter_without_results_is_pushed_with_the_card_it_has(hub, finished, tmp_path):
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((finished.folder / name).read_bytes())
    (tmp_path / "README.md").write_text("mine")
    push_adapter(tmp_path, "me/adapter", source=SOURCE)
    assert hub.files["README.md"] == b"mine"


def test_options_are_passed_on(hub, finished):
    options = {"create_pr": True, "revision": "next"}
    address = push_adapter(finished.folder, "me/adapter", source=SOURCE, private=True, message="Hello", **options)
    assert address.endswith("/discussions/1")
    assert hub.created[1]["private"]
    assert hub.options == {"commit_message": "Hello", **options}


def test_a_folder_without_an_adapter_is_refused(hub, tmp_path):
    with pytest.raises(InputError, match=r"holds no adapter: config\.json is missing"):
        push_adapter(tmp_path, "me/adapter")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match=r"holds no adapter: model\.safetensors is missing"):
        push_adapter(tmp_path, "me/adapter")
    assert hub.created is None


@pytest.mark.parametrize("name", ["adapter", "a/b/c"])
def test_a_name_that_is_no_repository_is_refused(name, hub, finished):
    with pytest.raises(InputError, match="write owner/name"):
        push_adapter(finished.folder, name, source=SOURCE)
    assert hub.created is None


def test_without_a_network_it_is_one_sentence(finished):
    with pytest.raises(InputError, match="Pushing to 'me/adapter' failed") as refused:
        push_adapter(finished.folder, "me/adapter", source=SOURCE)
    assert "\n" not in str(refused.value)


def test_a_token_in_the_recipe_is_never_uploaded(hub, finished, tmp_path):
    folder = shutil.copytree(finished.folder, tmp_path / "copy")
    recipe = json.loads((folder / "recipe.json").read_text())
    recipe["source"]["token"] = "hf_secret"
    (folder / "recipe.json").write_text(json.dumps(recipe))
    push_adapter(folder, "me/adapter", source=SOURCE)
    assert not any(b"hf_secret" in content for content in hub.files.values())
