"""The published documents' schemas, ready to validate with."""

import json
import re
from pathlib import Path

from jsonschema import Draft202012Validator

DOCS = Path(__file__).resolve().parents[2] / "docs"
KINDS = ("prediction", "alert", "status")

Document = dict[str, object]


def schema(kind: str) -> Document:
    """Read one of docs/schema."""
    found = json.loads((DOCS / "schema" / f"{kind}.schema.json").read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def validator(kind: str) -> Draft202012Validator:
    """Return a validator of one kind of document."""
    return Draft202012Validator(schema(kind))


def documented() -> list[Document]:
    """Return the JSON documents that docs/payloads.md shows, in order."""
    text = (DOCS / "payloads.md").read_text(encoding="utf-8")
    return [json.loads(block) for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL)]


def shown(language: str, about: str) -> list[str]:
    """Return the blocks of docs/payloads.md that are marked so: ``json senml`` is a SenML pack."""
    text = (DOCS / "payloads.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language} {about}\n(.*?)\n```", text, re.DOTALL)


def kind_of(document: Document) -> str:
    """Tell which schema a document is meant for."""
    return str(document.get("kind", "status"))
