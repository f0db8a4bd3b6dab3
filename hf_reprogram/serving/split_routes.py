"""The routes of split training for a server of FastAPI; `hf_reprogram.serving.split` says what they do."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool

from ..errors import InputError
from ..sources.remote import GRAPH
from .split import Split

LIMIT = 256 * 2**20  # bytes of a body
MEDIA = "application/octet-stream"


def split_routes(split: Split, limit: int = LIMIT) -> APIRouter:
    """The routes of a source, as an `APIRouter` of FastAPI.

    Args:
        split: the source.
        limit: the largest number of bytes of a body.
    """
    routes = APIRouter(prefix="/split", tags=["split training"])

    async def body_of(request: Request) -> bytes:
        parts, size = [], 0
        async for part in request.stream():
            size += len(part)
            if size > limit:
                raise HTTPException(413, f"The body has more than {limit:,} bytes: send fewer rows at once.")
            parts.append(part)
        return b"".join(parts)

    @routes.get("")
    def about() -> dict[str, Any]:
        """The properties of the source."""
        return split.about()

    @routes.post("/forward")
    async def forward(request: Request, reads: str, keep: bool = False) -> Response:
        """An output of the source for inputs, both as safetensors."""
        body = await body_of(request)
        try:
            output, graph = await run_in_threadpool(split.forward, body, reads, keep)
        except InputError as error:
            raise HTTPException(400, str(error)) from error
        return Response(output, media_type=MEDIA, headers={GRAPH: graph} if graph else None)

    @routes.post("/vjp")
    async def vjp(request: Request, graph: str | None = None, reads: str | None = None) -> Response:
        """The gradients of the inputs for that of the output, all as safetensors."""
        body = await body_of(request)
        try:
            found = await run_in_threadpool(split.vjp, body, graph, reads)
        except InputError as error:
            raise HTTPException(400, str(error)) from error
        except KeyError as error:
            raise HTTPException(410, "This graph was dropped: send the inputs with the gradient.") from error
        return Response(found, media_type=MEDIA)

    return routes
