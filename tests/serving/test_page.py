"""The page of the server in a real browser: type a text or choose an image, press the button, read the answer."""

from __future__ import annotations

import pytest

pytest.importorskip("uvicorn")

from hf_reprogram import Programs
from tests.support import adapters, serving
from tests.support.browser import Browser

ROWS = "[...document.querySelectorAll('#answer tr')].map(row => [...row.cells].map(cell => cell.textContent))"


@pytest.fixture
def page(tmp_path):
    """A browser."""
    browser = Browser(tmp_path / "profile")
    yield browser
    browser.close()


def scores(rows):
    """The table of the page: its best label, and the scores by label."""
    return rows[0][0], {label: float(score) for label, score in rows}


@pytest.mark.slow
@pytest.mark.browser
def test_a_text_and_an_image_are_classified_on_the_page(page, tmp_path):
    with serving.server(tmp_path, "bert", ("films", "digits"), latency=5) as (_, address, source, saved):
        programs = Programs(source)
        for name, folder in saved.items():
            programs.add(name, folder)
        page.open(address)
        page.wait("document.querySelectorAll('#adapter option').length === 2")
        facts = page.run("document.querySelector('#facts').textContent")
        assert "prompt_slots before the source, verbalizer behind it" in facts
        assert "Labels: bad, good." in facts

        page.type("#text", "a good film")
        page.click("button")
        best, found = scores(page.wait(f"{ROWS}.length && {ROWS}"))
        (expected,) = programs.predict([("films", "a good film")])
        assert best == expected["label"]
        assert found[best] == pytest.approx(expected["score"], rel=1e-3)
        assert {*found} == {"bad", "good"}

        page.run("document.querySelector('#adapter').value = 'digits'")
        page.run("document.querySelector('#adapter').dispatchEvent(new Event('change'))")
        assert page.run(f"{ROWS}.length") == 0  # the answer of the other adapter is gone
        page.click("button")
        assert page.wait("document.querySelector('#problem').textContent") == "Choose a file first."
        adapters.IMAGES[0].save(tmp_path / "image.png")
        page.upload("#file", tmp_path / "image.png")
        page.click("button")
        best, found = scores(page.wait(f"{ROWS}.length && {ROWS}"))
        (expected,) = programs.predict([("digits", adapters.IMAGES[0])])
        assert best == expected["label"]
        assert found[best] == pytest.approx(expected["score"], rel=1e-3)
        assert page.run("document.querySelector('#problem').textContent") == ""
