"""The pictures that inspection draws of a program show what it does to pixels, and so does the command."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from hf_reprogram.cli import main
from hf_reprogram.inspection.adapter import plot_model
from tests.support import tiny_vision, words
from tests.support.inspecting import KINDS, TEXTS, look, make, picture


def command(*arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code


# -------------------------------------------------------------------------------------------------------- pictures


@pytest.fixture
def drawn(monkeypatch):
    """What is drawn: pictures by their titles."""
    from matplotlib.axes import Axes

    pictures, imshow = {}, Axes.imshow

    def record(self, values, **options):
        pictures[self.get_title()] = np.array(values)
        return imshow(self, values, **options)

    monkeypatch.setattr(Axes, "imshow", record)
    return pictures


def is_whole_image(path):
    with Image.open(path) as image:
        image.load()
        return image.format == "PNG" and len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)) > 10


def hwc(picture):
    return picture.permute(1, 2, 0).numpy()


def test_the_file_is_written_whole_and_alone(folder, tmp_path):
    path = plot_model(*make(folder, "smm"), tmp_path / "new" / "plot.png", "$title")
    assert is_whole_image(path)
    assert [file.name for file in path.parent.iterdir()] == ["plot.png"]


def test_the_pictures_are_the_program_and_the_canvas_before_and_after(folder, tmp_path, drawn):
    model, processor = make(folder, "elsayed", amplitude=0.1)
    plot_model(model, processor, tmp_path / "plot.png", "title")
    views, program = look(model, processor), model.transform.program().detach()
    factor = 0.5 / float(program.abs().max())
    assert list(drawn) == [f"the program, x {factor:.2g}", "before", "after"]
    np.testing.assert_allclose(next(iter(drawn.values())), hwc(0.5 + factor * program), atol=1e-6)
    np.testing.assert_array_equal(drawn["before"], hwc(views.before))
    np.testing.assert_array_equal(drawn["after"], hwc(views.after))
    assert (drawn["before"] != drawn["after"]).any()


def test_an_untrained_program_is_plain_grey(folder, tmp_path, drawn):
    model, processor = make(folder, "elsayed", fill=0.0)
    plot_model(model, processor, tmp_path / "plot.png", "title")
    assert (drawn["the program"] == 0.5).all()


def test_a_mask_is_drawn_beside_its_program(folder, tmp_path, drawn):
    plot_model(*make(folder, "smm"), tmp_path / "plot.png", "title")
    assert [title.split(",")[0] for title in drawn] == [
        "the program", "its mask for the example", "before", "after",
    ]  # fmt: skip


def test_tokens_are_drawn_under_their_names(folder, tmp_path, drawn):
    texts = [*TEXTS, "the the the $ $ extraordinarily extraordinarily"]
    model, processor = make(folder, "cross_modal", texts=texts)
    plot_model(model, processor, tmp_path / "plot.png", "title", example="a $5 film \n of 電")
    names = processor.convert_ids_to_tokens(list(range(10)))
    assert {"the", "film", "$", "extraordinarily"} <= set(names)
    titles = [{"$": r"\$", "extraordinarily": "extraordi..."}.get(name, name) for name in names]
    assert list(drawn) == [*titles, ""]
    for row, title in enumerate(titles):
        np.testing.assert_allclose(drawn[title], hwc(0.5 + 0.5 * model.transform.table[row].tanh().detach()), atol=1e-6)
    np.testing.assert_array_equal(drawn[""], hwc(look(model, processor, "a $5 film \n of 電").after))


def test_bounded_patches_are_drawn_large_and_the_base_is_shown(folder, tmp_path, drawn):
    file = picture(tmp_path / "base.png", 200)
    model, processor = make(folder, "cross_modal", texts=TEXTS, bounded=True, base_image=file, fill=50.0)
    plot_model(model, processor, tmp_path / "plot.png", "title")
    assert list(drawn)[-2:] == ["before", "after"]
    deviations = torch.tensor(tiny_vision.STD)
    np.testing.assert_allclose(drawn["the"][0, 0], 0.5 + 0.5 * deviations / deviations.max(), atol=1e-6)


def test_a_few_tokens_leave_no_patch_without_a_name(folder, tmp_path, drawn):
    model, processor = make(folder, "cross_modal", tokenizer="characters", alphabet="AB")
    plot_model(model, processor, tmp_path / "plot.png", "title")
    assert list(drawn) == ["A", "B", ""]


# ------------------------------------------------------------------------------------------------- the command line


def saved(folder, path, method, **options):
    for part in make(folder, method, **options):
        if part is not None:
            part.save_pretrained(path)
    return path


@pytest.mark.parametrize("method", ["elsayed", "fraud", "cross_modal"])
def test_inspect_of_a_saved_adapter_prints_and_plots(folder, method, tmp_path, capsys):
    adapter = saved(folder, tmp_path / "adapter", method, **KINDS[method])
    example = {"elsayed": picture(tmp_path / "x.png", 9), "fraud": "-1,2,3", "cross_modal": words.texts(1)[0][0]}
    plot = tmp_path / "plots" / "program.png"
    assert command("inspect", adapter, "--example", example[method], "--plot", plot, "--top", 1) == 0
    out = capsys.readouterr().out
    assert "program: " in out
    assert ("still to be fitted" if method == "fraud" else "  below        ") in out
    assert is_whole_image(plot)
    assert command("inspect", adapter, "--json") == 0
    assert json.loads(capsys.readouterr().out)["canvas"]["size"] == [32, 32]


def test_without_matplotlib_the_remedy_is_said(folder, tmp_path, capsys, monkeypatch):
    adapter = saved(folder, tmp_path / "adapter", "elsayed")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert command("inspect", adapter) == 0
    assert command("inspect", adapter, "--plot", tmp_path / "plot.png") == 2
    assert "pip install 'hf_reprogram[plots]'" in capsys.readouterr().err
    assert not (tmp_path / "plot.png").exists()


def test_an_example_that_is_no_image_is_one_line(folder, tmp_path, capsys):
    adapter = saved(folder, tmp_path / "adapter", "elsayed")
    assert command("inspect", adapter, "--example", tmp_path / "nothing.png") == 2
    assert "is no image that can be read" in capsys.readouterr().err
