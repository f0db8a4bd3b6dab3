"""The commands that hand adapters to others: `hf-reprogram export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from .cli_arguments import Adapter, Source, Trust


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this file to the command line."""
    app.command()(export)


def export(
    adapter: Adapter,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The new folder.")],
    form: Annotated[
        Optional[str],
        typer.Option(
            help="plain, a model of transformers, or onnx; by default plain where the adapter can be folded into its source."
        ),
    ] = None,
    source: Source = None,
    trust_remote_code: Trust = False,
) -> None:
    """Write an adapter with its source as a model of transformers or as ONNX, which needs no hf_reprogram."""
    from .export import export_adapter

    written = export_adapter(adapter, out, form=form, source=source, trust_remote_code=trust_remote_code)
    what = "a plain model of transformers" if written == "plain" else "a graph of ONNX"
    typer.echo(f"{out} holds {what}, with the same logits as the adapter. Its README.md says how it is called.")
