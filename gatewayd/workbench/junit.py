"""Results of cases as JUnit XML, the form that build servers read; no namespace, no schema of its own.

One ``testsuite`` a file, one ``testcase`` a case, its differences in ``failure``.
"""

from collections.abc import Sequence
from xml.sax.saxutils import escape, quoteattr

from gatewayd.workbench.case import Case

Result = tuple[Case, list[str], float]  # the case, its differences, how long it took in s


def junit(results: Sequence[Result]) -> str:
    """Write results, in their order, as a document."""
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', "<testsuites>"]
    for path in dict.fromkeys(case.path for case, _, _ in results):
        own = [result for result in results if result[0].path == path]
        failures = sum(bool(differences) for _, differences, _ in own)
        took_s = sum(took_s for _, _, took_s in own)
        lines.append(
            f'  <testsuite name={_attribute(str(path))} tests="{len(own)}" failures="{failures}" time="{took_s:.3f}">'
        )
        lines += [line for result in own for line in _case(*result)]
        lines.append("  </testsuite>")
    return "\n".join((*lines, "</testsuites>", ""))


def _case(case: Case, differences: list[str], took_s: float) -> list[str]:
    head = (
        f"    <testcase name={_attribute(case.name)} classname={_attribute(case.path.name)}"
        f' file={_attribute(str(case.path))} line="{case.line}" time="{took_s:.3f}"'
    )
    if not differences:
        return [f"{head}/>"]
    body = escape("\n".join(map(_legal, differences)))
    failure = f"      <failure message={_attribute(differences[0])}>{body}</failure>"
    return [f"{head}>", failure, "    </testcase>"]


def _attribute(text: str) -> str:
    return quoteattr(_legal(text))


def _legal(text: str) -> str:
    """Write what XML 1.0 can't hold (2.2, Char), and what would end a line, as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
