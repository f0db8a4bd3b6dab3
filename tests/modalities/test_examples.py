"""Images, rows of numbers and texts, from prepared splits to batches."""

from __future__ import annotations

import io
import pickle

import numpy as np
import pytest
import torch
from datasets import Dataset, Features, Image, List, Value
from PIL import Image as Pillow
from PIL import ImageFile
from torch.utils.data import DataLoader

from hf_reprogram import InputError
from hf_reprogram.modalities import modality_taking
from hf_reprogram.modalities.examples import Columns, Pixels, image_examples
from hf_reprogram.modalities.text import TEXT
from hf_reprogram.training.encode import batches, collator, encode, labels_of
from tests.support import tiny_vision, words

SIZE = 12
KEEPING = pytest.mark.parametrize("keep", [2**28, 0], ids=["kept", "decoded each time"])


def processor(**options):
    """As methods save it: to a size, from 0 to 1, not normalised."""
    made = tiny_vision.processor_of(SIZE)
    made.do_normalize = False
    for name, value in options.items():
        setattr(made, name, value)
    return made


def split(images, labels=None, kind=None):
    features = Features({"image": Image()})
    made = Dataset.from_dict({"image": images}, features=features)
    return made if labels is None else made.add_column("label", labels, feature=kind or Value("int64"))


@pytest.fixture
def decoded(monkeypatch):
    """A list that grows by one with every image whose pixels are read from its bytes."""
    seen, load = [], ImageFile.ImageFile.load

    def counted(image):
        if not any(image is other for other in seen):
            seen.append(image)
        return load(image)

    monkeypatch.setattr(ImageFile.ImageFile, "load", counted)
    return seen


@KEEPING
def test_pixels_are_those_of_the_processor_to_the_last_bit(keep):
    images, labels = tiny_vision.images(7, side=9)
    images[3] = images[3].convert("L")
    examples = image_examples(split(images, labels), processor(), "train", keep)
    expected = processor()([image.convert("RGB") for image in images], return_tensors="pt")["pixel_values"]
    assert expected.shape == (7, 3, SIZE, SIZE)
    assert len(examples) == 7
    for row in range(7):
        assert torch.equal(torch.from_numpy(examples[row]["pixel_values"]), expected[row])
        assert examples[row]["labels"] == labels[row]
    loader = DataLoader(examples, 4, collate_fn=collator(processor()))
    found = list(loader)
    assert torch.equal(torch.cat([batch["pixel_values"] for batch in found]), expected)
    assert torch.cat([batch["labels"] for batch in found]).tolist() == labels
    assert found[0]["labels"].dtype == torch.int64


@KEEPING
def test_batches_for_prediction_hold_every_row_once_and_no_labels(keep):
    images, labels = tiny_vision.images(7, side=9)
    examples = image_examples(split(images, labels), processor(), "test", keep)
    found = list(batches(examples, processor(), 3))
    assert [rows.tolist() for rows, _ in found] == [[0, 1, 2], [3, 4, 5], [6]]
    assert {name for _, batch in found for name in batch} == {"pixel_values"}
    np.testing.assert_array_equal(torch.cat([batch["pixel_values"] for _, batch in found]), examples.read(range(7)))


def test_a_small_split_is_decoded_once_and_a_large_one_whenever_it_is_read(decoded):
    data = split(*tiny_vision.images(6, side=9))
    small = image_examples(data, processor(), "train")
    assert len(decoded) == 7  # the first one also says how large pixels are
    list(DataLoader(small, 3, collate_fn=collator(processor())))
    assert len(decoded) == 7
    large = image_examples(data, processor(), "train", keep=6 * 3 * SIZE**2 - 1)  # a byte too little
    decoded.clear()
    for _ in range(2):
        list(DataLoader(large, 3, collate_fn=collator(processor())))
    assert len(decoded) == 2 * 6


def test_labels_are_told_without_a_look_at_the_images(decoded):
    images, labels = tiny_vision.images(6, side=9)
    examples = image_examples(split(images, labels), processor(), "train", keep=0)
    decoded.clear()
    np.testing.assert_array_equal(labels_of(examples), labels)
    assert len(examples) == 6
    assert decoded == []


@KEEPING
@pytest.mark.parametrize("kind", ["float", "list"])
def test_labels_of_every_kind_are_batched_as_the_loss_takes_them(keep, kind):
    images, _ = tiny_vision.images(4, side=9)
    labels = [0.5, 1.5, 2.5, -1.0] if kind == "float" else [[0.0, 1.0], [1.0, float("nan")], [1.0, 1.0], [0.0, 0.0]]
    feature = Value("float32") if kind == "float" else List(Value("float32"))
    examples = image_examples(split(images, labels, feature), processor(), "train", keep)
    (batch,) = DataLoader(examples, 4, collate_fn=collator(processor()))
    assert batch["labels"].dtype == torch.float32
    np.testing.assert_array_equal(batch["labels"], np.float32(labels))
    np.testing.assert_array_equal(labels_of(examples), np.float32(labels))


def test_a_selection_is_read_by_its_own_rows():
    images, labels = tiny_vision.images(8, side=9)
    data = split(images, labels)
    whole = image_examples(data, processor(), "train").read(range(8))
    for keep in (2**28, 0):
        found = image_examples(data.select([6, 1, 4]), processor(), "train", keep)
        np.testing.assert_array_equal(found.read(range(3)), whole[[6, 1, 4]])
        np.testing.assert_array_equal(labels_of(found), np.array(labels)[[6, 1, 4]])


def png(image: Pillow.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


@KEEPING
@pytest.mark.parametrize("broken", [b"no image", None])
def test_what_is_no_image_is_found_before_anything_is_trained(keep, broken):
    values = [{"bytes": png(image), "path": None} for image in tiny_vision.images(5, side=9)[0]]
    values[4] = broken and {"bytes": broken, "path": None}
    with pytest.raises(InputError, match="Row 4 of the validation split"):
        image_examples(split(values), processor(), "validation", keep)


def test_an_image_that_ends_early_is_found_too_where_pixels_are_kept():
    random = np.random.default_rng(0)
    whole = [png(Pillow.fromarray(random.integers(0, 256, (30, 30, 3), dtype=np.uint8))) for _ in range(3)]
    values = [{"bytes": content, "path": None} for content in (*whole[:2], whole[2][:1500])]
    with pytest.raises(InputError, match="Row 2 of the train split is no image that can be read"):
        image_examples(split(values), processor(), "train")
    large = image_examples(split(values), processor(), "train", keep=0)
    large.read([0, 1])
    with pytest.raises(InputError, match="Row 2 of the train split"):
        large.read([1, 2])


@pytest.mark.parametrize("options", [{"do_normalize": True}, {"do_rescale": False}])
def test_a_processor_whose_pixels_are_not_from_0_to_1_is_refused(options):
    with pytest.raises(InputError, match="must rescale pixels to 0 to 1 and not normalise them"):
        Pixels(split(tiny_vision.images(2)[0]), processor(**options), "train")


@KEEPING
def test_examples_go_to_the_workers_of_a_loader(keep):
    examples = image_examples(split(*tiny_vision.images(5, side=9)), processor(), "train", keep)
    again = pickle.loads(pickle.dumps(examples))
    np.testing.assert_array_equal(again.read(range(5)), examples.read(range(5)))


# --------------------------------------------------------------------------------------------------------- tables


def rows(count=5, columns=3):
    return np.random.default_rng(0).normal(size=(count, columns)).astype(np.float32)


def test_rows_of_numbers_are_read_as_they_are():
    values, labels = rows(), [0, 1, 1, 0, 2]
    table = Dataset.from_dict({"features": values.tolist(), "label": labels})
    data = encode({"train": table, "test": table.select([3, 0])}, None)
    np.testing.assert_array_equal(data["train"].read(range(5)), values)
    np.testing.assert_array_equal(labels_of(data["test"]), [0, 0])
    (batch,) = DataLoader(data["train"], 5, collate_fn=collator(None))
    np.testing.assert_array_equal(batch["table_values"], values)
    assert batch["table_values"].dtype == torch.float32
    assert batch["labels"].tolist() == labels
    found = [(part.tolist(), batch["table_values"].tolist()) for part, batch in batches(data["test"], None, 1)]
    assert found == [([0], [values[3].tolist()]), ([1], [values[0].tolist()])]


def test_without_labels_there_are_none():
    data = encode({"given": Dataset.from_dict({"features": rows().tolist()})}, None)["given"]
    assert data[2].keys() == {"table_values"}
    assert labels_of(data) is None


# ------------------------------------------------------------------------------------------------------ processors


def test_the_processor_of_a_folder_is_what_the_transform_takes(tmp_path, source_folder):
    processor().save_pretrained(tmp_path)
    found = modality_taking("pixel_values").load_processor(tmp_path)
    assert found.backend == "pil"
    assert found.to_dict() == processor().to_dict()
    assert modality_taking("table_values").load_processor(tmp_path) is None
    assert modality_taking("input_ids").load_processor(source_folder("bert"))("the film")["input_ids"]


@pytest.mark.parametrize(
    "rows", [[{"text": "a film"}, {"text": "the plot is long"}], [{"text": "a", "text_pair": "b"}]]
)
def test_lines_of_texts_are_encoded_as_a_data_set_is(rows):
    """The rows of a prediction do without the library datasets, whose import takes longer than the prediction."""
    tokenizer = words.wordpiece()
    split = TEXT.as_split(rows)
    assert isinstance(split, Columns)
    encoded = TEXT.encode({"input": split}, tokenizer, 64, "single_label_classification")["input"]
    expected = TEXT.encode({"input": Dataset.from_list(rows)}, tokenizer, 64, "single_label_classification")["input"]
    assert len(encoded) == len(expected) == len(rows)
    for name in ("input_ids", "attention_mask"):
        assert encoded[name] == expected[name][:]
