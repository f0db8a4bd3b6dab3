"""A linear probe through the method's own input transform, before any training.

The baseline `linear_probe` may read an example in another way than the method: an image on the whole canvas, or a text without
the method's template. This one reads what the method reads. Its difference from `linear_probe` is the price of the canvas or of
the template, and the difference of the method from it is what training adds.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..mappings.linear_fit import STRENGTHS
from ..options import check_whole_list
from .base import check_choices
from .linear_probe import LinearProbe, LinearProbeOptions


@dataclass
class UntrainedProbeOptions:
    """Options of `untrained_probe`, which are those of `linear_probe` except for `tokens`.

    Attributes:
        reads: see `LinearProbeOptions`.
        strengths: inverse L2 strengths; the first seed chooses one on validation.
        context: see `LinearProbeOptions`.
    """

    reads: str | None = None
    strengths: list[float] = field(default_factory=lambda: list(STRENGTHS))
    context: list[int] = field(default_factory=lambda: [0, 4])

    def __post_init__(self):
        LinearProbeOptions(reads=self.reads)
        check_choices("untrained_probe", strengths=self.strengths)
        check_whole_list(0, context=self.context)


class UntrainedProbe(LinearProbe):
    """The linear probe on the method's own canvas, template or vocabulary."""

    name, title = "untrained_probe", "probe, untrained program"
    Options = UntrainedProbeOptions

    def __init__(self, options: UntrainedProbeOptions) -> None:
        super().__init__(
            LinearProbeOptions(options.reads, tokens="target", strengths=options.strengths, context=options.context)
        )
