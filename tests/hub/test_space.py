"""Spaces: an app for what an adapter takes, which loads the adapter from its repository."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
import yaml

from hf_reprogram import InputError, Programs
from hf_reprogram.cli import main
from hf_reprogram.hub import push
from hf_reprogram.hub.space import space_files
from tests.hub.test_push import SOURCE, FakeHub
from tests.support import adapters

NAMES = {"app.py", "requirements.txt", "README.md"}


class Anything:
    """Stands in for a part of Gradio."""

    made: list = []

    def __init__(self, *args, **options):
        self.options = options
        Anything.made.append(self)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return False

    def click(self, function, inputs, answer, api_name):
        """Keep what the button does."""
        self.options |= {"function": function, "inputs": inputs, "answer": answer, "api_name": api_name}


@pytest.fixture
def gradio(monkeypatch):
    """A module `gradio` that keeps what is made of its parts."""
    module = ModuleType("gradio")
    names = "Blocks Markdown Row Column Textbox Image Audio Button Label JSON Accordion Code"
    for name in names.split():
        setattr(module, name, type(name, (Anything,), {}))
    module.Error = type("Error", (Exception,), {})
    monkeypatch.setattr(Anything, "made", [])
    monkeypatch.setitem(sys.modules, "gradio", module)
    return module


@pytest.fixture
def hub(monkeypatch):
    fake = FakeHub()
    monkeypatch.setattr("huggingface_hub.HfApi", lambda *_, **__: fake)
    return fake


def started(app, monkeypatch, adapter, source):
    """The names of the app, run on copies of its adapter and source."""
    monkeypatch.setenv("ADAPTER", adapter)
    monkeypatch.setenv("SOURCE", source)
    names = {"__name__": "app"}
    exec(compile(app, "app.py", "exec"), names)
    return names


@pytest.mark.parametrize(
    ("family", "one", "part"),
    [
        ("bert", "films", "Textbox"),
        ("vit", "words", "Image"),
        ("wav2vec2", "words", "Audio"),
        ("wav2vec2", "series", "Textbox"),
        ("vit", "table", "Textbox"),
    ],
)
def test_the_app_answers_as_the_adapter_does(family, one, part, gradio, monkeypatch, tmp_path):
    source = adapters.source(tmp_path / "source", family)
    folder = adapters.save(tmp_path / "adapter", source, family, one)
    files = push.files_of_space(folder, "me/adapter", "me/demo", SOURCE)
    assert {*files} == NAMES
    app = started(files["app.py"], monkeypatch, folder, source)
    (button,) = (made for made in Anything.made if "function" in made.options)
    (asked,) = button.options["inputs"]
    assert type(asked).__name__ == part
    assert type(button.options["answer"]).__name__ == "Label"
    example = adapters.ADAPTERS[family][one][3][0]
    found = app["classify"](example)
    programs = Programs(source) if family != "wav2vec2" else Programs.recorded_by(folder, source)
    programs.add("one", folder)
    (expected,) = programs.predict([("one", example)])
    assert max(found, key=found.get) == expected["label"]
    assert found[expected["label"]] == pytest.approx(expected["score"])
    assert sum(found.values()) == pytest.approx(1)
    with pytest.raises(gradio.Error, match="input"):
        app["classify"](object())
    assert any(type(made).__name__ == "Code" for made in Anything.made)  # the program and its labels


def test_a_regression_answers_with_its_number(gradio, monkeypatch, tmp_path):
    source = adapters.source(tmp_path / "source", "bert")
    folder = adapters.save(tmp_path / "adapter", source, "bert", "grade")
    app = started(push.files_of_space(folder, "me/grade", "me/demo", SOURCE)["app.py"], monkeypatch, folder, source)
    assert {*app["classify"]("a film")} == {"value"}


def test_a_space_is_pushed_in_one_commit_and_loads_the_adapter_by_its_name(hub, finished):
    address = push.push_space(finished.folder, "me/films", "me/films-demo", private=True, source=SOURCE)
    assert address == "https://huggingface.co/me/films-demo/commit/1"
    options = {"private": True, "exist_ok": True, "repo_type": "space", "space_sdk": "gradio"}
    assert hub.created == ("me/films-demo", options)
    assert hub.options["repo_type"] == "space"
    assert {*hub.files} == NAMES
    app = hub.files["app.py"].decode()
    assert "os.environ.get(\"ADAPTER\", 'me/films')" in app
    assert hub.files["requirements.txt"].startswith(b"hf_reprogram[plots]==")
    front = yaml.safe_load(hub.files["README.md"].decode().split("---")[1])
    assert front["sdk"] == "gradio"
    assert front["app_file"] == "app.py"
    assert front["models"] == ["me/films", SOURCE]


def test_no_path_and_no_token_is_in_a_space(finished, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    files = push.files_of_space(finished.folder, "me/films", "me/demo", SOURCE)
    for content in files.values():
        assert "hf_secret" not in content
        assert str(finished.folder) not in content
        words = content.replace('"', " ").split()
        assert not any(word.startswith("/") and word != "/" for word in words)


def test_a_dry_run_writes_what_would_be_pushed_and_pushes_nothing(hub, finished, tmp_path, capsys):
    arguments = ["push", str(finished.folder), "me/films", "--source", SOURCE, "--space", "me/demo", "--dry-run"]
    with pytest.raises(SystemExit) as end:
        main([*arguments, str(tmp_path / "out")])
    assert not end.value.code
    assert hub.created is None
    assert capsys.readouterr().out.split() == [str(tmp_path / "out" / part) for part in ("adapter", "space")]
    assert {path.name for path in (tmp_path / "out" / "space").iterdir()} == NAMES
    push.push_adapter(finished.folder, "me/films", source=SOURCE)
    written = {path.name: path.read_bytes() for path in (tmp_path / "out" / "adapter").iterdir()}
    assert written == hub.files
    with pytest.raises(InputError, match="exists already: give a new one"):
        push.write_instead(tmp_path / "out", finished.folder, "me/films", source=SOURCE)


@pytest.mark.parametrize("space", ["demo", "me/a b", "me/'''", "/demo"])
def test_a_space_that_cannot_be_is_refused_before_the_adapter_is_pushed(space, hub, finished, capsys):
    with pytest.raises(SystemExit) as end:
        main(["push", str(finished.folder), "me/films", "--source", SOURCE, "--space", space])
    assert end.value.code == 2
    assert "is not the name of a repository: write owner/name" in capsys.readouterr().err
    assert hub.created is None


@pytest.mark.parametrize(
    ("source", "reads", "message"),
    [("", "features", "known to its user alone"), (SOURCE, "decoder", "fills in masked tokens")],
)
def test_adapters_that_a_space_cannot_run_are_refused(source, reads, message):
    config = {"transform": {"type": "prompt_slots"}, "mapping": {"reads": reads}, "id2label": {"0": "no", "1": "yes"}}
    with pytest.raises(InputError, match=message):
        space_files(config, "me/films", source, "me/demo")
