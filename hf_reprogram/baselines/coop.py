"""CoOp: trained context vectors before the names of the classes (Zhou et al. 2022, arXiv 2109.01134).

    text_c = [start] c_1 ... c_m "{class}." [end]          logit_c = scale * u . v_c

The same vectors for every class, and the image as it is: the method `reprogrammer` with a text program alone. The paper trains
with SGD, here the recipe's optimizer does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..errors import InputError
from .base import Outcome, Setting, check_choices
from .search import best_of
from .zero_shot import ClassTextBaseline, class_text_model


@dataclass
class CoOpOptions:
    """Options of `coop`.

    Attributes:
        size: m, context vectors.
        templates: texts behind the context, with {} for the class.
        learning_rate: to choose from on validation, on the first seed.
    """

    size: int = 16
    templates: list[str] = field(default_factory=lambda: ["{}."])
    learning_rate: list[float] = field(default_factory=lambda: [3e-2, 1e-1])

    def __post_init__(self):
        check_choices("coop", learning_rate=self.learning_rate)
        if type(self.size) is not int or self.size < 1:
            raise InputError(f"size is {self.size!r}: coop needs context vectors, 1 or more.")


class CoOp(ClassTextBaseline):
    """Context vectors on a frozen dual encoder."""

    title = "CoOp"
    Options = CoOpOptions

    def run(self, setting: Setting) -> Outcome:
        """See `Baseline.run`."""
        options = self.options
        program = {"text_program": "context", "size": options.size, "templates": options.templates}
        first, processor = class_text_model(setting, **program)

        def make(_: Any) -> Any:
            return class_text_model(setting, first.source, **program)[0]

        grid = [{"learning_rate": rate} for rate in options.learning_rate]
        return best_of(setting, processor, make, grid).outcome()
