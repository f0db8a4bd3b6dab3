"""BBT: black-box tuning of a prompt (Sun, Shao, Qian, Huang, Qiu 2022, arXiv 2201.03514).

    y_c = omega_c . h(p_0 + A z, x) + b_c        z (d,) by CMA-ES, from the losses of a population of z

Theta is z, d numbers that a fixed random A turns into K prompts (`hf_reprogram.transforms.prompt_subspace`). The slots and
what is read are those of WARP. A step is a generation of `popsize` z on one batch ("cma_es" of `hf_reprogram.gradients`), which
is all of the training data if there are few labels, as in the paper. Nothing is differentiated, but the source must take
embeddings: it is a gray box.

Omega does not move. With a `verbalizer` it is the decoder's rows of its words, as in the paper. Without one it is the linear
probe of the untrained prompts.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InputError
from ..gradients import PLAIN_STEP
from ..options import check_whole
from .base import MethodInfo
from .warp import Warp, WarpOptions


@dataclass
class BBTOptions(WarpOptions):
    """Options of BBT: those of WARP, as in `hf_reprogram.methods.warp.WarpOptions`, with the paper's numbers."""

    num_prompts: int = 50
    subspace: int | None = 500

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole(num_prompts=self.num_prompts)
        if self.start == "none" and self.verbalizer is None:
            raise InputError(
                "start is 'none', which leaves omega at random numbers that bbt does not train: give a verbalizer, or start: "
                "probe."
            )


class BBT(Warp):
    """Prompts in a random subspace, searched by CMA-ES, and a verbalizer that stays as it is.

    >>> from hf_reprogram import reprogram
    >>> model, tokenizer = reprogram(text_source, "bbt", ["bad", "good"], num_prompts=4, subspace=10)
    >>> [name for name, parameter in model.trainable().items() if parameter.requires_grad]
    ['transform.z']
    >>> model.config.gradients
    {'cma_es': {'popsize': 20, 'sigma': 1.0, 'diagonal': False}}
    """

    info = MethodInfo(
        title="Black-Box Tuning for Language-Model-as-a-Service",
        authors="Sun, Shao, Qian, Huang, Qiu",
        year=2022,
        arxiv="2201.03514",
        label="BBT",
        source="masked LM; also encoder and causal LM",
        transform="prompt_slots",
        mapping="verbalizer",
        differs="without a verbalizer omega is a linear probe that stays fixed, where theirs is always words, without biases; "
        "prompts stand around the text and start at the mask, where theirs stand before it and start at 50 words of the "
        "vocabulary, with 'It was' before the mask; the mean of a generation is kept, where theirs is one of its members; A is "
        "scaled for sigma 1, so that another sigma widens or narrows the first generation",
    )
    Options = BBTOptions
    gradients = {"cma_es": {"popsize": 20, "sigma": 1.0}}
    training = {**PLAIN_STEP, "max_steps": 400, "per_device_train_batch_size": 32}  # 8,000 thetas
    tuned = {}
    searched = {}
