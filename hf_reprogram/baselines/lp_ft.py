"""LP-FT: a linear probe, and then fine-tuning from there (Kumar et al. 2022, arXiv 2202.10054).

Under a random layer the first steps of fine-tuning distort the features where the training data do not reach; from a layer that
fits they move less, and more of what the source knows of shifted data is kept.

The probe is the baseline `linear_probe`: logistic (or ridge) regression whose strength is chosen on validation.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .base import Outcome, Setting, check_choices
from .image_tower import RATES, Start, TowerBaseline
from .linear_probe import STRENGTHS
from .search import best_of


@dataclass
class LPFTOptions:
    """Options of `lp_ft`.

    Attributes:
        learning_rate: to choose from on validation, on the first seed.
        strengths: inverse L2 strengths of the probe, likewise.
    """

    learning_rate: list[float] = field(default_factory=lambda: list(RATES))
    strengths: list[float] = field(default_factory=lambda: list(STRENGTHS))

    def __post_init__(self):
        check_choices("lp_ft", learning_rate=self.learning_rate, strengths=self.strengths)


class LPFT(TowerBaseline):
    """An image tower with all of its weights trained, its linear layer from the linear probe."""

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
