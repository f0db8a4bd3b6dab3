"""The command that makes an adapter's probabilities fit: `hf-reprogram calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from .cli_arguments import Adapter, Quiet, Source, Trust


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this file to the command line."""
    app.command()(calibrate)


def calibrate(
    adapter: Adapter,
    data: Annotated[
        Optional[str],
        typer.Option(
            metavar="DATASET",
            help="Labelled data that the adapter was not trained on; DATASET:CONFIGURATION names a configuration. By default "
            "that of the recipe.",
        ),
    ] = None,
    set_: Annotated[
        Optional[list[str]], typer.Option("--set", help="A key of the data's task: --set task.label=kind")
    ] = None,
    split: Annotated[
        str,
        typer.Option(
            help="The split to fit on: validation, or all examples of other data than the recipe's. Never train or test."
        ),
    ] = "validation",
    test: Annotated[
        Optional[str],
        typer.Option(metavar="SPLIT", help="Report on this split too, on which nothing is fitted: test."),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            help="temperature, one number that leaves every label as it is; or neural_clamping, with a shift of the source's "
            "input besides."
        ),
    ] = "temperature",
    epochs: Annotated[int, typer.Option(help="Of neural_clamping: passes over the data.")] = 20,
    learning_rate: Annotated[float, typer.Option(help="Of neural_clamping.")] = 1e-3,
    penalty: Annotated[float, typer.Option(help="Of neural_clamping: the weight of the shift's norm.")] = 0.01,
    gamma: Annotated[float, typer.Option(help="Of neural_clamping: of the focal loss; 0 is cross-entropy.")] = 0.0,
    output: Annotated[
        Optional[Path],
        typer.Option(help="A new folder for a calibrated copy; by default the adapter itself is calibrated."),
    ] = None,
    source: Source = None,
    trust_remote_code: Trust = False,
    quiet: Quiet = False,
) -> None:
    """Calibrate an adapter on held-out labelled data, not those of training or test, and show the figures before and after."""
    from .experiments.calibrate import calibrate_adapter
    from .training.calibration import ClampingOptions

    table, folder = calibrate_adapter(
        adapter,
        data=data,
        overrides=set_ or [],
        split=split,
        test=test,
        method=method,
        clamping=ClampingOptions(epochs, learning_rate, penalty, gamma),
        output=output,
        source=source,
        quiet=quiet,
        trust_remote_code=trust_remote_code,
    )
    typer.echo(f"{table}\n\nThe calibrated adapter is in {folder}.")
