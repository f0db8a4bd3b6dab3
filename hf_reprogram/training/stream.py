"""The rows of a streamed task as batches for the Trainer: shuffled, of similar length, and encoded by the loader's workers."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from torch.utils.data import IterableDataset, get_worker_info

from ..modalities.examples import Columns, Examples
from ..tasks.streaming import BUFFER, BYTES
from ..tasks.task import Task
from .encode import add_groups

if TYPE_CHECKING:
    import pyarrow as pa

GROUP = 50  # batches whose rows are sorted by length


class TrainStream(IterableDataset):
    """The encoded training examples of a streamed task.

    Rows come in the order of the data, through a buffer from which they are drawn at random. The texts of `GROUP` batches are
    sorted by length, so that a batch is padded little, and the batches are shuffled. With workers, each encodes every so many
    batches, so that the order of the batches is the same with any number of workers.

    Args:
        task: a task with a stream.
        processor: the adapter's processor.
        sample: the encoded sample of the training rows, which stands for them where all would be read.
        seed: of the order.

    Attributes:
        batch: the number of examples of a batch of all processes together; `hf_reprogram.training.fit` sets it.
    """

    def __init__(self, task: Task, processor: Any, sample: Any, seed: int):
        assert task.stream is not None
        self.task, self.rows, self.processor, self.sample, self.seed = task, task.stream, processor, sample, seed
        self.batch, self.epoch = 1, 0

    def __len__(self) -> int:
        return self.rows.size

    def set_epoch(self, epoch: int) -> None:
        """Set the number of the epoch, which gives the rows another order."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[dict[str, Any]]:
        worker = get_worker_info()
        number, workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        for place, rows in enumerate(self._batches()):
            if place % workers == number:
                yield from self._encoded(rows)

    def _batches(self) -> Iterator[pa.Table]:
        """Prepared rows of one batch each."""
        random = np.random.default_rng((self.seed, self.epoch))
        for table in self._shuffled(random, self.batch * GROUP):
            if self.task.modality.letters:
                table = table.take(np.argsort(-_letters(table), kind="stable"))
            starts = np.arange(0, table.num_rows, self.batch)
            whole = table.num_rows // self.batch  # a batch that is not whole comes last
            for start in [*random.permutation(starts[:whole]), *starts[whole:]]:
                yield table.slice(start, self.batch)

    def _shuffled(self, random: np.random.Generator, size: int) -> Iterator[pa.Table]:
        """Tables of `size` prepared rows, drawn from a buffer that moves over the data."""
        import pyarrow as pa

        held, rows, most = [], 0, None
        for ready in self.rows.prepared():
            held.append(ready.with_format("arrow")[:])
            rows += len(ready)
            if most is None and rows:
                most = size + min(BUFFER, max(1, BYTES * rows // max(held[0].nbytes, 1)))
            while most is not None and rows >= most:
                drawn = np.zeros(rows, bool)
                drawn[random.permutation(rows)[:size]] = True
                table = pa.concat_tables(held)
                held, rows = [table.filter(~drawn).combine_chunks()], rows - size
                yield table.filter(drawn).take(random.permutation(size))
        table = pa.concat_tables(held).take(random.permutation(rows))
        for start in range(0, rows, size):
            yield table.slice(start, size)

    def _encoded(self, table: pa.Table) -> Iterator[dict[str, Any]]:
        """Rows as the collator takes them."""
        from datasets import Dataset, DatasetInfo

        task = self.task
        if task.modality.letters:
            rows: Any = Columns(table.to_pydict())
        else:
            rows = Dataset(table, info=DatasetInfo(features=task.train.features), fingerprint="stream")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the sample has told which texts are cut
            encoded = task.modality.encode({"train": rows}, self.processor, task.options.max_length, task.problem_type)[
                "train"
            ]
        if isinstance(encoded, Examples):
            if task.groups:
                add_groups(encoded, rows)
            yield from encoded.__getitems__(range(len(encoded)))
            return
        columns = {"label": rows["label"], **encoded.columns}
        if "labels" in columns:
            del columns["label"]
        for values in zip(*columns.values(), strict=True):
            yield dict(zip(columns, values, strict=True))


def _letters(table: pa.Table) -> np.ndarray:
    """The length (n,) of every text, or of a text and its pair together."""
    import pyarrow.compute as pc

    parts = [name for name in ("text", "text_pair") if name in table.column_names]
    return sum(pc.utf8_length(table[name]).to_numpy().astype(int) for name in parts)
