"""Every error gatewayd raises on purpose, sorted by who must act.

``StartupError``: the operator (exit 78, no restart). ``TransientError``: the surroundings; back off and try
again. ``RejectedInputError``: a peer sent nonsense; count it and go on. Anything else is a bug of ours and
ends the process with a traceback.
"""

from dataclasses import dataclass


class GatewayError(Exception):
    """The root; caught by this name in the command line only."""


class StartupError(GatewayError):
    """The operator must act; starting again changes nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong in a file, with its place.

    ``line`` and ``column`` count from 1; 0 means that the problem has no place in the file.
    """

    path: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        """Render as ``path:line:column: message``, the form editors jump to."""
        place = f"{self.path}:{self.line}:{self.column}" if self.line else self.path
        return f"{place}: {self.message}"


class ConfigError(StartupError):
    """The configuration is wrong; carries every problem found, in file order."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class ModelError(StartupError):
    """A model bundle's file, shape, dtype, scale or statistics disagree."""


class TransientError(GatewayError):
    """The surroundings failed; back off and try again."""


class RejectedInputError(GatewayError):
    """A peer sent something that cannot be used; count it and go on.

    ``reason`` is a constant word in snake_case, fit for a counter's label.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
