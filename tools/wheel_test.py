"""Build the sdist and the wheel, install the wheel in an environment of its own, and use it from an empty folder.

    python tools/wheel_test.py              about a minute; needs the extra `dev`, and no network

The environment is a fresh one with the wheel alone. Its dependencies are those of the Python that runs this file: a line in
the environment's site folder adds that folder to the path. Python reads no such lines in folders that were added by one, so
the editable install of a checkout does not come along, which is checked.
"""

from __future__ import annotations

import email
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TESTS = ("tests/test_release.py", "tests/test_options.py")  # which train nothing
SOURCE = """
import sys
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil, set_seed
set_seed(0)
sizes = dict(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64)
config = ViTConfig(**sizes, image_size=64, patch_size=16, num_labels=12)
ViTForImageClassification(config).save_pretrained(sys.argv[1])
ViTImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained(sys.argv[1])
"""
WHERE = "import hf_reprogram; print(hf_reprogram.__file__)"


def main() -> None:
    """Build, install, use; the first failure ends it."""
    with tempfile.TemporaryDirectory(prefix="hf-reprogram-wheel-") as name:
        folder = Path(name).resolve()
        run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder / "dist"), str(ROOT), cwd=folder)
        (wheel,), (sdist,) = (folder / "dist").glob("*.whl"), (folder / "dist").glob("*.tar.gz")
        run(sys.executable, "-m", "twine", "check", "--strict", str(wheel), str(sdist), cwd=folder)
        python = install(wheel, folder / "environment")
        use(python, folder)
        test(sdist, folder)
    print("The wheel and the sdist are complete.")


def run(*command: str, cwd: Path) -> str:
    """Run a command without the checkout on the path; returns what it prints."""
    print("$", " ".join(command).partition("\n")[0], flush=True)
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "HF_REPROGRAM_DATA")}
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(cwd / "cache"), "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, cwd=cwd, env={**kept, **offline}, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{done.stdout}\n{done.stderr}\nThe command ended with {done.returncode}.")
    return done.stdout


def install(wheel: Path, environment: Path) -> Path:
    """An environment with the wheel and this Python's other packages; returns its Python."""
    venv.create(environment, symlinks=True)
    python = environment / "bin" / "python"
    run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        str(wheel),
        cwd=environment,
    )
    (site,) = environment.glob("lib/python*/site-packages")
    others = dict.fromkeys((sysconfig.get_path("purelib"), sysconfig.get_path("platlib")))
    (site / "dependencies.pth").write_text("\n".join(others) + "\n", encoding="utf-8")
    metadata = next(site.glob("hf_reprogram-*.dist-info")) / "METADATA"
    page = email.message_from_string(metadata.read_text(encoding="utf-8")).get_payload()
    broken = re.findall(r'<img[^>]*\ssrc="(?!https?://)[^"]*"|!\[[^\]]*\]\((?!https?://)[^)]*\)', str(page))
    if broken:
        sys.exit(f"An index page would show these pictures broken: {broken}")
    return python


def use(python: Path, folder: Path) -> None:
    """What a user does first: look at the recipes, and train one by its name on a source of their own."""
    empty = folder / "empty"
    empty.mkdir()
    command = str(python.with_name("hf-reprogram"))
    where = run(str(python), "-c", WHERE, cwd=empty).strip()
    if not Path(where).is_relative_to(folder):
        sys.exit(f"The package is that of {where}, not the wheel's.")
    print(run(command, "--version", cwd=empty).strip())
    listed = run(command, "recipes", cwd=empty).splitlines()
    if len(listed) != len(list(ROOT.glob("recipes/**/*.yaml"))):
        sys.exit(f"The wheel lists {len(listed)} recipes, the checkout has others.")
    run(command, "recipes", "copy", "peptides/amp_modlamp", "copied", cwd=empty)
    if not (empty / "copied" / "prepare_modlamp.py").exists():
        sys.exit("The wheel holds peptides/amp_modlamp without its script.")
    run(str(python), "-c", SOURCE, "source", cwd=empty)
    short = ("seeds=[0]", "sweep={}", "baselines=[majority]", "training.num_train_epochs=1", "task.max_test=40")
    changed = [part for override in ("source=source", *short) for part in ("--set", override)]
    run(command, "train", "vision/digits", "--quiet", *changed, cwd=empty)
    for file in ("model.safetensors", "results.json", "README.md"):
        if not (empty / "runs" / "digits" / file).exists():
            sys.exit(f"Training vision/digits wrote no {file}.")


def test(sdist: Path, folder: Path) -> None:
    """Run a part of the tests from the unpacked sdist."""
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (source,) = (folder / "unpacked").iterdir()
    listed = subprocess.run(
        ["git", "ls-files", "tests", "recipes", "tools"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    missing = [file for file in listed.stdout.splitlines() if (ROOT / file).exists() and not (source / file).exists()]
    if missing:
        sys.exit(f"The sdist lacks {', '.join(missing)}.")
    print(
        run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS, cwd=source).strip().splitlines()[-1]
    )


if __name__ == "__main__":
    main()
