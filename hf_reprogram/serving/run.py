"""Starts the server: loads the source and its adapters, then answers until SIGTERM or Ctrl-C."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import InputError, unknown
from ..programs import Programs
from ..progress import quiet_libraries

SPLITS = ("gradients", "answers")
PLAIN = "source"  # the name of the source itself
DRAIN = 30  # seconds for requests that are being answered when the server is told to stop


def serve(
    source: str,
    adapters: Sequence[str],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    split: str | None = None,
    plain: bool = False,
    quiet: bool = False,
    trust_remote_code: bool = False,
    **limits: Any,
) -> None:
    """Serve adapters of one source. This returns when the server was told to stop and has answered what it had accepted.

    Args:
        source: a folder or a Hub id. The first adapter says how it is loaded: its kind, dtype and settings.
        adapters: adapters as "NAME=DIR".
        host, port: where it listens; port 0 takes a free one.
        split: "gradients" or "answers" to let others train programs through the source (`hf_reprogram.sources.remote`), with
            the gradients of its inputs or without; None to let nobody.
        plain: also answer with the labels of the source itself, under the name "source"; it is for images and sounds.
        quiet: write no line per request.
        trust_remote_code: whether the source's own Python code may run; see `hf_reprogram.trust`.
        limits: of requests (`hf_reprogram.serving.app.Limits`).

    Raises:
        InputError: the packages of the extra `serve` are missing, or an adapter cannot be added.

    >>> serve("source", ["films"])
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: The adapter 'films' has no name: write NAME=DIR.
    """
    pairs = [named(adapter) for adapter in adapters]
    if split not in (None, *SPLITS):
        raise unknown("split", split, SPLITS)
    try:
        import uvicorn

        from .app import Limits, make_app
        from .split import Split
    except ImportError as error:
        raise InputError("The server needs fastapi and uvicorn: run pip install 'hf_reprogram[serve]'.") from error
    quiet_libraries()
    arguments: dict[str, Any] = {"trust_remote_code": True} if trust_remote_code else {}
    programs = Programs.recorded_by(pairs[0][1], source, **arguments) if pairs else Programs(source, **arguments)
    for name, folder in pairs:
        programs.add(name, folder)
    if plain:
        programs.add_plain(PLAIN)
    trained = None if split is None else Split(programs.source, programs.record, white_box=split == "gradients")
    uvicorn.run(
        make_app(programs, Limits(**limits), trained),
        host=host,
        port=port,
        log_level="warning" if quiet else "info",
        timeout_graceful_shutdown=DRAIN,
    )


def named(adapter: str) -> tuple[str, str]:
    """The name and the folder of an adapter.

    >>> named("films=runs/films")
    ('films', 'runs/films')
    """
    name, equals, folder = adapter.partition("=")
    if not (name and equals and folder):
        raise InputError(f"The adapter {adapter!r} has no name: write NAME=DIR.")
    return name, folder
