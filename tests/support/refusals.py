"""Input that is right, or refused in a sentence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hf_reprogram import InputError


def refusal(call: Callable[..., Any], *arguments: Any) -> str | None:
    """The message with which a call refuses its arguments; None if it takes them. Any other error passes through."""
    try:
        call(*arguments)
    except InputError as error:
        return str(error)
    return None
