"""What requests and answers of the inference API hold: inputs and parameters, labels and scores."""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InputError
from ..modalities.pixels import open_image
from ..programs import Request
from ..training.answers import scores_of, special_ids

FUNCTIONS = ("softmax", "sigmoid", "none")
ENCODED = ("image", "audio")  # modalities whose inputs are files
_PARAMETERS = {
    "type": "object",
    "properties": {"top_k": {"type": "integer", "minimum": 1}, "function_to_apply": {"enum": [*FUNCTIONS]}},
}
_INPUTS = {"description": "A text, a pair of texts, or numbers, or a list of them; an image or a sound in base64."}
SCHEMA: Any = {  # of a request, for the OpenAPI page
    "requestBody": {
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["inputs"],
                    "properties": {"inputs": _INPUTS, "parameters": _PARAMETERS},
                }
            },
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        }
    }
}


class TooLarge(Exception):
    """A request is over a limit; the message says which."""


async def read_body(request: Any, limit: int) -> bytes:
    """The body of a request of Starlette.

    Raises:
        TooLarge: it has more than `limit` bytes; no more than these are read.
    """
    too_large = TooLarge(f"A request has at most {limit:,} bytes: send less at once.")
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > limit:
        raise too_large
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise too_large
        parts.append(part)
    return b"".join(parts)


@dataclass
class Limits:
    """What a request may take up.

    Attributes:
        body: bytes of a request.
        inputs: examples in a request.
        latency: seconds that a request waits for others.
        batch: requests that go through the source together.
        queue: requests that may wait.
        pixels: of an image.

    >>> Limits().batch
    64
    """

    body: int = 10 * 2**20
    inputs: int = 256
    latency: float = 0.005
    batch: int = 64
    queue: int = 1024
    pixels: int = 50_000_000


@dataclass
class Question:
    """A request.

    Attributes:
        inputs: its examples.
        several: whether it was a list of examples.
        top: how many labels to answer with; None for all.
        function: what makes scores of logits, one of `FUNCTIONS`; None for what suits the adapter.

    >>> Question(["a film"]).top is None
    True
    """

    inputs: list[Any]
    several: bool = False
    top: int | None = None
    function: str | None = None


def read_question(modality: str, body: bytes, kind: str, limits: Limits) -> Question:
    """A request from its body.

    Args:
        modality: the name of the adapter's.
        body: JSON, or the bytes of an image or a sound.
        kind: its content type.
        limits: of requests.

    Raises:
        InputError: the body cannot be read.
        TooLarge: there are too many inputs.

    >>> read_question("text", b'{"inputs": "a film", "parameters": {"top_k": 1}}', "application/json", Limits())
    Question(inputs=['a film'], several=False, top=1, function=None)
    """
    if modality in ENCODED and kind.partition(";")[0].strip().lower() != "application/json":
        return Question([body])
    try:
        values = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InputError('The body is no JSON that can be read: send {"inputs": ...}.') from error
    if not isinstance(values, dict) or "inputs" not in values:
        raise InputError('The body has no "inputs": send {"inputs": ..., "parameters": {...}}.')
    inputs, parameters = values["inputs"], values.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise InputError('"parameters" is no object: send {"top_k": 3}, or leave it out.')
    several = isinstance(inputs, list) and not (inputs and isinstance(inputs[0], int | float | None))
    listed = inputs if several else [inputs]
    if not listed:
        raise InputError("There are no inputs: send at least one.")
    if len(listed) > limits.inputs:
        raise TooLarge(f"A request has at most {limits.inputs} inputs: send the others in further requests.")
    top, function = parameters.get("top_k"), parameters.get("function_to_apply")
    if top is not None and (type(top) is not int or top < 1):
        raise InputError(f"top_k is {str(top)[:50]!r}: give a whole number of at least 1.")
    if function is not None and function not in FUNCTIONS:
        raise InputError(f"function_to_apply is {str(function)[:50]!r}: give one of {', '.join(FUNCTIONS)}.")
    return Question([*map(_decoded, listed)] if modality in ENCODED else listed, several, top, function)


def _decoded(value: Any) -> bytes:
    """The bytes of an image or a sound in base64, also as a data URL. It is never read as a path."""
    if not isinstance(value, str):
        raise InputError("An image or a sound is a text in base64, or the body of the request itself.")
    try:
        return base64.b64decode(re.sub(r"^data:[^,]{0,100},", "", value), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError("The input is not base64: encode the bytes of the file, or send them as the body.") from error


def check_pixels(value: bytes, most: int) -> None:
    """Raise `TooLarge` if an image's header promises more than `most` pixels, before any is decoded.

    Raises:
        InputError: it is no image.
    """
    try:
        with open_image({"bytes": value, "path": None}, 0, "input") as image:
            pixels = image.width * image.height
    except InputError as error:
        raise InputError(str(error).replace("Row 0 of the input split", "The input")) from error
    if pixels > most:
        raise TooLarge(f"An image has at most {most:,} pixels, and this one has {pixels:,}: send a smaller one.")


def elements(request: Request, logits: np.ndarray, question: Question) -> list[dict[str, Any]]:
    """The answer for one input: `label` and `score`, best first; with one label per token `entity`, `score` and `word`.

    Args:
        request: the input.
        logits: (labels,), or (tokens, labels).
        question: how it was asked.
    """
    program, problem = request.program, request.program.model.config.problem_type
    names = program.model.label_names
    if logits.ndim == 2:
        scores = scores_of(program.model, logits)
        ids = request.inputs["input_ids"]
        tokens, special = program.processor.convert_ids_to_tokens(ids), special_ids(program.processor)
        return [
            {"entity": names[int(row.argmax())], "score": float(row.max()), "word": token, "index": place}
            for place, (index, token, row) in enumerate(zip(ids, tokens, scores, strict=True))
            if index not in special
        ]
    values = np.asarray(logits, np.float64)
    if problem == "regression" or question.function == "none":
        scores = values
    elif question.function == "sigmoid":
        scores = 1 / (1 + np.exp(-values))
    elif question.function == "softmax":
        scores = np.exp(values - values.max()) / np.exp(values - values.max()).sum()
    else:
        scores = scores_of(program.model, values)
    order = range(len(names)) if problem == "regression" else np.argsort(-scores, kind="stable").tolist()
    return [{"label": names[i], "score": float(scores[i])} for i in order][: question.top]
