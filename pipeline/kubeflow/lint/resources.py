"""Checks the resources that a container of a compiled pipeline asks for."""

import math
import re
from decimal import Decimal
from typing import Any, Final

from pipeline.kubeflow.lint.document import Linter
from pipeline.kubeflow.lint.finding import show
from pipeline.kubeflow.lint.quantities import read_quantity

RESOURCE_NAME: Final = re.compile(
    r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/[a-zA-Z0-9]([-_.a-zA-Z0-9]{0,61}[a-zA-Z0-9])?"
)


class ResourceLinter(Linter):
    """Checks a ResourceSpec."""

    def check(self, path: str, resources: Any) -> None:
        """Check the resources at `path`."""
        for kind, unit in (("cpu", ""), ("memory", "G")):
            limit = self._read(path, resources, kind, "Limit", unit)
            request = self._read(path, resources, kind, "Request", unit)
            if (0 if request is None else request) > (math.inf if limit is None else limit):
                self.add(
                    f"{path}.{kind}Request",
                    "more than the limit; the pod is refused",
                    "Lower it to the limit",
                )
        if resources.HasField("accelerator"):
            self._check_accelerator(f"{path}.accelerator", resources.accelerator)

    def _read(self, path: str, resources: Any, kind: str, bound: str, unit: str) -> Decimal | None:
        text = getattr(resources, f"resource_{kind}_{bound.lower()}")
        number = getattr(resources, f"{kind}_{bound.lower()}")
        written = text or (f"{number:.15g}{unit}" if number else "")
        if not written or "{{$" in text:
            return None
        amount = read_quantity(written)
        # A request of nothing is allowed, and a limit of nothing is none.
        if amount is None or amount < 0 or (amount == 0 and bound == "Limit"):
            key = f"resource{kind.capitalize()}{bound}" if text else f"{kind}{bound}"
            self.add(
                f"{path}.{key}",
                f"not an amount that Kubernetes reads: {show(text or number)}; the task fails when it starts",
                "Write a number above 0 such as 2, 500m or 4Gi",
            )
            return None
        return amount

    def _check_accelerator(self, path: str, accelerator: Any) -> None:
        is_resolved = "{{$" in accelerator.resource_type
        kind = accelerator.resource_type or accelerator.type
        if not is_resolved and not RESOURCE_NAME.fullmatch(kind):
            self.add(
                f"{path}.{'resourceType' if accelerator.resource_type else 'type'}",
                "expected the name of a Kubernetes resource such as nvidia.com/gpu. Received:"
                f" {show(kind)}; the accelerator is dropped, or no node ever fits",
                "Write the resource's name (Vertex AI's names are for --format vertex)",
            )
        count = accelerator.resource_count or str(accelerator.count)
        if "{{$" not in count and not re.fullmatch(r"[1-9]\d*", count, re.ASCII):
            self.add(
                f"{path}.{'resourceCount' if accelerator.resource_count else 'count'}",
                f"expected a whole number above 0. Received: {show(count)}; the accelerator is dropped"
                " without a word",
                "Write the number of accelerators, or remove the accelerator",
            )
