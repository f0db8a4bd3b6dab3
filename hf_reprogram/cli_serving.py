"""The commands that hand adapters to others: `hf-reprogram push | export | serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from .cli_arguments import Adapter, Quiet, Source, Trust


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this file to the command line."""
    app.command()(push)
    app.command()(export)
    app.command()(serve)


def push(
    adapter: Annotated[Path, typer.Argument(help="Folder of an adapter.")],
    repo_id: Annotated[str, typer.Argument(help="The repository, as owner/name.")],
    private: Annotated[bool, typer.Option("--private", help="Make the repository private.")] = False,
    revision: Annotated[Optional[str], typer.Option(help="Branch to push to.")] = None,
    create_pr: Annotated[bool, typer.Option("--create-pr", help="Open a pull request.")] = False,
    message: Annotated[str, typer.Option(help="Commit message.")] = "Upload a reprogramming adapter",
    source: Annotated[
        Optional[str], typer.Option(help="Hub id of the source, if the adapter was trained on a local copy.")
    ] = None,
    space: Annotated[
        Optional[str],
        typer.Option(
            metavar="OWNER/NAME", help="Push a Space too, a page of Gradio on which the adapter can be tried."
        ),
    ] = None,
    dry_run: Annotated[
        Optional[Path],
        typer.Option(metavar="DIR", help="Write into this new folder what would be pushed, and push nothing."),
    ] = None,
) -> None:
    """Push an adapter, its tokenizer, card and results to the Hub, and with --space a page to try it."""
    from .hub.push import check_space, push_adapter, push_space, write_instead

    if dry_run is not None:
        for folder in write_instead(dry_run, adapter, repo_id, space, source):
            typer.echo(folder)
        return
    if space is not None:
        check_space(adapter, repo_id, space, source)
    typer.echo(
        push_adapter(
            adapter, repo_id, private=private, revision=revision, create_pr=create_pr, message=message, source=source
        )
    )
    if space is not None:
        typer.echo(push_space(adapter, repo_id, space, private=private, source=source))


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
    from .experiments.named_source import named_source
    from .export import export_adapter

    written = export_adapter(adapter, out, form=form, source=named_source(source), trust_remote_code=trust_remote_code)
    what = "a plain model of transformers" if written == "plain" else "a graph of ONNX"
    typer.echo(f"{out} holds {what}, with the same logits as the adapter. Its README.md says how it is called.")


def serve(
    source: Annotated[str, typer.Argument(help="Folder or Hub id of the source.")],
    adapter: Annotated[
        Optional[list[str]],
        typer.Option(
            metavar="NAME=DIR", help="An adapter of the source, and the name under which it is served; repeatable."
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="The address to listen on; 0.0.0.0 is all of them.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")] = 8000,
    latency: Annotated[float, typer.Option(min=0, help="Milliseconds that a request waits for others.")] = 5.0,
    batch: Annotated[int, typer.Option(min=1, help="Inputs that go through the source together, at most.")] = 64,
    max_bytes: Annotated[int, typer.Option(min=1, help="Bytes of a request, at most.")] = 10 * 2**20,
    split: Annotated[
        Optional[str],
        typer.Option(
            metavar="gradients|answers",
            help="Let others train programs through the source: with the gradients of its inputs, or with its answers alone.",
        ),
    ] = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="Also answer with the labels of the source itself, at /adapters/source.")
    ] = False,
    trust_remote_code: Trust = False,
    quiet: Quiet = False,
) -> None:
    """Serve adapters of one source over HTTP, as the Hugging Face inference API does."""
    from .serving.run import serve as run

    run(
        source,
        adapter or [],
        host=host,
        port=port,
        latency=latency / 1000,
        batch=batch,
        body=max_bytes,
        split=split,
        plain=plain,
        quiet=quiet,
        trust_remote_code=trust_remote_code,
    )
