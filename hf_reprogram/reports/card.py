"""Model cards, rendered from the `results.json` of a run."""

from __future__ import annotations

from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

from ..files import write_text
from ..modalities import MODALITIES
from ..modalities.base import CardFacts
from ..ood.report import note
from ..ood.report import rows as ood_rows
from ..publishing import in_words, without_folder
from ..sources.remote import is_address
from ..tasks.metrics import METRICS
from .calibration import render_calibration
from .cost import cost_note
from .properties import attack_note, attack_table, group_table
from .results import federated_note, gain_note, markdown, plus_minus, privacy_note, rows, run_reports, usage_note


def write_card(results: dict[str, Any], folder: str | Path, repo_id: str | None = None) -> Path:
    """Write the model card of a run as `README.md`.

    Args:
        results: the content of `results.json`.
        folder: the folder of the run.
        repo_id: the name of the adapter in the card's code; by default the name of the folder.

    Returns:
        The path of the card.
    """
    path = Path(folder) / "README.md"
    write_text(path, render_card(results, repo_id or Path(folder).name))
    return path


def render_card(results: dict[str, Any], repo_id: str) -> str:
    """The model card as Markdown, with its metadata block.

    Args:
        results: the content of `results.json`.
        repo_id: the name from which the card's code loads the adapter.
    """
    from jinja2 import Environment, StrictUndefined

    from ..methods import METHODS

    method, task, source = results["method"], results["task"], results["source"]
    info = METHODS[method["name"]].info
    modality = MODALITIES[task.get("modality", "text")]
    tune = results.get("tune", [])
    frozen = "partly frozen" if tune else "frozen"
    template = (package_files(__package__) / "card_template.md").read_text(encoding="utf-8")
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
    return environment.from_string(template).render(
        card_data=card_metadata(results, repo_id).to_yaml(),
        title=f"{source['name'].split('/')[-1]} reprogrammed for {task['title']} with {info.label}",
        method_sentence=f"A {frozen} {source['name']} reprogrammed with {info.label} ({info.authors} {info.year}).",
        tuned=f"{results.get('tuned', 0):,}" if tune else "",
        tuned_parts=in_words(tune),
        source_name=source["name"],
        source_link=f"https://huggingface.co/{source['name']}" if _on_hub(source) else "#limits",
        source_sentence=_ANSWERS_ALONE if _answers_alone(source) else _SOURCE_SENTENCE[_on_hub(source)],
        source_argument="source" if _answers_alone(source) else '"path/to/source"',
        processor=modality.processor_note(info.transform),
        trainable=f"{results['trainable']:,}",
        adapter_bytes=f"{results['adapter_bytes']:,}",
        repo_id=repo_id,
        example=_asked(repo_id, modality.takes)
        if _answers_alone(source)
        else modality.card_example(_facts(results, repo_id)),
        results_table=markdown(rows(results)),
        results_note=_note(results),
        ood_table=markdown(ood_rows(run_reports(results))) if "ood" in results else "",
        ood_note=_ood_note(results),
        calibration=render_calibration(results["calibration"]) if "calibration" in results else "",
        group_table=group_table(results),
        attack_table=attack_table(results),
        attack_note=attack_note(results),
        data_sentence=_data(results),
        data_notes=task["notes"],
        settings=_settings(results),
        sweep_table=_sweep(results),
        revision_clause=f" (revision {source['revision'][:12]})" if source["revision"] else "",
        reference=f"{info.authors} ({info.year}). {info.title}. {info.where}.",
        version=results["versions"].get("hf_reprogram", ""),
        versions=", ".join(f"{name} {value}" for name, value in results["versions"].items() if name != "hf_reprogram"),
    )


def card_metadata(results: dict[str, Any], repo_id: str) -> Any:
    """The metadata of the card for the Hub. A source or data set that is a local folder or file is left out.

    Args:
        results: the content of `results.json`.
        repo_id: the name of the adapter.

    Returns:
        A `huggingface_hub.ModelCardData`.
    """
    from huggingface_hub import EvalResult, ModelCardData

    method, task, source = results["method"], results["task"], results["source"]
    tag = pipeline_tag(results)
    on_hub = task["on_hub"] and "/" in task["dataset"]
    base = {"base_model": source["name"], "base_model_relation": "adapter"} if _on_hub(source) else {}
    evaluations = [
        EvalResult(
            task_type=tag,
            dataset_type=task["dataset"] if on_hub else "custom",
            dataset_name=task["title"],
            dataset_config=task["name"],
            dataset_split=task["test_split"],
            metric_type=_HUB_METRICS.get(metric, metric),
            metric_name=f"{metric}, mean of {results['test'][metric]['n']} seeds",
            metric_value=round(results["test"][metric]["mean"], 4),
        )
        for metric in task["metrics"]
    ]
    return ModelCardData(
        library_name="hf_reprogram",
        pipeline_tag=tag,
        tags=["model-reprogramming", method["name"]],
        datasets=[task["dataset"]] if on_hub else None,
        metrics=[_HUB_METRICS.get(metric, metric) for metric in task["metrics"]],
        model_name=repo_id.split("/")[-1],
        eval_results=evaluations,
        **base,
    )


_SOURCE_SENTENCE = {
    True: "The source is loaded by its own name. To use a copy of it, load the model with",
    False: "The source is not on the Hub under this name. Load the model with a copy of it:",
}
_ANSWERS_ALONE = (
    "The source only answers, and this repository does not say where. Ask it as in training, and load the model with"
)
_HUB_METRICS = {"matthews": "matthews_correlation", "pearson": "pearsonr", "spearman": "spearmanr"}


def pipeline_tag(results: dict[str, Any]) -> str:
    """The Hub's name of the pipeline that loads the adapter.

    >>> pipeline_tag({"task": {"labels": ["bad", "good"]}, "method": {"name": "warp"}})
    'text-classification'
    """
    from ..methods import METHODS

    if _problem(results) == "token_classification":
        return "token-classification"
    return METHODS[results["method"]["name"]].info.pipeline_tag


def _problem(results: dict[str, Any]) -> str:
    """The problem type; results without one are of a single-label classification or a regression."""
    task = results["task"]
    return task.get("problem") or ("single_label_classification" if task["labels"] else "regression")


def _on_hub(source: dict[str, Any]) -> bool:
    """Whether the name of a source is that of a repository."""
    return "/" in source["name"] and not is_address(source["name"])


def _answers_alone(source: dict[str, Any]) -> bool:
    return str(source.get("kind", "")).endswith("_black_box")


def _asked(repo_id: str, takes: str) -> str:
    """Python that loads an adapter of a black box."""
    task, size = (
        ("image-classification", "image_size=...")
        if takes == "pixel_values"
        else ("audio-classification", "samples=..., sampling_rate=...")
    )
    return (
        "from hf_reprogram import ReprogrammedModel\nfrom hf_reprogram.sources import BlackBox, InferenceEndpoint\n\n"
        f'source = BlackBox(InferenceEndpoint("https://...", "{task}"), labels=[...], {size}, name="...")\n'
        f'model = ReprogrammedModel.from_pretrained("{repo_id}", source=source)'
    )


def _facts(results: dict[str, Any], repo_id: str) -> CardFacts:
    from ..methods import METHODS

    task, method = results["task"], results["method"]
    return CardFacts(
        repo_id,
        pipeline_tag(results),
        _problem(results),
        labels=task["labels"],
        columns=task.get("features", ()),
        pair=bool(task.get("pair")),
        tokenizer=method.get("tokenizer"),
        transform=METHODS[method["name"]].info.transform,
    )


def _note(results: dict[str, Any]) -> str:
    seeds, metrics = len(results["seeds"]), results["task"]["metrics"]
    plain = [metric for metric in metrics if METRICS[metric].lower_is_better]
    unit = f"{', '.join(plain)} as it is" if plain else ""
    unit = ", ".join(part for part in ("in percent" if len(plain) < len(metrics) else "", unit) if part)
    spread = f"Mean and sample deviation over {seeds} seeds, {unit}" if seeds > 1 else f"One seed, {unit}"
    metric = metrics[0]
    validation = plus_minus(results["validation"][metric], metric)
    notes = gain_note(results), federated_note(results), usage_note(results), privacy_note(results), cost_note(results)
    added = " ".join(filter(None, notes))
    last = results.get("last_epoch", False)
    chosen = "the last epoch was kept, and settings" if last else "epochs, settings"
    return (
        f"{spread}, on the test split. Nothing was selected on it: {chosen} and the seed of this adapter "
        f"({results['best_seed']}) were chosen on validation, where {metric} was {validation}.{f' {added}' if added else ''}"
    )


def _ood_note(results: dict[str, Any]) -> str:
    """The meaning of the columns of the OOD table, and the data sets of its images."""
    if "ood" not in results:
        return ""
    report, sets = results["ood"]["report"], results["ood"]["sets"]
    about = [note(report)]
    for kind, classes in (("covariate", "the same classes"), ("semantic", "other classes")):
        names = [_set_of_images(name, address, report["images"][kind][name]) for name, address in sets[kind].items()]
        if names:
            about.append(f"Images of {classes}: {', '.join(names)}.")
    if report["corruptions"]:
        levels = next(iter(report["images"]["corruptions"].values()))
        about.append(
            f"Corruptions: {', '.join(report['corruptions'])}, levels {', '.join(levels)}, of {next(iter(levels.values())):,} "
            "test images."
        )
    if "alphas" in results["ood"]:
        tried = ", ".join(f"{entry['alpha']:g}" for entry in results["ood"]["alphas"])
        chosen = results["ood"]["chosen_alpha"]
        among = " of those between 0 and 1" if 0 < chosen < 1 else ""
        about.append(f"The values {tried} of alpha were tried; {chosen:g} was the best on validation{among}.")
    return " ".join(about)


def _set_of_images(name: str, address: dict[str, Any], count: int) -> str:
    configuration = f" {address['name']}" if address["name"] else ""
    return f"{name} (`{address['dataset']}`{configuration}, {count:,})"


def _data(results: dict[str, Any]) -> str:
    task = results["task"]
    sizes = ", ".join(f"{size:,} {name}" for name, size in task["sizes"].items())
    name = f"`{task['dataset']}`{f' ({task_name})' if (task_name := task['name']) else ''}"
    labels = " ".join(", ".join(task["labels"]).split())
    description = {
        "regression": "The label is a number.",
        "forecast": f"The next {len(task['labels'])} steps of a series are predicted.",
        "infilling": "The model predicts hidden tokens.",
        "multi_label_classification": f"Labels, each of which is present, absent or missing: {labels}.",
        "token_classification": f"Labels per letter: {labels}.",
    }
    features = f" Features: {len(task['features'])}." if task.get("features") else ""
    return f"{name}: {sizes} examples.{features} {description.get(_problem(results), f'Labels: {labels}.')}"


def _settings(results: dict[str, Any]) -> list[tuple[str, str]]:
    method = {key: without_folder(value) for key, value in results["method"].items() if value is not None}
    chosen = {"seeds": ", ".join(results["seeds"]), **{f"method.{k}": v for k, v in method.items()}}
    return [(key, f"`{value}`".replace("|", "\\|")) for key, value in {**chosen, **results["training"]}.items()]


def _sweep(results: dict[str, Any]) -> str:
    metric = results["task"]["metrics"][0]
    table = [
        {
            **{key: str(value) for key, value in entry["values"].items()},
            metric: _one(entry["validation"][metric], metric) if entry["validation"] else "diverged",
        }
        for entry in results["sweep"]
    ]
    return markdown(table) if table else ""


def _one(value: float, metric: str) -> str:
    return plus_minus({"mean": value, "std": 0.0, "n": 1}, metric)
