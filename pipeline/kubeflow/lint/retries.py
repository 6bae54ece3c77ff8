"""Checks the retry policy of a task, of which Argo reads texts that Kubeflow Pipelines makes."""

import math
from typing import Any, Final

from pipeline.kubeflow.lint.messages import MessageLinter

# Go writes a number from here on with an exponent.
FIRST_NUMBER_WITH_EXPONENT: Final = 1e6


class RetryLinter(MessageLinter):
    """Checks what would fail a retry, or never retry."""

    def check(self, path: str, task: Any) -> None:
        """Check the retry policy of the task at `path`."""
        if not task.HasField("retry_policy"):
            return
        policy, inner = task.retry_policy, f"{path}.retryPolicy"
        if self._messages.is_importer(task.component_ref.name):
            self.add(inner, "an importer is not retried; KFP ignores the policy", "Leave it out")
        if policy.max_retry_count < 0:
            self.add(f"{inner}.maxRetryCount", "a negative count", "Write 0 or more")
        self._check_factor(f"{inner}.backoffFactor", policy.backoff_factor)
        self._check_durations(inner, policy)
        self._check_limit(inner, policy, self._find_deadline(task))

    def _check_factor(self, path: str, factor: float) -> None:
        if not math.isfinite(factor) or factor != math.floor(factor):
            self.add(
                path,
                f"expected a whole number, which is all that Argo reads. Received: {factor}; the task"
                " fails at its first retry",
                "Write a whole number such as 2",
            )
        elif abs(factor) >= FIRST_NUMBER_WITH_EXPONENT:
            self.add(
                path,
                f"expected a number below {FIRST_NUMBER_WITH_EXPONENT:.0f}, which KFP writes for Argo"
                f" without an exponent. Received: {factor:.15g}; the task fails at its first retry",
                "Write a smaller number such as 2",
            )

    def _check_durations(self, path: str, policy: Any) -> None:
        for name, duration in (
            ("backoffDuration", policy.backoff_duration),
            ("backoffMaxDuration", policy.backoff_max_duration),
        ):
            if duration.nanos or duration.seconds < 0:
                self.add(
                    f"{path}.{name}",
                    "KFP takes the whole seconds only, and none below 0",
                    "Write whole seconds such as 30s",
                )

    def _check_limit(self, path: str, policy: Any, deadline: int) -> None:
        limit = policy.backoff_max_duration.seconds
        if policy.max_retry_count > 0 and limit <= 0:
            self.add(
                path,
                "no backoffMaxDuration: Argo then allows 0 s from the start of the first attempt, and never"
                " retries ('Max duration limit exceeded')",
                "Write a backoffMaxDuration longer than all attempts together",
            )
        if policy.max_retry_count > 0 and 0 < limit <= deadline:
            self.add(
                f"{path}.backoffMaxDuration",
                f"{limit} s from the start of the first attempt, which may itself take {deadline} s"
                " (activeDeadlineSeconds): after that it is not retried",
                f"Write more than {deadline}s, best {deadline}s times the number of attempts",
            )

    def _find_deadline(self, task: Any) -> int:
        components = self._messages.pipeline.components
        name = task.component_ref.name
        config = self._messages.settings.get(components[name].executor_label) if name in components else None
        return config.active_deadline_seconds if config is not None else 0
