"""Zero-shot features of images, computed once and kept on disk: the constant part of a residual blend, and of a program that
leaves images as they are.

A file `KEY.safetensors` holds `features` (n, width) in float32, in the order of the data. KEY is a digest of everything that
the features depend on: the weights of the image tower, the preparation and normalisation of its pixels, whether it runs in
bfloat16, and the encoded bytes of every image. A file is therefore never out of date. It is written under another name and
then renamed, and it is read through a memory map. The folder is `HF_REPROGRAM_CACHE`, by default `hf_reprogram` in the
folder of the Hub's cache, and its files may be deleted at any time. Whenever a file is written, those that were used longest
ago are deleted until all take at most `HF_REPROGRAM_CACHE_GIB` GiB (by default 10). If the folder cannot be written, features
are computed and not kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import warnings
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch

from ..errors import InputError
from ..mappings.base import Blends
from ..modalities.examples import Examples, Pixels
from ..sources.dual import DualSource
from ..transforms.dual import Dual
from .encode import batches


def add_zero_shot_features(
    model: Any, processor: Any, data: dict[str, Any], *, bf16: bool = False, quiet: bool = False
) -> None:
    """Add the input `image_features` to encoded splits, if the model reads zero-shot features.

    Args:
        model: a `ReprogrammedModel`. It reads them if it blends them in, or if it has no program on images.
        processor: its processor.
        data: encoded splits of images by name. If features are blended in, `train` gets them only if alpha is trained, as
            otherwise only evaluation reads them.
        bf16: whether to autocast to bfloat16.
        quiet: show no progress bar.
    """
    constant = isinstance(model.transform, Dual) and model.transform.leaves_images
    blended = isinstance(model.mapping, Blends) and model.mapping.residual
    if (not constant and not blended) or model.source.pretrained:  # the features change with the weights that are tuned
        return
    trains = constant or any(parameter.requires_grad for parameter in model.mapping.parameters())
    for name, split in data.items():
        if isinstance(split, Examples) and (name != "train" or trains):
            split.further["image_features"] = zero_shot_features(model, processor, split, bf16=bf16, quiet=quiet)


def zero_shot_features(
    model: Any, processor: Any, data: Examples, *, bf16: bool = False, quiet: bool = False
) -> np.ndarray:
    """The zero-shot features (n, width) of the images of a split, without a program; read from the cache or added to it.

    Args:
        model: a `ReprogrammedModel` on a text-image encoder.
        processor: its processor.
        data: one encoded split of images.
        bf16: whether to autocast to bfloat16.
        quiet: show no progress bar.
    """
    from safetensors import SafetensorError

    most = limit()
    path = folder() / f"{_key(model.source, processor, data, bf16)}.safetensors"
    try:
        kept = read_features(path)
        if kept.shape == (len(data), model.source.spec.widths["features"]):
            os.utime(path)  # it was used now
            return kept
    except (SafetensorError, KeyError, OSError, ValueError):
        pass  # not there yet, or damaged from outside
    features = _compute(model, processor, data, bf16, quiet)
    try:
        write_features(features, path)
        make_room(path.parent, most, path)
    except (SafetensorError, OSError) as error:  # a full disk is either
        _warn_unwritten(path.parent, getattr(error, "strerror", None) or str(error))
    return features


@cache
def _warn_unwritten(where: Path, why: str) -> None:
    """Warn once per folder that features cannot be kept there."""
    warnings.warn(
        f"Zero-shot features cannot be kept in {str(where)!r} ({why}), so each run computes them again: set "
        "HF_REPROGRAM_CACHE to a folder that can be written.",
        stacklevel=3,
    )


def read_features(path: str | os.PathLike) -> np.ndarray:
    """Read features (n, width) from a file, through a memory map.

    Raises:
        ValueError: the numbers are not those that were written.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "features.safetensors")
    ...     write_features(np.ones((2, 3), np.float32), path)
    ...     read_features(path).shape
    (2, 3)
    """
    from safetensors import safe_open
    from safetensors.torch import load_file

    with safe_open(path, "np") as file:
        written = (file.metadata() or {}).get("sha256")
    features = load_file(path)["features"].numpy()
    if hashlib.sha256(np.ascontiguousarray(features).data).hexdigest() != written:
        raise ValueError(f"The file {os.fspath(path)!r} was changed after it was written.")
    return features


def folder() -> Path:
    """The folder in which features are kept."""
    from huggingface_hub.constants import HF_HOME

    return Path(os.environ.get("HF_REPROGRAM_CACHE") or Path(HF_HOME) / "hf_reprogram")


def limit() -> int:
    """The bytes that all kept features may take together.

    Raises:
        InputError: `HF_REPROGRAM_CACHE_GIB` is no number of at least 0.
    """
    given = os.environ.get("HF_REPROGRAM_CACHE_GIB", "10")
    try:
        gib = float(given)
    except ValueError:
        gib = float("nan")
    if not 0 <= gib < float("inf"):
        raise InputError(f"HF_REPROGRAM_CACHE_GIB is {given!r}: give the GiB that kept features may take, such as 10.")
    return int(gib * 2**30)


def make_room(where: Path, most: int, newest: Path) -> None:
    """Delete the features that were used longest ago until a folder holds at most `most` bytes of them.

    Args:
        where: the folder.
        most: bytes.
        newest: the file that was written last, which is deleted only if it is larger than `most` alone.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     paths = [Path(folder, f"{name}.safetensors") for name in "abc"]
    ...     sizes = [path.write_bytes(bytes(10)) for path in paths]
    ...     make_room(Path(folder), 25, paths[2])
    ...     len([path for path in paths if path.exists()]), paths[2].exists()
    (2, True)
    """
    files = []
    for path in where.glob("*.safetensors"):
        with suppress(OSError):  # another process deletes too
            found = path.stat()
            files.append((path == newest, found.st_mtime, found.st_size, path))
    held = 0
    for _, _, size, path in sorted(files, reverse=True):
        held += size
        if held > most:
            with suppress(OSError):
                path.unlink()


@torch.no_grad()
def _compute(model: Any, processor: Any, data: Examples, bf16: bool, quiet: bool, batch_size: int = 64) -> np.ndarray:
    source = model.source
    features = np.empty((len(data), source.spec.widths["features"]), np.float32)
    for rows, batch in batches(data, processor, batch_size, source.device, "Zero-shot features", quiet):
        pixels = model.transform.canvas_of(batch["pixel_values"], programmed=False)
        with torch.autocast(source.device.type, torch.bfloat16, enabled=bf16):
            features[rows] = source({"pixels": pixels}, "features").float().cpu().numpy()
    return features


def write_features(features: np.ndarray, path: str | os.PathLike) -> None:
    """Write features (n, width) to a file, as a whole or not at all; see `read_features`."""
    from safetensors.numpy import save_file

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")  # other computers may share the folder
    try:
        digest = hashlib.sha256(np.ascontiguousarray(features).data).hexdigest()
        save_file({"features": features}, partial, metadata={"sha256": digest})
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


_digests: WeakKeyDictionary[DualSource, tuple[Any, bytes]] = WeakKeyDictionary()


def _digest(source: DualSource) -> bytes:
    """A digest of the image tower's weights, kept until a weight changes. Changes through `.data` are not noticed."""
    weights = list(source.image_weights())
    versions = [(id(weight), weight._version, weight.data_ptr(), weight.dtype) for _, weight in weights]
    if _digests.get(source, (None, b""))[0] != versions:
        digest = hashlib.sha256()
        for name, weight in weights:
            digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
            digest.update(weight.detach().flatten().cpu().view(torch.uint8).numpy().data)
        _digests[source] = (versions, digest.digest())
    return _digests[source][1]


def _key(source: DualSource, processor: Any, data: Examples, bf16: bool) -> str:
    digest = hashlib.sha256(_digest(source))
    vision = source.model.config.vision_config.to_dict()
    settings = {"model": vision, "source": source.settings, "processor": processor.to_dict(), "bf16": bf16}
    digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
    assert isinstance(data.read, Pixels)
    for value in data.read.encoded["image"]:
        image = Path(value["path"]).read_bytes() if value["bytes"] is None else value["bytes"]
        digest.update(len(image).to_bytes(8, "little"))
        digest.update(image)
    return digest.hexdigest()[:40]
