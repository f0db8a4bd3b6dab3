"""Adversarial training: theta and omega learn on examples that are attacked in every step.

    min over theta, omega  mean over examples of      max over |delta_i| <= eps s_i      loss(x + delta, y)

The attack is that of `hf_reprogram.training.attack`, on the example before it is placed. The source is frozen, so the program
and the mapping alone have to make the answer steady. The loss of the untouched examples does not count.

Source: Madry et al. 2018, "Towards Deep Learning Models Resistant to Adversarial Attacks" (arXiv 1706.06083).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..errors import InputError
from ..losses import Batch
from ..options import check_whole
from ..training.attack import Region, check_takes, pgd, radius, region_of_task
from .base import Objective, TrainingData

if TYPE_CHECKING:
    from ..experiments.recipe import Recipe
    from ..model import ReprogrammedModel


@dataclass
class AdversarialOptions:
    """Options of `adversarial`.

    Attributes:
        eps: the radius of the attack, a number or a fraction, in the units of `hf_reprogram.training.attack`.
        steps: of the attack in each step of training, which takes about as many times as long.
    """

    eps: Any = "4/255"
    steps: int = 5

    def __post_init__(self) -> None:
        radius(self.eps, "eps of adversarial")
        check_whole(**{"steps of adversarial": self.steps})


class Adversarial(Objective):
    """The mapping's loss of attacked examples, in place of that of the examples; see the module's docstring.

    Attributes:
        region: where the examples lie; None before `prepare`. In a training loop of its user's own, set it to a `region_of`.

    >>> Adversarial(AdversarialOptions(eps="8/255")).options.steps
    5
    """

    Options = AdversarialOptions
    options: AdversarialOptions
    without_labels = True
    keeps_last = True

    def __init__(self, options: AdversarialOptions | None = None) -> None:
        super().__init__(options)
        self.region: Region | None = None

    def check(self, recipe: Recipe) -> None:
        """Refuse a recipe whose examples cannot be changed a little, or have no class each."""
        check_attacked(recipe, "The objective 'adversarial'")

    def prepare(self, model: ReprogrammedModel, data: TrainingData) -> None:
        """Find the region of the examples."""
        self.region = region_of_task(data.task, data.processor, model.transform.takes, data.seed)

    def loss(self, model: ReprogrammedModel, batch: Batch) -> Tensor:
        """The loss of the batch's attacked examples. The attack draws the random numbers of the step.

        Raises:
            InputError: the examples cannot be attacked, or `region` is not set.
        """
        takes = model.transform.takes
        check_takes(takes)
        if self.region is None:
            raise InputError("The objective 'adversarial' does not know where examples lie: set its region first.")
        inputs, labels = batch.inputs[takes].detach(), batch.labels.reshape(-1)
        attacked = pgd(
            lambda x: model(**{takes: x}).logits,
            inputs,
            labels,
            self.region,
            radius(self.options.eps, "eps of adversarial"),
            self.options.steps,
            self.random(1),
        )
        return model.mapping.loss(model(**{takes: attacked}).logits, batch.labels, model.config.problem_type)


def check_attacked(recipe: Recipe, called: str) -> None:
    """Refuse a recipe whose examples cannot be attacked, for what is `called` so.

    Raises:
        InputError: the examples are tokens, have no class each, or the source is a black box.
    """
    from ..methods import METHODS
    from ..tasks.inputs import task_modality
    from ..tasks.labels import problem_of
    from ..transforms import TRANSFORMS

    modality = task_modality(recipe.task_options)
    takes = modality.takes if modality else None
    if takes is None and not recipe.searches:
        takes = TRANSFORMS[METHODS[recipe.method["name"]].info.transform].takes
    if takes is not None:
        check_takes(takes)
    if recipe.endpoint is not None:
        raise InputError(f"{called} follows gradients, and a black box has none: leave it out.")
    if (problem := problem_of(recipe.task_options)) != "single_label_classification":
        raise InputError(
            f"{called} is for a classification with one label per example, not for a {problem.replace('_', ' ')}: leave it out."
        )
