"""The command line: `hf-reprogram methods | recipes | init | train | evaluate | ood | predict | inspect | push | ...`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
import typer.core

from . import __version__
from .cli_arguments import Adapter, Quiet, Source, Trust
from .cli_calibration import add_commands as add_calibration
from .cli_diagnosis import add_commands as add_diagnosis
from .cli_serving import add_commands as add_serving
from .errors import InputError, sentence_of

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

recipes = typer.Typer(help="List the recipes that come with the package; show or copy one.")
app.add_typer(recipes, name="recipes", invoke_without_command=True)


class _NamesExamples(typer.core.TyperCommand):
    """A command whose help says at `{examples}` how an example of each modality is written."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        from .modalities import every_modality

        *first, last = [modality.on_command_line for modality in every_modality()]
        for parameter in self.params:
            if text := getattr(parameter, "help", None):
                parameter.help = text.replace("{examples}", f"{'; '.join(first)}; or {last}")  # type: ignore[attr-defined]
        super().format_help(ctx, formatter)


def _known_recipes() -> list[str]:
    from .experiments.library import names

    return names()


def _print_version(print_it: bool) -> None:
    if print_it:
        typer.echo(f"hf-reprogram {__version__}")
        raise typer.Exit


@app.callback(help="Model reprogramming: train a small input transform and output mapping around a frozen model.")
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Options before the command."""


RecipeName = Annotated[
    str, typer.Argument(metavar="NAME", help="Name of a recipe, as listed.", autocompletion=_known_recipes)
]


@app.command()
def methods() -> None:
    """List the methods with their papers, sources, transforms and mappings."""
    from .methods import METHODS

    for name in METHODS.names():
        info = METHODS[name].info
        typer.echo(f"{name}\n  {info.title} ({info.authors} {info.year}, {info.where})")
        typer.echo(f"  source: {info.source}; transform: {info.transform}; mapping: {info.mapping}")
        if info.differs:
            typer.echo(f"  differs: {info.differs}")


@recipes.callback()
def list_recipes(context: typer.Context) -> None:
    """List the recipes that come with the package, one per line; show or copy one."""
    if context.invoked_subcommand is None:
        from .experiments.library import names, summary

        width = max(map(len, names()))
        for name in names():
            typer.echo(f"{name:<{width}}  {summary(name)}")


@recipes.command()
def show(name: RecipeName) -> None:
    """Print a recipe."""
    from .experiments.library import named

    typer.echo(named(name).read_text(encoding="utf-8"), nl=False)


@recipes.command()
def copy(
    name: RecipeName, folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to copy into.")]
) -> None:
    """Copy a recipe, and the scripts that it needs, into a folder. No file is overwritten."""
    from .experiments.library import copy as copy_recipe

    for path in copy_recipe(name, folder):
        typer.echo(path)


@app.command()
def init(
    data: Annotated[
        str,
        typer.Argument(
            help="A csv, tsv, jsonl or parquet file, a folder (also with one folder per class), or a Hub id."
        ),
    ],
    output: Annotated[Path, typer.Option(help="The file to write; an existing file is not overwritten.")] = Path(
        "recipe.yaml"
    ),
    source: Annotated[Optional[str], typer.Option(help="Hub id or folder of the source to reprogram.")] = None,
) -> None:
    """Look at data and write a recipe with comments that explain the columns, the method and the metric."""
    from .experiments.draft import write_draft
    from .progress import quiet_libraries

    quiet_libraries()
    doubts = write_draft(data, output, source)
    typer.echo(f"The recipe is in {output}: read it, then run `hf-reprogram train {output}`.")
    for doubt in doubts:
        typer.echo(f"Undecided: {doubt}")


@app.command()
def train(
    recipe: Annotated[
        str,
        typer.Argument(
            help="A recipe: a YAML file of your own, or a name that `hf-reprogram recipes` lists.",
            autocompletion=_known_recipes,
        ),
    ],
    set_: Annotated[
        Optional[list[str]], typer.Option("--set", help="Override a key: --set training.learning_rate=1e-2")
    ] = None,
    output: Annotated[Optional[str], typer.Option(help="Folder for the results; by default runs/RECIPE.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in the output folder.")] = False,
    only_seed: Annotated[Optional[int], typer.Option(help="Train this one of the recipe's seeds, and stop.")] = None,
    only_trial: Annotated[Optional[int], typer.Option(help="Train this combination of the sweep, and stop.")] = None,
    merge: Annotated[
        Optional[list[str]],
        typer.Option(metavar="DIR", help="Take over finished seeds and trials of this output folder; repeatable."),
    ] = None,
    trust_remote_code: Trust = False,
    quiet: Quiet = False,
) -> None:
    """Train an adapter from a recipe, and write the adapter, results.json, plots and a model card."""
    from .experiments.recipe import load_recipe
    from .experiments.run import train as run
    from .reports.cost import cost_note, cost_rows
    from .reports.leaderboard import leaderboard
    from .reports.results import federated_note, gain_note, markdown, render_ood, rows, run_reports, usage_note

    overrides = [*(set_ or []), *([f"output={json.dumps(output, ensure_ascii=False)}"] if output else [])]
    chosen = load_recipe(recipe, overrides, trust_remote_code=trust_remote_code)
    results = run(chosen, resume=resume, quiet=quiet, only_seed=only_seed, only_trial=only_trial, merge=merge or ())
    if quiet:
        return
    if only_seed is not None or only_trial is not None:
        from accelerate import PartialState  # not before a recipe that cannot be used is refused

        if not PartialState().is_main_process:
            return
        what = f"Trial {only_trial}" if only_seed is None else f"Seed {only_seed}"
        typer.echo(f"{what} is done. The run of the whole recipe takes it over with --merge {chosen.output}.")
    if results:
        ood_tables = f"\n\n{render_ood(run_reports(results), results['ood']['report'])}" if "ood" in results else "\n"
        notes = gain_note(results), federated_note(results), usage_note(results), cost_note(results)
        if "auto" in results:
            typer.echo(f"\n{leaderboard(results['auto'], results['task']['metrics'])}")
        typer.echo(
            f"\n{markdown(rows(results))}\n\n{' '.join(filter(None, notes))}\n\n{markdown(cost_rows(results))}{ood_tables}\n"
            f"The adapter, results.json and the model card are in {chosen.output}."
        )


@app.command()
def evaluate(
    adapter: Adapter,
    recipe: Annotated[
        Optional[str],
        typer.Option(
            help="Take the task from this recipe, a file or a name, instead of the adapter's own.",
            autocompletion=_known_recipes,
        ),
    ] = None,
    set_: Annotated[
        Optional[list[str]], typer.Option("--set", help="Override a key of the task: --set task.max_test=500")
    ] = None,
    split: Annotated[str, typer.Option(help="validation or test.")] = "test",
    adapt: Annotated[
        Optional[int],
        typer.Option(
            metavar="STEPS", help="Also score after theta is adapted to each batch by so many steps, without labels."
        ),
    ] = None,
    adapt_rate: Annotated[float, typer.Option(help="The learning rate of these steps.")] = 1e-3,
    source: Source = None,
    trust_remote_code: Trust = False,
    quiet: Quiet = False,
) -> None:
    """Score an adapter on a task, and print the scores as JSON."""
    from .experiments.evaluate import evaluate_adapter

    metrics = evaluate_adapter(adapter, recipe, set_ or [], split, source, quiet, trust_remote_code, adapt, adapt_rate)
    typer.echo(json.dumps(metrics, indent=2))


@app.command()
def ood(
    adapter: Adapter,
    inside: Annotated[
        Optional[str],
        typer.Option(
            "--id",
            metavar="DATASET",
            help="The data set in distribution, whose test split is read; by default that of the recipe.",
        ),
    ] = None,
    covariate: Annotated[
        Optional[list[str]],
        typer.Option(
            metavar="NAME=DATASET",
            help="Other examples of the same classes; DATASET:CONFIGURATION names a configuration.",
        ),
    ] = None,
    semantic: Annotated[
        Optional[list[str]],
        typer.Option(metavar="NAME=DATASET", help="Examples of other classes: textures=images:dtd"),
    ] = None,
    recipe: Annotated[
        Optional[str],
        typer.Option(
            help="Take the sections task and ood from this recipe, a file or a name, instead of the adapter's own.",
            autocompletion=_known_recipes,
        ),
    ] = None,
    set_: Annotated[
        Optional[list[str]], typer.Option("--set", help="Override a key of task or ood: --set ood.score=energy")
    ] = None,
    output: Annotated[
        Optional[Path],
        typer.Option(help="Folder for ood.json, ood.md and plots; by default ood in the adapter's folder."),
    ] = None,
    source: Source = None,
    trust_remote_code: Trust = False,
    quiet: Quiet = False,
) -> None:
    """Report an adapter's accuracy on shifted and corrupted examples, and its detection of examples of other classes."""
    from .experiments.ood_adapter import ood_adapter

    tables, folder = ood_adapter(
        adapter,
        inside=inside,
        covariate=covariate or (),
        semantic=semantic or (),
        recipe=recipe,
        overrides=set_ or (),
        output=output,
        source=source,
        quiet=quiet,
        trust_remote_code=trust_remote_code,
    )
    typer.echo(f"{tables}\nThe tables, ood.json and plots are in {folder}.")


@app.command(cls=_NamesExamples)
def predict(
    adapter: Adapter,
    example: Annotated[
        Optional[list[str]],
        typer.Argument(
            help="One example, whichever the adapter takes: {examples}. Put -- before one that starts with a dash. Without "
            "an example, lines are read from --file.",
            show_default=False,
        ),
    ] = None,
    file: Annotated[
        Optional[Path],
        typer.Option(
            help="One example per line, a tab between the parts of a pair; - is standard input. Or jsonl, csv, tsv or parquet "
            "with the columns of the adapter's task."
        ),
    ] = None,
    output: Annotated[
        Optional[Path],
        typer.Option(
            help="Write the predictions of --file to a new .jsonl, .csv or .parquet file instead of printing them."
        ),
    ] = None,
    keep: Annotated[
        Optional[list[str]],
        typer.Option(help="A further column of --file, such as an id, to write beside predictions."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an --output that was interrupted, after its last whole part.")
    ] = False,
    source: Source = None,
    trust_remote_code: Trust = False,
    quiet: Quiet = False,
) -> None:
    """Predict the label of one example or of each line of a file, and print one JSON object per line."""
    from .experiments.evaluate import predict_lines
    from .experiments.prediction_output import json_line
    from .experiments.predictions import iter_predictions, predict_file

    if bool(example) == bool(file):
        raise InputError("Give either an example or --file.")
    if example and len(example) > 2:
        raise InputError(
            f"There are {len(example)} examples: give one, or the two parts of a pair, and put a part with spaces in quotes."
        )
    if ((output or keep) and not file) or (resume and not output):
        raise InputError("--output and --keep belong to --file, and --resume to --output: give both.")
    options: Any = {"source": source, "quiet": quiet, "trust_remote_code": trust_remote_code}
    if output:
        count = predict_file(adapter, str(file), output, resume=resume, keep=keep or (), **options)
        if not quiet:
            typer.echo(f"{count:,} predictions are in {output}.", err=True)
    elif example:
        typer.echo("\n".join(map(json_line, predict_lines(adapter, ["\t".join(example)], **options))))
    else:
        for record in iter_predictions(adapter, str(file), keep=keep or (), **options):
            typer.echo(json_line(record))


@app.command(cls=_NamesExamples)
def inspect(
    adapter: Adapter,
    source: Source = None,
    trust_remote_code: Trust = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    top: Annotated[int, typer.Option(help="The number of nearest tokens, or of source labels per class, to show.")] = 5,
    example: Annotated[
        Optional[str],
        typer.Option(
            help="The example on which the input transform is shown, whichever the adapter takes: {examples}. By default "
            "the transform chooses one.",
            show_default=False,
        ),
    ] = None,
    plot: Annotated[
        Optional[Path],
        typer.Option(
            help="Write a PNG that shows the input transform, for example its program and the example with it."
        ),
    ] = None,
) -> None:
    """Show parameter counts, the template, vocabulary or program, the label map, and the effect of prompts."""
    from .experiments.named_source import named_source
    from .inspection.adapter import describe, inspect_adapter
    from .progress import quiet_libraries

    quiet_libraries()
    inspection = inspect_adapter(adapter, named_source(source), top, example, plot, trust_remote_code)
    typer.echo(json.dumps(inspection, indent=2, ensure_ascii=False) if as_json else describe(inspection))


add_calibration(app)
add_diagnosis(app)
add_serving(app)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line. An error of which a sentence says all is that sentence on standard error, and exit status 2."""
    try:
        command: Any = typer.main.get_command(app)
        command(args=arguments, prog_name="hf-reprogram", standalone_mode=True)
    except (InputError, OSError, RuntimeError) as error:
        sentence = sentence_of(error)
        if sentence is None:
            raise
        typer.echo(f"hf-reprogram: {sentence}", err=True)
        sys.exit(2)
