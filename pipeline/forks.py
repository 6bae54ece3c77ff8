"""Calls in a process of their own, for what would leave threads behind."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


def call_in_fork(function: Callable[..., T], *arguments: Any) -> T:
    """Call a function in a forked process, so that threads that it starts are in no later fork.

    Args:
        function: An importable function.
        arguments: Its arguments.

    Returns:
        What it returns.

    Raises:
        Exception: What it raises.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
        return pool.submit(function, *arguments).result()
