#!/usr/bin/env python3
"""How well `gatewayd train` does on SKAB: one setting for all 34 files, causal, point by point. JSON out.

    python tools/bench/skab.py [--data DIR] [--recipe autoencoder-linear] [--files 34]

Per file, the first 400 rows train (of them the last quarter sets the threshold) and every later row is tested;
counts are pooled over the files, as on the benchmark's own board. A row has the score of the newest window that
ended at it. Needs the extra 'train', and SKAB v0.9 (https://github.com/waico/SKAB, GPL-3.0, not shipped) in DIR.
Takes about 2 minutes with the linear recipe, 5 with the others.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from gatewayd.workbench.metrics import Counts  # noqa: E402  # after the path is set
from gatewayd.workbench.table import Columns, read_table  # noqa: E402
from gatewayd.workbench.train import TrainOptions, train  # noqa: E402

DATA = Path(os.environ.get("GATEWAYD_EVAL_DATA", ROOT.parent / "shared" / "data")) / "skab"
COLUMNS = Columns(time="datetime", label="anomaly", ignore=("changepoint",))
TRAIN_ROWS = 400


def files(data: Path) -> list[Path]:
    """List the recordings with a fault, in the board's order."""
    return [
        path
        for group in ("valve1", "valve2", "other")
        for path in sorted((data / group).glob("*.csv"), key=lambda path: int(path.stem))
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--recipe", default=TrainOptions(name="skab").recipe)
    parser.add_argument("--files", type=int, default=34, help="only the first so many")
    parser.add_argument("--length", type=int, default=TrainOptions(name="skab").length)
    parser.add_argument("--quantile", type=float, default=TrainOptions(name="skab").threshold_quantile)
    parser.add_argument("--margin", type=float, default=TrainOptions(name="skab").threshold_margin)
    arguments = parser.parse_args()
    recordings = files(arguments.data)[: arguments.files]
    if not recordings:
        print(f"{arguments.data}: no SKAB recordings there", file=sys.stderr)
        return 1
    options = TrainOptions(
        name="skab",
        recipe=arguments.recipe,
        length=arguments.length,
        threshold_quantile=arguments.quantile,
        threshold_margin=arguments.margin,
        train_rows=TRAIN_ROWS,
    )
    pooled = {"float32": Counts(), "int8": Counts()}
    seconds, per_file = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for path in recordings:
            started = time.perf_counter()
            report = train([read_table(path, COLUMNS)], options, Path(folder) / "model")
            seconds.append(time.perf_counter() - started)
            for name, counts in report.counts.items():
                pooled[name] += counts
            per_file[f"{path.parent.name}/{path.name}"] = {
                name: round(counts.f1, 4) for name, counts in report.counts.items()
            }
    result = {
        "files": len(recordings),
        "recipe": options.recipe,
        "length": options.length,
        "threshold": f"{options.threshold_margin} x quantile {options.threshold_quantile} of the held-out rows",
        "pooled": {name: counts.figures() for name, counts in pooled.items()},
        "train_s": {"median": statistics.median(seconds), "max": max(seconds)},
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "f1_per_file": per_file,
    }
    json.dump(result, sys.stdout, indent=1)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
