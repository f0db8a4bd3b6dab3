"""The command `hf-reprogram ood`: accuracy under shift and OOD detection of a trained adapter of images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError, unknown
from ..files import write_json, write_text
from ..modalities.image import IMAGE
from ..options import from_dict
from ..progress import quiet_libraries
from ..registry import plugins
from ..reports.results import ood_reports, render_ood, versions
from ..tasks.inputs import task_modality
from ..tasks.options import TaskOptions, data_address
from ..tasks.shifts import ShiftOptions, load_shifts
from ..training.adapter import load_adapter
from .evaluate import same_splits, seed_of, task_of
from .named_source import named_source
from .ood import adapter_record, check_alphas, summarize_ood
from .recipe import Recipe, apply_overrides, load_recipe, make_recipe, recorded_recipe
from .whole_paths import with_whole_paths


def ood_adapter(
    adapter: str,
    *,
    inside: str | None = None,
    covariate: Sequence[str] = (),
    semantic: Sequence[str] = (),
    recipe: str | os.PathLike | None = None,
    overrides: Sequence[str] = (),
    output: Path | None = None,
    source: str | None = None,
    quiet: bool = False,
    trust_remote_code: bool = False,
) -> tuple[str, Path]:
    """Evaluate an adapter in and out of distribution, and write `ood.json`, `ood.md` and plots.

    Args:
        adapter: a folder or a Hub id.
        inside: the data set in distribution, as DATASET or DATASET:CONFIGURATION, whose test split is read; None for the
            recipe's. If it is the data set of the recipe, the whole section `task` of the recipe is used.
        covariate, semantic: sets, as NAME=DATASET or NAME=DATASET:CONFIGURATION.
        recipe: the recipe whose sections `task` and `ood` are used; None for the recipe in the adapter's folder, whose section
            `ood` is used only if `covariate` and `semantic` are empty.
        overrides: changes of the two sections, such as "ood.score=energy".
        output: the folder to write into; None for `ood` in the adapter's folder, or in the current folder for an adapter of
            the Hub.
        source: the name or folder of the source, if it is not where the adapter recorded it.
        quiet: show no progress bars.
        trust_remote_code: whether the source's own Python code may run; see `hf_reprogram.trust`.

    Returns:
        The tables as Markdown, and the folder.

    Raises:
        InputError: there are no sets, a set or an option cannot be used, or alphas are to be chosen and the images that
            trained the adapter are not known.
    """
    quiet_libraries(quiet)
    own = recorded_recipe(adapter)
    chosen = load_recipe(recipe) if recipe is not None else None
    if chosen is None and own is not None:
        with plugins(trust_remote_code):
            chosen = make_recipe(own)
    values = _sections(adapter, chosen, recipe is not None, inside, covariate, semantic)
    known = [*values]
    apply_overrides(values, overrides)
    for section in values:
        if section not in known:
            raise unknown("section", section, known)
    shift_options = from_dict(ShiftOptions, values["ood"], "key of ood")
    options = from_dict(TaskOptions, values["task"], "key of task")
    if shift_options.alphas:
        _check_validation(options, own["task"] if own else chosen.task if chosen else None)
    if inside is not None and task_modality(options) is None:
        setattr(options, IMAGE.column, [IMAGE.column])  # the column of a folder of images
    model, processor = load_adapter(
        adapter, named_source(source), chosen.source_kwargs if chosen and recipe is None else None, trust_remote_code
    )
    check_alphas(model.mapping, shift_options.alphas)
    task = task_of(model, options)
    shifts = load_shifts(shift_options, task)
    validation = task.splits(seed_of(adapter))["validation"] if shift_options.alphas else None
    bf16 = bool(chosen and chosen.training.get("bf16"))
    record = adapter_record(model, processor, task, shifts, validation, bf16=bf16, quiet=quiet)
    tables = render_ood(ood_reports(summarize_ood([record], shifts, task), "adapter"), record["report"])
    folder = output or Path(adapter if Path(adapter).is_dir() else ".") / "ood"
    write_json(folder / "ood.json", {"task": task.title, **record, "versions": versions()})
    write_text(folder / "ood.md", f"# {task.title} in and out of distribution\n\n{tables}")
    _plot(record, folder)
    return tables, folder


def _sections(
    adapter: str,
    chosen: Recipe | None,
    from_user: bool,
    inside: str | None,
    covariate: Sequence[str],
    semantic: Sequence[str],
) -> dict[str, Any]:
    """The sections `task` and `ood` as plain data; the recipe is `from_user`, or it is the one in the adapter's folder."""
    if inside is None and chosen is None:
        raise InputError(
            f"{adapter!r} has no recipe.json: name the task that it was trained for with --id or --recipe."
        )
    task = with_whole_paths(dict(chosen.task)) if chosen else {}
    if inside is not None:
        address = with_whole_paths({"name": None, **data_address(inside)})
        task = task if all(task.get(key) == value for key, value in address.items()) else address
    ood = dict(chosen.ood or {}) if chosen and (from_user or not (covariate or semantic)) else {}
    for key, sets in (("covariate", covariate), ("semantic", semantic)):
        if sets:
            named = [_named(text, key) for text in sets]
            names = [name for name, _ in named]
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise InputError(f"--{key} names {twice[0]!r} twice: give every set a name of its own.")
            ood[key] = dict(named)
    if not ood:
        raise InputError(
            f"No sets were named to evaluate {adapter!r} on: give --covariate NAME=DATASET or --semantic NAME=DATASET, or a "
            "recipe with a section ood."
        )
    return {"task": task, "ood": ood}


def _check_validation(options: TaskOptions, trained: dict[str, Any] | None) -> None:
    """Raise `InputError` unless a task's validation split is the one on which the adapter was not trained."""
    if trained is not None and same_splits(options, trained):
        return
    raise InputError(
        "ood.alphas are chosen on validation images that the adapter was not trained on, and these are known only for the task "
        "of its own recipe: give that task, or leave alphas out with --set ood.alphas=[]."
    )


def _named(text: str, option: str) -> tuple[str, dict[str, Any]]:
    name, sign, address = text.partition("=")
    if not (name and sign and address):
        raise InputError(f"--{option} is {text!r}: write NAME=DATASET, such as textures=images:dtd.")
    return name, data_address(address)


def _plot(record: dict[str, Any], folder: Path) -> None:
    import warnings

    from ..reports.ood_plots import plot_ood

    try:
        plot_ood(record, folder)
    except ImportError:
        warnings.warn("matplotlib is not installed, so no plots: pip install 'hf_reprogram[plots]'.", stacklevel=2)
