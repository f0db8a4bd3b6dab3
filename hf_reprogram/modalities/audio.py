"""Sounds: speech, and everything else that a microphone records."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from .base import CardFacts, Modality
from .examples import KEEP, Columns, Examples, labels_in
from .first_recipe import FirstRecipe, Guess, holds_files, plain_values
from .media_folders import read_media
from .processors import open_feature_extractor
from .waveform import read_clip, waveform_extractor

if TYPE_CHECKING:
    from torch import Tensor

ENDINGS = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".aif", ".aiff", ".au")  # of files that are sounds
RATE = "sampling_rate"  # the column beside arrays
SMALL_AUDIO_SOURCE = "MIT/ast-finetuned-speech-commands-v2"  # for first recipes


class Audio(Modality):
    """One sound per example, encoded until it is read, or an array of samples beside a column `sampling_rate`."""

    name = "audio"
    column = "audio"
    column_help = (
        "the column of sounds: encoded, paths from where the data lies, or samples beside a column sampling_rate"
    )
    takes = "input_values"
    in_time = True
    noun = "sounds"
    on_command_line = "the path of a sound file"
    auto_classes = ("AudioClassification",)
    feature_extractor = "hf_reprogram.modalities.waveform_extractor:WaveformExtractor"

    def pick(self, names: Sequence[str], columns: Sequence[str]) -> list[str]:
        """The first of `names` that the data has."""
        return [next((name for name in names if name in columns), names[0])]

    def candidates(self, rows: Any, labels: Sequence[str]) -> list[str]:
        """The columns that hold encoded sounds, paths of sounds, or lists of numbers beside a sampling rate."""
        guessed = self.guess(rows, labels)
        return guessed.columns if guessed else []

    def guess(self, rows: Any, labels: Sequence[str]) -> Guess | None:
        """The first column that the data declares as sounds, or that holds their paths, or samples beside a sampling rate."""
        values = plain_values(rows)
        for name, kind in rows.features.items():
            if name in labels:
                continue
            if type(kind).__name__ == "Audio" or holds_files(rows, name, ENDINGS, name == "audio"):
                return Guess([name], 1.0, "The column holds sounds.")
            if _numbers(kind) and RATE in rows.column_names:
                return Guess([name], 1.0, "The column holds the samples of sounds, beside their sampling rate.")
            paths = values.get(name, ())
            if paths and all(isinstance(path, str) and path.lower().endswith(ENDINGS) for path in paths):
                return Guess([name], 1.0, "The column holds the paths of sounds.")
        return None

    def first_recipe(self, rows: Any, columns: Sequence[str], problem: str) -> FirstRecipe:
        """A trained wave on every sound, and a dense layer or a map of the source's words."""
        return FirstRecipe(
            source=SMALL_AUDIO_SOURCE,
            method={"name": "ar_scr"}
            if problem == "single_label_classification"
            else {"name": "ar_scr", "mapping": "dense"},
            why="A trained wave is added to every sound; validation chooses the source's own words or a dense layer.",
            baselines=["majority", "linear_probe"],
        )

    def read_folder(self, folder: str, named: Sequence[str] = ()) -> Any:
        """The splits of a folder with sounds; see `hf_reprogram.modalities.media_folders.read_media`."""
        return read_media(folder, ENDINGS, named, self.column, _kind(), _at_path)

    def prepare(self, data: Any, columns: list[str], split: str, dataset: str) -> Any:
        """`audio`, encoded or as a path that nothing has opened yet, or arrays with `sampling_rate`; see `Modality.prepare`."""
        from datasets import Dataset, Features, Value

        (column,) = columns
        kind = data.features[column]
        if _numbers(kind):
            if RATE not in data.column_names:
                raise InputError(
                    f"The column {column!r} of {dataset!r} holds numbers without a sampling rate: add a column {RATE} with "
                    "samples per second."
                )
            return (
                data.select_columns([column, RATE]).rename_column(column, "audio")
                if column != "audio"
                else (data.select_columns([column, RATE]))
            )
        if isinstance(kind, Value) and kind.dtype in ("string", "large_string"):  # a path, from where the data lies
            where = Path(dataset)
            folder = where.parent if where.is_file() else where if where.is_dir() else ""
            paths = [os.path.join(folder, path) if path else None for path in data[column][:]]
            return Dataset.from_dict({"audio": [*map(_at_path, paths)]}, features=Features({"audio": _kind()}))
        if isinstance(kind, Value) and kind.dtype in ("binary", "large_binary"):
            values = [{"bytes": value, "path": None} for value in data[column][:]]
            return Dataset.from_dict({"audio": values}, features=Features({"audio": _kind()}))
        if not _encoded(kind):
            raise InputError(
                f"The column {column!r} of {dataset!r} holds {kind}, which is no sound: name a column of encoded sounds, of "
                "their paths or of their samples in task.audio."
            )
        data = data.select_columns([column])
        return (data if column == "audio" else data.rename_column(column, "audio")).cast_column("audio", _kind())

    def encode(self, splits: Mapping[str, Any], processor: Any, max_length: int | None, problem_type: str) -> Any:
        """Clips (samples,); see `Modality.encode`."""
        return {name: audio_examples(split, processor, name) for name, split in splits.items()}

    def load_processor(self, adapter: str | os.PathLike[str]) -> Any:
        """The feature extractor, which knows the rate and the length of a clip."""
        return open_feature_extractor(adapter)

    def raw_processor(self, side: int) -> Any:
        """Clips of one second at 16 kHz."""
        return waveform_extractor(16000, 16000)

    def parse(self, lines: list[str]) -> list[dict[str, Any]]:
        """The path of a sound per line, or several separated by tabs; see `Modality.parse`."""
        paths = [path for line in lines for path in line.split("\t")]
        for path in paths:
            if not os.path.isfile(path):
                raise InputError(f"There is no sound file {path!r}: this adapter takes the paths of sounds.")
        return [{"audio": path} for path in paths]

    def row_of(self, value: Any) -> dict[str, Any]:
        """See `Modality.row_of`: a path, an encoded sound as bytes, or a pair (samples, samples per second)."""
        if isinstance(value, os.PathLike):
            return super().row_of(os.fspath(value))
        if isinstance(value, bytes):
            return {"audio": {"bytes": value, "path": None}}
        if isinstance(value, tuple) and len(value) == 2:
            return dict(zip(("audio", RATE), read_clip({"array": value[0], RATE: value[1]}), strict=True))
        return super().row_of(value)

    def as_split(self, rows: list[dict[str, Any]]) -> Any:
        """Rows with paths, bytes or samples as a prepared split."""
        sounds = [_at_path(row["audio"]) if isinstance(row["audio"], str) else row["audio"] for row in rows]
        rates = {RATE: [row[RATE] for row in rows]} if RATE in rows[0] else {}
        return Columns({"audio": sounds, **rates})

    def example(self, text: str, processor: Any) -> tuple[Tensor, str]:
        """A clip (1, samples) of the sound in a file; see `Modality.example`."""
        import torch

        try:
            clip = processor.clip(*read_clip(_at_path(text)))
        except InputError as error:
            raise InputError(f"The example {text!r} is no sound that can be read: {_small(error)}") from error
        return torch.from_numpy(clip)[None], Path(text).name

    def processor_note(self, transform: str) -> str:
        """See `Modality.processor_note`."""
        return " and the feature extractor that brings sounds to their rate and length"

    def processor_steps(self, processor: Any) -> str:
        """See `Modality.processor_steps`."""
        peak = " Divide by the largest amplitude of the clip." if processor.peak else ""
        return (
            "`input_values` (clips, samples), float32 from -1 to 1: Average the channels. Resample to "
            f"{processor.sampling_rate:,} samples per second (scipy.signal.resample_poly). Take the middle "
            f"{processor.samples:,} samples, or put zeros behind a shorter sound.{peak}"
        )

    def card_example(self, facts: CardFacts) -> str:
        """See `Modality.card_example`."""
        return (
            "import hf_reprogram\nimport soundfile\nfrom transformers import pipeline\n\n"
            f'classify = pipeline("{facts.pipeline_tag}", model="{facts.repo_id}")\n'
            'samples, rate = soundfile.read("sound.wav")\n'
            f'classify(classify.feature_extractor(samples, sampling_rate=rate)["input_values"][0]){facts.remark}'
        )


class Clips:
    """Reads sounds as clips (n, samples) of one rate and length, with a row for each.

    Args:
        split: prepared, with a column `audio`.
        extractor: a `WaveformExtractor`.
        name: of the split, for error messages.
    """

    def __init__(self, split: Any, extractor: Any, name: str):
        self.split, self.extractor, self.name = split, extractor, name
        self.arrays = RATE in split.column_names
        self.kept: np.ndarray | None = None

    def __call__(self, rows: Any) -> np.ndarray:
        return self.read(rows) if self.kept is None else self.kept[rows]

    def read(self, rows: Any) -> np.ndarray:
        """Clips that are read anew."""
        found = self.split[list(rows)]
        values = found["audio"]
        if self.arrays:
            values = [{"array": array, RATE: rate} for array, rate in zip(values, found[RATE], strict=True)]
        longest = 2 * self.extractor.samples / self.extractor.sampling_rate  # the filter looks at both sides
        clips = np.empty((len(values), self.extractor.samples), np.float32)
        for place, (row, value) in enumerate(zip(rows, values, strict=True)):
            try:
                clips[place] = self.extractor.clip(*read_clip(value, longest))
            except InputError as error:
                path = (value or {}).get("path")
                called = f" ({' '.join(path.split())})" if path else ""
                raise InputError(
                    f"Row {row} of the {self.name} split{called} cannot be used: {_small(error)}"
                ) from error
        return clips

    def look(self, keep: int, batch_size: int = 64) -> None:
        """Read every sound before any is used, and keep the clips if they fit into `keep` bytes."""
        size = len(self.split)
        parts = [range(start, min(start + batch_size, size)) for start in range(0, size, batch_size)]
        if 4 * self.extractor.samples * size <= keep:
            self.kept = np.concatenate([self.read(rows) for rows in parts])
            return
        for rows in parts:
            self.read(rows)


def audio_examples(split: Any, extractor: Any, name: str, keep: int = KEEP) -> Examples:
    """Clips (samples,) of a prepared split, and its labels; see `Clips`."""
    clips = Clips(split, extractor, name)
    clips.look(keep)
    return Examples(AUDIO.takes, clips, labels_in(split), len(split), split._fingerprint)


def _kind() -> Any:
    """The feature of `datasets` for encoded sounds; its own `Audio` needs torchcodec, even where nothing is decoded."""
    from datasets import Value

    return {"bytes": Value("binary"), "path": Value("string")}


def _at_path(path: str | None) -> dict[str, Any]:
    """A sound that lies in a file."""
    return {"bytes": None, "path": path}


def _small(error: InputError) -> str:
    """A sentence as the end of another."""
    text = str(error)
    return text[0].lower() + text[1:]


def _encoded(kind: Any) -> bool:
    return type(kind).__name__ == "Audio" or (isinstance(kind, dict) and {*kind} == {"bytes", "path"})


def _numbers(kind: Any) -> bool:
    """Whether a column holds lists of numbers, or lists of those of each channel."""
    inner = getattr(kind, "feature", None)
    inner = getattr(inner, "feature", inner)
    return inner is not None and str(getattr(inner, "dtype", "")).startswith(("int", "uint", "float"))


AUDIO = Audio()
