"""Which split and which class a file belongs to, from the folders that hold it."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InputError

_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "val", "valid", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
SPLIT_NAMES = frozenset(_SPLITS)  # in lower case
_HEAD = 4096  # bytes by which files of one size are compared first
_SHARD = re.compile(r"[-_.]\d+([-_]of[-_]\d+)?$")  # of train-00000-of-00002


class RawSplits(dict[str, Any]):
    """The raw splits of a data set by name.

    Attributes:
        notes: sentences on how the data was read, such as files that were left out.
        unlabelled: why there are no labels, as a sentence for whoever needs them; empty if there are some.

    >>> RawSplits({"train": [1]}, ["One file was left out."]).notes
    ['One file was left out.']
    """

    def __init__(self, splits: Mapping[str, Any], notes: Iterable[str] = (), unlabelled: str = ""):
        super().__init__(splits)
        self.notes, self.unlabelled = list(notes), unlabelled


def split_called(name: str) -> str | None:
    """The split that a whole name stands for: train, validation or test; None for any other name.

    >>> split_called("TEST"), split_called("val"), split_called("test strip")
    ('test', 'validation', None)
    """
    return _SPLITS.get(name.lower())


def split_of_stem(stem: str) -> str | None:
    """The split of a file from its name without the ending, which may have the number of a part behind it.

    >>> split_of_stem("Train-00000-of-00002"), split_of_stem("my test 1")
    ('train', None)
    """
    return split_called(_SHARD.sub("", stem))


def files_in(folder: str | os.PathLike[str]) -> list[Path]:
    """All files below a folder in the order of their paths, but for hidden ones, and for pipes and devices.

    A link to a folder is followed, unless it leads back to a folder that holds it.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("b.csv", "a.csv", ".hidden"):
    ...         Path(folder, name).touch()
    ...     [path.name for path in files_in(folder)]
    ['a.csv', 'b.csv']
    """
    found = []
    for where, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [
            name for name in folders if not name.startswith((".", "__")) and not _leads_back(os.path.join(where, name))
        ]
        paths = [Path(where, name) for name in names if not name.startswith(".")]
        found += [
            path for path in paths if path.is_file() or path.is_symlink()
        ]  # a broken link is refused when it is read
    return sorted(found)


def _leads_back(folder: str) -> bool:
    """Whether a folder is a link to one that holds it, in which a walk would never end."""
    if not os.path.islink(folder):
        return False
    real, here = os.path.realpath(folder), os.path.realpath(os.path.dirname(folder))
    return here == real or here.startswith(os.path.join(real, ""))


def stamp(paths: Iterable[str | os.PathLike[str] | None]) -> str:
    """A text that is another one as soon as one of the files is another one, by path, size and time of change."""
    made = hashlib.sha256()
    for path in paths:
        state = os.stat(path) if path is not None and os.path.exists(path) else None
        made.update(repr((str(path), state and (state.st_size, state.st_mtime_ns))).encode())
    return made.hexdigest()[:16]


@dataclass
class Layout:
    """The files of a folder by split, each with the name of its class.

    Attributes:
        root: the folder that holds the splits or the classes, which may lie deeper than the one that was given.
        files: `(file, class)` by split; the class is None where no folder says it.
        notes: sentences on what was left out.
        problem: why the folders say no classes, as a sentence that says what to do; empty if they do.
    """

    root: Path
    files: dict[str, list[tuple[Path, str | None]]]
    notes: list[str] = field(default_factory=list)
    problem: str = ""

    @property
    def classes(self) -> list[str]:
        """The names of the classes in alphabetical order."""
        return sorted({name for members in self.files.values() for _, name in members if name is not None})


def read_layout(folder: str | os.PathLike[str], endings: Sequence[str], named: Sequence[str] = ()) -> Layout | None:
    """Split and class of the files in a folder: `train/cat/1.png`, or `cat/1.png` where there is one split.

    A folder is a split if it is called so as a whole and lies where the splits lie: it and every folder beside it. So a class
    may be called `train` or `test strip`.

    Args:
        folder: the folder of the data set.
        endings: of the files that count, in lower case.
        named: split names of the task, which count as they are.

    Returns:
        The layout; None if no file counts.

    Raises:
        InputError: it cannot be told which folders are splits, or a file lies in two of them.
    """
    root = Path(folder)
    files = [path for path in files_in(root) if path.suffix.lower() in endings]
    if not files:
        return None
    while True:  # a folder that holds nothing but the folder of the data
        tops = {path.relative_to(root).parts[0] for path in files}
        top = next(iter(tops))
        if len(tops) > 1 or not (root / top).is_dir() or _meant(top, named):
            break
        if any(len(path.relative_to(root).parts) < 3 for path in files):
            break
        root = root / top
    parts = {path: path.relative_to(root).parts for path in files}
    loose = [path for path in files if len(parts[path]) == 1]
    depths: dict[str, set[bool]] = {}
    for path in files:
        if len(parts[path]) > 1:
            depths.setdefault(parts[path][0], set()).add(len(parts[path]) > 2)
    splits = {name: meant for name in depths if (meant := _meant(name, named))}
    others = [name for name in depths if name not in splits]
    if splits and others and (len(splits) > 1 or any(True in deep for deep in depths.values())):
        raise InputError(
            f"The folder {str(root)!r} holds {_some(splits)} beside {_some(others)}: if the first are splits, move the "
            "others out of "
            "it; if all of them are classes, put them into a folder 'train'."
        )
    if splits and others:  # folders of one kind, of which one is called like a split
        layout = _of_split({"train": (root, [path for path in files if path not in loose])}, root)
        layout.notes.append(f"The folder {next(iter(splits))!r} is a class like the folders beside it, and no split.")
    elif splits:
        if len({*splits.values()}) < len(splits):
            raise InputError(
                f"The folder {str(root)!r} holds {_some(splits)}, of which two mean the same split: rename one."
            )
        layout = _of_split(
            {
                meant: (root / name, [path for path in files if parts[path][0] == name])
                for name, meant in splits.items()
            },
            root,
        )
    else:
        layout = _of_split({"train": (root, files)}, root)
        loose = []
    if loose:
        layout.notes.append(f"Left out, as they lie beside the folders: {_some(path.name for path in loose)}.")
    _check_disjoint(layout)
    layout.notes += _copies(layout)
    return layout


def _meant(name: str, named: Sequence[str]) -> str | None:
    return name if name in named else split_called(name)


def _some(names: Iterable[str]) -> str:
    found = sorted(names)
    return ", ".join([*map(repr, found[:5]), *(["..."] if len(found) > 5 else [])])


def _of_split(splits: dict[str, tuple[Path, list[Path]]], root: Path) -> Layout:
    """The layout of splits, each with the folder that holds its classes and with its files."""
    layout = Layout(root, {})
    deep = None
    bare = []
    for split, (top, files) in splits.items():
        parts = {path: path.relative_to(top).parts for path in files}
        deep = deep or next((path for path in files if len(parts[path]) > 2), None)
        inside = [path for path in files if len(parts[path]) == 2]
        if not inside:
            bare.append(split)
        elif len(inside) < len(files) and deep is None:
            outside = [path.name for path in files if len(parts[path]) == 1]
            layout.notes.append(f"Left out of {split}, as they lie in no folder of a class: {_some(outside)}.")
        layout.files[split] = [(path, parts[path][0] if len(parts[path]) == 2 else None) for path in files]
    if deep is not None:
        layout.problem = (
            f"The folder {str(root)!r} holds files at different depths, such as {str(deep.relative_to(root))!r}: put every "
            "image into "
            "the folder of its class, which lies in that of its split, or in the folder of the data if there are no splits."
        )
    elif len(bare) == len(splits):
        layout.problem = (
            f"The folder {str(root)!r} holds images but no folder per class: put every image into a folder with the name of "
            "its "
            "class, or write a metadata.csv with the columns file_name and label."
        )
    else:
        layout.notes += [f"The split {split} was left out, as it has no folders of classes." for split in bare]
        layout.files = {
            split: [pair for pair in pairs if pair[1] is not None]
            for split, pairs in layout.files.items()
            if split not in bare
        }
        trained = {name for _, name in layout.files.get("train", [])}
        if "train" in layout.files and (missing := [name for name in layout.classes if name not in trained]):
            layout.notes.append(f"The split train has no image of the classes {_some(missing)}.")
    return layout


def _check_disjoint(layout: Layout) -> None:
    """Refuse a file that lies in two splits, as a link may."""
    seen: dict[str, str] = {}
    for split, pairs in layout.files.items():
        for path, _ in pairs:
            real = os.path.realpath(path)
            if seen.setdefault(real, split) != split:
                raise InputError(
                    f"The file {real!r} belongs to the splits {seen[real]} and {split}: remove it from one of them."
                )


def _copies(layout: Layout) -> list[str]:
    """A note on the files of a split that hold the same bytes as files of another, train first; none without such files.

    Sizes are compared first, then the heads of the files, then the whole of them, so that few files are read.
    """
    splits = sorted(layout.files, key=lambda split: split != "train")
    groups = [[(split, path) for split in splits for path, _ in layout.files[split]]]
    for key in (_size, lambda path: _digest(path, _HEAD), _digest):
        found: dict[Any, list[tuple[str, Path]]] = {}
        for number, group in enumerate(groups):
            for split, path in group:
                found.setdefault((number, key(path)), []).append((split, path))
        groups = [group for group in found.values() if len({split for split, _ in group}) > 1]
    copies: dict[str, list[tuple[Path, Path]]] = {}
    for (first, original), *others in groups:
        for split, path in others:
            if split != first:
                copies.setdefault(split, []).append((path, original))
    return [
        f"The split {split} has {len(pairs)} of {len(layout.files[split])} images that are copies of images of another split, "
        f"such as {_below(pairs[0][0], layout)} of {_below(pairs[0][1], layout)}: remove them from one of the two, as they say "
        "nothing of new images."
        for split, pairs in copies.items()
    ]


def _below(path: Path, layout: Layout) -> str:
    return repr(path.relative_to(layout.root).as_posix())


def _size(path: Path) -> Any:
    try:
        return path.stat().st_size
    except OSError:  # a link to nowhere is equal to no other file
        return path


def _digest(path: Path, most: int = -1) -> Any:
    """The digest of a file, or of its first bytes."""
    try:
        with path.open("rb") as file:
            return hashlib.blake2b(file.read(most)).digest()
    except OSError:
        return path
