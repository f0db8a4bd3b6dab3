"""Label map: every target class is a set of the source classifier's own labels, or a weighted mean over all of them.

    P(t) = mean over s in B_t of P(s)        logit_t = log P(t)        the sets B_t do not overlap
    P(t) = sum over s of w(t, s) P(s)        logit_t = log P(t)        BLM: the weights of a class sum to one

P is the soft-max over all of the source's labels. `aggregate` may also sum the probabilities of a set, or take the mean or
the largest of its logits. A label map has no trained parameters. The options alone decide the sets "given", "random" and
"identity". All other maps are fitted to the source's outputs on the training data (`hf_reprogram.mappings.assignment`), once
before training or again in later epochs. Buffers hold them: label indices (classes, m), or weights (classes, source labels).

Sources: "identity" is from Elsayed et al. 2019 (arXiv 1806.11146), "random" and "frequency" from Tsai et al. 2020 (arXiv
2007.08714), "iterative" from Chen et al. 2023 (ILM-VP, arXiv 2211.11635). "blm" and "blm_plus" are from Cai et al. 2024 (arXiv
2410.24018), who average logits (`aggregate="mean_logit"`). The similarities are from Yen et al. 2021 (AR-SCR, 2110.03894),
who compare the class means of target and source features and sum probabilities. An adapter has no source data, so the rows of
the source's last linear layer take the place of its class means. "similarity_in_order" takes the labels in the authors' order,
"similarity" the surest label first, and "similarity_optimal" has the largest total similarity.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import InputError, unknown
from ..losses import focal_loss
from ..options import check_indices
from ..sources.base import Source, SourceSpec
from ..sources.probe import Lines, Probe
from . import assignment
from .base import OutputMapping, Reader
from .label_map_options import SIMILAR, WEIGHTS, LabelMapOptions
from .label_table import describe_map, map_lines, table


class LabelMap(OutputMapping):
    """Maps the logits of the source's labels to logits of the target classes. It has no trained parameters.

    The map is a buffer: `sets` (classes, m) holds label indices, with -1 where a class has fewer than m; BLM has `weight`
    (classes, source labels). A checkpoint holds the buffer of a fitted map. It also holds `fitted`, the number of epochs that
    were finished at the last fit, which is -1 before the first fit.

    >>> label_map = LabelMap(LabelMapOptions(num_labels=2, width=12, how="identity", labels_per_class=3))
    >>> label_map.sets.tolist()
    [[0, 1, 2], [3, 4, 5]]
    >>> label_map(torch.zeros(1, 12), image_source).exp()  # the source is undecided: each label has probability 1 / 12
    tensor([[0.0833, 0.0833]])

    A map that is fitted needs the source's logits for the training data, and the target classes of the examples:

    >>> fitted = LabelMap(LabelMapOptions(num_labels=2, width=12, how="frequency", labels_per_class=1))
    >>> fitted.fit(torch.eye(12)[[4, 4, 9]], torch.tensor([0, 0, 1]))
    >>> fitted.sets.tolist()
    [[4], [9]]
    """

    Options = LabelMapOptions
    options: LabelMapOptions
    starts = ("map",)
    row_per_class = False  # a row belongs to a set of source labels
    sets: Tensor
    weight: Tensor
    fitted: Tensor

    def __init__(self, options: LabelMapOptions) -> None:
        super().__init__(options)
        if options.how in WEIGHTS:
            self.register_buffer("weight", torch.zeros(options.num_labels, options.width))
        elif options.is_fitted:
            self.register_buffer("sets", torch.full((options.num_labels, options.set_size()), -1, dtype=torch.int32))
        else:
            self.register_buffer("sets", _padded(_decided(options)), persistent=False)  # the config decides it
        if options.is_fitted:
            self.register_buffer("fitted", torch.tensor(-1))
        self._known_fitted, self._most = False, 0  # so that no step waits for the GPU; see `_ask`

    def reset(self) -> None:
        """Forget the fit."""
        if self.options.is_fitted:
            self.fitted.fill_(-1)
            self._known_fitted = False

    def check(self, spec: SourceSpec) -> None:
        """See `OutputMapping.check`; a similarity reads the source's features too."""
        super().check(spec)
        if self.options.how in SIMILAR and "features" not in spec.widths:
            raise InputError(
                f"how={self.options.how!r} compares features, which the {spec.kind} source does not have: use how='frequency'."
            )

    def check_state(self, spec: SourceSpec) -> None:
        """Raise `InputError` if a set holds what is no label of the source, or a fitted one is empty."""
        if self.options.how in WEIGHTS:
            return
        check_indices("sets", -1, self.options.width, self.sets)
        if self.options.is_fitted and self.fitted >= 0 and not bool((self.sets >= 0).any(-1).all()):
            raise InputError("The checkpoint's sets leave a class without source labels: take another copy.")

    # ------------------------------------------------------------------------------------------------------ fitting

    def begin_epoch(self, epoch: float, read: Reader, source: Source) -> None:
        """Fit the map if a fit is due. If a resumed run repeats the start of an epoch, the epoch keeps its map."""
        if not self.options.is_fitted:
            return
        last, period = int(self.fitted), self.options.period
        if last < 0 or (period is not None and not 0 <= epoch - last < period):
            similar = self.options.how in SIMILAR
            if similar:
                source.label_embeddings()  # raises if there are none, before the pass over the data
            self.fit(*read("features" if similar else "logits"), source)
            self.fitted.fill_(int(epoch))

    def scheduled(self) -> list[str]:
        """The label map, if it is fitted again in the course of training."""
        return [f"how={self.options.how!r}"] if self.options.is_fitted and self.options.period is not None else []

    def fit(self, outputs: Tensor, labels: Tensor, source: Source | None = None) -> None:
        """Fit the sets or the weights.

        Args:
            outputs: the source's logits (n, width) for the target's examples; its features (n, any width) for a similarity.
            labels: the target classes (n,).
            source: the frozen source, which a similarity needs.

        Raises:
            InputError: the options decide this map, or the outputs and labels do not fit it.
        """
        options = self.options
        if not options.is_fitted:
            raise InputError(
                f"A label map with how={options.how!r} is decided by its options: there is nothing to fit."
            )
        if options.how not in SIMILAR:
            return self.fit_counts(self.counts(outputs, labels))
        _check_data(outputs, labels, options.num_labels, None)
        found = _similar(outputs.detach().float().cpu().numpy(), labels.cpu().numpy(), options, source)
        self.sets.copy_(_padded(found, options.set_size()))
        return self._now_fitted()

    def counts(self, outputs: Tensor, labels: Tensor) -> np.ndarray:
        """What the map is fitted to, summed over examples: those of several data sets add up (`fit_counts`).

        Args:
            outputs, labels: as for `fit`, with the source's logits.

        Returns:
            Sums of probabilities, and the number of examples in a last column (classes, width + 1); for BLM the counts N(t, s)
            (classes, width). Both are float64.

        Raises:
            InputError: the map is not fitted to logits, or the outputs and labels do not fit it.
        """
        options = self.options
        if not options.is_fitted or options.how in SIMILAR:
            raise InputError(f"A label map with how={options.how!r} has no counts: use how='frequency'.")
        _check_data(outputs, labels, options.num_labels, options.width)
        shares = outputs.detach().float().cpu().softmax(-1).numpy()
        given = shares, labels.cpu().numpy(), options.num_labels
        if options.how in WEIGHTS:
            return assignment.bayesian_counts(*given, options.share if options.how == "blm_plus" else None)
        return assignment.response_sums(*given)

    def fit_counts(self, counts: np.ndarray) -> None:
        """Fit the sets or the weights to `counts`, or to the sum of those of several data sets."""
        options = self.options
        if options.how in WEIGHTS:
            self.weight.copy_(torch.from_numpy(assignment.posterior(counts)))
        else:
            choose = assignment.optimal_sets if options.how == "optimal" else assignment.frequency_sets
            self.sets.copy_(torch.from_numpy(choose(assignment.mean_response(counts), options.set_size())))
        self._now_fitted()

    def _now_fitted(self) -> None:
        self.fitted.fill_(0)
        self._ask()

    def check_fitted(self) -> None:
        """Raise `InputError` if the map is still to be fitted."""
        if not self.options.is_fitted or self._known_fitted:
            return
        self._ask()
        if not self._known_fitted:
            raise InputError(
                f"The label map (how={self.options.how!r}) has not been fitted: train with the Trainer of transformers, call "
                "begin_epoch of hf_reprogram.schedule, or call its `fit`."
            )

    def _ask(self) -> None:
        """Ask the buffers whether the map is fitted, and for the largest number of source labels with a weight in a class."""
        self._known_fitted = bool(self.fitted >= 0)
        if self.options.how in WEIGHTS:
            self._most = int((self.weight > 0).sum(-1).amax())

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._known_fitted = False
        if self.options.is_fitted and not self.fitted.is_meta:
            self._ask()

    # ------------------------------------------------------------------------------------------------------ mapping

    def forward(self, outputs: Tensor, source: Source) -> Tensor:
        """Logits (batch, labels) from the source's logits (batch, source labels).

        They are computed in float32, also under autocast, since rounded logits would tie.
        """
        self.check_fitted()
        aggregate = self.options.aggregate
        assert aggregate is not None  # the options have chosen one
        with torch.autocast(outputs.device.type, enabled=False):
            if self.options.how in WEIGHTS:
                return mix(outputs.float(), self.weight.float(), aggregate, self._most)
            return pool(outputs.float(), self.sets, aggregate)

    def loss(self, logits: Tensor, labels: Tensor, problem_type: str | None) -> Tensor:
        """See `OutputMapping.loss`; the focal loss if the options have its gamma."""
        if self.options.focal:
            return focal_loss(logits, labels, self.options.focal)
        return super().loss(logits, labels, problem_type)

    def weights(self) -> Tensor:
        """The weight of each source label in each class (classes, source labels); rows sum to one."""
        self.check_fitted()
        if self.options.how in WEIGHTS:
            return self.weight
        sets = [[label for label in row if label >= 0] for row in self.sets.tolist()]
        return torch.from_numpy(assignment.weights_of(sets, self.options.width)).to(self.sets.device, torch.float32)

    def matrix(self) -> Tensor:
        """The map as one matrix (classes, source labels), on probabilities, or on logits for "mean_logit".

        Raises:
            InputError: the largest of several logits is not linear in them.
        """
        if self.options.aggregate == "max_logit":
            raise InputError("aggregate='max_logit' is not linear and has no matrix: use 'mean_logit'.")
        weights = self.weights()
        return (weights > 0).float() if self.options.aggregate == "sum_probability" else weights

    def affine(self) -> tuple[Tensor, Tensor] | None:
        """See `OutputMapping.affine`: the mean of logits alone is affine in them."""
        if self.options.aggregate != "mean_logit":
            return None
        matrix = self.matrix()
        return matrix, matrix.new_zeros(len(matrix))

    def table(
        self, source_labels: Sequence[str], target_labels: Sequence[str], most: int = 10
    ) -> list[tuple[str, str, float]]:
        """The source labels of each class by name; see `hf_reprogram.mappings.label_table.table`."""
        return table(self.weights(), source_labels, target_labels, most)

    def inspect(self, probe: Probe) -> dict[str, Any]:
        """See `hf_reprogram.mappings.label_table.describe_map`."""
        return describe_map(self.weights, self.options.how, probe)

    def lines(self, description: dict[str, Any]) -> Lines:
        """One line per class."""
        return Lines(body=map_lines(description))


def pool(logits: Tensor, sets: Tensor, aggregate: str) -> Tensor:
    """Class logits (batch, classes) from the source's logits (batch, K_S) and sets.

    Args:
        logits: the source's logits.
        sets: indices of source labels (classes, m), with -1 where a class has fewer than m.
        aggregate: one of `AGGREGATES`.

    >>> pool(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[0, 1], [2, -1]]), "mean_logit")
    tensor([[1.5000, 3.0000]])
    """
    values = logits.log_softmax(-1) if aggregate.endswith("probability") else logits
    chosen: Tensor = values.index_select(-1, sets.clamp(min=0).flatten()).unflatten(-1, sets.shape)
    beyond = sets < 0
    count = sets.shape[-1] - beyond.sum(-1)
    if aggregate == "mean_logit":
        return chosen.masked_fill(beyond, 0.0).sum(-1) / count
    chosen = chosen.masked_fill(beyond, -torch.inf)
    if aggregate == "max_logit":
        return chosen.amax(-1)
    total: Tensor = chosen.logsumexp(-1)
    return total - count.log() if aggregate == "mean_probability" else total


def mix(logits: Tensor, weight: Tensor, aggregate: str, most: int) -> Tensor:
    """Class logits (batch, classes) from the source's logits (batch, K_S) and weights.

    Args:
        logits: the source's logits.
        weight: (classes, K_S), every row of which sums to one.
        aggregate: "mean_logit" or "mean_probability".
        most: the largest number of source labels with a weight in a class, which is small.

    >>> mix(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]), "mean_logit", most=2)
    tensor([[1.5000, 3.0000]])
    """
    if aggregate == "mean_logit":
        return F.linear(logits, weight)
    heaviest, labels = weight.topk(most, -1)
    chosen = logits.log_softmax(-1).index_select(-1, labels.flatten()).unflatten(-1, labels.shape)
    return torch.logsumexp(chosen + heaviest.log(), -1)  # a product of probabilities could underflow


def assign(
    num_labels: int, width: int, how: str = "random", labels_per_class: int | None = None, seed: int = 0
) -> list[list[int]]:
    """Sets of source labels that need no data.

    Args:
        num_labels: the number of target classes.
        width: the number of source labels.
        how: "random" (drawn with `seed`, without overlap) or "identity" (in order: the first m labels for the first class).
        labels_per_class: m; by default min(10, width // num_labels), and 1 for "identity".
        seed: the seed of the random draw.

    Raises:
        InputError: there are fewer source labels than the classes need.

    >>> assign(num_labels=2, width=12, how="identity", labels_per_class=3)
    [[0, 1, 2], [3, 4, 5]]
    """
    if how not in ("random", "identity"):
        raise unknown("label mapping", how, ("random", "identity"))
    return _decided(LabelMapOptions(num_labels, width, how=how, labels_per_class=labels_per_class, seed=seed))


def _decided(options: LabelMapOptions) -> list[list[int]]:
    if options.how == "given":
        return options.assignment
    size = options.num_labels, options.width, options.set_size()
    if options.how == "identity":
        sets = assignment.identity_sets(*size)
    else:
        sets = np.sort(assignment.random_sets(*size, options.seed))
    return [[int(label) for label in row] for row in sets]


_SIMILAR = {
    "similarity": assignment.similarity_sets,
    "similarity_in_order": assignment.similarity_sets_in_order,
    "similarity_optimal": assignment.similarity_sets_optimal,
}


def _similar(
    features: np.ndarray, labels: np.ndarray, options: LabelMapOptions, source: Source | None
) -> list[list[int]]:
    if source is None:
        raise InputError(f"how={options.how!r} compares features with the source's labels: pass the source to `fit`.")
    rows = source.label_embeddings().float().cpu().numpy()
    means = assignment.response(features, labels, options.num_labels)
    if means.shape[1] != rows.shape[1]:
        raise InputError(
            f"The features are {means.shape[1]} wide, but the rows of the source's classifier are {rows.shape[1]} wide: they "
            "cannot be compared, so use how='frequency'."
        )
    return _SIMILAR[options.how](means, rows, options.set_size())


def _padded(sets: list[list[int]], size: int = 0) -> Tensor:
    """Sets as a tensor (classes, m), with -1 where a class has fewer than m labels."""
    size = size or max(map(len, sets))
    return torch.tensor([[*chosen, *[-1] * (size - len(chosen))] for chosen in sets], dtype=torch.int32)


def _check_data(outputs: Tensor, labels: Tensor, num_labels: int, width: int | None) -> None:
    if outputs.dim() != 2 or (width is not None and outputs.shape[1] != width):
        raise InputError(
            f"The outputs to fit to are {' x '.join(map(str, outputs.shape))}: give (examples, {width or 'features'})."
        )
    if labels.shape != outputs.shape[:1] or labels.is_floating_point() or not len(labels):
        raise InputError(
            f"The labels to fit to are {' x '.join(map(str, labels.shape))} of {labels.dtype}: give one class, a whole number, "
            f"for each of the {len(outputs)} examples."
        )
    if labels.min() < 0 or labels.max() >= num_labels:
        raise InputError(
            f"The labels go from {labels.min()} to {labels.max()}, but the label map has the classes 0 to {num_labels - 1}: "
            "set num_labels."
        )
    if not outputs.isfinite().all():
        raise InputError(
            "The source's outputs on the data are NaN or infinite: lower the learning rate, or check the inputs."
        )
