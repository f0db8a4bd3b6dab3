"""Recipes whose source is a model behind an address: the keys of the section `source`, and the black box that they make.

The user of a recipe says where data are sent and which variable holds the key. Nothing in the folder of an adapter does, so the
section is not taken over from the `recipe.json` beside one (`hf_reprogram.trust.recorded_source`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from math import inf, isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, shown
from ..options import check_whole, from_dict
from ..sources.answers import FIXED
from ..sources.base import SourceSpec
from ..sources.black_box import BlackBox
from ..sources.black_box_inputs import black_box_spec, taken
from ..sources.endpoints import TASKS, InferenceEndpoint
from ..sources.ledger import Ledger

if TYPE_CHECKING:
    from ..baselines.base import Baseline
    from ..tasks.task import Task
    from .recipe import Recipe

LEDGER = "ledger.sqlite"  # in the output folder
# What each kind of data needs.
_INPUTS = {
    "image-classification": ("image_size",),
    "audio-classification": ("samples", "sampling_rate"),
    "text-classification": ("tokenizer",),
}
# What may differ when a run goes on, since the answers do not depend on it.
CHANGEABLE = (
    *("endpoint", "key", "provider", "timeout", "retries", "wait", "concurrency"),
    *("budget", "price_per_1000", "ledger", "offline"),
)


@dataclass
class EndpointSource:
    """The section `source` of a recipe with the key `endpoint`; see `hf_reprogram.sources.black_box.BlackBox`.

    Attributes:
        endpoint: the URL of a model that speaks the Hub's inference API, or the Hub id of one that the Hub serves.
        task: "image-classification", "audio-classification" or "text-classification".
        labels: the names of the model's labels, as it writes them; or a file with a name on each line; or their count, if they
            are numbers from 0.
        name: what the model is called, for the ledger, the adapter and the card; by default `endpoint`. With a name of its own
            the model may move to another address.
        version: of the model; another one is another model for the ledger and the adapter.
        key: the name of the environment variable that holds the key.
        image_size: of images, the side in pixels or [height, width].
        samples: of sounds, the length of a clip.
        sampling_rate: of sounds, the samples per second.
        tokenizer: of texts, the Hub id or folder of the tokenizer whose tokens a program writes, or a list of words.
        max_tokens: of texts, the largest number of tokens; by default that of the tokenizer.
        budget: the largest number of samples that may ever be sent, over all seeds, baselines and runs with the ledger; none
            for no limit.
        price_per_1000: the price of 1,000 samples, for the cost in `results.json`.
        ledger: the file of the answers; by default `ledger.sqlite` in the output folder.
        offline: answer from the ledger alone, and send nothing.
        top_k: the number of labels to ask for; by default as many as the server gives.
        provider: of a Hub id, as for `huggingface_hub.InferenceClient`.
        timeout: seconds to wait for an answer.
        retries: further attempts after a failed one.
        wait: seconds before the first of them; each later wait is twice as long.
        concurrency: requests at once.

    >>> section = {"endpoint": "http://127.0.0.1:8000", "task": "image-classification", "labels": 10, "image_size": 32}
    >>> EndpointSource(**section).spec.labels[:3]
    ('0', '1', '2')
    """

    endpoint: str
    task: str
    labels: list[str] | int | str
    name: str = ""
    version: str = ""
    key: str | None = None
    image_size: int | list[int] | None = None
    samples: int | None = None
    sampling_rate: int | None = None
    tokenizer: str | list[str] | None = None
    max_tokens: int | None = None
    budget: int | None = None
    price_per_1000: float = 0.0
    ledger: str | None = None
    offline: bool = False
    top_k: int | None = None
    provider: str | None = None
    timeout: float = 30.0
    retries: int = 5
    wait: float = 1.0
    concurrency: int = 4

    def __post_init__(self) -> None:
        if not isinstance(self.endpoint, str) or not self.endpoint:
            raise InputError(f"source.endpoint is {shown(self.endpoint)}: give a URL, or the Hub id of a model.")
        if self.task not in TASKS:
            raise InputError(f"source.task is {shown(self.task)}: choose one of {', '.join(TASKS)}.")
        given = {name for names in _INPUTS.values() for name in names if getattr(self, name) is not None}
        if given != {*_INPUTS[self.task]}:
            others = sorted({name for names in _INPUTS.values() for name in names} - {*_INPUTS[self.task]})
            raise InputError(
                f"source.task is {self.task}: give {' and '.join(_INPUTS[self.task])}, and none of {', '.join(others)}."
            )
        _check_key(self.key)
        if self.budget is not None:
            check_whole(FIXED, " of samples", budget=self.budget)
        if not 0 <= self.price_per_1000 < inf:
            raise InputError(f"source.price_per_1000 is {shown(self.price_per_1000)}: give 0 or more.")
        self._endpoint(key=None)
        self.spec: SourceSpec = black_box_spec(taken(**self._inputs()), self.name or self.endpoint, self._labels())

    def _inputs(self) -> dict[str, Any]:
        """The arguments of `BlackBox` that say what it takes."""
        return {
            name: getattr(self, name) for name in ("image_size", "samples", "sampling_rate", "tokenizer", "max_tokens")
        }

    def _labels(self) -> list[str] | int:
        """The names or the count."""
        if not isinstance(self.labels, str):
            return self.labels
        try:
            lines = Path(self.labels).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not text in UTF-8"
            raise InputError(
                f"source.labels is {shown(self.labels)}, which cannot be read ({reason}): give the names of the labels in a "
                "list, or a file with one on each line."
            ) from error
        return [line.strip() for line in lines if line.strip()]

    def _endpoint(self, key: str | None) -> InferenceEndpoint:
        """What asks."""
        return InferenceEndpoint(
            self.endpoint,
            self.task,
            top_k=self.top_k,
            provider=self.provider,
            timeout=self.timeout,
            retries=self.retries,
            wait=self.wait,
            concurrency=self.concurrency,
            **({} if key is None else {"key": key}),
        )

    def make(self, ledger: str | os.PathLike[str]) -> BlackBox:
        """The black box, which asks for its 8 fixed inputs.

        Args:
            ledger: the file of the answers.

        Raises:
            InputError: the key is missing, the model gives no answer, or it is not that of the ledger.
            BudgetSpent: the budget does not allow the 8 fixed inputs.
        """
        Path(ledger).parent.mkdir(parents=True, exist_ok=True)
        return BlackBox(
            self._endpoint(None if self.offline else self.key),
            self._labels(),
            **self._inputs(),
            name=self.name or self.endpoint,
            version=self.version,
            budget=self.budget,
            price_per_1000=self.price_per_1000,
            ledger=ledger,
            offline=self.offline,
        )


class Endpoint:
    """The black box of a recipe, made at its first use and shared by all seeds and copies of the recipe.

    Args:
        section: the checked section `source`.
        output: the output folder of the recipe; None if it has none.
    """

    def __init__(self, section: EndpointSource, output: str | None):
        self.section = section
        self.ledger = Path(section.ledger or os.path.join(output or "runs/run", LEDGER))
        self._made: BlackBox | None = None

    def black_box(self) -> BlackBox:
        """The black box; see `EndpointSource.make`."""
        if self._made is None:
            self._made = self.section.make(self.ledger)
        return self._made

    def usage(self) -> dict[str, float | None]:
        """The samples that were sent, answered from the ledger and failed, their cost, and what is left; None for no limit."""
        ledger = Ledger(self.ledger, self.section.budget, self.section.price_per_1000) if self._made is None else None
        found = (ledger or self.black_box()).usage()
        return {name: value if isfinite(value) else None for name, value in found.items()}

    def check_key(self) -> None:
        """Raise `InputError` if the key is needed, and its variable is not set."""
        key = self.section.key
        if key is not None and not self.section.offline and not os.environ.get(key):
            raise InputError(
                f"source.key is {key!r}, but there is no environment variable of this name: set it to the key."
            )

    def check(self, task: Task, baselines: Iterable[Baseline]) -> None:
        """Refuse a run that cannot come to an end, before anything is sent.

        Args:
            task: the loaded task.
            baselines: those of the run.

        Raises:
            InputError: a baseline needs more than answers, or the budget is too small to score a single adapter.
        """
        for baseline in baselines:
            baseline.check_source(self.section.spec, task)
        budget, least = self.section.budget, FIXED + task.sizes["validation"] + task.sizes["test"]
        if budget is not None and budget < least:
            raise InputError(
                f"source.budget is {budget:,} samples, and one pass over validation and test takes {least:,}: raise it, or set "
                "task.max_test and task.validation_max."
            )


def read_endpoint(recipe: Recipe) -> Endpoint:
    """The endpoint of a recipe whose section `source` has this key; the section gets a name if it has none.

    Raises:
        InputError: a key is unknown or missing, a value cannot be used, or the recipe needs more than answers.
    """
    section = from_dict(EndpointSource, recipe.source, "key of a source with an endpoint")
    recipe.source.setdefault("name", section.endpoint)
    if recipe.method.get("name") == "auto":
        raise InputError("method: auto tries many programs, and an endpoint is paid for each: name the method.")
    if recipe.tune:
        raise InputError("tune trains weights of the source, and an endpoint gives none: leave tune out.")
    return Endpoint(section, recipe.output)


def _check_key(key: Any) -> None:
    """Refuse what may be the key itself, without showing it: `recipe.json` and messages hold the variable's name."""
    if key is not None and not (isinstance(key, str) and re.fullmatch(r"[A-Z_][A-Z0-9_]*", key)):
        raise InputError(
            "source.key is no name of an environment variable in capitals: put the key into a variable such as MY_KEY, and "
            "give the variable's name."
        )
