"""One training step of WARP against PEFT's prompt tuning, on the same source at the same number of tokens.

Both run 128 tokens of text and specials plus 20 prompts through BERT-base's shape (random weights, batch 16), forward
and backward to the prompts and the class vectors. PEFT is timed as the Trainer runs it, in train mode, where the frozen
source's dropout is live, and in eval mode, which is what our source is always in.

Where our step saves work: no dropout, and the last layer and the head only at the mask.

Equality: with all prompts before the text and the class read at the first token, both libraries compute the same
function (PEFT's pooler, which WARP does not have, set to pass the first token on); loss and gradients must agree. This
is checked in float32 and again in float64, which leaves the rounding of float32 out.
"""

from __future__ import annotations

import argparse
import warnings

import torch
from common import alternate, bert, collate, differences, parser, report, shape, start, step, templated_ids, warp
from peft import PromptTuningConfig, TaskType, get_peft_model
from transformers import BertForSequenceClassification

from hf_reprogram.transforms.template import Template

warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")  # read by peft


def peft_model(source: torch.nn.Module, prompts: int, labels: int) -> torch.nn.Module:
    """PEFT's prompt tuning on a classifier with a copy of the source's encoder."""
    config = type(source.config)(**{**source.config.to_dict(), "num_labels": labels})
    classifier = BertForSequenceClassification(config)
    classifier.bert.load_state_dict(source.bert.state_dict(), strict=False)
    return get_peft_model(classifier, PromptTuningConfig(task_type=TaskType.SEQ_CLS, num_virtual_tokens=prompts))


def from_peft(source: torch.nn.Module, options: argparse.Namespace, dtype: torch.dtype) -> tuple[float, float]:
    """Absolute and relative difference of loss and gradients (prompts, class vectors) between the two libraries."""
    prompts, vocab = options.prompts, source.config.vocab_size
    ours = warp(source, Template.parse(f"{prompts} $A $B"), options.labels, reads="first")
    theirs = peft_model(source, prompts, options.labels).eval()
    theirs.base_model.bert.pooler.forward = lambda hidden: hidden[:, 0]
    theta, head = (
        theirs.prompt_encoder["default"].embedding.weight,
        theirs.base_model.classifier.modules_to_save["default"],
    )
    with torch.no_grad():
        theta.copy_(ours.transform.prompts)
        head.weight.copy_(ours.mapping.weight)
        head.bias.copy_(ours.mapping.bias)
    generator = torch.Generator().manual_seed(3)
    text = [templated_ids(Template.parse("$A $B"), options.tokens - 2, vocab, generator) for _ in range(4)]
    labels = torch.arange(4) % options.labels
    slots = torch.arange(vocab, vocab + prompts)  # PEFT's prompts stand before [CLS]
    ours_loss = step(ours.to(dtype), collate([torch.cat([slots, row]) for row in text], labels))
    theirs_loss = step(theirs.to(dtype), collate(text, labels))
    source.float()
    return differences(
        [torch.tensor(ours_loss), ours.transform.prompts.grad, ours.mapping.weight.grad],
        [torch.tensor(theirs_loss), theta.grad, head.weight.grad],
    )


def main() -> None:
    """Compare, print, write."""
    arguments = parser(__doc__, rounds=5)
    arguments.add_argument("--batch", type=int, default=16)
    arguments.add_argument("--tokens", type=int, default=128, help="tokens without the prompts (default: %(default)s)")
    arguments.add_argument("--prompts", type=int, default=20)
    arguments.add_argument("--labels", type=int, default=2)
    options = start(arguments)
    source = bert(options)
    labels = torch.arange(options.batch) % options.labels
    checks = {
        "difference from PEFT's loss and gradients (same function, float32, absolute)": (
            from_peft(source, options, torch.float32)[0],
            1e-5,
        ),
        "the same in float64, relative": (from_peft(source, options, torch.float64)[1], 1e-6),
    }

    generator = torch.Generator().manual_seed(2)
    vocab = source.config.vocab_size
    template = Template.default(options.prompts, "mask")
    rows = [templated_ids(template, options.tokens - 3, vocab, generator) for _ in labels]  # [CLS], [MASK], [SEP]
    batch = collate(rows, labels)
    plain = collate([row[row < vocab] for row in rows], labels)
    assert (
        batch["input_ids"].shape[1] == options.tokens + options.prompts == plain["input_ids"].shape[1] + options.prompts
    )
    ours = warp(source, template, options.labels)
    theirs = peft_model(source, options.prompts, options.labels)
    paths = {
        "WARP": lambda: step(ours, batch),
        "PEFT prompt tuning, train mode": lambda: step(theirs.train(), plain),
        "PEFT prompt tuning, eval mode": lambda: step(theirs.eval(), plain),
    }
    cpu, wall = alternate(paths, options.rounds, warmup=0)
    report(
        "prompt_step",
        f"{shape(source)}, batch {options.batch}, {options.tokens}+{options.prompts} tokens, forward and backward",
        options,
        cpu,
        wall,
        {
            "against PEFT in train mode": ("PEFT prompt tuning, train mode", "WARP"),
            "against PEFT in eval mode": ("PEFT prompt tuning, eval mode", "WARP"),
        },
        checks,
    )


if __name__ == "__main__":
    main()
