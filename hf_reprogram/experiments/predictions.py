"""Predictions of an adapter for any number of examples: they are read, predicted and written a part at a time.

from hf_reprogram.experiments.predictions import iter_predictions, predict_file

for record in iter_predictions("runs/tweets", "new.txt"):
    print(record["text"], record["label"])
predict_file("runs/tweets", "new.txt", "labels.parquet")
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from .. import __version__
from ..errors import InputError
from ..modalities import modality_taking
from ..progress import Tenths, in_terminal, quiet_libraries
from ..training.adapter import load_adapter
from ..training.answers import answers_of
from ..training.encode import encode
from ..training.infilling import infill
from ..training.predict import batches_by_length, predict_each, tokens_on
from .named_source import named_source
from .prediction_inputs import Lines, check_there, open_input
from .prediction_output import PredictionFile

PART = 2048  # examples that are read, sorted by length, predicted and written together
PART_OF_PICTURES = 256  # the same of images, of which each takes far more memory and time


def iter_predictions(
    adapter: str,
    file: str | os.PathLike[str],
    *,
    source: str | None = None,
    keep: Sequence[str] = (),
    quiet: bool = False,
    trust_remote_code: bool = False,
) -> Iterator[dict[str, Any]]:
    """Predict the examples of a file while it is read, and yield their records in the order of the file.

    Args:
        adapter: a folder or a Hub id.
        file: a file of lines, or "-" for standard input, in the form that `Modality.parse` of the adapter's modality reads; or
            a jsonl, csv, tsv or parquet file with the columns of the adapter's examples. Empty lines are skipped.
        source: the name or folder of the source, if it is not where the adapter recorded it; or a recipe with its endpoint.
        keep: further columns of the file, such as an id, which every record begins with.
        quiet: show no progress bar and no messages.
        trust_remote_code: whether the source's own Python code may run; see `hf_reprogram.trust`.

    Returns:
        An iterator over records as `hf_reprogram.experiments.evaluate.predict_lines` has them.

    Raises:
        InputError: the file or the adapter cannot be used, there is no example, or an example is none that the adapter takes;
            the message names its line. All records of the parts before it were yielded.

    >>> next(iter_predictions("no/such/adapter", "nowhere.txt"))
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: The file 'nowhere.txt' cannot be read: there is no such file.
    """
    quiet_libraries(quiet)
    check_there(os.fspath(file))
    predictor = Predictor(adapter, source, trust_remote_code)
    examples = open_input(os.fspath(file), adapter, predictor.modality, keep)
    for _, records in _parts(predictor, examples, [], quiet or sys.stdout.isatty()):  # a bar would run into the records
        yield from records


def predict_file(
    adapter: str,
    file: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    resume: bool = False,
    source: str | None = None,
    keep: Sequence[str] = (),
    quiet: bool = False,
    trust_remote_code: bool = False,
) -> int:
    """Predict the examples of a file, and write a row per example to another file.

    What is done is kept in the folder `output`.part, a part of the file at a time, until the output appears by renaming. A run
    that was interrupted goes on after the last part, and its output is the same as if it had not been interrupted.

    Args:
        adapter, file, source, keep, quiet, trust_remote_code: as in `iter_predictions`.
        output: a file that ends with .jsonl, .csv or .parquet, which must not exist. Scores by label, tokens and rows of
            numbers are JSON in a csv file, and structs and lists in a parquet file.
        resume: go on with the parts of an interrupted run.

    Returns:
        The number of rows.

    Raises:
        InputError: as in `iter_predictions`; or the output cannot be used, or the parts belong to another adapter or to other
            examples.

    >>> predict_file("no/such/adapter", "nowhere.txt", "labels.xlsx")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: The output 'labels.xlsx' ends with none of .jsonl, .csv and .parquet: ...
    """
    quiet_libraries(quiet)
    written = PredictionFile(output, resume)
    check_there(os.fspath(file))
    predictor = Predictor(adapter, source, trust_remote_code)
    examples = open_input(os.fspath(file), adapter, predictor.modality, keep)
    settings = {"adapter": predictor.digest(), "columns": [*examples.columns, *keep], "version": __version__}
    written.begin({**settings, "part": predictor.part})
    try:
        for digest, records in _parts(predictor, examples, list(written.kept), quiet, str(written.folder)):
            written.add(digest, records)
    finally:
        written.give_up()
    return written.finish(examples.kinds())


class Predictor:
    """An adapter that is loaded once and predicts raw examples.

    Args:
        adapter: a folder or a Hub id.
        source: the name or folder of the source, if it is not where the adapter recorded it; or a recipe with its endpoint.
        trust_remote_code: whether the source's own Python code may run; see `hf_reprogram.trust`.

    Attributes:
        model: the `ReprogrammedModel`.
        processor: its processor.
        modality: that of its examples.
        part: the number of examples that are predicted together.
    """

    def __init__(self, adapter: str, source: str | None = None, trust_remote_code: bool = False):
        self.model, self.processor = load_adapter(adapter, named_source(source), trust_remote_code=trust_remote_code)
        self.modality = modality_taking(self.model.transform.takes)
        self.part = PART_OF_PICTURES if self.modality.pictures else PART
        self._said: set[str] = set()

    def predict(
        self, records: list[dict[str, Any]], split: Any = None, done: Callable[[int], None] = lambda count: None
    ) -> list[dict[str, Any]]:
        """Records with their predictions, in the same order.

        Args:
            records: as `Modality.parse` gives them, at least one.
            split: the same as a prepared split; None makes it of the records.
            done: called with the number of examples that are done, whenever it grows.

        Raises:
            InputError: the adapter cannot take one of the examples.
        """
        model, processor = self.model, self.processor
        split = self.modality.as_split(records) if split is None else split
        if self.modality.letters and processor.mask_token is not None and model.mapping.reads == "decoder":
            return self._filled(records, done)
        with warnings.catch_warnings(record=True) as said:
            data = encode({"input": split}, processor)["input"]
        for one in said:  # once, not for every part of a file
            if (kind := re.sub(r"[\d.,]+", "", str(one.message))) not in self._said:
                self._said.add(kind)
                warnings.warn(one.message, stacklevel=2)
        logits = predict_each(model, processor, data, done)
        answers = answers_of(model, processor, logits, data["input_ids"] if logits[0].ndim == 2 else None)
        return [{**record, **answer} for record, answer in zip(records, answers, strict=True)]

    def digest(self) -> str:
        """A digest of all that a prediction depends on beside the example: what was trained, the source and the processor."""
        found = hashlib.sha256()
        config = {**self.model.config.to_dict(), "_name_or_path": None}
        config["source"] = {**config["source"], "name": None}  # an adapter and its source may move
        found.update(repr(sorted(config.items())).encode())
        for name, values in sorted(self.model.state_dict().items()):
            found.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
            found.update(values.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        with TemporaryDirectory() as folder:
            if self.processor is not None:
                self.processor.save_pretrained(folder)
            for path in sorted(Path(folder).iterdir()):
                found.update(path.name.encode() + path.read_bytes())
        return found.hexdigest()

    def _filled(self, records: list[dict[str, Any]], done: Callable[[int], None]) -> list[dict[str, Any]]:
        """The texts of records with their masks filled in."""
        column = self.modality.column
        masked = [record[column] for record in records]
        filled = [""] * len(masked)
        count = 0
        for rows in batches_by_length([len(text) for text in masked], tokens_on(self.model.source.device)):
            for row, text in zip(rows, infill(self.model, self.processor, [masked[row] for row in rows]), strict=True):
                filled[row] = text
            count += len(rows)
            done(count)
        return [{column: text, "filled": whole} for text, whole in zip(masked, filled, strict=True)]


def _parts(
    predictor: Predictor, examples: Lines, kept: list[str], quiet: bool, folder: str = ""
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The digest of every part of the examples and its records, without the parts that are kept already.

    Args:
        predictor: the adapter.
        examples: pairs of a place and a raw example.
        kept: the digests of the first parts.
        quiet: show no progress.
        folder: where the parts are kept, for messages.
    """
    reading = iter(examples)
    number, end = 0, 0
    with Bar(None if quiet else examples.size(), quiet) as bar:
        while part := list(islice(reading, predictor.part)):
            places, raw = [place for place, _ in part], [one for _, one in part]
            digest = hashlib.sha256("\n".join(map(repr, raw)).encode()).hexdigest()
            if number >= len(kept):
                yield (
                    digest,
                    _records(predictor, examples, places, raw, bar.after(end)),
                )
            elif digest != kept[number]:
                where = f"{examples.unit.lower()}s {places[0]:,} to {places[-1]:,}"
                raise InputError(
                    f"The folder {folder!r} holds predictions of other examples than {where} of {examples.label}: give the "
                    "file of the first run, or delete the folder."
                )
            number, end = number + 1, places[-1]
            bar.at(end)
    if number < len(kept):
        raise InputError(
            f"The folder {folder!r} holds predictions of more examples than {examples.label} has: give the file of the first "
            "run, or delete the folder."
        )
    if not number:
        raise InputError("Every line is empty: give at least one input.")


def _records(
    predictor: Predictor, examples: Lines, places: list[int], raw: list[Any], done: Callable[[int], None]
) -> list[dict[str, Any]]:
    """The records of a part, or an error that names the first line to blame."""

    def predict(some: list[Any]) -> Any:
        return predictor.predict(*examples.prepare(some))

    step: Callable[[list[Any]], Any] = examples.prepare
    try:
        records, split = examples.prepare(raw)
        step = predict
        return predictor.predict(records, split, done)
    except InputError as error:
        raise _blamed(step, examples, places, raw, error) from error


def _blamed(
    step: Callable[[list[Any]], Any], examples: Lines, places: list[int], raw: list[Any], whole: InputError
) -> InputError:
    """The error of `step` for the first of some raw examples that it cannot take, with the number of its line."""
    found: InputError | None = whole
    first, last = places[0], places[-1]
    while len(raw) > 1:  # the half that holds it
        half = len(raw) // 2
        found = _error_of(step, raw[:half])
        raw, places = (raw[half:], places[half:]) if found is None else (raw[:half], places[:half])
    found = found or _error_of(step, raw)
    if found is None:
        return InputError(f"{examples.unit}s {first:,} to {last:,} of {examples.label}: {whole}")
    where = f"{examples.unit} {places[0]} of {examples.label}"
    named = re.sub(r"^Row 0 of the (input split|batch)(?=[ ,])", lambda match: where, str(found))
    return InputError(named if named != str(found) else f"{where}: {found}")


def _error_of(step: Callable[[list[Any]], Any], raw: list[Any]) -> InputError | None:
    try:
        step(raw)
    except InputError as error:
        return error
    return None


class Bar:
    """A progress bar over the lines of a file on standard error, or a line per tenth where no bar can be drawn.

    Args:
        total: the number of lines; None if nobody knows.
        quiet: show nothing.
    """

    def __init__(self, total: int | None, quiet: bool):
        self.total, self.quiet = total, quiet

    def __enter__(self) -> Bar:
        from tqdm.auto import tqdm

        drawn = in_terminal() and not self.quiet
        self.drawn = tqdm(desc="Predicting", total=self.total, leave=False) if drawn else None
        self.tenths = None if drawn or self.quiet or self.total is None else Tenths("Predicting", self.total)
        return self

    def at(self, done: int) -> None:
        """Report that `done` lines are done."""
        if self.drawn is not None:
            self.drawn.update(done - self.drawn.n)
        if self.tenths is not None:
            self.tenths.at(done)

    def after(self, before: int) -> Callable[[int], None]:
        """A function that reports so many lines more than `before`."""
        return lambda count: self.at(before + count)

    def __exit__(self, *error: Any) -> None:
        if self.drawn is not None:
            self.drawn.close()
