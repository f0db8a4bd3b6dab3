"""What a computation costs: operations, memory and energy.

    flops     matrix products and convolutions, a multiplication and an addition as 2        `hf_reprogram.costs.flops`
    memory    the largest memory of the process, and of the accelerators                     `hf_reprogram.costs.memory`
    energy    joules of the processor packages, by RAPL                                      `hf_reprogram.costs.energy`
    Meter     seconds, memory and joules of a block of code                                  `hf_reprogram.costs.meter`

Nothing here changes what is computed.
"""

from .energy import Rapl
from .flops import count_flops, flops_per_example
from .memory import Peak
from .meter import Meter

__all__ = ["Meter", "Peak", "Rapl", "count_flops", "flops_per_example"]
