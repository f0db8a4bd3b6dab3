"""The routes of split training for a server of FastAPI; `hf_reprogram.serving.split` says what they do."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool

from ..sources.remote import GRAPH
from .payloads import read_body
from .split import Split

LIMIT = 256 * 2**20  # bytes of a body
MEDIA = "application/octet-stream"


def split_routes(split: Split) -> APIRouter:
    """The routes of a source, as an `APIRouter` of FastAPI. The application answers an `InputError` with 400.

    Args:
        split: the source.
    """
    routes = APIRouter(prefix="/split", tags=["split training"])

    @routes.get("")
    def about() -> dict[str, Any]:
        """The properties of the source."""
        return split.about()

    @routes.post("/forward")
    async def forward(request: Request, reads: str, keep: bool = False) -> Response:
        """An output of the source for inputs, both as safetensors."""
        body = await read_body(request, LIMIT)
        output, graph = await run_in_threadpool(split.forward, body, reads, keep)
        return Response(output, media_type=MEDIA, headers={GRAPH: graph} if graph else None)

    @routes.post("/vjp")
    async def vjp(request: Request, graph: str | None = None, reads: str | None = None) -> Response:
        """The gradients of the inputs for that of the output, all as safetensors."""
        body = await read_body(request, LIMIT)
        try:
            found = await run_in_threadpool(split.vjp, body, graph, reads)
        except KeyError as error:
            raise HTTPException(410, "This graph was dropped: send the inputs with the gradient.") from error
        return Response(found, media_type=MEDIA)

    return routes
