"""The command line, as a user meets it: what is printed where, and how it ends."""

from __future__ import annotations

import errno
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from hf_reprogram import cli as command_line
from hf_reprogram import reprogram
from hf_reprogram.cli import main
from hf_reprogram.methods import METHODS
from hf_reprogram.modalities import every_modality
from tests.support import runs, tiny_vision, words


@pytest.fixture
def cli(capsys):
    """A function that runs a command and returns its exit code, stdout and stderr."""

    def run(*arguments: str):
        capsys.readouterr()
        try:
            main([str(argument) for argument in arguments])
            code = 0
        except SystemExit as end:
            code = end.code or 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def recipe_file(source_folder, csv_file, tmp_path):
    """A short recipe as YAML; keys may be replaced."""

    def write(**changes):
        values = {
            "source": source_folder("bert"),
            "method": {"name": "warp", "num_prompts": 2},
            "task": {"dataset": str(csv_file), "text": ["sentence"], "label": "kind", "max_train": 48},
            "training": {"learning_rate": 3e-2, "num_train_epochs": 1, "per_device_train_batch_size": 16},
            "baselines": ["majority"],
            **changes,
        }
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump(values))
        return path

    return write


def assert_refused(outcome, *named: str):
    """Exit code 2, one sentence on stderr that names the values, and nothing else."""
    code, out, err = outcome
    assert code == 2
    assert out == ""
    assert err.startswith("hf-reprogram: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    for value in named:
        assert value in err


def test_methods_lists_every_method_with_its_paper(cli):
    code, out, _ = cli("methods")
    assert code == 0
    for name in METHODS.names():
        assert f"{name}\n" in out
        assert METHODS[name].info.title in out
        assert METHODS[name].info.arxiv in out


def test_help_names_every_command(cli):
    code, out, _ = cli("--help")
    assert code == 0
    for command in ("methods", "train", "evaluate", "ood", "predict", "inspect", "push", "export", "serve"):
        assert command in out


# ----------------------------------------------------------------------------------------------------------- train


def test_train_prints_the_table_and_where_the_adapter_is(cli, recipe_file, tmp_path):
    code, out, _ = cli("train", recipe_file(), "--output", tmp_path / "run")
    assert code == 0
    assert "| majority class | 50.0" in out
    assert "| WARP |" in out
    assert f"in {tmp_path / 'run'}." in out
    assert (tmp_path / "run" / "model.safetensors").exists()


def test_overrides_reach_the_run(cli, recipe_file, tmp_path):
    code, _, _ = cli(
        "train", recipe_file(), "--output", tmp_path / "run", "--quiet", "--set", "method.num_prompts=0", "--set", "seeds=[4]"
    )  # fmt: skip
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert code == 0
    assert results["trainable"] == 66
    assert list(results["seeds"]) == ["4"]


def test_the_name_of_a_folder_may_hold_any_letter(cli, recipe_file, tmp_path):
    assert cli("train", recipe_file(), "--output", tmp_path / "out 😀", "--quiet")[0] == 0
    assert (tmp_path / "out 😀" / "results.json").is_file()


def test_a_run_is_resumed_when_asked_and_refused_otherwise(cli, recipe_file, tmp_path):
    output = ("--output", tmp_path / "run", "--quiet")
    assert cli("train", recipe_file(), *output)[0] == 0
    before = runs.weights(tmp_path / "run")
    assert_refused(cli("train", recipe_file(), *output), "holds a run already", "--resume")
    assert cli("train", recipe_file(), *output, "--resume")[0] == 0
    assert runs.weights(tmp_path / "run") == before


@pytest.mark.slow
def test_a_quiet_run_in_a_process_of_its_own_says_nothing_at_all(recipe_file, tmp_path):
    """Not even when it ends at one class, or when a library would like to report something."""
    data = runs.write_csv(tmp_path / "same.csv", 40, sentence=["the film"] * 40)
    path = recipe_file(
        task={"dataset": str(data), "text": "sentence", "label": "kind"},
        method={"name": "warp", "num_prompts": 2, "verbalizer": {"bad": "plots", "good": "good"}},
        baselines=["majority", "linear_probe"],
    )
    command = [sys.executable, "-m", "hf_reprogram", "train", str(path), "--output", str(tmp_path / "run"), "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert "one answer" in results["seeds"]["0"]["warning"]


def test_bad_input_in_a_process_of_its_own_is_one_line_and_exit_code_2(recipe_file):
    command = [sys.executable, "-m", "hf_reprogram", "train", str(recipe_file(trainin={}))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert_refused((done.returncode, done.stdout, done.stderr), "'trainin': did you mean 'training'")


BAD_RECIPES = [
    ({"source": "nobody/nothing"}, "'nobody/nothing'", "network"),
    ({"task": {"dataset": "nobody/nothing", "text": "a"}}, "'nobody/nothing'", "HF_REPROGRAM_DATA"),
    ({"training": {"learning_rat": 1}}, "'learning_rat': did you mean 'learning_rate'"),
    ({"training": {"lr_scheduler_type": "linaer"}}, "linaer"),
    ({"training": {"num_train_epochs": "many"}}, "many"),
    ({"training": {"learning_rate": "fast"}}, "fast"),
    ({"method": {"name": "warp", "num_prompts": 80}}, "64 positions"),
    ({"baselines": [{"prompt_tuning": {}}], "method": {"name": "warp", "num_prompts": 0}}, "prompt_tuning"),
]


@pytest.mark.parametrize(("changes", "named"), [(c, n) for c, *n in BAD_RECIPES], ids=lambda v: str(v)[:40])
def test_a_recipe_that_cannot_work_is_one_line(changes, named, cli, recipe_file, tmp_path):
    outcome = cli("train", recipe_file(**changes), "--output", tmp_path / "run", "--quiet")
    assert_refused(outcome, *named)
    assert not list(tmp_path.rglob("fit.json"))  # before any time was spent


def test_a_name_that_no_file_can_have_is_one_line(cli, recipe_file):
    assert_refused(
        cli("train", recipe_file(), "--output", "é" * 300, "--quiet"), "File name too long", "cannot be used"
    )


def test_a_dtype_that_torch_has_not_is_one_line(cli, finished):
    assert_refused(cli("evaluate", finished.folder, "--quiet", "--set", "source.dtype=FILE"), "'dtype'", "'FILE'")


def test_a_link_to_nowhere_is_not_overwritten(cli, csv_file, tmp_path):
    (tmp_path / "link.yaml").symlink_to(tmp_path / "nowhere")
    assert_refused(cli("init", csv_file, "--output", tmp_path / "link.yaml"), "is there already")
    (tmp_path / "bbbp.yaml").symlink_to(tmp_path / "nowhere")
    assert_refused(cli("recipes", "copy", "molecules/bbbp", tmp_path), "exists already")


def test_a_missing_recipe_is_one_line(cli, tmp_path):
    assert_refused(cli("train", tmp_path / "nowhere.yaml"), "nowhere.yaml", "No such file")


# ------------------------------------------------------------------------------------------------ evaluate, predict


def test_evaluate_prints_json(cli, finished):
    code, out, _ = cli("evaluate", finished.folder, "--quiet")
    best = finished.results["seeds"][str(finished.results["best_seed"])]
    assert code == 0
    assert json.loads(out)["accuracy"] == best["test"]["accuracy"]
    _, out, _ = cli("evaluate", finished.folder, "--quiet", "--split", "validation", "--set", "task.metrics=[f1]")
    assert set(json.loads(out)) == {"task", "split", "examples", "f1"}


def records(outcome) -> list[dict]:
    code, out, _ = outcome
    assert code == 0
    return [json.loads(line) for line in out.splitlines()]


def test_predict_takes_a_text_or_a_text_and_its_pair(cli, finished):
    (record,) = records(cli("predict", finished.folder, "the film was good", "--quiet"))
    assert set(record) == {"text", "label", "score"}
    (record,) = records(cli("predict", finished.folder, "the film", "was good", "--quiet"))
    assert set(record) == {"text", "text_pair", "label", "score"}
    assert (record["text"], record["text_pair"]) == ("the film", "was good")


def test_predict_reads_a_file_or_standard_input(cli, finished, tmp_path, monkeypatch):
    texts, _ = words.texts(4)
    (tmp_path / "texts.txt").write_text("\n".join(texts) + "\n")
    from_file = records(cli("predict", finished.folder, "--file", tmp_path / "texts.txt", "--quiet"))
    assert [record["text"] for record in from_file] == texts
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(texts)))
    assert records(cli("predict", finished.folder, "--file", "-", "--quiet")) == from_file


def test_predict_writes_a_file(cli, finished, tmp_path):
    (tmp_path / "texts.txt").write_text("good film\nbad film\n")
    arguments = ("predict", finished.folder, "--file", tmp_path / "texts.txt", "--output", tmp_path / "labels.csv")
    code, out, err = cli(*arguments)
    assert (code, out) == (0, "")
    assert f"2 predictions are in {tmp_path / 'labels.csv'}." in err
    assert (tmp_path / "labels.csv").read_text().startswith("text,label,score\ngood film,")
    assert_refused(cli(*arguments, "--quiet"), "labels.csv", "is there already")
    assert_refused(cli("predict", finished.folder, "a text", "--output", tmp_path / "a.csv"), "--file")
    assert_refused(cli("predict", finished.folder, "a text", "--resume"), "--output")


@pytest.fixture(scope="module")
def vision(tmp_path_factory):
    """Folders of two adapters on a tiny ViT, one of images and one of rows of three numbers, untrained; and an image."""
    folder = tmp_path_factory.mktemp("vision")
    source = tiny_vision.save_source(folder / "vit", "vit")
    for name, method, more in (("images", "elsayed", {}), ("table", "fraud", {"features": np.eye(3)})):
        model, processor = reprogram(source, method, ["no", "yes"], mapping="dense", **more)
        model.save_pretrained(folder / name)
        if processor is not None:
            processor.save_pretrained(folder / name)
    tiny_vision.images(1)[0][0].save(folder / "image.png")
    return folder


def test_predict_splits_a_file_at_line_feeds_alone(cli, finished, tmp_path):
    lines = ["good\u2028film", "bad\x85film", "plain\x0ctext"]
    for name, encoding, end in (("a", "utf-8-sig", "\n"), ("b", "utf-8", "\r\n"), ("c", "utf-16", "\n")):
        (tmp_path / name).write_bytes((end.join(lines) + end).encode(encoding))
        found = records(cli("predict", finished.folder, "--file", tmp_path / name, "--quiet"))
        assert [record["text"] for record in found] == lines


def test_predict_takes_images(cli, vision):
    path = str(vision / "image.png")
    (record,) = records(cli("predict", vision / "images", path, "--quiet"))
    assert record.keys() == {"image", "label", "score"}
    assert record["image"] == path
    record["score"] = pytest.approx(record["score"], abs=1e-5)
    assert records(cli("predict", vision / "images", path, path, "--quiet")) == [record] * 2
    assert_refused(cli("predict", vision / "images", "nowhere.png", "--quiet"), "'nowhere.png'")


def test_ood_prints_tables_and_writes_them(cli, vision, tmp_path):
    images, _ = tiny_vision.images(12)
    for name, pictures in (("trained", images), ("shifted", images[::-1]), ("others", images[:5])):
        for row, image in enumerate(pictures):
            label = ("no", "yes")[row % 2]
            (tmp_path / name / label).mkdir(parents=True, exist_ok=True)
            image.save(tmp_path / name / label / f"{row}.png")
    code, out, _ = cli(
        "ood", vision / "images", "--id", tmp_path / "trained", "--covariate", f"shifted={tmp_path / 'shifted'}",
        "--semantic", f"others={tmp_path / 'others'}", "--semantic", "digits=digits", "--set", "ood.max_images=9",
        "--set", "ood.corruptions={kinds: [jpeg], levels: [5]}", "--output", tmp_path / "report", "--quiet",
    )  # fmt: skip
    assert code == 0
    assert "|  | ID | shifted | corruptions | FPR95 | AUROC | AUPR | aggregate |" in out
    assert "| adapter | " in out
    assert "| digits | " in out
    assert out.endswith(f"The tables, ood.json and plots are in {tmp_path / 'report'}.\n")
    found = json.loads((tmp_path / "report" / "ood.json").read_text())["report"]["images"]
    assert (found["covariate"], found["semantic"]) == ({"shifted": 9}, {"others": 5, "digits": 9})
    assert_refused(cli("ood", vision / "images", "--semantic", "a=b", "--quiet"), "--id or --recipe")
    assert_refused(cli("ood", vision / "images", "--id", "digits", "--semantic", "a", "--quiet"), "NAME=DATASET")


def test_predict_takes_rows_of_numbers(cli, vision, tmp_path):
    (tmp_path / "rows.csv").write_text("1,0,0\n-1,0.5,1e-1\n")
    found = records(cli("predict", vision / "table", "--file", tmp_path / "rows.csv", "--quiet"))
    assert [record["features"] for record in found] == [[1, 0, 0], [-1, 0.5, 0.1]]
    found[1]["score"] = pytest.approx(found[1]["score"], abs=1e-5)
    assert records(cli("predict", vision / "table", "--quiet", "--", "-1,0.5,1e-1")) == found[1:]
    assert_refused(cli("predict", vision / "table", "a text", "--quiet"), "'a text'", "numbers separated by commas")


def test_predict_keeps_other_alphabets_readable(cli, finished):
    _, out, _ = cli("predict", finished.folder, "schöner Film 電影", "--quiet")
    assert "schöner Film 電影" in out


def test_predict_refuses_what_it_cannot_read(cli, finished, tmp_path):
    assert_refused(cli("predict", finished.folder), "--file")
    assert_refused(cli("predict", finished.folder, "a", "--file", "b"), "--file")
    assert_refused(cli("predict", finished.folder, "one", "two", "three", "--quiet"), "pair")
    assert_refused(cli("predict", finished.folder, "--file", tmp_path / "nowhere.txt"), "nowhere.txt")
    (tmp_path / "latin.txt").write_bytes(b"\xe9t\xe9")
    assert_refused(cli("predict", finished.folder, "--file", tmp_path / "latin.txt"), "latin.txt")
    assert_refused(cli("predict", tmp_path / "nothing", "a", "--quiet"), "nothing")


@pytest.mark.parametrize("command", ["predict", "inspect"])
def test_help_says_how_an_example_of_each_modality_is_written(cli, command):
    code, out, _ = cli(command, "--help")
    text = " ".join(out.replace("│", " ").split())
    assert code == 0
    for modality in every_modality():
        assert modality.on_command_line in text


def test_no_text_of_the_command_line_names_a_modality():
    code = Path(command_line.__file__).read_text().replace("images:dtd", "")  # a data set
    assert not [modality.noun for modality in every_modality() if modality.noun in code]


# ---------------------------------------------------------------------------------------------------- inspect, push


def test_inspect_prints_text_or_json(cli, finished):
    code, out, _ = cli("inspect", finished.folder)
    assert code == 0
    assert "trained numbers: 162" in out
    code, out, _ = cli("inspect", finished.folder, "--json", "--top", "2")
    found = json.loads(out)
    assert found["trainable"] == 162
    assert [len(tokens) for tokens in found["prompts"]] == [2, 2, 2]


def test_push_refuses_a_folder_without_an_adapter(cli, tmp_path):
    assert_refused(cli("push", tmp_path, "me/adapter"), "holds no adapter", "config.json")


def test_push_without_a_network_is_one_line(cli, finished):
    assert_refused(cli("push", finished.folder, "me/adapter"), "source=owner/name")
    outcome = cli("push", finished.folder, "me/adapter", "--source", "owner/name")
    assert_refused(outcome, "Pushing to 'me/adapter' failed")


def test_a_lost_process_is_one_sentence(monkeypatch, capsys):
    def lost(*_args, **_keywords):
        raise RuntimeError("[pair.cc:537] Read error [127.0.0.1]:58585: Connection reset by peer. Check the logs.")

    monkeypatch.setattr("typer.main.get_command", lambda _: lost)
    with pytest.raises(SystemExit) as ended:
        main(["methods"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("hf-reprogram: Another process of this run has ended")


def test_a_full_disk_is_one_sentence(monkeypatch, capsys):
    def full(**_):
        raise OSError(errno.ENOSPC, "No space left on device", "runs/films")

    monkeypatch.setattr("typer.main.get_command", lambda _: full)
    with pytest.raises(SystemExit) as ended:
        main(["methods"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(
        "hf-reprogram: The disk that holds 'runs/films' is full; what was complete"
    )


# ----------------------------------------------------------------------------------------------------- export, serve


def test_serve_wants_a_name_for_each_adapter(cli, finished):
    assert_refused(cli("serve", finished.folder, "--adapter", finished.folder), "has no name: write NAME=DIR")


def test_export_says_what_it_wrote_and_overwrites_nothing(cli, finished, tmp_path):
    code, out, _ = cli("export", finished.folder, tmp_path / "out")
    assert code == 0
    assert "a plain model of transformers, with the same logits" in out
    assert_refused(cli("export", finished.folder, tmp_path / "out"), "exists already")
