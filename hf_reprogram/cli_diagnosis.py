"""The command that looks into an adapter's training: `hf-reprogram diagnose`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from .cli_arguments import Adapter, Quiet, Source, Trust


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this file to the command line."""
    app.command()(diagnose)


def diagnose(
    adapter: Adapter,
    source_data: Annotated[
        Optional[str],
        typer.Option(
            metavar="DATASET",
            help="Data of the source's own task, for distances; DATASET:CONFIGURATION names a configuration.",
        ),
    ] = None,
    set_: Annotated[
        Optional[list[str]],
        typer.Option("--set", help="A key of the source's data: --set source_data.text=sentence"),
    ] = None,
    rows: Annotated[
        int, typer.Option(help="Validation examples at most; distances take twice as many source's data.")
    ] = 500,
    examples: Annotated[int, typer.Option(help="Training examples whose gradients are compared; 0 for none.")] = 64,
    output: Annotated[
        Optional[Path],
        typer.Option(help="Folder for the table and plots; by default diagnosis in the adapter's folder."),
    ] = None,
    source: Source = None,
    trust_remote_code: Trust = False,
    quiet: Quiet = False,
) -> None:
    """Show an adapter beside its untrained start: distances to the source's data, gradients, risk and calibration."""
    from .experiments.diagnose import diagnose_adapter

    tables, folder = diagnose_adapter(
        adapter,
        source_dataset=source_data,
        overrides=set_ or [],
        rows=rows,
        examples=examples,
        output=output,
        source=source,
        quiet=quiet,
        trust_remote_code=trust_remote_code,
    )
    typer.echo(f"{tables}\nThe table, diagnosis.json and plots are in {folder}.")
