"""The process that atheris drives: libFuzzer ends it without a word, so all that it knows lies in files.

In the folder that it's given: ``corpus/`` (the seeds, and what libFuzzer adds), ``counts`` (one int64 per target: how
many inputs it had), ``findings.jsonl``, and libFuzzer's own ``timeout-…``, ``oom-…`` and ``crash-…``: inputs that ended
the process.
"""

import json
import sys
from collections import Counter
from pathlib import Path

import atheris
import numpy as np

MAX_PER_PROBLEM = 1  # one input tells it all
HANG_S = 20
MAX_MEMORY_MIB = 2048
MAX_INPUT_BYTES = 8192

with atheris.instrument_imports(include=["gatewayd"]):
    from tools.fuzz_parts.examples import TARGETS
    from tools.fuzz_parts.target import chosen, examine, make, packed

    for one in TARGETS:
        make(one)  # imports its format, which atheris shall watch


def main(folder: Path, seconds: int, names: list[str], seed: int) -> None:
    """Fuzz for so many seconds; never returns."""
    targets = [target for target in TARGETS if not names or target.name in names]
    counts = np.memmap(folder / "counts", dtype=np.int64, mode="w+", shape=(len(targets),))
    told: Counter[tuple[str, str]] = Counter()
    write_seeds(folder / "corpus", targets)

    def one_input(data: bytes) -> None:
        if not data:
            return
        target = chosen(data, targets)
        counts[targets.index(target)] += 1
        finding = examine(data, target, make(target))
        if finding is None:
            return
        told[finding.target, finding.problem] += 1
        if told[finding.target, finding.problem] > MAX_PER_PROBLEM:
            return
        # numbered among all targets: who repeats it need not know which were chosen
        repeated = bytes([TARGETS.index(target)]) + finding.data[1:]
        line = {
            "format": finding.target, "problem": finding.problem, "detail": finding.detail, "input": repeated.hex(),
        }  # fmt: skip
        with (folder / "findings.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    options = {
        "max_total_time": seconds,
        "timeout": HANG_S,
        "rss_limit_mb": MAX_MEMORY_MIB,
        "max_len": MAX_INPUT_BYTES,
        "len_control": 20,
        "seed": seed,
        "artifact_prefix": f"{folder}/",
    }
    arguments = [f"-{name}={value}" for name, value in options.items()]
    atheris.Setup([sys.argv[0], *arguments, str(folder / "corpus")], one_input)
    atheris.Fuzz()


def write_seeds(corpus: Path, targets: list) -> None:  # type: ignore[type-arg]
    """Write each target's good messages as inputs."""
    corpus.mkdir()
    for number, target in enumerate(targets):
        for index, messages in enumerate(target.seeds):
            (corpus / f"{target.name}-{number}-{index}").write_bytes(packed(number, messages))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[4:], int(sys.argv[3]))
