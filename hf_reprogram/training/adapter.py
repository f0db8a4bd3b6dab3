"""Loading a finished adapter: its model, its processor, and the JSON files in its folder."""

from __future__ import annotations

import os
from typing import Any

from ..devices import to_accelerator
from ..errors import InputError
from ..files import repository_json
from ..modalities import modality_taking
from ..model import ReprogrammedModel


def load_adapter(
    adapter: str | os.PathLike,
    source: Any = None,
    source_kwargs: dict[str, Any] | None = None,
    trust_remote_code: bool = False,
) -> tuple[Any, Any]:
    """Load an adapter's model and its processor.

    Args:
        adapter: a folder or a Hub id.
        source: the name or folder of the source, if it is not where the adapter recorded it; or the loaded source.
        source_kwargs: arguments of the source's `from_pretrained`.
        trust_remote_code: whether the source's own Python code may run; see `hf_reprogram.trust`.

    Returns:
        The `ReprogrammedModel`, on the accelerator if there is one, and the processor.

    Raises:
        InputError: there is no such adapter, or its source does not fit.

    >>> load_adapter("no/such/folder")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: There is no adapter at 'no/such/folder': ...
    """
    if trust_remote_code:
        source_kwargs = {**(source_kwargs or {}), "trust_remote_code": True}
    try:
        model = ReprogrammedModel.from_pretrained(adapter, source=source, source_kwargs=source_kwargs)
        return to_accelerator(model), modality_taking(model.transform.takes).load_processor(adapter)
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"There is no adapter at {os.fspath(adapter)!r}: {str(error).splitlines()[0]}") from error


def recorded(adapter: str, name: str) -> dict[str, Any] | None:
    """The content of a JSON file in an adapter's folder or repository; None if it has no such file.

    Args:
        adapter: a folder or a Hub id.
        name: the name of the file, such as "results.json".

    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     size = Path(folder, "fit.json").write_text('{"seed": 3}')
    ...     recorded(folder, "fit.json"), recorded(folder, "results.json")
    ({'seed': 3}, None)

    Raises:
        InputError: it is not a mapping in JSON.
    """
    try:
        values = repository_json(adapter, name)
    except OSError as error:
        raise InputError(f"There is no adapter at {adapter!r}: {str(error).splitlines()[0]}") from error
    if values is not None and not isinstance(values, dict):
        raise InputError(f"The file {name} of {adapter!r} is not a mapping of keys to values: take it away.")
    return values
