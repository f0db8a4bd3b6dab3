"""Pushing: adapter files alone, with a card that names where they will be."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from huggingface_hub import ModelCard
from huggingface_hub.utils import filter_repo_objects

from hf_reprogram import InputError
from hf_reprogram.hub.push import push_adapter


class FakeHub:
    """Stands in for `HfApi`: records what would be uploaded."""

    def __init__(self):
        self.created, self.files, self.card, self.commits = None, None, None, []

    def create_repo(self, repo_id, **options):
        self.created = (repo_id, options)
        return SimpleNamespace(repo_id=repo_id)

    def upload_folder(self, *, folder_path, repo_id, allow_patterns, ignore_patterns=None, **options):
        names = [str(path.relative_to(folder_path)) for path in folder_path.rglob("*") if path.is_file()]
        self.files = {*filter_repo_objects(names, allow_patterns=allow_patterns, ignore_patterns=ignore_patterns)}
        self.commits.append(options)
        pr = "https://huggingface.co/me/adapter/discussions/1" if options["create_pr"] else None
        return SimpleNamespace(
            commit_url="https://huggingface.co/me/adapter/commit/1", pr_url=pr, pr_revision="refs/pr/1"
        )

    def upload_file(self, *, path_or_fileobj, path_in_repo, repo_id, **options):
        assert path_in_repo == "README.md"
        self.card = path_or_fileobj.decode()
        self.commits.append(options)


@pytest.fixture
def hub(monkeypatch):
    fake = FakeHub()
    monkeypatch.setattr("huggingface_hub.HfApi", lambda *_, **__: fake)
    return fake


def test_only_the_adapters_own_files_are_uploaded(hub, finished):
    address = push_adapter(finished.folder, "me/adapter")
    assert address == "https://huggingface.co/me/adapter/commit/1"
    assert hub.created == ("me/adapter", {"private": False, "exist_ok": True})
    assert hub.files == {
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "results.json", "recipe.json",
        "learning_curve.png", "confusion_matrix.png",
    }  # fmt: skip


def test_the_card_names_the_repository(hub, finished):
    push_adapter(finished.folder, "me/adapter")
    assert 'model="me/adapter"' in hub.card
    assert 'from_pretrained("me/adapter"' in hub.card
    assert ModelCard(hub.card).data.library_name == "hf_reprogram"
    assert finished.folder.name not in hub.card


def test_an_adapter_without_results_is_pushed_with_the_card_it_has(hub, finished, tmp_path):
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((finished.folder / name).read_bytes())
    (tmp_path / "README.md").write_text("mine")
    push_adapter(tmp_path, "me/adapter")
    assert hub.card is None
    assert "README.md" in hub.files


def test_options_are_passed_on(hub, finished):
    address = push_adapter(finished.folder, "me/adapter", private=True, create_pr=True, message="Hello")
    assert address.endswith("/discussions/1")
    assert hub.created[1]["private"]
    assert hub.commits[0] == {"revision": None, "create_pr": True, "commit_message": "Hello"}
    assert hub.commits[1]["revision"] == "refs/pr/1"  # the card joins the pull request


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
        push_adapter(finished.folder, name)
    assert hub.created is None


def test_without_a_network_it_is_one_sentence(finished):
    with pytest.raises(InputError, match="Pushing to 'me/adapter' failed") as refused:
        push_adapter(finished.folder, "me/adapter")
    assert "\n" not in str(refused.value)
