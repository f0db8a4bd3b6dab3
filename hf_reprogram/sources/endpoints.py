"""Models behind an address: an endpoint sends one sample a request, and gives the model's answer.

`InferenceEndpoint` asks through `huggingface_hub.InferenceClient`, and `JsonEndpoint` posts JSON that a small function of its
user makes. Both try again after 408, 429, 5xx and broken connections, with waits that double (or as `Retry-After` says), and
send several requests at once. Keys are read from the environment at each request: they are never stored, logged or shown,
and neither are inputs or the server's words.
"""

from __future__ import annotations

import io
import json
import os
import threading
import wave
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from math import inf
from random import SystemRandom
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from ..errors import InputError, shown
from ..options import check_whole

AGAIN = {408, 429, 500, 502, 503, 504}  # statuses after which a request is sent again
LONGEST_WAIT = 60.0  # seconds
_RANDOM = SystemRandom()  # waits must not change the random numbers of training


class Failed(Exception):
    """A request without an answer.

    Attributes:
        reason: for a message.
        again: whether another attempt may succeed.
        wait: the seconds that the server asks to wait, or None.

    >>> Failed("status 503", again=True, wait=2.0).wait
    2.0
    """

    def __init__(self, reason: str, again: bool, wait: float | None = None) -> None:
        super().__init__(reason)
        self.reason, self.again, self.wait = reason, again, wait


class Stopped(Exception):
    """No further attempt was made, since another request of the same call has failed.

    >>> isinstance(Stopped(), InputError)
    False
    """


class Endpoint(ABC):
    """A model that is asked over a network, one sample a request.

    Args:
        address: the URL, or the Hub id of a model.
        key: the name of the environment variable that holds the key; None if there is none.
        timeout: seconds to wait for an answer.
        retries: the number of further attempts after a failed one.
        wait: seconds before the first of them; each later wait is twice as long.
        concurrency: the largest number of requests at once.

    Raises:
        InputError: a number is out of its range, the variable is not set, or the URL holds a password or a query.

    >>> InferenceEndpoint("http://127.0.0.1:9/classify?key=1", "image-classification")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: The address at 127.0.0.1 holds a password or a query, which logs would show: ...
    """

    def __init__(
        self,
        address: str,
        *,
        key: str | None = None,
        timeout: float = 30.0,
        retries: int = 5,
        wait: float = 1.0,
        concurrency: int = 4,
    ) -> None:
        check_whole(0, retries=retries)
        check_whole(concurrency=concurrency)
        for name, value in (("timeout", timeout), ("wait", wait)):
            if not 0 < value < inf:
                raise InputError(f"{name} is {shown(value)}: give a number of seconds above 0.")
        parts = urlsplit(address)
        if parts.username or parts.password or parts.query:
            raise InputError(
                f"The address at {parts.hostname} holds a password or a query, which logs would show: put the key into an "
                "environment variable, and give the variable's name as key."
            )
        if key is not None and not os.environ.get(key):
            raise InputError(f"key is {key!r}, but there is no environment variable of this name: set it to the key.")
        self.address, self.key, self.timeout = address, key, timeout
        self.retries, self.wait, self.concurrency = retries, wait, concurrency

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.address!r})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Endpoint:
        """The endpoint itself, which holds connections and no state."""
        return self

    @abstractmethod
    def encode(self, row: Any, sampling_rate: int | None) -> bytes:
        """What is sent for one sample. Samples with the same bytes have the same answer.

        Args:
            row: an image (3, height, width) of pixels from 0 to 1, a sound (samples,) from -1 to 1, or a text.
            sampling_rate: of a sound; else None.
        """

    @abstractmethod
    def send(self, body: bytes) -> Any:
        """The answer to one request: probabilities or logits of all labels, or (label, score) pairs.

        Raises:
            Failed: there is no answer.
        """

    def ask(self, body: bytes, paid: Callable[[], None], failed: Callable[[], None], stop: threading.Event) -> Any:
        """The answer to one sample, after as many attempts as are allowed.

        Args:
            body: as from `encode`.
            paid: called before each attempt; what it raises ends the attempts.
            failed: called after each attempt without an answer.
            stop: no further attempt begins once this is set.

        Raises:
            InputError: there is no answer.
            Stopped: `stop` was set.
        """
        for attempt in range(self.retries + 1):
            paid()
            try:
                return self.send(body)
            except Failed as error:
                failed()
                last = error
            if not last.again or attempt == self.retries:
                break
            own = self.wait * 2**attempt * _RANDOM.uniform(0.5, 1.0)
            if stop.wait(min(LONGEST_WAIT, max(own, last.wait or 0.0))):
                raise Stopped
        tried = f" after {attempt + 1} attempts" if attempt else ""
        raise InputError(
            f"{self.address} gave no answer{tried}: {last.reason}; what was answered before is kept in the ledger, so that the "
            "same run goes on from there."
        )

    def _secret(self) -> str | None:
        return None if self.key is None else os.environ.get(self.key)


class InferenceEndpoint(Endpoint):
    """A classifier of images, sounds or texts behind the inference API of the Hub, through `huggingface_hub.InferenceClient`.

    Images are sent as PNG, sounds as WAV of 16 bits.

    Args:
        address: the Hub id of the model, or the URL of an endpoint that speaks the same.
        task: "image-classification", "audio-classification" or "text-classification".
        top_k: the number of labels to ask for; None for as many as the server gives.
        provider: as for `InferenceClient`.
        options: those of `Endpoint`; `key` is "HF_TOKEN" for a Hub id if that is set.

    >>> InferenceEndpoint("http://127.0.0.1:9/classify", "image-classification", top_k=10)
    InferenceEndpoint('http://127.0.0.1:9/classify')
    """

    def __init__(
        self, address: str, task: str, *, top_k: int | None = None, provider: str | None = None, **options: Any
    ) -> None:
        if task not in TASKS:
            raise InputError(f"task is {shown(task)}: choose one of {', '.join(TASKS)}.")
        if top_k is not None:
            check_whole(top_k=top_k)
        is_url = address.startswith(("http://", "https://"))
        if not is_url and os.environ.get("HF_TOKEN"):
            options.setdefault("key", "HF_TOKEN")
        super().__init__(address, **options)
        self.task, self.top_k, self.provider = task, top_k, "hf-inference" if is_url else provider

    def encode(self, row: Any, sampling_rate: int | None) -> bytes:
        """See `Endpoint.encode`."""
        return _ENCODERS[self.task](row, sampling_rate)

    def send(self, body: bytes) -> Any:
        """See `Endpoint.send`."""
        from huggingface_hub import InferenceClient
        from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

        # Without a key the client would send the one of this computer's login, whatever the address.
        token = self._secret() or ("none" if self.address.startswith("http") else None)
        provider: Any = self.provider
        client = InferenceClient(model=self.address, provider=provider, token=token, timeout=self.timeout)
        ask: Any = getattr(client, self.task.replace("-", "_"))
        try:
            answer = ask(body.decode() if self.task == "text-classification" else body, top_k=self.top_k)
        except HfHubHTTPError as error:
            raise _refusal(error.response.status_code, error.response.headers) from None
        except OfflineModeIsEnabled:
            raise Failed("HF_HUB_OFFLINE is set", again=False) from None
        except Exception as error:  # of the network, or an answer that is not what the client reads
            raise Failed(type(error).__name__, again=not isinstance(error, ValueError)) from None
        return [(pair.label, pair.score) for pair in answer]


class JsonEndpoint(Endpoint):
    """A model behind any address that takes and gives JSON.

    Args:
        address: the URL.
        to_request: from a sample, as in `Endpoint.encode`, to what is posted: any plain data.
        from_response: from the data that came back to the answer: probabilities or logits of all labels, or (label, score)
            pairs.
        headers: further headers, without keys.
        options: those of `Endpoint`; the key is sent as `Authorization: Bearer KEY`.

    >>> endpoint = JsonEndpoint(
    ...     "http://127.0.0.1:9/classify",
    ...     to_request=lambda row: {"pixels": row.round(3).tolist()},
    ...     from_response=lambda data: [(one["name"], one["p"]) for one in data["top"]],
    ... )
    >>> endpoint.encode(np.zeros(2), None)
    b'{"pixels": [0.0, 0.0]}'
    """

    def __init__(
        self,
        address: str,
        to_request: Callable[[Any], Any],
        from_response: Callable[[Any], Any],
        *,
        headers: Mapping[str, str] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(address, **options)
        if not address.startswith(("http://", "https://")):
            raise InputError(f"The address is {shown(address)}: give a URL that starts with http:// or https://.")
        self._to_request, self._from_response, self._headers = to_request, from_response, dict(headers or {})
        self._clients = threading.local()

    def encode(self, row: Any, sampling_rate: int | None) -> bytes:
        """See `Endpoint.encode`."""
        return json.dumps(self._to_request(row)).encode()

    def send(self, body: bytes) -> Any:
        """See `Endpoint.send`."""
        from huggingface_hub import get_session

        if not hasattr(self._clients, "own"):  # a client of its own: the Hub's refuses every address offline
            self._clients.own = type(get_session())()
        secret = self._secret()
        headers = {**self._headers, "content-type": "application/json"}
        headers |= {} if secret is None else {"authorization": f"Bearer {secret}"}
        try:
            response = self._clients.own.post(self.address, content=body, headers=headers, timeout=self.timeout)
            data = response.json() if response.status_code == 200 else None
        except ValueError:
            raise Failed("the answer is not JSON", again=False) from None
        except Exception as error:  # of the network
            raise Failed(type(error).__name__, again=True) from None
        if response.status_code != 200:
            raise _refusal(response.status_code, response.headers)
        return self._from_response(data)


def _refusal(status: int, headers: Mapping[str, str]) -> Failed:
    """The failure of a request that a server refused, without the words of the server."""
    try:
        wait = float(headers.get("retry-after", ""))
    except ValueError:  # none, or a date
        wait = None
    return Failed(f"status {status}", again=status in AGAIN, wait=wait if wait is not None and wait >= 0 else None)


def png(row: np.ndarray, sampling_rate: int | None = None) -> bytes:
    """An image (3, height, width) of pixels from 0 to 1 as PNG.

    >>> png(np.zeros((3, 4, 4)))[:4]
    b'\\x89PNG'
    """
    from PIL import Image

    pixels = np.rint(255 * row.clip(0, 1)).astype(np.uint8).transpose(1, 2, 0)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()


def wav(row: np.ndarray, sampling_rate: int | None) -> bytes:
    """A sound (samples,) from -1 to 1 as WAV of 16 bits.

    >>> wav(np.zeros(10), 16000)[:4]
    b'RIFF'
    """
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(2)
        written.setframerate(sampling_rate or 16000)
        written.writeframes(np.rint(32767 * row.clip(-1, 1)).astype("<i2").tobytes())
    return file.getvalue()


def utf8(row: str, sampling_rate: int | None = None) -> bytes:
    """A text as UTF-8.

    >>> utf8("naïve")
    b'na\\xc3\\xafve'
    """
    return row.encode()


_ENCODERS: dict[str, Callable[[Any, int | None], bytes]] = {
    "image-classification": png,
    "audio-classification": wav,
    "text-classification": utf8,
}
TASKS = tuple(_ENCODERS)
