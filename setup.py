"""What pyproject.toml cannot say: the recipes lie beside the package in a checkout, and inside it in a wheel."""

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


setup(cmdclass={"build_py": BuildWithRecipes})
