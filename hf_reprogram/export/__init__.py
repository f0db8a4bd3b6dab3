"""Adapters for those who do not have this package: as a plain model of transformers, or as ONNX.

`export_adapter` decides which. A plain model has the trained vectors in its embedding table and in its last layer, so it is the
source's own architecture (`hf_reprogram.export.plain`). Whatever computes more than such rows becomes a graph of ONNX with the
source inside (`hf_reprogram.export.onnx`). Either is compared with the adapter before the folder appears.
"""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path
from typing import Any

from ..errors import InputError, unknown
from ..progress import quiet_libraries
from ..training.adapter import load_adapter
from .onnx import write_onnx
from .plain import write_plain

FORMATS = ("plain", "onnx")


def export_adapter(
    adapter: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    form: str | None = None,
    source: Any = None,
    trust_remote_code: bool = False,
) -> str:
    """Write an adapter with its source as a folder that does not need this package.

    Args:
        adapter: a folder or a Hub id.
        output: the new folder, which appears when all of it is written and compared with the adapter.
        form: "plain" or "onnx"; by default plain where the adapter can be folded into its source.
        source: the name or folder of the source, if it is not where the adapter recorded it; or the loaded source.
        trust_remote_code: whether the source's own Python code may run; see `hf_reprogram.trust`.

    Returns:
        The form that was written.

    Raises:
        InputError: the output exists, the adapter cannot have this form, or its logits differ in it.

    >>> export_adapter("no/such/folder", "out", form="zip")
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: Unknown form of an export 'zip': choose one of 'onnx', 'plain'.
    """
    if form is not None and form not in FORMATS:
        raise unknown("form of an export", form, FORMATS)
    output = Path(output)
    if output.exists():
        raise InputError(f"The output {str(output)!r} exists already: give a new folder.")
    quiet_libraries()
    model, processor = load_adapter(adapter, source, trust_remote_code=trust_remote_code)
    if model.mapping.reads == "decoder":
        raise InputError("The adapter fills in masked tokens, several times per text, which no graph does: use infill.")
    output.parent.mkdir(parents=True, exist_ok=True)
    stage = output.with_name(f".{output.name}.{secrets.token_hex(4)}.tmp")
    stage.mkdir()
    try:
        reason = None if form == "onnx" else write_plain(model.cpu().eval(), processor, stage)
        if form == "plain" and reason is not None:
            raise InputError(
                f"The adapter cannot become a plain model of transformers, since {reason}: use the form 'onnx'."
            )
        if form == "onnx" or reason is not None:
            write_onnx(model.cpu().eval(), processor, stage)
            form = "onnx"
        os.replace(stage, output)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return form or "plain"
