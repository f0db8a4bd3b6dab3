"""CoOp: trained context vectors before the names of the classes (Zhou et al. 2022, arXiv 2109.01134).

    text_c = [start] c_1 ... c_m "{class}." [end]          logit_c = scale * u . v_c

The same vectors for every class, and the image as it is: the method `reprogrammer` with a text program alone. The paper trains
with SGD, here the recipe's optimizer does. As in the method c is a tenth of what is trained, so under an optimizer such as
Adam, which moves every number by the learning rate, c moves a tenth of it a step: 3e-3 and 1e-2 with the values below.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..methods.reprogrammer import ReprogrammerOptions
from .base import Outcome, Setting, check_choices
from .search import best_of
from .zero_shot import ClassTextBaseline, class_text_model

if TYPE_CHECKING:
    from ..sources.base import SourceSpec
    from ..tasks.task import Task


@dataclass
class CoOpOptions:
    """Options of `coop`.

    Attributes:
        size: m, context vectors.
        templates: texts behind the context, with {} for the class.
        learning_rate: to choose from on validation, on the first seed; the vectors move a tenth of it.
    """

    size: int = 16
    templates: list[str] = field(default_factory=lambda: ["{}."])
    learning_rate: list[float] = field(default_factory=lambda: [3e-2, 1e-1])

    def __post_init__(self):
        check_choices("coop", learning_rate=self.learning_rate)
        ReprogrammerOptions(**self.program)

    @property
    def program(self) -> dict[str, Any]:
        """Options of `reprogrammer`."""
        return {"image_program": "none", "text_program": "context", "size": self.size, "templates": self.templates}


class CoOp(ClassTextBaseline):
    """Context vectors on a frozen dual encoder."""

    title = "CoOp"
    Options = CoOpOptions

    def check_source(self, spec: SourceSpec, task: Task) -> None:
        """See `Baseline.check_source`; how long the texts are the tokenizer says later, but each has a token at least."""
        super().check_source(spec, task)
        if self.options.size >= spec.max_tokens:
            raise InputError(
                f"size of coop is {self.options.size}, but the text tower takes {spec.max_tokens} tokens, context and class "
                "text together: give a smaller size."
            )

    def run(self, setting: Setting) -> Outcome:
        """See `Baseline.run`."""
        first, processor = class_text_model(setting, **self.options.program)

        def make(_: Any) -> Any:
            return class_text_model(setting, first.source, **self.options.program)[0]

        grid = [{"learning_rate": rate} for rate in self.options.learning_rate]
        return best_of(setting, processor, make, grid).outcome()
