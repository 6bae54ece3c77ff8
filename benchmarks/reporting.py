"""What every benchmark script shares: its options, the machine it ran on, and its JSON file."""

import argparse
import importlib.metadata
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

# What a benchmark runs in a temporary folder is no last run that later commands here should follow.
os.environ.setdefault("DSSM_LAST_RUN", "")


@dataclass(frozen=True)
class Figure:
    """One measured number."""

    value: float
    """The measurement."""
    unit: str
    """Its unit; `1` for a share or a ratio."""
    bar: float | None = None
    """The least value asked for, where there is one; the greatest, with `at_most`."""
    at_most: bool = False
    """Whether the bar is the greatest value asked for."""
    lowest: float | None = None
    """The lowest of several measurements, of which `value` is the median."""
    highest: float | None = None
    """The highest of them."""

    @property
    def meets_bar(self) -> bool:
        """Whether the value is what was asked for; true where nothing was."""
        if self.bar is None:
            return True
        return self.value <= self.bar if self.at_most else self.value >= self.bar


def benchmark_parser(description: str) -> argparse.ArgumentParser:
    """Make a parser with the options that every benchmark takes.

    Args:
        description: What the benchmark measures.

    Returns:
        A parser with --json and --quick.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the figures to this file")
    parser.add_argument(
        "--quick", action="store_true", help="a minute at most, on tiny data: shows that it works"
    )
    return parser


def describe_machine() -> dict[str, str | int]:
    """Describe the hardware that the figures depend on.

    Returns:
        Processor, its cores, memory in GiB and the operating system.
    """
    cpu = platform.processor() or platform.machine()
    cpu_info = Path("/proc/cpuinfo")
    if cpu_info.exists():
        names = [
            line.split(":")[1].strip() for line in cpu_info.read_text().splitlines() if "model name" in line
        ]
        cpu = names[0] if names else cpu
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": cpu,
        "cores": os.cpu_count() or 0,
        "memory_gib": round(memory_bytes / 2**30),
        "system": _describe_system(),
    }


def _describe_system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return f"{platform.system()} {platform.mac_ver()[0]}".strip()


def describe_versions(packages: Sequence[str]) -> dict[str, str]:
    """List the versions that the figures depend on.

    Args:
        packages: Names of installed distributions.

    Returns:
        Python's version and each package's.
    """
    versions = {package: importlib.metadata.version(package) for package in packages}
    return {"python": platform.python_version(), **versions}


def write_json(
    path: Path, figures: dict[str, Figure], versions: dict[str, str], raw: dict[str, Any] | None = None
) -> None:
    """Write the figures of a benchmark.

    Args:
        path: The file.
        figures: Each figure by its name.
        versions: What `describe_versions` gave.
        raw: Every single measurement, where a figure is made of several.
    """
    document: dict[str, Any] = {
        "figures": {name: asdict(figure) for name, figure in figures.items()},
        "machine": describe_machine(),
        "versions": versions,
    }
    if raw is not None:
        document["raw"] = raw
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
