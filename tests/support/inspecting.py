"""Adapters on tiny image sources whose programs are there to be looked at."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from hf_reprogram import reprogram
from hf_reprogram.inspection.adapter import probe_of

LABELS = ["above", "below"]
ROWS = np.stack([np.linspace(0, 1, 101), np.linspace(-10, 10, 101), np.linspace(3, 5, 101)], 1)
TEXTS = ["the film was good , the film was long", "the film was dull and the plot was thin and bad"]

KINDS = {
    "elsayed": {},
    "ilm_vp": {"learn_scale": True},
    "blm": {"copies": 2},
    "kloberdanz": {},
    "smm": {},
    "fraud": {"features": ROWS},
    "cross_modal": {"texts": TEXTS},
}


def make(source, method, labels=LABELS, fill=None, **options):
    """A model and its processor, the program's weights all `fill`, or random."""
    torch.manual_seed(0)
    model, processor = reprogram(source, method, labels, **options)
    with torch.no_grad():
        for parameter in model.transform.parameters():
            if parameter.dim() and fill is None:
                parameter.normal_()
            elif parameter.dim():
                parameter.fill_(fill)
    return model, processor


def look(model, processor, example=None):
    """The example with the program and without it."""
    return model.transform.picture(probe_of(model, processor, example=example))


def label_table(model, top=5):
    """The source labels of each class."""
    return model.mapping.inspect(probe_of(model, None, top))["label_map"]


def picture(path, value, side=9):
    """A file of a plain picture."""
    Image.fromarray(np.full((side, side, 3), value, np.uint8)).save(path)
    return str(path)
