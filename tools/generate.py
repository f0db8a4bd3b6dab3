"""Write what can be generated into the documentation: tables, plots and model cards.

    python tools/generate.py             write
    python tools/generate.py --check     fail if something is out of date (CI does this)

Tables stand in hand-written files, README.md and those of docs/, between `<!-- begin: NAME -->` and `<!-- end: NAME -->`. They
are committed, so that they can be read without the site, and checked. Whole pages (papers, keys, API, tutorials) are written by
`tools/pages.py` into folders of docs/ that git ignores, each time that the site is built: they cannot be out of date.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pages
import yaml
from series_tables import plot_ranks, rank_table, series_table
from tables import (
    ablation,
    forecasts,
    fpt,
    mappings,
    out_of_distribution,
    overview,
    plot,
    runs,
    scores,
    swept_alphas,
    table,
)

from hf_reprogram.methods import METHODS
from hf_reprogram.reports.card import render_card
from hf_reprogram.reports.ood_plots import plot_alphas
from hf_reprogram.reports.results import markdown, plus_minus

ROOT = Path(__file__).resolve().parent.parent
# One model card per family: a prompt, molecules, a program on images, texts as patches, a dual encoder, and infilling.
CARDS = (
    "glue/minilm/sst2_k8",
    "recipes/tox21",
    "vision/cifar10_blm",
    "cross_modal/promoters",
    "ood/cifar10_few_shot",
    "recipes/cdr_h3_infilling",
)
BASELINES = ("majority", "linear_probe", "from_scratch", "prompt_tuning")


def methods() -> str:
    """The table of methods, from their `info`."""
    rows = []
    for name in METHODS.names():
        info = METHODS[name].info
        where = f"[{info.arxiv}](https://arxiv.org/abs/{info.arxiv})" if info.arxiv else info.venue
        rows.append(
            {
                "method": f"[`{name}`](papers/{name}.md)",
                "paper": f"{info.title}, {info.authors} {info.year}, {where}",
                "source": info.source,
                "input transform": f"`{info.transform}`",
                "output mapping": f"`{info.mapping}`",
                "what differs": info.differs or "nothing",
            }
        )
    return pages.left(rows)


def recipes() -> str:
    """The recipes, by the first line of their comment."""
    rows = []
    for path in sorted(ROOT.glob("recipes/**/*.yaml")):
        first = path.read_text(encoding="utf-8").splitlines()[0]
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        source = values["source"] if isinstance(values["source"], str) else values["source"]["name"]
        rows.append({"recipe": f"`{path.relative_to(ROOT)}`", "source": source, "what it does": first.lstrip("# ")})
    return pages.left(rows)


def results(folder: str) -> str:
    """Measured scores on test: a row a task, a column a baseline or a number of prompts."""
    runs: dict[str, dict[int, Any]] = {}
    for path in sorted((ROOT / "results" / folder).glob("*_k*.json")):
        task, k = re.fullmatch(r"(.+)_k(\d+)", path.stem).groups()  # type: ignore[union-attr]
        runs.setdefault(task, {})[int(k)] = json.loads(path.read_text(encoding="utf-8"))
    counts = sorted({k for found in runs.values() for k in found})
    ran = {name: e["title"] for found in runs.values() for r in found.values() for name, e in r["baselines"].items()}
    titles = {name: ran[name] for name in BASELINES if name in ran}
    rows = []
    for task, found in runs.items():
        whole = max(found.values(), key=lambda result: len(result["baselines"]))
        metric = whole["task"]["metrics"][0]
        row = {"task": f"{task} ({metric})", "train": f"{whole['task']['sizes']['train']:,}"}
        for name, title in titles.items():
            entry = whole["baselines"].get(name)
            row[title] = plus_minus(entry["test"][metric], metric) if entry else ""
        for k in counts:
            row[f"WARP K={k}"] = plus_minus(found[k]["test"][metric], metric) if k in found else ""
        rows.append(row)
    return markdown(rows) if rows else ""


def benchmarks() -> str:
    """The table of benchmarks/README.md."""
    text = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    tables = re.findall(r"(?m)(?:^\|.*\n)+", text)
    return tables[0].strip() if tables else ""


def plots() -> str:
    """The plots of data efficiency, side by side."""
    found = sorted(runs(ROOT / "results" / "efficiency").items())
    return "\n".join(
        f'<img src="../plots/{task}.png" class="third" width="32%" alt="{task}">'
        for task, sizes in found
        if len(sizes) > 1
    )


def ood() -> str:
    """The tables of each run in and out of distribution, and under them the curves over alpha."""
    tables = out_of_distribution(ROOT / "results" / "ood")
    curves = [
        f'<img src="../plots/alpha_{name}.png" width="80%" alt="accuracy and detection over alpha, {name}">'
        for name in swept_alphas(ROOT / "results" / "ood")
    ]
    return "\n\n".join([tables, *curves])


BLOCKS: dict[str, Callable[[], str]] = {
    "methods": methods,
    "recipes": recipes,
    "results bert_tiny": lambda: results("glue/bert_tiny"),
    "results minilm": lambda: results("glue/minilm"),
    "efficiency": lambda: table(ROOT / "results" / "efficiency"),
    "plots": plots,
    "ablation": lambda: ablation(ROOT / "results" / "ablation"),
    "recipes r2dl": lambda: scores(ROOT / "results" / "recipes"),
    "standardized": lambda: scores(ROOT / "results" / "standardized"),
    "sources": lambda: scores(ROOT / "results" / "sources"),
    "vision": lambda: scores(ROOT / "results" / "vision"),
    "cross_modal": lambda: scores(ROOT / "results" / "cross_modal"),
    "overview": lambda: overview(ROOT / "results"),
    "mappings": lambda: mappings(ROOT / "results" / "mappings", ROOT / "results" / "untrained"),
    "ood": ood,
    "regime": lambda: scores(ROOT / "results" / "regime"),
    "pairs": lambda: scores(ROOT / "results" / "pairs"),
    "series": lambda: series_table(ROOT / "results" / "series"),
    "series ranks": lambda: rank_table(ROOT / "results" / "series"),
    "audio": lambda: scores(ROOT / "results" / "audio"),
    "black_box": lambda: scores(ROOT / "results" / "black_box"),
    "forecasts": lambda: forecasts(ROOT / "results" / "forecast", "weather"),
    "fpt": lambda: fpt(ROOT / "results" / "fpt"),
    "programs": lambda: scores(ROOT / "results" / "programs"),
    "benchmarks": benchmarks,
}


def written() -> list[Path]:
    """The hand-written files that may hold blocks."""
    ours = [path for path in (ROOT / "docs").glob("**/*.md") if not _generated(path)]
    return [ROOT / "README.md", *sorted(ours)]


def _generated(path: Path) -> bool:
    return path.relative_to(ROOT / "docs").as_posix().startswith(tuple(f"{folder}/" for folder in pages.FOLDERS))


def generated() -> dict[Path, str]:
    """Every committed file that holds something generated, with its content."""
    pattern = re.compile(r"(<!-- begin: (.+?) -->\n).*?(<!-- end: \2 -->)", re.DOTALL)
    files, made = {}, {name: make() for name, make in BLOCKS.items()}
    placed: set[str] = set()
    for path in written():
        text = path.read_text(encoding="utf-8")
        names = [match[2] for match in pattern.finditer(text)]
        if strange := set(names) - set(made):
            sys.exit(f"{path.relative_to(ROOT)} has the unknown blocks {sorted(strange)}.")
        placed |= set(names)
        if names:
            files[path] = pattern.sub(lambda match: f"{match[1]}{made[match[2]]}\n{match[3]}", text)
    if missing := set(made) - placed:
        sys.exit(f"No file has the blocks {sorted(missing)}.")
    for result in CARDS:
        found = json.loads((ROOT / "results" / f"{result}.json").read_text(encoding="utf-8"))
        name = result.replace("/", "-")
        files[ROOT / "model_cards" / f"{name}.md"] = render_card(found, f"OWNER/{name}")
    return files


def main() -> None:
    """Write the files, or with --check name those that are out of date."""
    files = generated()
    stale = [path for path, text in files.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    stale += [path for path in (ROOT / "model_cards").glob("*.md") if path not in files]
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(f"out of date: {path.relative_to(ROOT)} (run `make docs`)")
        sys.exit(bool(stale))
    plots_folder = ROOT / "docs" / "plots"
    plot(ROOT / "results" / "efficiency", plots_folder)
    for name, swept in swept_alphas(ROOT / "results" / "ood").items():
        plot_alphas(swept, plots_folder / f"alpha_{name}.png")
    plot_ranks(ROOT / "results" / "series", plots_folder / "series_ranks.png")
    for path in stale:
        if path in files:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files[path], encoding="utf-8")
        else:
            path.unlink()


if __name__ == "__main__":
    main()
