"""The processor's cores that this process may use."""

import os


def usable_cores() -> int:
    """Count the cores that this process may run on, which can be fewer than the machine has.

    Returns:
        Their number, at least 1.
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
