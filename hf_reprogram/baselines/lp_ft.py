"""LP-FT: a linear probe, and then fine-tuning that starts from its layer (Kumar et al. 2022, arXiv 2202.10054).

If fine-tuning starts from a random layer, its first steps distort the features of examples unlike the training data. If it
starts from a layer that fits, the features move less, and accuracy on shifted data is kept better.

The probe is the baseline `linear_probe`: logistic (or ridge) regression whose strength validation chooses.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..mappings.linear_fit import STRENGTHS
from .base import Outcome, Setting, check_choices
from .image_tower import RATES, Start, TowerBaseline
from .search import best_of


@dataclass
class LPFTOptions:
    """Options of `lp_ft`.

    Attributes:
        learning_rate: learning rates; the first seed chooses one on validation.
        strengths: inverse L2 strengths of the probe; the first seed chooses one on validation.
    """

    learning_rate: list[float] = field(default_factory=lambda: list(RATES))
    strengths: list[float] = field(default_factory=lambda: list(STRENGTHS))

    def __post_init__(self):
        check_choices("lp_ft", learning_rate=self.learning_rate, strengths=self.strengths)


class LPFT(TowerBaseline):
    """Fine-tuning of an image tower whose linear layer starts as the linear probe."""

    title = "LP-FT"
    Options = LPFTOptions

    def run(self, setting: Setting) -> Outcome:
        """See `Baseline.run`."""
        start = Start(setting)
        strength, layer = start.probe([setting.chosen["strength"]] if setting.chosen else self.options.strengths)
        grid = [{"learning_rate": rate, "strength": strength} for rate in self.options.learning_rate]
        return best_of(
            setting, start.processor, lambda _: start.tower().start_from(*layer), grid, data=start.data
        ).outcome()
