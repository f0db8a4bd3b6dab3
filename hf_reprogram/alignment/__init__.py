"""Why a program works: how near reprogrammed inputs come to the source's own data, and whether gradients agree.

    from hf_reprogram.alignment import gradient_alignment, null_distance, wasserstein
    wasserstein(target_logits, source_logits[:n])       # W1, to be read against
    null_distance(source_logits)                        # what two halves of the source's own logits have

The functions are pure: they take arrays or tensors and return floats. A distance between two finite samples of one distribution
is not 0, so a distance alone says little: subtract its null, from as many rows. The bound of `risk_bound` is far above every
risk that occurs; it names what to look at, and proves nothing about a program.

Sources: Yang et al. 2021, Voice2Series (arXiv 2106.09296), Theorem 1; Zheng et al. 2021, Why adversarial reprogramming works,
when it fails, and how to tell the difference (arXiv 2108.11673).
"""

from .distances import null_distance, sliced_wasserstein, wasserstein
from .gradients import expected_decrease, gradient_alignment, unrelated_alignment
from .risk import mean_risk, risk_bound

__all__ = [
    "expected_decrease",
    "gradient_alignment",
    "mean_risk",
    "null_distance",
    "risk_bound",
    "sliced_wasserstein",
    "unrelated_alignment",
    "wasserstein",
]
