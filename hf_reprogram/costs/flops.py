"""Floating-point operations of a computation, by `torch.utils.flop_counter`.

    a product (m, k) x (k, n)                          2 m k n
    a convolution of kernel k, per output number       2 k (input channels / groups)
    attention of t tokens of width w                   4 t^2 w, since it is two products

Only these are counted. Look-ups, sums, normalisations, soft-maxes, Fourier transforms and resized images are left out, as is
usual. Fused kernels of attention and of recurrent layers hide their products from the counter, so they are switched off here.
So a count does not depend on the device.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from typing import Any

import torch


def count_flops(run: Callable[[], Any]) -> int:
    """The floating-point operations of a call, that of its backward pass included where it has one.

    Args:
        run: is called once, and a second time if there are recurrent layers in it.

    >>> from torch import nn
    >>> layer = nn.Linear(3, 4)
    >>> count_flops(lambda: layer(torch.ones(5, 3)))  # 2 x 5 x 3 x 4
    120
    """
    count, hidden = _counted(run, recurrent=False)
    return _counted(run, recurrent=True)[0] if hidden else count


def _counted(run: Callable[[], Any], recurrent: bool) -> tuple[int, bool]:
    """The operations of a call, and whether recurrent layers have hidden theirs.

    Args:
        run: the call.
        recurrent: whether such layers are computed by products of matrices; other layers are then slow in half precision.
    """
    from torch.utils.flop_counter import FlopCounterMode

    hidden = []

    def hide(*_: Any, **__: Any) -> int:
        hidden.append(True)
        return 0

    formulas: Any = {torch.ops.aten.convolution_backward: _convolution_backward, **dict.fromkeys(_FUSED, hide)}
    with warnings.catch_warnings(), _plain_kernels(recurrent):
        warnings.simplefilter("ignore")  # on modules that are called twice, whose parts are not asked for
        with FlopCounterMode(display=False, custom_mapping=formulas) as counter:
            run()
    return int(counter.get_total_flops()), bool(hidden)


def flops_per_example(count: Callable[[int], int], batch_size: int) -> int:
    """The operations of one example in a batch. What a batch costs once is shared by its examples.

    Args:
        count: from a number of equal examples, 1 or 2, to the operations of their batch.
        batch_size: the examples of the batch that is meant.

    >>> flops_per_example(lambda examples: 1000 + 50 * examples, batch_size=10)
    150
    """
    one, two = count(1), count(2)
    each = two - one
    return round(each + (one - each) / batch_size)


def _convolution_backward(
    grad: Any,
    inputs: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    output_padding: Any,
    groups: int,
    wanted: list[bool],
    **_: Any,
) -> int:
    """The operations of a convolution's backward pass, from shapes: as many as forward for each gradient but the bias's.

    The formula of torch takes the gradient of a grouped weight for that of a weight without groups.
    """
    places = prod((inputs if transposed else grad)[2:])
    found: int = 2 * int(inputs[0]) * places * prod(weight) * sum(wanted[:2])
    return found


_FUSED: Any = [torch.ops.aten.mkldnn_rnn_layer, torch.ops.aten._cudnn_rnn, torch.ops.aten.miopen_rnn]


@contextmanager
def _plain_kernels(recurrent: bool) -> Iterator[None]:
    """Compute attention by products of matrices, and recurrent layers too if asked for."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    backends: Any = torch.backends
    before = backends.mkldnn.enabled, backends.cudnn.enabled, backends.mha.get_fastpath_enabled()
    try:
        if recurrent:
            backends.mkldnn.enabled = backends.cudnn.enabled = False
        backends.mha.set_fastpath_enabled(False)
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        backends.mkldnn.enabled, backends.cudnn.enabled = before[:2]
        backends.mha.set_fastpath_enabled(before[2])
