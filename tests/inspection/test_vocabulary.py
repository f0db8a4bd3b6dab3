"""What the target's tokens became: the right names beside the right numbers, and a heat map of any tokens."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from hf_reprogram import InputError, ReprogrammedModel, reprogram
from hf_reprogram.cli import main
from hf_reprogram.figures import drawable
from hf_reprogram.inspection.adapter import describe, inspect_model, plot_model
from hf_reprogram.inspection.heat_map import plot_heat_map
from hf_reprogram.sources.probe import source_tokenizer
from hf_reprogram.transforms.drawing import HeatMap
from tests.support import tiny
from tests.support.modules import Recurrent


def make(source, **options):
    torch.manual_seed(0)
    return reprogram(source, "r2dl", ["bad", "good"], **{"tokenizer": "residues", "sparsity": 3, **options})


def combinations(model, processor, top=5):
    """The source tokens that each target token became."""
    return inspect_model(model, processor, top)["vocabulary"]


@pytest.fixture
def made(source_folder):
    """An adapter of which residue A is 0.5 good - 2 film + 0.25 dull, and C is film (given in two parts) and nothing else."""
    model, processor = make(source_folder("bert"))
    own = tiny.FAMILIES["bert"].tokenizer()
    good, film, dull = own.convert_tokens_to_ids(["good", "film", "dull"])
    with torch.no_grad():
        model.transform.support[:2] = torch.tensor([[good, film, dull], [film, good, film]])
        model.transform.codes[:2] = torch.tensor([[0.5, -2.0, 0.25], [1.0, 0.0, 0.5]])
    return model, processor


# ------------------------------------------------------------------------------------------------- names and numbers


def test_source_tokens_are_named_the_largest_coefficient_first(made):
    found = combinations(*made)
    assert found["A"] == [("film", -2.0), ("good", 0.5), ("dull", 0.25)]
    assert list(found) == list("ACDEFGHIKLMNPQRSTVWY")
    assert combinations(*made, top=1)["A"] == [("film", -2.0)]


def test_parts_of_one_source_token_are_added_and_zeros_are_left_out(made):
    assert combinations(*made)["C"] == [("film", 1.5)]


def test_the_named_combination_is_the_embedding(made):
    model, processor = made
    own = tiny.FAMILIES["bert"].tokenizer()
    table = model.transform.table(model.source).detach()
    for row, (_, parts) in enumerate(combinations(model, processor, top=3).items()):
        ids = own.convert_tokens_to_ids([word for word, _ in parts])
        rebuilt = torch.tensor([value for _, value in parts]) @ model.source.embedding.weight[ids]
        torch.testing.assert_close(rebuilt, table[row], rtol=1e-2, atol=1e-2)  # coefficients are rounded


def test_a_free_table_gives_the_nearest_tokens_with_their_cosine(source_folder):
    model, processor = make(source_folder("bert"), sparsity=None)
    own = tiny.FAMILIES["bert"].tokenizer()
    weight = model.source.embedding.weight
    lovely = own.convert_tokens_to_ids("lovely")
    with torch.no_grad():
        model.transform.offset[3] = 7 * weight[lovely]
    (best, cosine), (second, lower) = combinations(model, processor, top=2)["E"]
    assert (best, cosine) == ("lovely", 1.0)
    expected = torch.cosine_similarity(weight[lovely][None], weight).topk(2)
    assert second == own.convert_ids_to_tokens(int(expected.indices[1]))
    assert lower == pytest.approx(float(expected.values[1]), abs=1e-3)


def test_learned_atoms_are_numbered(source_folder):
    model, processor = make(source_folder("bert"), atoms="ksvd", num_atoms=32)
    names = {word for parts in combinations(model, processor).values() for word, _ in parts}
    assert names <= {f"atom {i}" for i in range(32)}
    assert len(names) > 5


def test_without_a_tokenizer_of_its_own_the_sources_tokens_are_numbered():
    model, processor = make(Recurrent(), tokenizer="characters", alphabet="AB", reads="last")
    assert source_tokenizer(model.source, model.config.source) is None
    for sparsity in (3, None):
        model, processor = make(Recurrent(), tokenizer="characters", alphabet="AB", sparsity=sparsity)
        found = combinations(model, processor)
        assert all(word.startswith("#") and 0 <= int(word[1:]) < 30 for parts in found.values() for word, _ in parts)


def test_a_source_folder_without_a_tokenizer_numbers_its_tokens(tmp_path, source_folder):
    tiny.make_model("bert").save_pretrained(tmp_path / "plain")
    model, processor = make(str(tmp_path / "plain"), processor=tiny.FAMILIES["bert"].tokenizer())
    assert source_tokenizer(model.source, model.config.source) is None
    assert combinations(model, processor)["A"][0][0].startswith("#")


def test_rows_past_the_sources_tokenizer_are_numbered(tmp_path):
    """As where an embedding is padded to a multiple of 64."""
    own = tiny.FAMILIES["bert"].tokenizer()
    padded = tiny.make_model("bert")
    padded.resize_token_embeddings(len(own) + 20)
    padded.save_pretrained(tmp_path / "padded")
    own.save_pretrained(tmp_path / "padded")
    model, processor = make(str(tmp_path / "padded"))
    with torch.no_grad():
        model.transform.support[0, 0], model.transform.codes[0, 0] = len(own) + 3, 9.0
    assert combinations(model, processor)["A"][0] == (f"#{len(own) + 3}", 9.0)


def test_a_source_that_has_moved_is_named_from_where_it_is(made, tmp_path, source_folder):
    model, processor = made
    model.save_pretrained(tmp_path / "adapter")
    config = json.loads((tmp_path / "adapter" / "config.json").read_text())
    config["source"]["name"] = str(tmp_path / "gone")
    (tmp_path / "adapter" / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="neither a folder here nor a model that can be fetched"):
        ReprogrammedModel.from_pretrained(tmp_path / "adapter")
    shutil.copytree(source_folder("bert"), tmp_path / "moved")
    again = ReprogrammedModel.from_pretrained(tmp_path / "adapter", source=tmp_path / "moved")
    assert combinations(again, processor) == combinations(model, processor)


# ------------------------------------------------------------------------------------------------- inspection


def test_the_description_has_a_line_a_target_token(made):
    text = describe(inspect_model(*made))
    assert "source tokens of each target token (at most 3 source tokens each):" in text
    assert "A            -2.00 film  +0.50 good  +0.25 dull" in text


@pytest.mark.parametrize(
    ("family", "method", "options"),
    [
        ("gpt2", "r2dl", {"reads": "last"}),
        ("bert-classifier", "r2dl", {"reads": "last"}),
        ("bert-classifier", "r2dl", {"mapping": "label_map"}),
        ("bert-classifier", "neekhara", {}),
        ("bert", "reprogbert", {"labels": None, "problem_type": "infilling"}),
    ],
)
def test_every_new_kind_of_adapter_can_be_inspected(family, method, options, source_folder):
    settings = {"labels": ["a", "b"], "tokenizer": "residues", **options}
    found = inspect_model(*reprogram(source_folder(family), method, **settings))
    json.dumps(found)
    assert ("vocabulary" in found) == (method != "neekhara")
    assert describe(found).startswith(f"{method} on ")


@pytest.mark.parametrize("reads", ["last", "features"])
def test_an_adapter_on_a_module_can_be_inspected(reads):
    found = inspect_model(*make(Recurrent(), reads=reads))
    assert found["kind"] == "module"
    assert len(found["vocabulary"]) == 20


# ------------------------------------------------------------------------------------------------- the heat map


def is_whole_image(path):
    with Image.open(path) as image:
        image.load()
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
    return len(np.unique(pixels, axis=0)) > 10 and image.format == "PNG"


def test_the_heat_map_is_written_whole_and_alone(made, tmp_path):
    path = plot_model(*made, tmp_path / "new" / "map.png", "R2DL on a tiny BERT")
    assert is_whole_image(path)
    assert [file.name for file in path.parent.iterdir()] == ["map.png"]


def test_a_heat_map_that_fails_leaves_the_old_one(made, tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    path = plot_model(*made, tmp_path / "map.png", "first")
    before = path.read_bytes()

    def fail(self, file, **_):
        file.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        plot_model(*made, path, "second")
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["map.png"]


ODD = [
    "$",
    "$x$",
    r"\frac{",
    "_^{}",
    "%",
    "\n",
    "\t",
    "\x00",
    "",
    " ",
    "é",
    "Ġthe",
    "▁film",
    "電",
    "🙂",
    "عر",
    "\u200b",
    "'",
    '"',
]


@pytest.mark.filterwarnings("error")
def test_odd_tokens_can_be_drawn(tmp_path):
    found = {token: [(other, float(i - 9)) for i, other in enumerate(ODD[:10])] for token in ODD}
    assert is_whole_image(plot_heat_map(HeatMap(found), tmp_path / "odd.png", "$100 of 電"))


def test_what_the_font_lacks_is_written_as_an_escape():
    draw = drawable()
    assert [draw(word) for word in ("film", "電", "a\n", "é", "$")] == ["film", r"\u96fb", r"a\n", "é", r"\$"]


def test_more_tokens_than_fit_are_cut_to_the_largest(tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    drawn = []
    imshow = Axes.imshow
    monkeypatch.setattr(Axes, "imshow", lambda self, values, **k: drawn.append(values) or imshow(self, values, **k))
    found = {f"t{i}": [(f"s{i}", float(i + 1)), ("common", 0.5)] for i in range(60)}
    plot_heat_map(HeatMap(found), tmp_path / "map.png", "many", most=7)
    (values,) = drawn
    assert values.shape == (7, 7)
    assert values.max() == 7.0
    assert np.count_nonzero(values) == 7  # "common" was the smallest of 8 columns, together with none


def test_colours_are_the_coefficients(made, tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    drawn = {}
    imshow, ticks = Axes.imshow, Axes.set_xticks
    monkeypatch.setattr(
        Axes, "imshow", lambda self, values, **k: drawn.update(values=values) or imshow(self, values, **k)
    )
    monkeypatch.setattr(
        Axes,
        "set_xticks",
        lambda self, at, labels=None, **k: drawn.update(labels=labels) or ticks(self, at, labels, **k),
    )
    plot_heat_map(HeatMap({"A": [("film", -2.0), ("good", 0.5)], "C": [("film", 1.5)]}), tmp_path / "map.png", "two")
    column = {word: drawn["values"][:, i].tolist() for i, word in enumerate(drawn["labels"])}
    assert column == {"film": [-2.0, 1.5], "good": [0.5, 0.0]}


def test_nothing_to_plot_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="There is nothing to plot"):
        plot_heat_map(HeatMap({"A": []}), tmp_path / "map.png", "empty")


# ------------------------------------------------------------------------------------------------- the command line


@pytest.fixture
def folder(made, tmp_path):
    """The adapter on disk."""
    for part in made:
        part.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def command(*arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code


def test_inspect_prints_the_table_and_writes_the_heat_map(folder, tmp_path, capsys):
    assert command("inspect", folder, "--top", 2, "--plot", tmp_path / "maps" / "residues.png") == 0
    assert "A            -2.00 film  +0.50 good\n" in capsys.readouterr().out
    assert is_whole_image(tmp_path / "maps" / "residues.png")
    assert command("inspect", folder, "--json") == 0
    assert json.loads(capsys.readouterr().out)["vocabulary"]["C"] == [["film", 1.5]]


def test_inspect_of_prompts_has_nothing_to_plot(finished, tmp_path, capsys):
    assert command("inspect", finished.folder, "--plot", tmp_path / "map.png") == 2
    refusal = capsys.readouterr().err
    assert (
        "has nothing to plot: the input transform 'prompt_slots' has no drawing; those that have one are canvas, "
        in refusal
    )
    assert "vocabulary, waveform; leave --plot out." in refusal
    assert not (tmp_path / "map.png").exists()


def test_without_matplotlib_the_remedy_is_said(folder, tmp_path, capsys, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert command("inspect", folder, "--plot", tmp_path / "map.png") == 2
    assert "pip install 'hf_reprogram[plots]'" in capsys.readouterr().err
