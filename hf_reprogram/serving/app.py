"""The HTTP side of the server: an application of FastAPI.

    POST   /adapters/{name}      {"inputs": ..., "parameters": {"top_k", "function_to_apply"}}, or an image or a sound as it is
    POST   /                     the same, where one adapter is served
    GET    /adapters             the adapters, their labels and what they take
    PUT    /adapters/{name}      {"path": folder}: add an adapter while the server runs (with the token)
    DELETE /adapters/{name}      remove it (with the token)
    GET    /health, /metrics, /docs, /openapi.json, /
    /split                       training programs through the source, if that is allowed (`hf_reprogram.serving.split`)

The requests and answers of the first two are those of the Hugging Face inference API, so that
`huggingface_hub.InferenceClient(model=URL)` classifies texts, images and sounds.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any

import numpy as np
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from pydantic import BaseModel
from starlette.requests import ClientDisconnect

from .. import __version__
from ..errors import InputError
from ..programs import Program, Programs
from ..programs import Request as Prepared
from .batching import Batcher, Full
from .payloads import SCHEMA, Limits, TooLarge, check_pixels, elements, read_body, read_question
from .split import Split
from .split_routes import split_routes

TOKEN = "HF_REPROGRAM_TOKEN"  # the variable of the environment that holds the token
TASKS = {"text": "text-classification", "image": "image-classification", "audio": "audio-classification"}


class Place(BaseModel):
    """Where an adapter to add lies.

    Attributes:
        path: its folder or Hub id.

    >>> Place(path="adapters/films").path
    'adapters/films'
    """

    path: str


def make_app(programs: Programs, limits: Limits | None = None, split: Split | None = None) -> FastAPI:
    """The application.

    Args:
        programs: the adapters, which may be added and removed while it runs.
        limits: of requests.
        split: lets others train programs through the source; None if they cannot.

    Adapters are added and removed by callers that send the token of the environment variable `HF_REPROGRAM_TOKEN` as
    `Authorization: Bearer TOKEN`. If the variable is not set, nobody can. If it is set, requests for answers need it too.

    >>> make_app(Programs(text_source)).title
    'hf_reprogram'
    """
    limits = limits or Limits()
    server = _Server(programs, limits)

    @asynccontextmanager
    async def running(_: FastAPI) -> AsyncIterator[None]:
        async with Batcher(programs, limits.latency, limits.batch, limits.queue) as server.batcher:
            yield

    app = FastAPI(title="hf_reprogram", version=__version__, lifespan=running, description="Adapters over one source.")

    @app.exception_handler(InputError)
    async def refused(_: Request, error: InputError) -> JSONResponse:
        """A sentence that says what is wrong with a request."""
        return JSONResponse({"error": str(error)}, 400)

    @app.exception_handler(TooLarge)
    async def too_large(_: Request, error: TooLarge) -> JSONResponse:
        """A request is over a limit."""
        return JSONResponse({"error": str(error)}, 413)

    @app.exception_handler(ClientDisconnect)
    async def gone(_: Request, error: ClientDisconnect) -> JSONResponse:
        """A client left before it had sent its request; nobody reads this, but it is counted."""
        return JSONResponse({"error": "The client has gone."}, 499)

    @app.exception_handler(HTTPException)
    async def failed(_: Request, error: HTTPException) -> JSONResponse:
        """Errors have one form."""
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)

    app.add_middleware(_Counted, statuses=server.statuses)
    if split is not None:

        def with_token(request: Request) -> None:
            server.check_token(request, needed=False)

        app.include_router(split_routes(split), dependencies=[Depends(with_token)])

    @app.post("/adapters/{name}", openapi_extra=SCHEMA)
    async def classify(name: str, request: Request) -> Any:
        """The labels of an input, or of several, with their scores, best first."""
        return await server.classify(name, request)

    @app.post("/", openapi_extra=SCHEMA)
    async def classify_with_the_only_one(request: Request) -> Any:
        """As `/adapters/{name}`, where the server has one adapter."""
        names = programs.names
        if len(names) != 1:
            raise HTTPException(
                404, f"There are {len(names)} adapters here: post to /adapters/NAME, with a name of /adapters."
            )
        return await server.classify(names[0], request)

    @app.get("/adapters")
    async def adapters(request: Request) -> list[dict[str, Any]]:
        """The adapters."""
        server.check_token(request, needed=False)
        return [described(programs[name]) for name in programs.names]

    @app.put("/adapters/{name}", status_code=201)
    async def add(name: str, place: Place, request: Request) -> dict[str, Any]:
        """Add an adapter of the source that is served."""
        server.check_token(request, needed=True)
        if not re.fullmatch(r"[\w.-]{1,100}", name):
            raise InputError(
                "The name of an adapter has letters, digits, '.', '_' and '-', at most 100: give such a name."
            )
        if name in programs:
            raise HTTPException(409, f"There is an adapter {name!r} already: remove it first, or give another name.")
        await asyncio.to_thread(programs.add, name, place.path)
        return described(programs[name])

    @app.delete("/adapters/{name}", status_code=204)
    async def remove(name: str, request: Request) -> None:
        """Remove an adapter. Requests that wait for it are still answered."""
        server.check_token(request, needed=True)
        server.known(name)
        programs.remove(name)

    @app.get("/health")
    async def health() -> dict[str, Any]:
        """Whether the server answers."""
        return {"status": "ok", "adapters": len(programs), "waiting": len(server.batcher)}

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> str:
        """Counts in the text format of Prometheus."""
        return server.metrics()

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def page() -> str:
        """A page to try an adapter."""
        return files("hf_reprogram.serving").joinpath("page.html").read_text(encoding="utf-8")

    return app


def described(program: Program) -> dict[str, Any]:
    """An adapter as plain data: what it takes and gives.

    >>> from hf_reprogram import reprogram
    >>> programs = Programs(text_source)
    >>> programs.add("films", *reprogram(text_source, "warp", ["bad", "good"], num_prompts=2))
    >>> described(programs["films"])["labels"]
    ['bad', 'good']
    """
    model = program.model
    return {
        "name": program.name,
        "takes": program.modality.name,
        "task": TASKS.get(program.modality.name, f"{program.modality.name}-classification"),
        "problem": model.config.problem_type,
        "labels": model.label_names,
        "method": (model.config.method or {}).get("name"),
        "transform": model.config.transform["type"],
        "mapping": model.config.mapping["type"],
        "trained_numbers": model.num_trainable(),
    }


class _Server:
    """What the routes share."""

    batcher: Batcher

    def __init__(self, programs: Programs, limits: Limits):
        self.programs, self.limits = programs, limits
        self.token = os.environ.get(TOKEN, "")
        self.statuses: Counter[int] = Counter()

    def check_token(self, request: Request, needed: bool) -> None:
        """Refuse a caller without the token.

        Args:
            request: the request.
            needed: whether a server without a token refuses all.
        """
        if not self.token:
            if needed:
                raise HTTPException(
                    403, f"Adapters cannot be changed here: start the server with {TOKEN} in its environment."
                )
            return
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), self.token.encode()):
            raise HTTPException(401, "The token is missing or wrong.", {"WWW-Authenticate": "Bearer"})

    def known(self, name: str) -> Program:
        """An adapter by its name, or 404."""
        try:
            return self.programs[name]
        except InputError as error:
            raise HTTPException(404, str(error)) from error

    async def classify(self, name: str, request: Request) -> Any:
        """The answer to one request of the inference API."""
        self.check_token(request, needed=False)
        program = self.known(name)
        kind = request.headers.get("content-type", "")
        asked = read_question(program.modality.name, await read_body(request, self.limits.body), kind, self.limits)
        prepared = await asyncio.to_thread(self._prepare, program, asked.inputs)
        logits = await self._answered(prepared, request)
        answers = [elements(one, values, asked) for one, values in zip(prepared, logits, strict=True)]
        nested = asked.several or (program.modality.letters and logits[0].ndim == 1)
        return answers if nested else answers[0]

    def _prepare(self, program: Program, inputs: list[Any]) -> list[Prepared]:
        """Decode and encode inputs, outside of the event loop."""
        if program.modality.pictures:
            for value in inputs:
                check_pixels(value, self.limits.pixels)
        return [self.programs.prepare_for(program, value) for value in inputs]

    async def _answered(self, prepared: list[Prepared], request: Request) -> list[np.ndarray]:
        """The logits of prepared requests; they leave the queue when the client has gone."""
        if len(prepared) + len(self.batcher) > self.limits.queue:
            raise HTTPException(503, "The server is busy: try again later.", {"Retry-After": "1"})
        work: asyncio.Future[Any] = asyncio.gather(*(self.batcher.logits(one) for one in prepared))
        gone: asyncio.Future[Any] = asyncio.ensure_future(_gone(request))
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                work.cancel()
                await asyncio.gather(work, return_exceptions=True)
                raise HTTPException(499, "The client has gone.")
            return list(work.result())
        except Full as error:
            raise HTTPException(503, "The server is busy: try again later.", {"Retry-After": "1"}) from error
        finally:
            gone.cancel()

    def metrics(self) -> str:
        """The counts in the text format of Prometheus."""
        counts = self.batcher.counts
        rows = [
            ("requests_answered_total", "counter", "Inputs that were answered.", counts.answered),
            ("requests_failed_total", "counter", "Inputs that an adapter could not take.", counts.failed),
            (
                "requests_dropped_total",
                "counter",
                "Inputs whose client left before they were answered.",
                counts.dropped,
            ),
            ("batches_total", "counter", "Batches that went through the source.", counts.batches),
            ("batch_rows_total", "counter", "Inputs in all batches.", counts.rows),
            ("batch_adapters_total", "counter", "Adapters in each batch, summed.", counts.adapters),
            ("batch_seconds_total", "counter", "Seconds that batches took.", round(counts.seconds, 6)),
            ("waiting", "gauge", "Inputs that wait.", len(self.batcher)),
            ("adapters", "gauge", "Adapters that are served.", len(self.programs)),
        ]
        lines = []
        for name, kind, text, value in rows:
            full = f"hf_reprogram_{name}"
            lines += [f"# HELP {full} {text}", f"# TYPE {full} {kind}", f"{full} {value}"]
        full = "hf_reprogram_http_responses_total"
        lines += [f"# HELP {full} Responses by status.", f"# TYPE {full} counter"]
        lines += [f'{full}{{status="{code}"}} {n}' for code, n in sorted(self.statuses.items())]
        return "\n".join(lines) + "\n"


async def _gone(request: Request) -> None:
    """Return when the client has disconnected, after the whole body was read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


class _Counted:
    """Counts responses by their status."""

    def __init__(self, app: Any, statuses: Counter[int]):
        self.app, self.statuses = app, statuses

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def counted(message: Any) -> None:
            if message["type"] == "http.response.start":
                self.statuses[message["status"]] += 1
            await send(message)

        await self.app(scope, receive, counted)
