"""The section `federated` of a recipe: the same program trained by clients that share no data, beside central training.

For each seed the training split is divided among the clients (`hf_reprogram.federated.partition`), and three programs with one
start are scored on one test split: that of the ordinary run, which has all data; that of the federation; and, on average over
clients, that of a client alone, with as many epochs and a label map of its own. The best round is chosen on validation, as the
best epoch of the ordinary run is. The validation split is the server's.

runs/seed-0/federated/     the adapter of the federation and `federated.json`
federated/                 the adapter of the seed with the best validation score
"""

from __future__ import annotations

import json
import time
from copy import deepcopy
from typing import Any

import numpy as np

from ..devices import to_accelerator
from ..errors import InputError
from ..federated.options import FederatedOptions, check_flower
from ..federated.partition import partition
from ..federated.program import check_program
from ..files import write_json
from ..progress import progress
from ..reports.results import summarize
from ..tasks.splits import selected
from ..training.encode import encode, labels_of
from ..training.features import add_zero_shot_features
from ..training.fit import selection
from ..training.predict import predict_logits
from .federated_section import federated_options
from .job import Job, SeedRun
from .output_folder import publish
from .seed_runs import untrained_model


def check_run(job: Job) -> None:
    """Raise `InputError`, before anything is trained, where federated training is not possible."""
    if federated_options(job.recipe.federated) is None:
        return
    check_flower()
    if job.process.num_processes > 1:
        raise InputError(
            f"Federated training runs in one process, and there are {job.process.num_processes}: start one."
        )
    if job.task.modality.name in ("table", "series"):
        raise InputError(
            f"A program for {job.task.modality.noun} is scaled by all training rows, which no client has: leave federated out."
        )


def check_shared(job: Job) -> None:
    """Raise `InputError`, before anything is trained, if clients cannot share the program that was decided."""
    if federated_options(job.recipe.federated) is not None:
        seed = job.recipe.seeds[0]
        check_program(untrained_model(job.recipe, job.task, seed, job.task.splits(seed))[0])


def run_federated(job: Job, runs: list[SeedRun]) -> dict[str, Any] | None:
    """Train the recipe's program by clients, for each seed.

    Args:
        job: the job.
        runs: its finished ordinary runs.

    Returns:
        The entry `federated` of `results.json`; None for a recipe without the section.
    """
    options = federated_options(job.recipe.federated)
    if options is None:
        return None
    records = [_seed(job, run, options) for run in runs]
    best = max(range(len(runs)), key=lambda index: job.task.benefit(records[index]["validation"]))
    (job.output / "federated").mkdir(exist_ok=True)
    publish(runs[best].folder / "federated", job.output / "federated")
    alone = [
        {name: float(np.mean([one[name] for one in record["alone"]])) for name in record["test"]} for record in records
    ]
    first = records[0]
    return {
        "options": job.recipe.federated,
        "clients": options.clients,
        "rounds": options.rounds,
        "seeds": {str(run.seed): record for run, record in zip(runs, records, strict=True)},
        "test": summarize([record["test"] for record in records]),
        "start": summarize([record["start_test"] for record in records]),
        "alone": summarize(alone),
        "trainable": first["trainable"],
        "bytes_down": float(np.mean([record["bytes_down"] for record in records])),
        "bytes_up": float(np.mean([record["bytes_up"] for record in records])),
        "source_bytes": first["source_bytes"],
        "seconds": summarize([{"train": record["seconds"]} for record in records])["train"],
    }


def _seed(job: Job, run: SeedRun, options: FederatedOptions) -> dict[str, Any]:
    """The record of one seed, from its folder if it is finished."""
    from ..federated.client import Client
    from ..federated.flower import federate

    recipe, task, quiet, seed = job.recipe, job.task, job.quiet, run.seed
    folder = run.folder / "federated"
    if (folder / "federated.json").exists():
        return json.loads((folder / "federated.json").read_text(encoding="utf-8"))
    splits = task.splits(seed)
    rows = partition(np.asarray(splits["train"]["label"][:]), options.clients, options.alpha, seed)
    model, processor = untrained_model(recipe, task, seed, splits)
    to_accelerator(model)
    arguments = recipe.training_arguments
    bf16 = bool(arguments.get("bf16"))

    def encoded(part: Any, name: str) -> Any:
        data = encode({name: part}, processor, task.options.max_length, task.problem_type)
        add_zero_shot_features(model, processor, data, bf16=bf16, quiet=True)
        return data[name]

    def scores(name: str) -> dict[str, float]:
        return task.score(predict_logits(model, processor, held[name], bf16=bf16, quiet=True), labels_of(held[name]))

    def on_validation(_: Any) -> float:
        logits = predict_logits(model, processor, held["validation"], bf16=bf16, quiet=True)
        labels = labels_of(held["validation"])
        return selection(task, task.score(logits, labels), logits, labels)

    held = {name: encoded(splits[name], name) for name in ("validation", "test")}
    parts = [encoded(selected(splits["train"], own), "train") for own in rows]
    settings = (processor, arguments, options.rounds, options.local_epochs, seed)
    clients = [Client(model, part, *settings) for part in parts]
    parts_of_program = model.transform, model.mapping
    start = [deepcopy(part.state_dict()) for part in parts_of_program]
    started = time.perf_counter()
    found = federate(model, clients, options.rounds, on_validation)
    seconds = time.perf_counter() - started
    validation, test = scores("validation"), scores("test")
    model.save_pretrained(folder)
    if processor is not None:
        processor.save_pretrained(folder)
    alone = []
    for client in progress(clients, "Clients alone", len(clients), quiet):
        for part, state in zip(parts_of_program, start, strict=True):
            part.load_state_dict(state)
        federate(model, [client], options.rounds, on_validation)
        alone.append(scores("test"))
    source = model.source.parameters()
    record = {
        "seed": seed,
        "validation": validation,
        "test": test,
        "start_test": run.result["start_test"],
        "alone": alone,
        "round": found.round,
        "scores": found.scores,
        "losses": found.losses,
        "examples": [client.examples for client in clients],
        "classes": [np.bincount(labels_of(client.data), minlength=len(task.labels)).tolist() for client in clients],
        "trainable": model.num_trainable(),
        "bytes_down": found.bytes_down,
        "bytes_up": found.bytes_up,
        "source_bytes": sum(weight.numel() * weight.element_size() for weight in source),
        "seconds": seconds,
    }
    write_json(folder / "federated.json", record)
    return record
