"""The error for a wrong input: its message is one sentence that names the value, the limit and the remedy."""

from __future__ import annotations

import difflib
import errno
import os
from collections.abc import Iterable

_LISTED = 40  # choices in a message
# What gloo and NCCL say when a process at the other end of a connection is gone.
_LOST = ("Connection reset by peer", "Connection closed by peer", "remote process exited")


class InputError(ValueError):
    """An input of the user cannot be used. The command line prints the message without a traceback.

    >>> raise InputError("k is 0: give a whole number, 1 or more.")
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: k is 0: give a whole number, 1 or more.
    """


class BudgetSpent(InputError):
    """A call was refused, since it would exceed the budget of a source that is paid for by the sample."""


def shown(value: object, most: int = 100) -> str:
    """A value as Python writes it, on one line and of at most `most` letters.

    >>> shown([1] * 1000, most=12)
    '[1, 1, 1,...'
    """
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # Python writes no number of more than 4,300 digits
        text = "a number of very many digits"
    return text if len(text) <= most else f"{text[: most - 3]}..."


def unknown(what: str, name: object, choices: Iterable[str]) -> InputError:
    """The error for a name that is not one of `choices`, with the nearest valid one when there is one.

    >>> unknown("colour", "rde", ["red", "blue"])
    InputError("Unknown colour 'rde': did you mean 'red'?")
    """
    choices, text = sorted(choices), shown(name)
    near = difflib.get_close_matches(str(name)[:100], choices, n=1, cutoff=0.5)
    listed = ", ".join(map(repr, choices[:_LISTED])) + (" and others" if len(choices) > _LISTED else "")
    hint = f"did you mean {near[0]!r}?" if near else f"choose one of {listed}."
    return InputError(f"Unknown {what} {text}: {hint}")


def sentence_of(error: Exception) -> str | None:
    """The sentence that the command line prints for an error in place of a traceback; None if the traceback is needed.

    >>> sentence_of(InputError("k is 0: give 1 or more."))
    'k is 0: give 1 or more.'
    >>> sentence_of(OSError(errno.EACCES, "Permission denied", "runs"))
    "The file or folder 'runs' cannot be used: Permission denied."
    >>> sentence_of(RuntimeError("shapes do not match")) is None
    True
    """
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f" that holds {error.filename!r}" if error.filename else ""
        remedy = "free some space, and continue a training with --resume"
        return f"The disk{where} is full; what was complete is kept: {remedy}."
    if isinstance(error, OSError) and error.filename is not None:
        return f"The file or folder {shown(os.fspath(error.filename))} cannot be used: {error.strerror}."
    if isinstance(error, RuntimeError) and any(words in str(error) for words in _LOST):
        return (
            "Another process of this run has ended, so this one ends too; what was complete is kept: start all of them again "
            "with --resume."
        )
    return None
