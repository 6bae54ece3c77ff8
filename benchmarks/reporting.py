"""What every benchmark script shares: its options, the machine it ran on, and its JSON file."""

import argparse
import importlib.metadata
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Figure:
    """One measured number."""

    value: float
    """The measurement."""
    unit: str
    """Its unit; `1` for a share or a ratio."""
    bar: float | None = None
    """The least value asked for, where there is one."""


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


def write_json(path: Path, figures: dict[str, Figure], versions: dict[str, str]) -> None:
    """Write the figures of a benchmark.

    Args:
        path: The file.
        figures: Each figure by its name.
        versions: What `describe_versions` gave.
    """
    document = {
        "figures": {name: asdict(figure) for name, figure in figures.items()},
        "machine": describe_machine(),
        "versions": versions,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
