"""Series prompt: a sentence before the patches of a series, with its task and its statistics, in tokens of the source.

    Task description: forecast the next 24 steps given the previous 96 steps information; Input statistics: min value -1.52,
    max value +1.90, median value -0.08, the trend of input is upward, top 5 lags are:24,48,23,25,47

The words are the same for every series, so their tokens are options of the transform. Only the numbers differ. They have as
many digits everywhere, and each digit is a token, so every prompt has the same length and no text is tokenized while training.

Source: Time-LLM (Jin et al. 2024, arXiv 2310.01728). Minimum, maximum and median are those of the series at mean 0 and
deviation 1. The trend is the sign of the sum of its differences. The lags are those of the largest circular autocorrelation.
The paper's code counts lag 0, which is always the strongest, and each lag T - k beside k. Here the lags are 1 to T // 2.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..errors import InputError

SLOT = -1  # in a prompt: a token that depends on the series
LAGS = 5
_TRENDS = ((" upward", " downward"), (" up", " down"), (" +", " -"))  # the first pair of as many tokens is taken


def prompt_tokens(tokenizer: Any, length: int, task: str, description: str = "") -> dict[str, Any]:
    """The options `prompt`, `digits` and `trends` of a transform.

    Args:
        tokenizer: of the source.
        length: the numbers of a series.
        task: what is to be done, such as "forecast the next 24 steps".
        description: of the data, in words; empty for none.

    Returns:
        `prompt`, token ids with `SLOT` where the series decides; `digits`, the ids of 0 to 9, + and -; and `trends`, the ids
        of a rising and of a falling series.

    >>> made = prompt_tokens(tokenizer, 96, "classify the series")
    >>> len(made["digits"]), made["prompt"].count(SLOT)  # three numbers of four, a trend, and five lags of two
    (12, 23)
    """

    def ids(text: str) -> list[int]:
        found: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        return found

    pairs = [(ids(rising), ids(falling)) for rising, falling in _TRENDS]
    rising, falling = next((pair for pair in pairs if len(pair[0]) == len(pair[1])), pairs[-1])
    if len(rising) != len(falling):
        raise InputError("The source's tokenizer has no words for a rising and a falling series: set prompt=False.")
    number = [SLOT, SLOT, *ids("."), SLOT, SLOT]
    lags = [SLOT] * len(str(length // 2))
    begin = tokenizer.bos_token_id if tokenizer.cls_token_id is None else tokenizer.cls_token_id
    about = f"Dataset description: {description} " if description else ""
    prompt = [
        *([] if begin is None else [begin]),
        *ids(f"{about}Task description: {task} given the previous {length} steps information;"),
        *ids(" Input statistics: min value"),
        *number,
        *ids(", max value"),
        *number,
        *ids(", median value"),
        *number,
        *ids(", the trend of input is"),
        *[SLOT] * len(rising),
        *ids(f", top {lags_of(length)} lags are:"),
    ]
    for place in range(lags_of(length)):
        prompt += [*(ids(",") if place else []), *lags]
    end = [] if tokenizer.sep_token_id is None else [tokenizer.sep_token_id]
    digits = [ids(f" {sign}")[-1] for sign in "0123456789+-"]
    return {"prompt": [*prompt, *end], "digits": digits, "trends": [rising, falling]}


def lags_of(length: int) -> int:
    """How many lags of a series of a length are written.

    >>> lags_of(96), lags_of(6)
    (5, 3)
    """
    return min(LAGS, length // 2)


def strongest_lags(series: Tensor, count: int) -> Tensor:
    """The lags (batch, count), from 1 to T // 2, of the largest circular autocorrelation of series (batch, T) of mean 0.

    >>> wave = torch.tensor([1.0, 0.0, -1.0, 0.0]).repeat(3)[None]
    >>> strongest_lags(wave, 1).tolist()
    [[4]]
    """
    length = series.shape[1]
    spectrum = torch.fft.rfft(series.float())
    strength = torch.fft.irfft(spectrum.abs().square(), n=length)[:, 1 : length // 2 + 1]
    lags: Tensor = strength.topk(count, dim=1).indices + 1
    return lags


def written(series: Tensor, digits: Tensor, trends: Tensor) -> Tensor:
    """The tokens (batch, slots) that a prompt says of each series.

    Args:
        series: (batch, T), of mean 0 and deviation 1; numbers from 10 on are written as 9.99.
        digits: the ids (12,) of 0 to 9, + and -.
        trends: the ids (2, tokens) of a rising and of a falling series.

    >>> written(torch.tensor([[-1.5, 0.25, 1.25]]), torch.arange(12), torch.tensor([[50], [60]])).tolist()
    [[11, 1, 5, 0, 10, 1, 2, 5, 10, 0, 2, 5, 50, 1]]
    """
    numbers = torch.stack([series.amin(1), series.amax(1), series.median(1).values], dim=1)
    hundredths = (100 * numbers).round().clamp(-999, 999).long()
    size = hundredths.abs()
    places = torch.stack([10 + (hundredths < 0).long(), size // 100, size // 10 % 10, size % 10], dim=2)
    length = series.shape[1]
    falling = (series[:, -1] <= series[:, 0]).long()  # the sum of the differences
    lags = strongest_lags(series, lags_of(length))
    tens = [10**power for power in reversed(range(len(str(length // 2))))]
    of_lags = torch.stack([lags // ten % 10 for ten in tens], dim=2)
    return torch.cat([digits[places.flatten(1)], trends[falling], digits[of_lags.flatten(1)]], dim=1)
