from pathlib import Path

import pytest


@pytest.fixture
def benchmarks(monkeypatch) -> Path:
    """The folder of the benchmarks, which are no part of the installed package, for imports."""
    folder = Path(__file__).resolve().parents[3] / "benchmarks"
    monkeypatch.syspath_prepend(str(folder))
    return folder
