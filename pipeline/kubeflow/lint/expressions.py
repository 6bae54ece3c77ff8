"""Checks the expressions of a compiled pipeline, which the driver evaluates when a task starts (CEL)."""

import re
from collections.abc import Container
from typing import Final

from pipeline.kubeflow.lint.document import Linter
from pipeline.kubeflow.lint.finding import show

_TOKEN: Final = re.compile(
    r"'''.*?'''|\"\"\".*?\"\"\"|'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\"|[][(){}'\"]", re.DOTALL
)
_PAIRS: Final = {")": "(", "]": "[", "}": "{"}
_UNFINISHED: Final = re.compile(r"[-=<>!&|+*/%,.?:]\s*$")
_PARAMETER: Final = re.compile(r"inputs\.parameter_values\[\s*(?:'([^']*)'|\"([^\"]*)\")\s*\]")


class ExpressionLinter(Linter):
    """Finds what the driver cannot evaluate."""

    def check_syntax(self, path: str, expression: str) -> None:
        """Check brackets, quotes and the end of an expression."""
        problem = _find_problem(expression)
        if problem:
            self.add(
                path,
                f"{problem} in the expression {show(expression)}; the task fails when it starts",
                "Correct the expression",
            )

    def check_condition(self, path: str, expression: str, names: Container[str]) -> None:
        """Check the condition of a task.

        Args:
            path: Where it stands.
            expression: The condition.
            names: The parameters that the task has.
        """
        self.check_syntax(path, expression)
        for single, double in _PARAMETER.findall(expression):
            if (single or double) not in names:
                self.add(
                    path,
                    f"the task has no parameter {single or double!r}, which its condition asks for; the"
                    " task fails when it starts",
                    "Give the task this parameter, or correct the condition",
                )


def _find_problem(expression: str) -> str:
    opened: list[str] = []
    for token in _TOKEN.findall(expression):
        if token in "'\"":
            return "a quote is not closed"
        if token in "([{":
            opened.append(token)
        elif token in _PAIRS and (not opened or opened.pop() != _PAIRS[token]):
            return f"{token!r} closes nothing"
    if opened:
        return f"{opened[-1]!r} is not closed"
    return "something is missing at the end" if _UNFINISHED.search(expression) else ""
