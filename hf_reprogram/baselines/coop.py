"""CoOp: trained context vectors before the names of the classes (Zhou et al. 2022, arXiv 2109.01134).

    text_c = [start] c_1 ... c_m "{class}." [end]          logit_c = scale * u . v_c

All classes share the vectors c, and the image stays as it is. This is the method `reprogrammer` with a text program only. The
paper trains with SGD; here the recipe's optimizer trains. As in the method, c is a parameter times 1.8 deviations of the
source's embeddings. An optimizer such as Adam moves a parameter by about the learning rate per step.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..methods.reprogrammer import ReprogrammerOptions
from ..training.encode import encode
from ..training.features import add_zero_shot_features
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
        size: m, the number of context vectors.
        templates: texts that follow the context, with {} for the class name.
        learning_rate: learning rates; the first seed chooses one on validation, in units of 1.8 deviations of the source's
            embeddings.
    """

    size: int = 16
    templates: list[str] = field(default_factory=lambda: ["{}."])
    learning_rate: list[float] = field(default_factory=lambda: [3e-2, 1e-1])

    def __post_init__(self):
        check_choices("coop", learning_rate=self.learning_rate)
        ReprogrammerOptions(**self.program)

    @property
    def program(self) -> dict[str, Any]:
        """The options of the method `reprogrammer` that make it CoOp."""
        return {"image_program": "none", "text_program": "context", "size": self.size, "templates": self.templates}


class CoOp(ClassTextBaseline):
    """CoOp: trained context vectors before the class names, on a frozen text-image encoder."""

    title = "CoOp"
    Options = CoOpOptions

    def check_source(self, spec: SourceSpec, task: Task) -> None:
        """See `Baseline.check_source`; also refuses a context that leaves no token for the class text."""
        super().check_source(spec, task)
        if self.options.size >= spec.max_tokens:
            raise InputError(
                f"size of coop is {self.options.size}, and the text tower takes {spec.max_tokens} tokens for context and class "
                "text together: give a smaller size."
            )

    def run(self, setting: Setting) -> Outcome:
        """See `Baseline.run`."""
        first, processor = class_text_model(setting, **self.options.program)

        def make(_: Any) -> Any:
            return class_text_model(setting, first.source, **self.options.program)[0]

        task = setting.task
        data = encode(setting.splits, processor, task.options.max_length, task.problem_type)
        bf16 = bool(setting.training({}).get("bf16"))
        add_zero_shot_features(first, processor, data, bf16=bf16, quiet=setting.quiet)
        grid = [{"learning_rate": rate} for rate in self.options.learning_rate]
        return best_of(setting, processor, make, grid, data=data).outcome()
