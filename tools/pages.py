"""The pages of the site that are written whole: papers, keys, API and tutorials.

python tools/pages.py                write them into docs/, into folders that git ignores; then `mkdocs build --strict`
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import MISSING, fields
from pathlib import Path
from pydoc import locate
from typing import Any

import yaml
from tables import OVERVIEW

from hf_reprogram.baselines import BASELINES
from hf_reprogram.experiments.endpoint import EndpointSource
from hf_reprogram.experiments.recipe import Recipe
from hf_reprogram.methods import METHODS
from hf_reprogram.modalities import MODALITIES
from hf_reprogram.objectives import OBJECTIVES
from hf_reprogram.ood.report import LOGIT_SCORES
from hf_reprogram.reports.results import markdown, plus_minus
from hf_reprogram.sources.base import SourceSpec
from hf_reprogram.tasks.corruptions import KINDS
from hf_reprogram.tasks.metrics import METRICS
from hf_reprogram.tasks.options import TaskSection
from hf_reprogram.tasks.problems import PROBLEMS
from hf_reprogram.tasks.shifts import CorruptionOptions, SetOptions, ShiftOptions
from hf_reprogram.tasks.unlabelled import UnlabelledOptions

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("papers", "keys", "api", "tutorials/pages")  # of docs/, each ignored by git


def left(rows: list[dict[str, str]]) -> str:
    """A Markdown table with its columns aligned to the left."""
    return re.sub(r"-+:\|", "---|", markdown(rows))


def attributes(cls: type) -> dict[str, str]:
    """The `Attributes:` section of a class's docstring, with those of the classes that it extends or refers to."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        named = re.search(r"as in `([\w.]+)`", base.__dict__.get("__doc__") or "")
        if named and isinstance(other := locate(named[1]), type):
            found |= attributes(other)
        section = (inspect.cleandoc(base.__dict__.get("__doc__") or "") + "\n").partition("Attributes:\n")[2]
        section = re.split(r"\n(?=\S)", section)[0]
        for names, text in re.findall(r"(?m)^    (\w[\w, ]*): (.*(?:\n      .*)*)", section):
            found |= dict.fromkeys(names.split(", "), re.sub(r"\s+", " ", text))
    return found


def keys(cls: type) -> str:
    """A table of a dataclass's fields: key, type, default and meaning."""
    told, rows = attributes(cls), []
    for field in fields(cls):  # type: ignore[arg-type]
        value = field.default if field.default_factory is MISSING else field.default_factory()
        kind = field.type if isinstance(field.type, str) else getattr(field.type, "__name__", str(field.type))
        rows.append(
            {
                "key": f"`{field.name}`",
                "type": f"`{kind}`".replace("|", "or").replace("None", "null"),
                "default": "*required*" if value is MISSING else f"`{_yaml(value)}`",
                "meaning": told.get(field.name, "").replace("|", "\\|"),
            }
        )
    return left(rows) if rows else "It has no options."


def _yaml(value: Any) -> str:
    if isinstance(value, bool | int | float | str | list | dict) or value is None:
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def first_paragraphs(module: Any) -> tuple[str, str, str]:
    """A module's docstring in three parts: its title, the equation, and the rest."""
    title, _, rest = inspect.cleandoc(module.__doc__).partition("\n\n")
    equation, _, rest = rest.partition("\n\n") if rest.startswith("    ") else ("", "", rest)
    return title, inspect.cleandoc(equation), rest


def results() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every kept result with its name."""
    for path in sorted((ROOT / "results").glob("**/*.json")):
        name = path.relative_to(ROOT / "results").with_suffix("").as_posix()
        if not name.startswith(("history/", "peers/", "untrained/")):
            yield name, json.loads(path.read_text(encoding="utf-8"))


def recipes() -> dict[str, dict[str, Any]]:
    """Every recipe by its name."""
    files = sorted((ROOT / "recipes").glob("**/*.yaml"))
    named = {path.relative_to(ROOT / "recipes").with_suffix("").as_posix(): path for path in files}
    return {name: yaml.safe_load(path.read_text(encoding="utf-8")) for name, path in named.items()}


def method_of(recipe: dict[str, Any]) -> str:
    """The name of a recipe's method."""
    method = recipe["method"]
    return method if isinstance(method, str) else method["name"]


def measured(name: str, kept: list[tuple[str, dict[str, Any]]]) -> str:
    """A row per kept run of a method, without studies of one choice; of the runs with few labels only those of the overview."""
    studies = ("ablation", "mappings", "reads", "standardized")
    rows = []
    for where, found in kept:
        folder = where.partition("/")[0]
        if found["method"]["name"] != name or folder in studies:
            continue
        if folder == "efficiency" and where not in OVERVIEW:
            continue
        metric = found["task"]["metrics"][0]
        row = {"run": f"`{where}`", "metric": metric, "labels": f"{found['task']['sizes']['train']:,}"}
        for baseline in ("majority", "linear_probe"):
            entry = found["baselines"].get(baseline)
            row[baseline.replace("_", " ")] = plus_minus(entry["test"][metric], metric) if entry else ""
        row["reprogrammed"] = plus_minus(found["test"][metric], metric)
        rows.append({**row, "trained numbers": f"{found['trainable']:,}"})
    return left(rows) if rows else "Nothing has been measured here with this method."


def papers() -> Iterator[tuple[str, str]]:
    """A page per paper."""
    kept, known = list(results()), recipes()
    for name in METHODS.names():
        method = METHODS[name]
        info, module = method.info, inspect.getmodule(method)
        title, equation, rest = first_paragraphs(module)
        where = f"[arXiv:{info.arxiv}](https://arxiv.org/abs/{info.arxiv})" if info.arxiv else info.venue
        used = [f"`{recipe}`" for recipe, values in known.items() if method_of(values) == name]
        training = "\n".join(f"{key}: {value}" for key, value in method.training.items())
        equation = f"```text\n{equation}\n```\n\n" if equation else ""
        problems = ", ".join(problem.replace("_", " ") for problem in method.problem_types)
        yield (
            f"papers/{name}.md",
            f"# {title.partition(':')[0].partition(' (')[0]}: `{name}`\n\n"
            f"**{info.title}**, {info.authors} {info.year}, {where}.\n\n"
            f"{equation}{rest}\n\n"
            f"- Source: {info.source}\n"
            f"- Input transform: `{info.transform}`\n"
            f"- Output mapping: `{info.mapping}`\n"
            f"- Problems: {problems}\n\n"
            f"## What differs from the paper\n\n{_sentence(info.differs or 'nothing')}\n\n"
            f"## Options\n\nIn a recipe these are keys of `method`; in Python they are arguments of `reprogram`.\n\n"
            f"{keys(method.Options)}\n\n"
            f"## Training\n\nThese `TrainingArguments` are the defaults of the method:\n\n```yaml\n{training}\n```\n\n"
            f"## Recipes\n\n{', '.join(used) if used else 'No recipe uses it.'}\n\n"
            "`hf-reprogram recipes show NAME` prints one.\n\n"
            "## Measured\n\nScores on test in percent, with the sample deviation over seeds. "
            "[How they were measured](../results/index.md).\n\n"
            f"{measured(name, kept)}\n",
        )


def _sentence(text: str) -> str:
    return "\n".join(f"- {part[0].upper()}{part[1:].rstrip('.')}." for part in text.split("; "))


def key_pages() -> Iterator[tuple[str, str]]:
    """One page per section of a recipe, with all of its keys."""
    sections = {
        "source": "[All keys of a source](source.md).",
        "method": "[One page per method](../papers.md).",
        "task": "[All keys of a task](task.md).",
        "training": "[All keys of training](training.md).",
        "baselines": "[All baselines and their options](baselines.md).",
        "ood": "[All keys of `ood`](ood.md).",
        "federated": "[Federated training](../guides/federated.md).",
        "objectives": "[All objectives and their options](objectives.md).",
        "unlabelled": "[Its keys](objectives.md#unlabelled), and [training with few labels](../guides/few_labels.md).",
    }
    rows = "\n".join(f"- `{name}`: {text}" for name, text in sections.items())
    grammar = inspect.cleandoc(inspect.getmodule(Recipe).__doc__ or "").partition("\n\n")[2]
    example, _, rest = grammar.partition("\n\n")
    yield (
        "keys/recipe.md",
        f"# Keys of a recipe\n\nA recipe is one YAML file.\n\n```yaml\n{inspect.cleandoc(example)}\n```\n\n{rest}\n\n"
        f"{keys(Recipe)}\n\n## Sections\n\n{rows}\n\n"
        "`--set a.b=c` changes one key from the command line. `sweep` takes dotted keys of `method` and `training`, such as "
        "`training.learning_rate`, each with a list of values.\n",
    )
    yield (
        "keys/task.md",
        "# Keys of a task\n\n## The examples\n\nA task names the columns of its examples by one of these keys, unless the "
        "data set is in the catalog.\n\n"
        f"{examples()}\n\n## All other keys\n\n{keys(TaskSection)}\n\n## Problems\n\n{_names(PROBLEMS)}\n\n"
        f"## Metrics\n\n{_names(METRICS)}\n",
    )
    yield (
        "keys/ood.md",
        f"# Keys of `ood`\n\n{keys(ShiftOptions)}\n\n## A set\n\nEach entry of `covariate` and `semantic` has these keys.\n\n"
        f"{keys(SetOptions)}\n\n## Corruptions\n\n{keys(CorruptionOptions)}\n\nKinds: {_names(KINDS)}\n\n"
        f"## Scores\n\n{_names(LOGIT_SCORES)}\n",
    )
    yield (
        "keys/source.md",
        "# Keys of a source\n\n`source: NAME` or `source: {name: NAME, kind: KIND, ...}`.\n\n"
        "- `name`: a Hub id or a folder.\n- `kind`: the kind of source; by default the checkpoint determines it.\n"
        "- Every other key goes to the model's `from_pretrained`: `revision`, `dtype`, `subfolder`, `quantization_config`, "
        "`attn_implementation`, `trust_remote_code` and so on. Models of images also take `image_size`.\n\n"
        "## An endpoint\n\n`source: {endpoint: URL, task: TASK, labels: [...], ...}` names a model that only answers "
        f"([black boxes](../guides/black_box.md#in-a-recipe)).\n\n{keys(EndpointSource)}\n\n"
        f"## Facts about a loaded source\n\n{keys(SourceSpec)}\n",
    )
    yield (
        "keys/training.md",
        "# Keys of training\n\nEvery field of `transformers.TrainingArguments` is a key of `training`. "
        "They override the defaults of the method, which [each paper's page](../papers.md) lists. "
        "The run itself sets the output folder, the seeds and the reporting, and refuses these keys. "
        "It also refuses `bf16_full_eval` and `fp16_full_eval`, as they would round the trained parameters.\n\n"
        "The most useful keys:\n\n"
        "| key | meaning |\n|---|---|\n"
        "| `learning_rate` | the learning rate of theta and omega; a frozen source needs large ones, from 1e-3 to 1e-1 |\n"
        "| `num_train_epochs` | passes over the training data |\n"
        "| `per_device_train_batch_size` | examples per step and device |\n"
        "| `bf16` | train in bfloat16; theta and omega stay float32 |\n"
        "| `gradient_accumulation_steps` | batches per step; it does not change the loss |\n"
        "| `gradient_checkpointing` | recompute the source's layers in the backward pass, which saves memory |\n"
        "| `train_sampling_strategy` | `group_by_length`, the default for texts, puts texts of similar length into a batch; "
        "`random` does not |\n",
    )
    parts = ["# Baselines\n\nA recipe names them in `baselines`, alone or as `{name: {option: value}}`.\n"]
    for name in BASELINES.names():
        baseline = BASELINES[name]
        text = inspect.cleandoc(baseline.__doc__ or "").partition("\n\n")[0]
        parts.append(f"## `{name}`\n\n{text}\n\n{keys(baseline.Options)}\n")
    yield "keys/baselines.md", "\n".join(parts)
    parts = ["# Objectives\n\nA recipe names them in `objectives`, alone or as `{name: {option: value}}`.\n"]
    for name in OBJECTIVES.names():
        text = inspect.cleandoc(inspect.getmodule(OBJECTIVES[name]).__doc__ or "")
        parts.append(f"## `{name}`\n\n{text}\n\n{keys(OBJECTIVES[name].Options)}\n")
    parts.append(f"## `unlabelled`\n\n{keys(UnlabelledOptions)}\n")
    yield "keys/objectives.md", "\n".join(parts)


def examples() -> str:
    """The keys of a task that name the columns of its examples, one per modality."""
    modalities = [MODALITIES[name] for name in MODALITIES.names()]
    return left(
        [{"key": f"`{kind.column}`", "examples": kind.noun, "meaning": kind.column_help} for kind in modalities]
    )


def _names(registry: Any) -> str:
    return ", ".join(f"`{name}`" for name in sorted(registry)) + "."


ROOMS = {
    "hf_reprogram": "the model, its config, and how it is made",
    "ood": "out-of-distribution scores and metrics, which work on their own",
    "alignment": "distances of logits and agreement of gradients, which work on their own",
    "dictionary": "sparse codes and dictionaries, which work on their own",
    "gradients": "estimated and private gradients of theta",
    "costs": "operations, memory and energy, which work on their own",
    "privacy": "the cost of private training, and membership inference, which work on their own",
    "modalities": "the kinds of target data",
    "sources": "the frozen models",
    "transforms": "the input transforms, with theta",
    "mappings": "the output mappings, with omega",
    "methods": "the papers' choices of a transform and a mapping",
    "tasks": "data, splits, problems and metrics",
    "training": "training one model, predicting with it, and callbacks",
    "objectives": "what training minimises beside the loss of labelled examples",
    "baselines": "models and rules to compare with",
    "diagnostics": "the alignment of a model with its source's own data",
    "inspection": "descriptions and pictures of an adapter",
    "reports": "tables, cards and plots of results",
    "federated": "programs that clients train together",
    "experiments": "recipes and runs",
    "export": "adapters as plain models of transformers and as ONNX",
    "serving": "a server of adapters over one source",
    "hub": "pushing to the Hub",
}


# `tests/support/examples.py` makes these names.
NAMES = """\
## The names in the examples

The tests run every example. `torch` and `np` (NumPy) are imported. Some names stand for tiny models with random weights, which
keep an example short and fast:

| name | value |
|---|---|
| `text_source` | a BERT with a masked-LM head: width 32, 64 positions, a vocabulary of 112 tokens |
| `text_classifier` | a BERT classifier of 6 labels, of the same size and vocabulary |
| `tokenizer` | the tokenizer of both |
| `audio_source` | a Wav2Vec2 classifier of 12 labels, `word 0` to `word 11`: clips of 1,600 samples at 16 kHz, width 32 |
| `image_source` | a ViT classifier of 12 labels, `thing 0` to `thing 11`: images of 32 x 32 pixels, patches of 8, width 32 |
| `dual_source` | a CLIP of the same image size: text width 32, features of width 24 |
| `dual_tokenizer` | the tokenizer of its text tower, which has one token per letter |
| `texts` | four short sentences |

To run an example with a real model, load one under the same name. The shapes that depend on the model then differ.

```python
from hf_reprogram.sources import load_source

text_source, _ = load_source("google-bert/bert-base-uncased")
```
"""


def public(path: Path) -> bool:
    """Whether a module has a public class or function."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    named = (ast.ClassDef, ast.FunctionDef)
    return any(isinstance(node, named) and not node.name.startswith("_") for node in tree.body)


def api() -> Iterator[tuple[str, str]]:
    """A page per folder of the package, which mkdocstrings fills from the docstrings."""
    package = ROOT / "hf_reprogram"
    for room, what in ROOMS.items():
        folder = package if room == "hf_reprogram" else package / room
        paths = [path for path in sorted(folder.glob("*.py")) if path.stem != "__main__" and public(path)]
        modules = [
            ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            for path in paths
            if path.stem != "__init__" or room != "hf_reprogram"
        ]
        body = "\n\n".join(f"::: {module}" for module in modules)
        yield f"api/{room}.md", f"# `{room}`: {what}\n\n{body}\n"
    index = "\n".join(f"- [`{room}`]({room}.md): {what}" for room, what in ROOMS.items())
    yield (
        "api/index.md",
        "# API reference\n\nThe package is the equation, one folder for each term.\n\n"
        f"{index}\n\nThe function to start from is [`reprogram`][hf_reprogram.methods.reprogramming.reprogram].\n\n{NAMES}",
    )


def tutorials() -> Iterator[tuple[str, str]]:
    """A page per notebook of `docs/tutorials`: its text and its code."""
    for path in sorted((ROOT / "docs" / "tutorials").glob("*.ipynb")):
        parts = []
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            text = "".join(cell["source"])
            parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
        parts.append(f"[Download this page as a notebook](../{path.name}).")
        yield f"tutorials/pages/{path.stem}.md", "\n\n".join(parts) + "\n"


def main() -> None:
    """Write every page; nothing else stays in their folders."""
    docs = ROOT / "docs"
    for folder in FOLDERS:
        shutil.rmtree(docs / folder, ignore_errors=True)
    for pages in (papers(), key_pages(), api(), tutorials()):
        for name, text in pages:
            path = docs / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
