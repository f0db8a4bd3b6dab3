"""An adapter with its source as one graph of ONNX, and a README with the steps that come before it."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.export import Dim

from ..errors import InputError
from ..modalities import modality_taking
from .examples import answer_in_words, difference, example_batch, shown_texts, tolerance

FILE = "model.onnx"


def write_onnx(model: Any, processor: Any, folder: Path) -> None:
    """Write `model.onnx`, the processor and a README, after ONNX Runtime gave the adapter's logits.

    Batches may have any size, and texts any number of tokens.

    Args:
        model: a `ReprogrammedModel`, in eval mode on the CPU.
        processor: its processor; None where examples need none.
        folder: an empty folder.

    Raises:
        InputError: the packages of the extra `export` are missing, the source has no such graph, or its logits differ.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401 - torch needs it
    except ImportError as error:
        raise InputError(
            "An export to ONNX needs onnx and onnxruntime: run pip install 'hf_reprogram[export]'."
        ) from error
    batch = example_batch(model, processor)
    free = {0: Dim.DYNAMIC, 1: Dim.DYNAMIC} if "input_ids" in batch else {0: Dim.DYNAMIC}
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's own parts
            torch.onnx.export(
                model,
                (),
                folder / FILE,
                kwargs=batch,
                dynamo=True,
                verbose=False,
                dynamic_shapes=dict.fromkeys(batch, free),
                output_names=["logits"],
            )
    except Exception as error:  # torch raises whatever its tracer and its many operators do
        said = str(error).strip() or type(error).__name__
        reason = re.sub(r"\x1b\[[\d;]*m", "", said).splitlines()[0].partition(". ")[0][:200]
        raise InputError(
            f"The adapter on {model.source.spec.family} has no graph of ONNX ({reason}): serve it with hf-reprogram serve."
        ) from error
    session = onnxruntime.InferenceSession(str(folder / FILE), providers=["CPUExecutionProvider"])
    for some in (batch, {name: values[:1] for name, values in batch.items()}):
        _check(model, session, some)
    if processor is not None:
        processor.save_pretrained(folder)
    (folder / "README.md").write_text(_readme(model, processor, session), encoding="utf-8")


def _check(model: Any, session: Any, batch: dict[str, Tensor]) -> None:
    """Raise `InputError` unless ONNX Runtime gives the adapter's logits for a batch."""
    inputs = {given.name: batch[given.name].numpy() for given in session.get_inputs()}
    (found,) = session.run(None, inputs)
    with torch.no_grad():
        expected = model(**batch).logits
    apart = difference(torch.from_numpy(np.asarray(found)), expected, batch.get("attention_mask"))
    if not apart <= tolerance(model):
        raise InputError(
            f"The logits of ONNX Runtime differ from the adapter's by {apart:.1e}: serve the adapter with hf-reprogram serve."
        )


def _readme(model: Any, processor: Any, session: Any) -> str:
    modality = modality_taking(model.transform.takes)
    source = model.config.source.get("name") or type(model.source.model).__name__
    given = ", ".join(f"`{each.name}` {each.type.removeprefix('tensor')}" for each in session.get_inputs())
    names = [each.name for each in session.get_inputs()]
    if modality.letters:
        made = (
            "from transformers import AutoTokenizer\n\n"
            'tokenizer = AutoTokenizer.from_pretrained(".")\n'
            f"texts = {shown_texts(processor)!r}\n"
            'batch = tokenizer(texts, padding=True, truncation=True, return_tensors="np")\n'
        )
        inputs = ", ".join(f'"{name}": batch["{name}"]' for name in names)
    else:
        shape = ", ".join(map(str, (1, *example_batch(model, processor)[modality.takes].shape[1:])))
        made = f"import numpy as np\n\ninputs = np.zeros(({shape}), np.float32)  # see below\n"
        inputs = f'"{names[0]}": inputs'
    return f"""# {(model.config.method or {}).get("name", "An adapter")} on {Path(source).name}, as ONNX

`{FILE}` holds the frozen model, the input transform before it and the output mapping behind it. It takes {given} and gives
`logits`.

```python
import onnxruntime
{made}
session = onnxruntime.InferenceSession("{FILE}")
(logits,) = session.run(None, {{{inputs}}})
```

{modality.processor_steps(processor)}

{answer_in_words(model)}
"""
