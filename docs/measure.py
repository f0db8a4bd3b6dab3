"""Run the recipes behind the README's tables and keep their `results.json`.

    python docs/measure.py --sources DIR results            DIR holds the folders bert-tiny-splade and all-MiniLM-L6-v2

Takes hours on two cores. A run that is finished is kept, one that was stopped goes on.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

# recipe: (folder of the source, prompts). Baselines are run once, beside the paper's small K.
PLAN = {
    **{
        f"glue/bert_tiny/{task}": ("bert-tiny-splade", (8, 0, 20))
        for task in ("rte", "mrpc", "sst2", "cola", "stsb", "sst2_few_shot", "cb_few_shot")
    },
    **{f"glue/minilm/{task}": ("all-MiniLM-L6-v2", (8,)) for task in ("rte", "mrpc", "sst2", "sst2_few_shot")},
}


def main() -> None:
    """Run what is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="where the results go, one JSON a recipe and K")
    parser.add_argument("--sources", type=Path, required=True, help="folder with the sources")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the runs go")
    arguments = parser.parse_args()
    root = Path(__file__).resolve().parent.parent
    for recipe, (source, counts) in PLAN.items():
        for k in counts:
            target = arguments.results / f"{recipe}_k{k}.json"
            if target.exists():
                continue
            output = arguments.runs / f"{recipe}_k{k}".replace("/", "_")
            command = [sys.executable, "-m", "hf_reprogram", "train", f"{root}/recipes/{recipe}.yaml", "--resume"]
            command += ["--output", str(output), "--set", f"source={arguments.sources / source}"]
            command += ["--set", f"method.num_prompts={k}"]
            if k != counts[0]:
                command += ["--set", "baselines=[majority]"]
            subprocess.run(command, check=True)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(output / "results.json", target)


if __name__ == "__main__":
    main()
