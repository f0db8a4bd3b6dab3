"""A folder of images that was changed at random gives the pixels that its files hold, or is refused in one sentence."""

from __future__ import annotations

import io
import os
import shutil
import struct
import tempfile
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from hf_reprogram.modalities import MODALITIES
from hf_reprogram.modalities.pixels import image_processor
from hf_reprogram.progress import quiet_libraries
from hf_reprogram.tasks.load import load_task
from hf_reprogram.tasks.options import TaskOptions
from tests.support.refusals import refusal

SIDE = 6
KINDS = [
    "png",
    "jpeg",
    "grey",
    "palette",
    "clear",
    "half",
    "16 bit",
    "cmyk",
    "gif",
    "webp",
    "tiff",
    "bits",
    "bmp",
    "camera",
]
DAMAGES = ["cut", "cut", "empty", "text", "head", "huge", "float", "suffix", "folder", "pipe", "nowhere", "byte"]
NAMES = ["1.png", "a b.PNG", "ü.jpg", "x\ny.jpeg", "__init__.gif", "-1.webp", "'.tif", "a.b.bmp", "é" * 60 + ".png"]


@cache
def drawn(kind: str, colour: tuple[int, int, int]) -> tuple[bytes, tuple[int, int, int]]:
    """The bytes of an image of one colour, and the colour that a page would show."""
    image, form, shown = Image.new("RGB", (SIDE, SIDE), colour), "png", colour
    more: dict[str, Any] = {}
    if kind in ("jpeg", "webp", "tiff", "bmp", "gif"):
        form = kind
        more = {"jpeg": {"quality": 95}, "webp": {"lossless": True}}.get(kind, {})
    if kind == "grey":
        image, shown = Image.new("L", image.size, colour[0]), (colour[0],) * 3
    elif kind == "palette":
        image = image.quantize(4)
    elif kind == "clear":
        image, shown = Image.new("RGBA", image.size, (*colour, 0)), (255, 255, 255)
    elif kind == "half":
        image, shown = Image.new("LA", image.size, (colour[0], 255)), (colour[0],) * 3
    elif kind == "16 bit":
        image = Image.fromarray(np.full(image.size, colour[0] * 257, np.uint16))
        shown = (colour[0],) * 3
    elif kind == "cmyk":
        image, form = image.convert("CMYK"), "tiff"
    elif kind == "bits":
        image, shown = Image.new("1", image.size, 1), (255, 255, 255)
    elif kind == "gif":
        more = {"save_all": True, "append_images": [Image.new("RGB", image.size, "black")], "duration": 10}
    elif kind == "camera":
        exif = Image.Exif()
        exif[0x0112] = 6
        more = {"exif": exif}
    out = io.BytesIO()
    image.save(out, form, **more)
    return out.getvalue(), shown


def huge(side: int) -> bytes:
    """A PNG whose head says another size than its pixels have."""
    data = bytearray(drawn("png", (1, 2, 3))[0])
    data[16:24] = struct.pack(">II", side, side)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


@st.composite
def image_folder(draw: st.DrawFn) -> tuple[list[tuple[str, str, bytes, Any]], list[str]]:
    """Paths of files with what is done, the bytes and the colour, which is None where it is damaged; and extra steps."""
    splits = draw(st.sampled_from([[""], [""], ["train", "test"], ["train", "val", "test"]]))
    classes = draw(st.permutations(["cat", "dog", "a b", "Ünï", "train", "x'y"]))[
        : draw(st.sampled_from([1, 2, 2, 3, 3]))
    ]
    files: list[tuple[str, str, bytes, Any]] = []
    many = draw(st.integers(2, 6))
    for split in splits:
        for name in classes:
            for file in draw(st.permutations(NAMES))[:many]:
                colour = tuple(draw(st.sampled_from([0, 40, 200, 255])) for _ in range(3))
                data, shown = drawn(draw(st.sampled_from(KINDS)), colour)
                files.append((f"{split}/{name}/{file}".lstrip("/"), "", data, shown))
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, 2]))):
        at = draw(st.integers(0, len(files) - 1))
        path, _, data, shown = files[at]
        how = draw(st.sampled_from(DAMAGES))
        cut = draw(st.integers(0, max(len(data) - 1, 0)))
        other = draw(st.sampled_from([0, 255]))
        made = {
            "cut": (data[:cut], shown),  # an end without pixels may be missing
            "empty": (b"", None),
            "text": (b"no image", None),
            "head": (b"\0" * 8 + data[8:], None),
            "huge": (huge(draw(st.sampled_from([7, 3000, 2**16, 2**31 - 1]))), None),
            "byte": (data[:cut] + bytes([other]) + data[cut + 1 :], None),
        }.get(how, (data, shown if how == "suffix" else None))
        if how == "float":
            out = io.BytesIO()
            Image.new("F", (SIDE, SIDE), 0.5).save(out, "tiff")
            made = (out.getvalue(), None)
        if how == "suffix":
            path += draw(st.sampled_from([".png", ".jpg", ".GIF"]))
        files[at] = (path, how, *made)
    extra = draw(
        st.sampled_from(["", "", "hidden", "loose", "loop", "copy", "link", "metadata", "deep", "empty folder"])
    )
    return files, [extra, splits[0], splits[-1], classes[0]]


def check_images(example: Any) -> None:
    files, (extra, first, last, name) = example
    root = Path(tempfile.mkdtemp(prefix="mutated-")) / "data"
    try:
        for file, how, data, _ in files:
            path = root / file
            path.parent.mkdir(parents=True, exist_ok=True)
            if how == "folder":
                path.mkdir(exist_ok=True)
            elif how == "pipe":
                os.mkfifo(path)
            elif how == "nowhere":
                path.symlink_to("nowhere.png")
            else:
                path.write_bytes(data)
        inside = root / first / name
        picture = drawn("png", (9, 9, 9))[0]
        if extra == "hidden":
            (root / ".hidden").mkdir()
            (root / ".hidden" / "1.png").write_bytes(picture)
            (inside / "._1.png").write_bytes(b"")
        elif extra == "loose":
            (root / "logo.png").write_bytes(picture)
        elif extra == "loop":
            (inside / "loop").symlink_to(root, target_is_directory=True)
        elif extra in ("copy", "link"):
            there = root / last / name / "copy.png"
            (root / first / name / "own.png").write_bytes(picture)
            if extra == "copy":
                there.write_bytes(picture)
            else:
                there.symlink_to(root / first / name / "own.png")
        elif extra == "metadata":
            (root / "metadata.csv").write_text('file_name,label\n"x')
        elif extra == "deep":
            (inside / "deeper").mkdir()
            (inside / "deeper" / "1.png").write_bytes(picture)
        elif extra == "empty folder":
            (root / "nothing").mkdir()
        look(root, files, extra, first != last)
    finally:
        shutil.rmtree(root.parent)


def look(root: Path, files: Any, extra: str, splits: bool) -> None:
    """Load the task and read all pixels, and compare their classes and colours with those that were written."""
    found: list[Any] = []

    def load() -> None:
        task = load_task(TaskOptions(str(root), image="image"))
        processor = image_processor((SIDE, SIDE))
        held = {"train": task.train, "validation": task.validation, "test": task.test}
        held = {name: split for name, split in held.items() if split is not None}
        encoded = MODALITIES["image"].encode(held, processor, None, "single_label_classification")
        for split in encoded.values():
            for row in range(len(split)):
                pixels = np.rint(split[row]["pixel_values"].mean((1, 2)) * 255).astype(int).tolist()
                found.append((task.labels[int(split[row]["labels"])], pixels))
        found.append(task.notes)

    message = refusal(load)
    if message is not None:
        assert "\n" not in message
        assert len(message) < 2000
        reasons = ("a single class", "one class", "name another label column", "holds images but no folder", "beside")
        whole = extra not in ("metadata", "deep", "link", "loop") and not any(how for _, how, *_ in files)
        assert not whole or any(reason in message for reason in reasons), message
        return
    *found, notes = found
    if extra == "copy" and splits:
        assert any("copies of images of another split" in note for note in notes)
    if extra in ("copy", "link"):
        found = [(label, pixels) for label, pixels in found if pixels != [9, 9, 9]]
    if any(how in ("folder", "pipe", "nowhere", "byte", "huge") for _, how, *_ in files):
        return
    wanted = [(Path(file).parent.name, shown) for file, how, _, shown in files]
    assert len(found) == len(wanted), (found, wanted, notes)
    assert all(shown is not None for _, shown in wanted), "a broken image was read"
    assert sorted(label for label, _ in found) == sorted(name for name, _ in wanted)
    left = list(found)
    for name, shown in wanted:
        near = [each for each in left if each[0] == name and max(abs(np.subtract(each[1], shown))) <= 4]
        assert near, (name, shown, left)
        left.remove(min(near, key=lambda each: max(abs(np.subtract(each[1], shown)))))


SETTINGS = settings(suppress_health_check=list(HealthCheck))


@pytest.fixture(autouse=True)
def _quiet():
    """Neither bars nor notices of thousands of folders."""
    quiet_libraries(True)


@settings(SETTINGS, max_examples=60)
@given(image_folder())
def test_a_changed_folder_of_images_is_read_as_it_is_or_refused(example):
    check_images(example)


@pytest.mark.slow
@settings(SETTINGS, max_examples=2500, derandomize=False)
@given(image_folder())
def test_many_changed_folders_of_images_are_read_as_they_are_or_refused(example):
    check_images(example)
