"""Package of the DSSM pipeline: the top-level folders are its import packages."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
PACKAGES = ("schemas", "trainer", "components", "pipeline")


def read_requirements(path: Path) -> list[str]:
    """Return the requirement lines of a pip-style file, without comments."""
    lines = (line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]


setup(
    name="dssm-pipeline",
    version="0.1.0",
    description="Two-tower retrieval (DSSM) training pipeline on TFX and Kubeflow",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11,<3.14",
    packages=find_packages(include=[pattern for name in PACKAGES for pattern in (name, f"{name}.*")]),
    package_data={
        "schemas": ["*.yaml", "py.typed"],
        "components": ["run_report/templates/*"],
        "pipeline": ["configs/*.yaml", "configs/recipes/*.yaml", "py.typed", "serving/page/*"],
    },
    install_requires=read_requirements(HERE / "environment" / "requirements.in"),
    entry_points={"console_scripts": ["dssm = pipeline.cli:main"]},
)
