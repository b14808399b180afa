"""The public labelled recordings that lie beside the repository, where they do; for measuring only."""

import csv
import gzip
import os
import re
from pathlib import Path

import pytest

_DEFAULT = Path(__file__).resolve().parents[3] / "shared" / "data"


def recordings(name: str) -> Path:
    """Return the folder of a data set; the test skips where it's absent."""
    root = Path(os.environ.get("GATEWAYD_EVAL_DATA", _DEFAULT))
    if not (root / name).is_dir():
        pytest.skip(f"the evaluation data '{name}' is not beside the repository (GATEWAYD_EVAL_DATA)")
    return root / name


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read a CSV file, ``,`` or ``;``, also gzipped; column names become names of channels."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8", newline="") as file:
        text = file.read()
    delimiter = ";" if ";" in text.splitlines()[0] else ","
    rows = list(csv.DictReader(text.splitlines(), delimiter=delimiter))
    return [{re.sub(r"[^A-Za-z0-9_]", "", name): value for name, value in row.items()} for row in rows]


def write_rows(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def confusion(predicted: list[bool], actual: list[bool]) -> dict[str, float]:
    """Point-wise, no adjustment: F1 = TP / (TP + (FP + FN) / 2), false-alarm rate = FP / (FP + TN)."""
    pairs = list(zip(predicted, actual, strict=True))
    tp = sum(p and a for p, a in pairs)
    fp = sum(p and not a for p, a in pairs)
    fn = sum(a and not p for p, a in pairs)
    tn = len(pairs) - tp - fp - fn
    return {
        "rows": len(pairs),
        "f1": tp / (tp + (fp + fn) / 2) if tp else 0.0,
        "far": fp / (fp + tn) if fp + tn else 0.0,
        "precision": tp / (tp + fp) if tp + fp else 0.0,
        "recall": tp / (tp + fn) if tp + fn else 0.0,
        "accuracy": (tp + tn) / len(pairs),
    }
