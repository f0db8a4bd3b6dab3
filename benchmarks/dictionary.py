"""Sparse codes over a vocabulary, and a learned dictionary, against scikit-learn, dictlearn and a plain loop.

Orthogonal matching pursuit of random targets over the 30,522 x 768 word embeddings of BERT-base's shape, 16 atoms each:

    scikit-learn    `orthogonal_mp`: one target after the other
    naive loop      NumPy: all correlations, the best atom, least squares over the chosen, again
    hf_reprogram    `orthogonal_matching_pursuit`; it correlates in bfloat16 first where the processor has it
    float32 alone   the same on a processor that has not

K-SVD of 2,000 samples, 64 wide, 256 atoms, 8 a sample, 10 iterations: `dictlearn.DictionaryLearning` (approximate K-SVD with
batch OMP, as here; `pip install dictlearn`) and `KSVD`. dictlearn compiles its pursuit where numba is installed too, and is
then as fast; the report says whether it was.

Equality: norms of the residuals relative to the target's, and how many targets got other atoms, which only a tie in float32 may
cause; for K-SVD by how much our error is above dictlearn's. The extra memory is the growth of the process's peak while the
pursuit runs, in a process of its own (Linux). 512 targets are timed once, since scikit-learn takes minutes.
"""

from __future__ import annotations

import argparse
import math
import resource
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec

import numpy as np
import torch
from common import alternate, bert, parser, report, start
from sklearn.linear_model import orthogonal_mp

from hf_reprogram.dictionary import KSVD, orthogonal_matching_pursuit, selection

try:
    from dictlearn import DictionaryLearning
except ImportError:
    raise SystemExit("This benchmark compares with dictlearn: install it with pip install dictlearn.") from None

GIB = 2**30
PEERS = ("scikit-learn", "naive loop")


def normal_like(atoms: torch.Tensor, count: int) -> torch.Tensor:
    """Targets (count, width) with the atoms' mean and deviation, as R2DL starts."""
    generator = torch.Generator().manual_seed(3)
    return atoms.mean() + atoms.std() * torch.randn(count, atoms.shape[1], generator=generator)


def naive(atoms: np.ndarray, targets: np.ndarray, k: int) -> None:
    """Orthogonal matching pursuit as in a textbook, over atoms (n_atoms, width) of norm one."""
    for target in targets:
        support: list[int] = []
        residual = target
        for _ in range(k):
            support.append(int(np.abs(atoms @ residual).argmax()))
            codes = np.linalg.lstsq(atoms[support].T, target, rcond=None)[0]
            residual = target - codes @ atoms[support]


def planted(rows: int, n_atoms: int, width: int, k: int) -> np.ndarray:
    """Samples (rows, width) of k random atoms each, with noise 20 dB below."""
    random = np.random.default_rng(4)
    atoms = random.normal(size=(n_atoms, width)) / width**0.5
    codes = random.normal(size=(rows, n_atoms)) * (random.random((rows, n_atoms)).argsort(1) < k)
    samples, noise = codes @ atoms, random.normal(size=(rows, width))
    return samples + 0.1 * noise * np.linalg.norm(samples) / np.linalg.norm(noise)


def peak_growth(options: argparse.Namespace) -> int:
    """Bytes by which the process's peak memory grows in the pursuit; run in a fresh process."""
    torch.set_num_threads(options.threads)
    atoms = torch.empty(30522, options.width).normal_()
    targets = torch.empty(options.peak, options.width).normal_()
    orthogonal_matching_pursuit(atoms[:100], targets[:2], options.k)  # loads what is loaded once
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    orthogonal_matching_pursuit(atoms, targets, options.k)
    return 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)


def peak_of(targets: int) -> int:
    """The same, measured from here."""
    found = subprocess.run(
        [sys.executable, *sys.argv, "--peak", str(targets)], capture_output=True, text=True, check=True
    )
    return int(found.stdout)


def main() -> None:
    """Compare, print, write."""
    arguments = parser(__doc__, layers=1, rounds=3)
    arguments.add_argument("--targets", type=int, default=30)
    arguments.add_argument("--many", type=int, default=512, help="targets of the run that is timed once (default: 512)")
    arguments.add_argument("--k", type=int, default=16, help="atoms for each target (default: %(default)s)")
    arguments.add_argument("--peak", type=int, help="only print the extra bytes that coding so many targets takes")
    if "--peak" in sys.argv:
        print(peak_growth(arguments.parse_args()))
        return
    options = start(arguments)
    memory = {count: peak_of(count) for count in (options.targets, options.many)}
    atoms = bert(options).get_input_embeddings().weight.detach()
    norms = atoms.norm(dim=1, keepdim=True).clamp_min(torch.finfo(atoms.dtype).tiny)  # [PAD] is zero
    unit = (atoms / norms).numpy()
    columns = np.asfortranarray(unit.T)

    cpu, wall, ratios, checks, others = {}, {}, {}, {}, {}
    for count, rounds in ((options.targets, options.rounds), (options.many, 1)):
        targets = normal_like(atoms, count)
        results = {}

        def sklearn(targets=targets, results=results) -> None:
            results["scikit-learn"] = orthogonal_mp(columns, targets.numpy().T, n_nonzero_coefs=options.k).T

        def ours(targets=targets, results=results) -> None:
            results["hf_reprogram"] = orthogonal_matching_pursuit(atoms, targets, options.k)

        def loop(targets=targets) -> None:
            naive(unit, targets.numpy(), options.k)

        def alone(targets=targets) -> None:
            enough, selection.COARSE_FROM = selection.COARSE_FROM, math.inf
            orthogonal_matching_pursuit(atoms, targets, options.k)
            selection.COARSE_FROM = enough

        paths = {"scikit-learn": sklearn, "naive loop": loop, "hf_reprogram": ours, "float32 alone": alone}
        if rounds == 1:
            del paths["naive loop"]
        named = {f"{path}, {count} targets": run for path, run in paths.items()}
        for total, seconds in zip((cpu, wall), alternate(named, rounds, warmup=int(rounds > 1)), strict=True):
            total.update(seconds)
        fast = f"hf_reprogram, {count} targets"
        slow = {path: f"{path}, {count} targets" for path in paths}
        ratios |= {f"OMP of {count}, against {path}": (slow[path], fast) for path in paths if path in PEERS}
        ratios[f"OMP of {count} in float32 alone, against scikit-learn"] = slow["scikit-learn"], slow["float32 alone"]
        found, expected = results["hf_reprogram"], results["scikit-learn"]
        left = np.linalg.norm(targets.numpy() - expected @ unit, axis=1)
        errors = np.abs(found.errors.numpy() - left) / targets.norm(dim=1).numpy()
        checks[f"difference in residual norms of {count} targets, relative"] = (float(errors.max()), 1e-5)
        different = ((found.dense(len(atoms)).numpy() != 0) != (expected != 0)).any(1)
        others[f"targets_with_other_atoms_of_{count}"] = int(different.sum())

    samples = planted(2000, 256, 64, 8)
    errors = {}

    def theirs() -> None:
        model = DictionaryLearning(256, n_nonzero_coefs=8, max_iter=10, random_state=0).fit(samples)
        errors["dictlearn"] = float(model.error_[-1])

    def ksvd() -> None:
        errors["hf_reprogram"] = float(
            KSVD(256, n_nonzero_coefs=8, max_iter=10, tol=0, random_state=0).fit(samples).error_.min()
        )

    found = alternate({"dictlearn, K-SVD": theirs, "hf_reprogram, K-SVD": ksvd}, options.rounds)
    for total, seconds in zip((cpu, wall), found, strict=True):
        total.update(seconds)
    ratios["K-SVD, against dictlearn"] = ("dictlearn, K-SVD", "hf_reprogram, K-SVD")
    above = max(0.0, errors["hf_reprogram"] / errors["dictlearn"] - 1)
    checks["error of K-SVD above dictlearn's, relative"] = (above, 0.01)
    report(
        "dictionary",
        f"OMP over {len(atoms):,} x {atoms.shape[1]} atoms, {options.k} a target; K-SVD of 2,000 x 64 samples, 256 atoms, "
        "8 a sample, 10 iterations",
        options,
        cpu,
        wall,
        ratios,
        checks,
        **others,
        **{f"extra_memory_gib_{count}_targets": round(size / GIB, 3) for count, size in memory.items()},
        ksvd_errors=errors,
        dictlearn_compiled_by_numba=find_spec("numba") is not None,
        peers={name: version(name) for name in ("scikit-learn", "dictlearn", "numpy")},
    )


if __name__ == "__main__":
    main()
