"""How many elements the Beam pipelines of this process have seen, while they run.

Beam's own runner tells metrics when a pipeline has ended. What it counts in between lies with the processors
of the bundles that are being worked on, which are asked as a runner on a cluster would ask its workers. A
runner with workers in other processes or on other machines has none here, and nothing is said.
"""

import threading
import time
import weakref
from collections import Counter
from typing import Any, Final

from apache_beam.metrics import monitoring_infos
from apache_beam.runners.worker import sdk_worker

from schemas.contract import PROGRESS_COUNTERS
from schemas.progress import StepProgress, report_progress

_SECONDS: Final = 1.0
_ELEMENTS: Final = "elements"

# Over all pipelines of the process.
_finished: Counter[str] = Counter()
_lock = threading.Lock()


class _CountingCache(sdk_worker.BundleProcessorCache):
    """Beam's processors of bundles, whose counts stay when a bundle is done."""

    all: Final[weakref.WeakSet["_CountingCache"]] = weakref.WeakSet()
    """Those of the pipelines that run."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.all.add(self)

    def release(self, instruction_id: str) -> None:
        with _lock:
            # A processor that is released begins again at 0.
            _finished.update(_read_counts(self.active_bundle_processors[instruction_id][1]))
            super().release(instruction_id)


def watch_beam() -> None:
    """Let this process say once a second how many elements its Beam pipelines have seen."""
    sdk_worker.BundleProcessorCache = _CountingCache
    threading.Thread(target=_report, name="beam-progress", daemon=True).start()


def count() -> Counter[str]:
    """Count what the Beam pipelines of this process have seen up to now.

    Returns:
        "elements", which is those of every PCollection, and the sums of the counters in the namespace
        `PROGRESS_COUNTERS` by name.
    """
    with _lock:
        counts = Counter(_finished)
        for cache in list(_CountingCache.all):
            for _, processor in list(cache.active_bundle_processors.values()):
                counts.update(_read_counts(processor))
        return counts


def choose_unit(before: Counter[str], now: Counter[str]) -> str | None:
    """Choose what to tell: a step's own counters say more than Beam's elements.

    Args:
        before: The counts a moment ago.
        now: The counts.

    Returns:
        The name of the last one that has changed; None where there is none.
    """
    own = [name for name in now if name != _ELEMENTS]
    changed = [name for name in own or [_ELEMENTS] if now[name] != before[name]]
    return changed[-1] if changed else None


def _report() -> None:
    before: Counter[str] = Counter()
    while True:
        time.sleep(_SECONDS)
        now = count()
        unit = choose_unit(before, now)
        if unit is not None:
            report_progress(StepProgress(now[unit], unit))
        before = now


def _read_counts(processor: Any) -> Counter[str]:
    counts: Counter[str] = Counter()
    for info in processor.monitoring_infos():
        if info.urn == monitoring_infos.ELEMENT_COUNT_URN:
            counts[_ELEMENTS] += monitoring_infos.extract_counter_value(info)
        elif info.urn == monitoring_infos.USER_COUNTER_URN:
            namespace, name = monitoring_infos.parse_namespace_and_name(info)
            if namespace == PROGRESS_COUNTERS:
                counts[name] += monitoring_infos.extract_counter_value(info)
    return counts
