"""A Hugging Face Space in which an adapter can be tried: an app of Gradio, its requirements, and its card."""

from __future__ import annotations

from string import Template
from typing import Any

from .. import __version__
from ..errors import InputError

GRADIO = "6.31.0"  # the version that the Space runs

_APP = Template('''\
"""$title: a page to try the adapter $adapter.

ADAPTER and SOURCE of the environment name copies of the adapter and of its source, to try this file before they are on the Hub:

    ADAPTER=path/to/adapter SOURCE=path/to/source python app.py
"""

import os
from pathlib import Path
from tempfile import mkdtemp

import gradio as gr

from hf_reprogram import InputError, Programs
from hf_reprogram.inspection.adapter import describe, inspect_model, plot_model

ADAPTER = os.environ.get("ADAPTER", $adapter_text)
programs = Programs.recorded_by(ADAPTER, os.environ.get("SOURCE"))
programs.add("adapter", ADAPTER)
program = programs["adapter"]


def classify($names):
    """The answer for one input."""
    try:
        request = programs.prepare("adapter", $value)
        (logits,) = programs.logits([request])
    except InputError as error:
        raise gr.Error(str(error)) from error
    return $answer


def picture():
    """The path of a picture of the program; None if it has nothing to draw."""
    path = Path(mkdtemp()) / "program.png"
    try:
        return plot_model(program.model, program.processor, path, $title_text) and str(path)
    except InputError:
        return None


with gr.Blocks(title=$title_text) as demo:
    gr.Markdown($heading)
    with gr.Row():
        with gr.Column():
            inputs = [
$inputs
            ]
            button = gr.Button($verb, variant="primary")
        answer = $output
    button.click(classify, inputs, answer, api_name="classify")
    with gr.Accordion("The program and its labels", open=False):
        gr.Code(describe(inspect_model(program.model, program.processor)), language=None, show_label=False)
        if drawn := picture():
            gr.Image(drawn, show_label=False)

if __name__ == "__main__":
    demo.launch()
''')

_CARD = Template("""\
---
$card_data
---

# $title

A page to try [$adapter](https://huggingface.co/$adapter): a small trained program around $source, $changed.
The Space loads both by their names. If one of them is private, give the Space a secret `HF_TOKEN` that may read it.
""")

_INPUTS = {
    "text": 'gr.Textbox(label="Text", lines=3)',
    "pair": 'gr.Textbox(label="Second text", lines=3)',
    "image": 'gr.Image(label="Image", type="pil")',
    "audio": 'gr.Audio(label="Sound", type="filepath")',
    "series": 'gr.Textbox(label="The numbers of a series, with commas", lines=3)',
    "table": 'gr.Textbox(label="The numbers of a row, with commas", lines=3)',
}
_SCORES = "dict(zip(program.model.label_names, scores_of(program.model, logits).tolist(), strict=True))"


def space_files(
    config: dict[str, Any], adapter: str, source: str, space: str, results: dict[str, Any] | None = None
) -> dict[str, str]:
    """The texts of a Space by the names of their files: `app.py`, `requirements.txt` and `README.md`.

    Args:
        config: the adapter's `config.json`.
        adapter: the repository of the adapter, from which the app loads it.
        source: the Hub id of the source.
        space: the repository of the Space, as "owner/name".
        results: the adapter's `results.json`, if it has one: whether it takes pairs, and the columns of a table.

    Raises:
        InputError: the adapter has a source without a name, takes examples for which there is no page, or fills in masked
            tokens.

    >>> config = {"transform": {"type": "prompt_slots"}, "mapping": {"type": "verbalizer"}, "id2label": {"0": "no", "1": "yes"}}
    >>> files = space_files(config, "me/films", "google-bert/bert-base-uncased", "me/films-demo")
    >>> sorted(files), "gr.Label" in files["app.py"]
    (['README.md', 'app.py', 'requirements.txt'], True)
    """
    task = (results or {}).get("task", {})
    kind, problem = _takes(config), config.get("problem_type")
    if not source:
        raise InputError(
            "The adapter's source is known to its user alone, and a Space cannot load it: leave space out."
        )
    if config["mapping"].get("reads") == "decoder":
        raise InputError("The adapter fills in masked tokens, for which there is no Space: leave space out.")
    kinds = ["text", "pair"] if kind == "text" and task.get("pair") else [kind]
    numbers = problem in ("regression", "forecast", "token_classification")
    labels = [str(label) for label in config["id2label"].values()]
    title = space.split("/")[-1]
    heading = f"# {title}\n\n[{adapter}](https://huggingface.co/{adapter}) on {source}."
    if kind == "table" and task.get("features"):
        heading += f" A row has the columns {', '.join(task['features'])}."
    elif not numbers:
        shown = ", ".join(labels[:20]) + (f" and {len(labels) - 20} more" if len(labels) > 20 else "")
        heading += f" Labels: {shown}."
    names = ["first", "second"][: len(kinds)] if len(kinds) > 1 else ["example"]
    app = _APP.substitute(
        title=title,
        title_text=repr(title),
        adapter=adapter,
        adapter_text=repr(adapter),
        names=", ".join(names),
        value=f"({', '.join(names)})" if len(names) > 1 else names[0],
        heading=repr(heading),
        inputs="\n".join(f"                {_INPUTS[each]}," for each in kinds),
        verb=repr("Predict" if numbers else "Classify"),
        answer="programs.answer(request, logits)" if numbers else _SCORES,
        output='gr.JSON(label="Answer")'
        if numbers
        else f'gr.Label(label="Label", num_top_classes={min(10, len(labels))})',
    )
    if not numbers:
        line = "from hf_reprogram.inspection.adapter import describe, inspect_model, plot_model\n"
        app = app.replace(line, f"{line}from hf_reprogram.training.answers import scores_of\n")
    extras = ",".join(["plots", *(["audio"] if kind == "audio" else [])])
    card = _CARD.substitute(
        card_data=_card_data(title, adapter, source),
        title=title,
        adapter=adapter,
        source=source,
        changed="some weights of which were trained too" if config.get("tune") else "no weight of which was changed",
    )
    return {"app.py": app, "requirements.txt": f"hf_reprogram[{extras}]=={__version__}\n", "README.md": card}


def _takes(config: dict[str, Any]) -> str:
    """The name of the modality of an adapter's examples."""
    from ..modalities import modality_taking
    from ..transforms import TRANSFORMS

    name = modality_taking(TRANSFORMS[config["transform"]["type"]].takes).name
    if name not in _INPUTS:
        raise InputError(f"The adapter takes {name}, for which there is no page: leave space out.")
    return name


def _card_data(title: str, adapter: str, source: str) -> str:
    from huggingface_hub import SpaceCardData

    data = SpaceCardData(
        title=title,
        emoji="🔁",
        colorFrom="indigo",
        colorTo="gray",
        sdk="gradio",
        sdk_version=GRADIO,
        app_file="app.py",
        models=[adapter, *([source] if source else [])],
        tags=["model-reprogramming"],
    )
    return data.to_yaml()
