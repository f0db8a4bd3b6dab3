"""Arguments that several commands have."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

Adapter = Annotated[str, typer.Argument(help="Folder or Hub id of an adapter.")]
Source = Annotated[
    Optional[str],
    typer.Option(
        help="Name or folder of the source, if it is not where the adapter recorded it; or a recipe file with its endpoint."
    ),
]
Trust = Annotated[
    bool,
    typer.Option(
        "--trust-remote-code",
        help="Run Python code that lies beside the source, and read its weights from a pickle: for a source you trust.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars and no messages.")]
