"""Puts the shipped experiments and recipes into the wheel, as `interp/experiments`; in the repository they lie beside it."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SHIPPED = ("experiments", "experiments/recipes")


class BuildWithExperiments(build_py):
    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for folder in SHIPPED:
            target = Path(self.build_lib, "interp", folder)
            target.mkdir(parents=True, exist_ok=True)
            for file in sorted(Path(folder).glob("*.yaml")):
                self.copy_file(str(file), str(target / file.name))


setup(cmdclass={"build_py": BuildWithExperiments})
