"""Programs of few numbers: the pixels of a square share theirs."""

from __future__ import annotations

import pytest
import torch

from hf_reprogram import InputError
from hf_reprogram.transforms.canvas import mask_of
from tests.transforms.test_canvas import canvas


def test_the_pixels_of_a_cell_share_their_numbers_also_at_the_edge():
    """6 x 8 pixels have 2 x 3 cells of 4 pixels, the last ones cut; the image in the middle is left out of them."""
    made = canvas(cell=4)
    assert made.program.weight.shape == (3, 4)
    program = made.program()
    cells = [program[:, rows, columns] for rows in (slice(4), slice(4, 6)) for columns in (slice(4), slice(4, 8))]
    acting = mask_of(made.options)
    for index, cell in enumerate(cells):
        rows, columns = (slice(4), slice(4, 6))[index // 2], (slice(4), slice(4, 8))[index % 2]
        values = cell[:, acting[rows, columns]]
        expected = made.program.weight[:, index, None].tanh()
        assert torch.equal(values, expected.expand_as(values))
    assert torch.equal(canvas(cell=1).program(), canvas().program())


def test_a_cell_that_cannot_be_is_refused():
    with pytest.raises(InputError, match="cell is 7: give a whole number of pixels from 1 to 6"):
        canvas(cell=7)
