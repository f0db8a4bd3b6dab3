"""`method: auto`: methods, their options and learning rates, searched on validation (as AutoVP does, arXiv 2310.08381).

The untrained start of every method that fits is scored first. Then the methods' defaults are trained, the best start first, and
then TPE samples, with a median pruner. A source without a program is always a candidate: its own labels, its zero-shot answers
and the linear probe. A budget of time is shared: starts, defaults and sampled trials may take two thirds of it, and the rest
trains the best one for longer if a limit had shortened it. Test is not looked at.

output/
  auto.json      the search so far: seconds, candidates without a program, trials, the chosen one
  auto.db        the study, unless the recipe has a `storage`
  auto/trial-3/  the best run of this process, until it becomes `runs/seed-0`
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import time
from dataclasses import replace
from math import ceil, inf
from typing import Any

from ..errors import InputError
from ..files import write_json, write_text
from ..methods import METHODS
from ..reports.leaderboard import leaderboard, settings, verdict
from ..training.callbacks import Watch
from ..training.fit import SELECTION
from .auto_space import Candidate, candidates, read_budget
from .auto_starts import Start, decided, score_starts
from .job import Job
from .no_program import reason, without_program
from .recipe import Recipe
from .seed_runs import train_seed

SEARCHED = 2 / 3  # of the time; the rest may train the best candidate for longer
STARTS = 1 / 3  # of the time, for the starts
PROMISING = 3  # methods that share the time of defaults, those with the best starts
SMALLEST = 1 / 50  # of the time that is worth another trial
STARTUP = 3  # random trials before TPE, beyond the defaults
WARMUP = 2  # epochs that no trial is stopped in


class _Pruned(Exception):
    """A trial is worse than the median of the others."""


def check_optuna(process: Any) -> None:
    """Refuse a search without optuna, or in several processes of one run.

    Raises:
        InputError: optuna is not installed, or accelerate runs several processes.
    """
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise InputError("method: auto needs optuna: pip install 'hf_reprogram[auto]'.") from error
    if process.num_processes > 1:
        raise InputError(
            f"method: auto runs in one process, and this run has {process.num_processes}: start several runs with an output "
            "each and the same storage, which share one search."
        )


def search(job: Job) -> tuple[Job, dict[str, Any], dict[str, Any]]:
    """Search for a method and its settings, with the first seed.

    Args:
        job: a job whose recipe has `method: auto`.

    Returns:
        The job with the recipe of the best trial, whose run is that of the first seed; what was decided for it; and the entry
        `auto` of `results.json`.

    Raises:
        InputError: no method fits, or every trial failed.
    """
    return _Search(job).run()


class _Search:
    """A search of one process."""

    def __init__(self, job: Job) -> None:
        self.job, self.budget, self.path = job, read_budget(job.recipe.budget), job.output / "auto.json"
        self.kept = json.loads(self.path.read_text(encoding="utf-8")) if self.path.exists() else {}
        self.spent = self.kept.get("seconds", 0.0)  # by earlier processes of this run
        self.started = time.monotonic()
        self.baselines: dict[str, Any] = self.kept.get("baselines", {})
        self.candidates: dict[str, Candidate] = {}
        self.unfit: dict[str, str] = {}

    def run(self) -> tuple[Job, dict[str, Any], dict[str, Any]]:
        """See `search`."""
        found, self.unfit = candidates(self.job)
        self.candidates = {candidate.name: candidate for candidate in found}
        self.study = self._study()
        if not self.kept:
            self.baselines = without_program(self.job, found[0])
            self._save()
        self._defaults()
        self._sample()
        if self.budget.seconds is not None and self._left() > 0:
            self._longer()
            self._sample(1.0)
        return self._finish()

    # ----------------------------------------------------------------------------------------------------- the study

    def _study(self) -> Any:
        """The study of this recipe: a new one, or the one in the storage."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        recipe = self.job.recipe
        plain = {name: getattr(recipe, name) for name in ("source", "method", "task", "training", "init_from")}
        text = json.dumps({**plain, "seed": recipe.seeds[0]}, sort_keys=True, default=str)
        study = optuna.create_study(
            study_name=f"hf_reprogram-{hashlib.sha256(text.encode()).hexdigest()[:12]}",
            storage=recipe.storage or f"sqlite:///{self.job.output / 'auto.db'}",
            direction="maximize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=len(self.candidates), n_warmup_steps=WARMUP),
            load_if_exists=True,
        )
        if recipe.storage is None:  # of a process that was killed
            for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
                study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        return study

    def _count(self) -> int:
        """The trials of all processes, without those that were killed."""
        return sum("reason" in trial.user_attrs or trial.state.name != "FAIL" for trial in self.study.trials)

    def _left(self) -> float:
        """The seconds that are left."""
        return (self.budget.seconds or inf) - self.spent - (time.monotonic() - self.started)

    def _over(self, share: float = 1.0) -> bool:
        """Whether a share of the budget is used up."""
        if self.budget.trials is not None:
            return self._count() >= self.budget.trials
        seconds = self.budget.seconds or 0.0
        return self._left() - (1 - share) * seconds <= SMALLEST * seconds

    # ---------------------------------------------------------------------------------------------------- the phases

    def _defaults(self) -> None:
        """The defaults of every method that no process has begun, the best start first."""
        begun = self._begun()
        fresh = [candidate for name, candidate in self.candidates.items() if name not in begun]
        starts = score_starts(self.job, fresh, self.budget.seconds and STARTS * self.budget.seconds)
        for place, (name, start) in enumerate(starts.items()):
            if name in self._begun():  # by another process, in the meantime
                continue
            if self._over() and self._best() is not None:  # there is an adapter, whatever the budget
                return
            share = self._left() - (1 - SEARCHED) * (self.budget.seconds or 0)
            share /= min(PROMISING, len(starts)) - place if place < PROMISING else 1
            self._trial({"default": name}, max(share, 0.0) if self.budget.seconds else None, start)

    def _begun(self) -> set[str | None]:
        """The methods whose defaults a process has begun."""
        return {
            trial.user_attrs.get("default")
            for trial in self.study.trials
            if trial.state.name != "FAIL" or "reason" in trial.user_attrs
        }

    def _sample(self, share: float = SEARCHED) -> None:
        """Trials of TPE until the trials, or a share of the time, are used up."""
        seconds = self.budget.seconds
        while not self._over(share):
            self._trial({}, seconds and min(self._left(), max(seconds / 10, seconds / 2 / len(self.candidates))))

    def _longer(self) -> None:
        """The best candidate once more, if its training was shortened and there is time for half as many epochs again."""
        best = self._best()
        if best is None or not best.user_attrs.get("shortened") or best.user_attrs["epochs"] <= 0:
            return
        possible = self._left() / best.user_attrs["epoch_seconds"]
        if possible >= 1.5 * best.user_attrs["epochs"]:
            self._trial({"longer": best.number}, self._left())

    # ------------------------------------------------------------------------------------------------------- a trial

    def _trial(self, attributes: dict[str, Any], limit: float | None, start: Start | None = None) -> None:
        """Run a trial and tell the study.

        Args:
            attributes: `default` names a method whose defaults are meant, and `longer` a trial to train for longer; without
                them the study samples.
            limit: the seconds that it may take.
            start: the defaults that are meant.
        """
        import optuna

        started = time.monotonic()
        recipe, record, failure = (start.recipe, start.record, start.failure) if start else (None, {}, None)
        if start is not None:
            options = {**start.recipe.method_options, **record.get("options", {})}
            self.study.enqueue_trial(self.candidates[attributes["default"]].parameters(options), attributes)
        elif "longer" in attributes:
            self.study.enqueue_trial(self.study.trials[attributes["longer"]].params, attributes)
        trial = self.study.ask()
        if trial.user_attrs != attributes:  # one that another process has asked for
            recipe, failure = None, None
        # One sampler per trial, so that a search that was interrupted goes on as if it had not been.
        self.study.sampler = optuna.samplers.TPESampler(
            seed=trial.number, n_startup_trials=len(self.candidates) + STARTUP
        )
        method = trial.suggest_categorical("method", list(self.candidates))
        output = self.job.output / "auto" / f"trial-{trial.number}"
        trial.set_user_attr("method", method)
        watch = None
        try:
            if failure is not None:
                raise InputError(failure)
            sampled = self.candidates[method].sampled(self.job.recipe, trial)
            if recipe is None:
                recipe, record = decided(self.job, sampled, f"trial-{trial.number}")
            deadline = None if limit is None else max(started + limit, time.monotonic() + limit / 2)
            recipe, shortened = self._fitting(recipe, method, trial, deadline)

            def report(step: int, value: float) -> None:
                trial.report(value, step)
                if not trial.user_attrs.keys() & {"default", "longer"} and trial.should_prune():
                    raise _Pruned

            watch = Watch(f"eval_{SELECTION}", report, deadline)
            folder = train_seed(
                replace(self.job, recipe=recipe, output=output, resume=False, quiet=True),
                recipe.seeds[0],
                callbacks=[watch],
            )
            fitted = json.loads((folder / "fit.json").read_text(encoding="utf-8"))
            self._note(trial, recipe, record, fitted["validation"], started)
            trial.set_user_attr("trainable", fitted["trainable"])
            trial.set_user_attr("epochs", watch.epochs)
            trial.set_user_attr("epoch_seconds", fitted["seconds"] / max(watch.epochs, 1e-3))
            trial.set_user_attr("shortened", shortened or watch.cut)
            if watch.cut:  # the other seeds take as long
                trial.set_user_attr("training", {**recipe.training, "num_train_epochs": max(1, ceil(watch.epochs))})
            self.study.tell(trial, watch.best)
        except _Pruned:
            assert watch is not None
            assert recipe is not None
            self._note(trial, recipe, record, None, started)
            trial.set_user_attr("epochs", watch.epochs)
            self.study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        except Exception as error:  # of one candidate, which must not end the search
            trial.set_user_attr("reason", reason(error))
            if recipe is not None:
                self._note(trial, recipe, record, None, started)
            self.study.tell(trial, state=optuna.trial.TrialState.FAIL)
        self._tidy(trial.number)
        self._save()
        self._show(trial.number)

    def _fitting(self, recipe: Recipe, method: str, trial: Any, deadline: float | None) -> tuple[Recipe, bool]:
        """A recipe of as many epochs as fit before a deadline by what the method's epochs took, and whether these are fewer."""
        took = [other.user_attrs["epoch_seconds"] for other in self.study.trials
                if other.user_attrs.get("method") == method and "epoch_seconds" in other.user_attrs]  # fmt: skip
        if deadline is None or not took or "num_train_epochs" not in recipe.training:
            return recipe, False
        epochs = max(1, int((deadline - time.monotonic()) / took[-1]))
        if epochs >= recipe.training["num_train_epochs"] or "num_train_epochs" in self.job.recipe.training:
            return recipe, False
        return recipe.with_values({"training.num_train_epochs": epochs}), True

    def _note(self, trial: Any, recipe: Recipe, record: dict[str, Any], validation: Any, started: float) -> None:
        """Keep what a trial was with the study, for every process."""
        for name, value in (
            ("options", recipe.method_options),
            ("training", recipe.training),
            ("record", record),
            ("validation", validation),
            ("seconds", time.monotonic() - started),
        ):
            trial.set_user_attr(name, value)

    # --------------------------------------------------------------------------------------------------- the outcome

    def _best(self) -> Any:
        """The best complete trial, the first among equals; None if there is none."""
        complete = [trial for trial in self.study.trials if trial.state.name == "COMPLETE"]
        return max(complete, key=lambda trial: (trial.value, -trial.number), default=None)

    def _tidy(self, number: int) -> None:
        """Keep the files of the best trial alone."""
        best = self._best()
        for folder in (self.job.output / "auto").glob("trial-*"):
            if best is None or folder.name != f"trial-{best.number}":
                shutil.rmtree(folder, ignore_errors=True)

    def _entries(self) -> list[dict[str, Any]]:
        """The trials that have ended, as plain data."""
        names = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
        entries = []
        for trial in self.study.trials:
            noted = trial.user_attrs
            if trial.state.name not in names or (trial.state.name == "FAIL" and "reason" not in noted):
                continue
            given = self.job.recipe.training
            kinds = {"default": " defaults", "longer": " for longer"}
            kind = next((kinds[key] for key in noted if key in kinds), "")
            entries.append(
                {
                    "number": trial.number,
                    "title": METHODS[noted["method"]].info.label + kind,
                    "method": noted["method"],
                    "state": names[trial.state.name],
                    "value": trial.value,
                    "validation": noted.get("validation"),
                    "options": noted.get("options", {}),
                    "training": {key: value for key, value in noted.get("training", {}).items() if key not in given},
                    "seconds": noted.get("seconds", 0.0),
                    **{key: noted[key] for key in ("trainable", "epochs", "reason") if key in noted},
                }
            )
        return entries

    def _found(self) -> dict[str, Any]:
        """The entry `auto` of `results.json` so far, without a note."""
        best = self._best()
        return {
            "budget": self.job.recipe.budget,
            "seconds": self.spent + time.monotonic() - self.started,
            "methods": list(self.candidates),
            "unfit": self.unfit,
            "baselines": self.baselines,
            "trials": self._entries(),
            "chosen": None if best is None else best.number,
        }

    def _save(self) -> None:
        self.job.output.mkdir(parents=True, exist_ok=True)
        write_json(self.path, {**self._found(), "published": self.kept.get("published")})

    def _show(self, number: int) -> None:
        """A line on standard error for a trial that has ended."""
        if self.job.quiet:
            return
        entry = next((entry for entry in self._entries() if entry["number"] == number), None)
        if entry is not None:
            scores = entry["validation"] or {entry["state"]: entry.get("reason", "")}
            shown = ", ".join(f"{key} {value:.4f}" if isinstance(value, float) else f"{key} {value}".strip()
                              for key, value in scores.items())  # fmt: skip
            print(f"trial {number}: {entry['title']}, {settings(entry)}: {shown}", file=sys.stderr, flush=True)

    def _finish(self) -> tuple[Job, dict[str, Any], dict[str, Any]]:
        """The best trial as the run of the first seed, with the leaderboard."""
        best, job = self._best(), self.job
        if best is None:
            reasons = [entry["reason"] for entry in self._entries() if "reason" in entry]
            raise InputError(
                f"No trial of the search ended with an adapter: {reasons[0] if reasons else 'give a larger budget.'}"
            )
        found = self._found()
        found["note"] = verdict(found, job.task.metrics[0])
        write_text(job.output / "leaderboard.md", f"# Leaderboard\n\n{leaderboard(found, job.task.metrics)}")
        noted = best.user_attrs
        recipe = job.recipe.with_values(
            {
                "method": {"name": noted["method"], **noted["options"]},
                "training": noted["training"],
                "budget": None,
                "storage": None,
            }
        )
        if self.kept.get("published") not in (None, best.number):  # of a smaller budget
            for name in ("runs", "baselines"):
                shutil.rmtree(job.output / name, ignore_errors=True)
        write_json(self.path, {**found, "published": best.number})
        seed = recipe.seeds[0]
        folder = job.output / "auto" / f"trial-{best.number}" / "runs" / f"seed-{seed}"
        first = job.output / "runs" / folder.name
        if folder.exists() and not (first / "fit.json").exists():
            shutil.rmtree(first, ignore_errors=True)
            first.parent.mkdir(exist_ok=True)
            folder.rename(first)
        shutil.rmtree(job.output / "auto", ignore_errors=True)
        return replace(job, recipe=recipe), noted["record"], found
