"""Calibration of a trained adapter: a temperature behind its logits, and a shift before its source.

    logits = OutputMapping(f(InputTransform(x | theta) + delta) | omega) / T

T > 0 is one number, which cannot change a label. delta is one shift of the source's input for all examples, which can. Without
it this is temperature scaling (Guo et al. 2017, arXiv 1706.04599), with it Neural Clamping (Tang et al. 2024, arXiv
2209.11604). Both are fitted after training, on labelled data that were held out (`hf_reprogram.training.calibration`). The
config of an adapter holds T, and its weights hold delta. An adapter that is not calibrated has neither.

The model applies both wherever it computes logits. It refuses to be trained with them, since theta and omega would change
under a temperature that fits them no longer: call `uncalibrate` first. `init_from` takes over theta and omega alone.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from math import isfinite
from typing import Any

import torch
from torch import Tensor, nn

from .errors import InputError, unknown
from .options import check_whole_list, from_dict

METHODS = ("temperature", "neural_clamping")
SHIFTED = ("pixels", "waveform", "spectrogram")  # the inputs of a source that have one size and can be shifted
_LARGEST = 2**24  # of a side of delta


@dataclass
class CalibrationOptions:
    """The entry `calibration` of an adapter's config.

    Attributes:
        method: "temperature" or "neural_clamping".
        temperature: T, by which logits are divided.
        shifted: the source's input that delta is added to, "pixels", "waveform" or "spectrogram"; None without delta.
        shape: of delta, without the batch; None without delta.
        record: what it was fitted on, and the figures before and after. Loading does not read it.

    >>> CalibrationOptions(temperature=0.0)
    Traceback (most recent call last):
    hf_reprogram.errors.InputError: The temperature is 0.0: give a finite number above 0.
    """

    method: str = "temperature"
    temperature: float = 1.0
    shifted: str | None = None
    shape: list[int] | None = None
    record: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise unknown("method of calibration", self.method, METHODS)
        if not (isfinite(self.temperature) and self.temperature > 0):
            raise InputError(f"The temperature is {self.temperature!r}: give a finite number above 0.")
        if len({self.method == "neural_clamping", self.shifted is not None, self.shape is not None}) > 1:
            raise InputError("Neural clamping alone has a shift, with its input and its shape: give all three or none.")
        if self.shifted is not None and self.shifted not in SHIFTED:
            raise unknown("input to shift", self.shifted, SHIFTED)
        if self.shape is not None:
            check_whole_list(shape=self.shape)


def read_calibration(values: Any, problem_type: str | None) -> CalibrationOptions | None:
    """The entry of a config, checked; None if it is empty.

    Args:
        values: the entry.
        problem_type: of the config.

    >>> read_calibration({"temperature": 2.0}, "single_label_classification").temperature
    2.0

    Raises:
        InputError: a key is unknown, a value is out of its range, or the problem has no probabilities.
    """
    if not values:
        return None
    if problem_type == "regression":
        raise InputError("A regression predicts numbers without probabilities, so its adapter cannot be calibrated.")
    return from_dict(CalibrationOptions, values, "key of the calibration", most=_LARGEST)


class Calibration(nn.Module):
    """T and delta. delta is the buffer `delta`, of the shape that the options name, or None.

    >>> calibration = Calibration(CalibrationOptions(temperature=2.0))
    >>> calibration.scaled(torch.tensor([[4.0, 2.0]]))
    tensor([[2., 1.]])
    """

    delta: Tensor | None

    def __init__(self, options: CalibrationOptions) -> None:
        super().__init__()
        self.options = options
        self.register_buffer("delta", None if options.shape is None else torch.zeros(options.shape))

    def shifted(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """The source's inputs by name, with delta added to the one that it shifts."""
        name = self.options.shifted
        if name is None or self.delta is None:
            return inputs
        return {**inputs, name: inputs[name] + self.delta.to(inputs[name].dtype)}

    def scaled(self, logits: Tensor) -> Tensor:
        """Logits of any shape divided by T."""
        return logits / self.options.temperature


def calibrated(model: Any, options: CalibrationOptions, delta: Tensor | None = None) -> Any:
    """Give a model this calibration in place of the one that it has.

    Args:
        model: a `ReprogrammedModel`, which is changed.
        options: the method, the temperature and the record; with delta also where it is added.
        delta: the shift, of the shape that the options name.

    Returns:
        The model.

    Raises:
        InputError: the model predicts numbers, or delta has another shape than the options name.

    >>> from hf_reprogram import reprogram
    >>> model, tokenizer = reprogram(text_source, "warp", ["no", "yes"], num_prompts=4)
    >>> batch = tokenizer(["a film"], return_tensors="pt")
    >>> before = model.eval()(**batch).logits
    >>> after = calibrated(model, CalibrationOptions(temperature=2.0))(**batch).logits
    >>> torch.equal(2 * after, before), model.config.calibration
    (True, {'method': 'temperature', 'temperature': 2.0})
    """
    shape = None if delta is None else list(delta.shape)
    if shape != options.shape:
        raise InputError(f"delta has the shape {shape}, and the options name {options.shape}: give the same.")
    values = {name: value for name, value in asdict(options).items() if value not in (None, {})}
    read_calibration(values, model.config.problem_type)
    module = Calibration(options)
    if module.delta is not None and delta is not None:
        module.delta.copy_(delta.detach())
    model.config.calibration, model.calibration = values, module.to(model.source.device)
    return model


def uncalibrate(model: Any) -> Any:
    """Take the calibration of a model away, so that it can be trained on; returns the model.

    >>> from hf_reprogram import reprogram
    >>> model, tokenizer = reprogram(text_source, "warp", ["no", "yes"], num_prompts=4)
    >>> uncalibrate(calibrated(model, CalibrationOptions(temperature=2.0))).config.calibration
    {}
    """
    model.calibration = None
    model.config.calibration = {}
    return model


def check_untrained(model: Any) -> None:
    """Raise `InputError` if a model is calibrated. Training calls this.

    >>> from hf_reprogram import reprogram
    >>> check_untrained(reprogram(text_source, "warp", ["no", "yes"], num_prompts=4)[0])
    """
    if model.calibration is not None:
        raise InputError(
            "This adapter is calibrated, and training would change what its temperature was fitted to: call "
            "hf_reprogram.calibration.uncalibrate(model) first, and calibrate it again afterwards."
        )
