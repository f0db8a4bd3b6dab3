"""What pyproject.toml cannot say: where the recipes go, and what an index page shows of README.md.

The recipes lie beside the package in a checkout, and inside it in a wheel. An index page has no other files, so it shows
README.md without the pictures and links whose addresses are relative.
"""

import re
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithRecipes(build_py):
    """Builds the package, then copies `recipes/` into it; an editable install finds them in the checkout."""

    def run(self):
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib) / "hf_reprogram" / "recipes"
            shutil.rmtree(target, ignore_errors=True)  # recipes that an earlier build left there
            shutil.copytree("recipes", target, ignore=shutil.ignore_patterns("__pycache__"))


def description(readme: str) -> str:
    """README.md without relative pictures, and with the text alone of relative links."""
    away = r"(?!https?://|#)"
    readme = re.sub(rf'<img[^>]*\ssrc="{away}[^>]*>\n?', "", readme)
    readme = re.sub(rf"!\[[^\]]*\]\({away}[^)]*\)\n?", "", readme)
    return re.sub(rf"\[([^\]]+)\]\({away}[^)]*\)", r"\1", readme)


if __name__ == "__main__":
    setup(
        cmdclass={"build_py": BuildWithRecipes},
        long_description=description(Path("README.md").read_text(encoding="utf-8")),
        long_description_content_type="text/markdown",
    )
