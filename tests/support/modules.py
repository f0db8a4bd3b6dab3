"""Modules of token ids that are no models of transformers, for a source of one's own."""

from __future__ import annotations

import torch
from torch import nn


class Recurrent(nn.Module):
    """An embedding, a recurrent network; its output is what is read."""

    def __init__(self, cell=nn.LSTM, batch_first=True, bidirectional=False, padding_idx=None, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.embedding = nn.Embedding(30, 8, padding_idx=padding_idx)
        self.rnn = cell(8, 12, batch_first=batch_first, bidirectional=bidirectional)
        self.head = nn.Linear(12 * (1 + bidirectional), 5)

    def forward(self, ids):
        """The network's output and its last state for ids (batch, tokens)."""
        return self.rnn(self.embedding(ids))


class Classifier(Recurrent):
    """Logits (batch, 5) from the last token's state."""

    def forward(self, ids):
        """See `Recurrent.forward`."""
        return self.head(super().forward(ids)[0][:, -1])


class Convolutions(nn.Module):
    """Logits (batch, outputs) of images, from one convolution with running statistics."""

    def __init__(self, outputs=5, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.convolution = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, outputs)

    def forward(self, values):
        """Logits for pixels (batch, 3, height, width)."""
        return self.head(self.norm(self.convolution(values)).relu().mean((2, 3)))
