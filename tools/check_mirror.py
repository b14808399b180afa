"""Finds modules without a test of their own, and tests without a module.

``gatewayd/pipeline/window.py`` is tested by ``tests/pipeline/test_window.py``. A module may lack its twin
only if it stands in ``ALLOWED`` with the reason; a reason for a module that is gone, or that has a twin by now,
is an error too, so the list cannot rot.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Module, relative to gatewayd/ -> why it has no test file of its own.
ALLOWED = {
    "domain/arrays.py": "names for types: nothing runs",
    "domain/figures.py": "frozen counters without behaviour; whoever fills them is tested",
    "domain/model.py": "frozen values; tests of model/bundle.py hold their rules",
    "domain/reading.py": "frozen columns; tests of the pipeline's steps hold their rules",
    "domain/verdict.py": "frozen values without behaviour",
    "domain/window.py": "frozen columns; tests of pipeline/window.py hold their rules",
    "__main__.py": "one call of the command line, which the system tests start",
    "errors.py": "the error tree; whoever raises is tested",
}
# Folders of tests that mirror no package: they test modules together, or files of the repository.
BESIDE = {"integration", "system", "golden", "support", "tools"}
# Tests, relative to tests/, of files that are no module of gatewayd.
OTHER_TESTS = {
    "test_docs.py": "the documentation",
    "test_schemas.py": "docs/schema",
}


def complaints(package: Path, tests: Path) -> list[str]:
    """Return one line for each missing twin and each entry of the lists above that no longer holds."""
    modules = {
        path.relative_to(package).as_posix() for path in package.rglob("*.py") if path.name != "__init__.py"
    }
    twins = {twin_of(module): module for module in modules}
    found = {
        path.relative_to(tests).as_posix()
        for path in tests.rglob("test_*.py")
        if path.relative_to(tests).parts[0] not in BESIDE
    }
    lines = [
        f"{package.name}/{module}: no {tests.name}/{twin}"
        for twin, module in twins.items()
        if twin not in found and module not in ALLOWED
    ]
    lines += [f"{tests.name}/{test}: no such module" for test in found - twins.keys() - OTHER_TESTS.keys()]
    lines += [f"ALLOWED: {module} is gone" for module in ALLOWED.keys() - modules]
    lines += [f"ALLOWED: {module} has a test now" for module in ALLOWED if twin_of(module) in found]
    return sorted(lines)


def twin_of(module: str) -> str:
    """Return the test file of a module, both relative to their folders; a package's test bears its name."""
    path = Path(module)
    return (path.parent / f"test_{path.name}").as_posix()


def main() -> int:
    """Print the complaints; 1 if there are any."""
    lines = complaints(ROOT / "gatewayd", ROOT / "tests")
    for line in lines:
        print(line)
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
