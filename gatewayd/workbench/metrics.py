"""How good a detector is, counted row by row; no point adjustment, which flatters even random scores."""

from dataclasses import dataclass

from gatewayd.domain.arrays import Bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Rows by truth and alarm; counts of several recordings add up."""

    true_positive: int = 0
    false_positive: int = 0
    false_negative: int = 0
    true_negative: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            true_positive=self.true_positive + other.true_positive,
            false_positive=self.false_positive + other.false_positive,
            false_negative=self.false_negative + other.false_negative,
            true_negative=self.true_negative + other.true_negative,
        )

    @property
    def precision(self) -> float:
        """Share of alarms that are right; 0 without an alarm."""
        return _share(self.true_positive, self.false_positive)

    @property
    def recall(self) -> float:
        """Share of anomalous rows with an alarm; 0 without an anomalous row."""
        return _share(self.true_positive, self.false_negative)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 0 where neither is defined."""
        return _share(2 * self.true_positive, self.false_positive + self.false_negative)

    @property
    def false_alarm_rate(self) -> float:
        """Share of normal rows with an alarm; 0 without a normal row."""
        return _share(self.false_positive, self.true_negative)

    @property
    def accuracy(self) -> float:
        """Share of rows that are right."""
        return _share(self.true_positive + self.true_negative, self.false_positive + self.false_negative)

    def figures(self) -> dict[str, float]:
        """Return everything by name, for a report."""
        return {
            "precision": self.precision,
            "recall": self.recall,
            "f1": self.f1,
            "false_alarm_rate": self.false_alarm_rate,
            "accuracy": self.accuracy,
            "rows": self.true_positive + self.false_positive + self.false_negative + self.true_negative,
        }


def count(truth: Bool, alarm: Bool) -> Counts:
    """Compare alarms with the truth, both of shape ``(rows,)``."""
    return Counts(
        true_positive=int((truth & alarm).sum()),
        false_positive=int((~truth & alarm).sum()),
        false_negative=int((truth & ~alarm).sum()),
        true_negative=int((~truth & ~alarm).sum()),
    )


def _share(part: int, rest: int) -> float:
    return part / (part + rest) if part + rest else 0.0
