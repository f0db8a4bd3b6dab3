"""Time-LLM (Jin et al. 2024, arXiv 2310.01728): a frozen language model reads a time series, and forecasts or classifies it.

    e_1 ... e_n = theta(x)                                   patches of x as mixtures of the source's words
    h = f( prompt, e_1 ... e_n )
    y = deviation(x) ( W [h_1[:k]; ...; h_n[:k]] + b ) + mean(x)          W (horizon, n k), b (horizon,)

x (T,) is a series, in f without its own mean and deviation, which the forecast gets back. The equation of theta is in
`hf_reprogram.transforms.series_patches`, and omega is `hf_reprogram.mappings.last_states`. For a classification y are the
logits of the classes, W [...] + b alone.

`use_source=False` leaves f out: W reads the first k numbers of e_1 ... e_n. A source with random weights is that of
`hf_reprogram.sources.fresh`. Both belong beside a result: Tan et al. 2024 (arXiv 2406.16964) find that forecasts by language
models do not become worse without the language model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import InputError, unknown
from ..modalities.series_extractor import SeriesExtractor
from ..options import check_whole
from ..sources.base import Source
from ..transforms.series_prompt import prompt_tokens
from ..transforms.vocabulary import source_table
from .base import Method, MethodInfo, MethodOptions, Parts, Target

CODES = ("sparse", "dense")


@dataclass
class TimeLLMOptions(MethodOptions):
    """Options of Time-LLM, in addition to those of `MethodOptions`.

    Attributes:
        patch: the numbers of a patch.
        stride: the numbers from one patch to the next.
        d_model: the width of a patch before it meets the words.
        heads: the number of attention heads.
        d_ff: the width of a head's keys and values, and k, how many numbers of each state are read.
        prototypes: the number of prototypes; at most that of the source's words.
        prototype_codes: "sparse" (a prototype combines `sparsity` words, as in R2DL) or "dense" (it combines all words, as in
            the paper, which is a number per word and prototype).
        sparsity: the largest number of words of a prototype with prototype_codes="sparse".
        prompt: whether a sentence with the task and the statistics of the series stands before the patches.
        description: what the data are, in words, for the prompt.
        use_source: whether the source reads the patches; without it the output layer reads them directly.
        dropout: the share of the output layer's input that is dropped in training.
    """

    patch: int = 16
    stride: int = 8
    d_model: int = 32
    heads: int = 8
    d_ff: int = 128
    prototypes: int = 1000
    prototype_codes: str = "sparse"
    sparsity: int = 16
    prompt: bool = True
    description: str = ""
    use_source: bool = True
    dropout: float = 0.0

    def __post_init__(self) -> None:
        names = ("patch", "stride", "d_model", "heads", "d_ff", "prototypes", "sparsity")
        check_whole(**{name: getattr(self, name) for name in names})
        if self.prototype_codes not in CODES:
            raise unknown("prototype_codes", self.prototype_codes, CODES)


class TimeLLM(Method):
    """Patches of a series as mixtures of words, and a linear layer on the states at the patches.

    >>> from hf_reprogram import reprogram
    >>> rows = np.random.default_rng(0).normal(size=(20, 40))
    >>> model, processor = reprogram(
    ...     text_source, "time_llm", 6, problem_type="forecast", features=rows, processor=tokenizer, prompt=False
    ... )
    >>> model(**processor(rows, return_tensors="pt")).logits.shape  # the next 6 numbers of each series
    torch.Size([20, 6])
    """

    info = MethodInfo(
        title="Time-LLM: Time Series Forecasting by Reprogramming Large Language Models",
        authors="Jin, Wang, Ma, Chu, Zhang, Shi, Chen, Liang, Li, Pan, Wen",
        year=2024,
        arxiv="2310.01728",
        label="Time-LLM",
        source="text model, causal or encoder",
        transform="series_patches",
        mapping="last_states",
        differs="the prototypes are sparse codes of words unless prototype_codes is dense; they are divided by the deviation "
        "of the source's embeddings, so that attention does not begin uniform; B and the keys have no bias; there is no "
        "dropout but before the output layer; the numbers of the prompt have as many digits everywhere, and its lags are not "
        "0 and not both k and T - k; omega starts at a linear probe unless start is none; classification is ours; series have "
        "one channel",
        pipeline_tag="time-series-forecasting",
    )
    Options = TimeLLMOptions
    problem_types = ("single_label_classification", "forecast", "regression", "multi_label_classification")
    training = {
        "learning_rate": 1e-2,
        "weight_decay": 0.0,
        "num_train_epochs": 10,
        "per_device_train_batch_size": 32,
        "lr_scheduler_type": "cosine",
        "max_grad_norm": 1.0,
    }
    tuned = {"learning_rate": 1e-3, "omega_learning_rate": 1e-4}
    soft_start = True
    paper = {"prototype_codes": "dense", "dropout": 0.1}

    options: TimeLLMOptions

    def compose(self, source: Source, processor: Any, target: Target) -> Parts:
        """The patches and their prompt, a layer on the states of the patches, and a processor for series of one length."""
        options, spec = self.options, source.spec
        spec.check_tokens()
        if target.features is None:
            raise InputError("The method 'time_llm' takes time series: give the training series as features=...")
        reads = "tokens" if options.use_source else "inputs"
        if options.use_source and "tokens" not in spec.widths:
            raise InputError(
                f"Time-LLM reads the state of every patch, which the {spec.kind} source does not have: use a causal LM or an "
                "encoder."
            )
        length, forecast = len(target.features[0]), target.problem_type == "forecast"
        sizes = {name: getattr(options, name) for name in ("patch", "stride", "d_model", "heads", "d_ff")}
        transform: dict[str, Any] = {
            "type": "series_patches",
            "width": spec.embedding_width,
            "length": length,
            "vocab_size": spec.vocab_size,
            **sizes,
            "prototypes": min(options.prototypes, spec.vocab_size),
            "sparsity": None if options.prototype_codes == "dense" else min(options.sparsity, spec.vocab_size),
            "scale": float(source_table(source).std()),
            "restores": forecast,
        }
        if options.prompt and options.use_source:
            if processor is None:
                raise InputError("The prompt is in words, and this source has no tokenizer: set prompt=False.")
            task = f"forecast the next {target.num_labels} steps" if forecast else "classify the series"
            transform.update(prompt_tokens(processor, length, task, options.description))
        width = spec.widths["tokens"] if options.use_source else spec.embedding_width
        states, kept = (length - options.patch) // options.stride + 2, min(options.d_ff, width)
        mapping = {
            "type": "last_states",
            "num_labels": target.num_labels,
            "width": width,
            "states": max(1, states),  # the transform refuses a patch longer than the series
            "kept": kept,
            "reads": reads,
            "dropout": options.dropout,
            "unit": (max(1, states) * kept) ** -0.5,
        }
        standardize = not forecast and target.problem_type != "regression"
        return Parts(transform, mapping, SeriesExtractor(length=length, standardize=standardize, latest=forecast))

    def initialize(self, model: Any, processor: Any) -> None:
        """Start with fresh layers and sparse prototypes, and a fresh mapping."""
        model.transform.reset(model.source)
        model.mapping.reset()
