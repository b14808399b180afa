"""The schemas are sound, describe every field, and the documentation's examples obey them."""

import copy
import functools
import json
import re
from collections.abc import Iterator
from typing import get_args

import pytest
from jsonschema import Draft202012Validator

from gatewayd.domain.verdict import Change, Condition, Status
from tests.support.flows import bundle_messages, bundle_plan, make_flow, run
from tests.support.models import golden_bundle
from tests.support.schemas import KINDS, Document, documented, kind_of, schema, validator


def _objects(node: object) -> Iterator[Document]:
    """Every schema of an object with named properties, however deep."""
    if isinstance(node, dict):
        if node.get("type") == "object" and "properties" in node:
            yield node
        for child in node.values():
            yield from _objects(child)
    elif isinstance(node, list):
        for child in node:
            yield from _objects(child)


def _examples() -> list[Document]:
    return [example for kind in KINDS for example in schema(kind)["examples"]]


@pytest.mark.parametrize("kind", KINDS)
def test_a_schema_is_a_valid_schema(kind):
    Draft202012Validator.check_schema(schema(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_every_object_is_closed_and_every_field_described(kind):
    found = list(_objects(schema(kind)))
    assert found
    for node in found:
        assert node["additionalProperties"] is False
        for name, field in node["properties"].items():
            assert field.get("description"), name


@pytest.mark.parametrize("kind", KINDS)
def test_a_schemas_own_examples_obey_it(kind):
    assert schema(kind)["examples"]
    for example in schema(kind)["examples"]:
        validator(kind).validate(example)


def test_payloads_md_shows_exactly_the_schemas_examples():
    """One source: a person reads the page, a machine reads the schema, and both say the same."""
    assert documented() == _examples()


@pytest.mark.parametrize("document", _examples(), ids=kind_of)
def test_a_document_with_a_field_missing_renamed_or_added_is_refused(document):
    check = validator(kind_of(document))
    required = schema(kind_of(document))["required"]
    for name in required:
        broken = copy.deepcopy(document)
        value = broken.pop(name)
        assert not check.is_valid(broken), f"{name} is missing"
        broken[f"{name}_"] = value
        assert not check.is_valid(broken), f"{name} has another name"
    assert not check.is_valid({**document, "extra": 1})


@pytest.mark.parametrize("document", _examples(), ids=kind_of)
def test_a_field_of_another_type_is_refused(document):
    check = validator(kind_of(document))
    for name in document:
        assert not check.is_valid({**document, name: [{"unlike": "any"}]}), name


@pytest.mark.parametrize(
    "text",
    ["2026-03-14T10:26:50+00:00", "2026-03-14 10:26:50Z", "2026-03-14T10:26:50.1234567890Z", "1773484010"],
)
def test_a_time_that_is_not_rfc_3339_in_utc_is_refused(text):
    alert = schema("alert")["examples"][0]
    assert not validator("alert").is_valid({**alert, "raised_at": text})


def test_an_alert_that_is_over_has_its_time_and_one_that_lasts_has_none():
    raised, cleared, _ = schema("alert")["examples"]
    for state in ("cleared", "latched", "reset"):
        assert validator("alert").is_valid({**cleared, "state": state})
        assert not validator("alert").is_valid({**cleared, "state": state, "cleared_at": None})
    for state in ("raised", "escalated"):
        assert validator("alert").is_valid({**raised, "state": state})
        assert not validator("alert").is_valid(
            {**raised, "state": state, "cleared_at": cleared["cleared_at"]}
        )


def test_the_schema_knows_every_condition_state_and_status():
    properties = schema("alert")["properties"]
    for name, kind in (("condition", Condition), ("state", Change), ("status", Status)):
        assert properties[name]["enum"] == list(get_args(kind))


@pytest.fixture(scope="module")
def published() -> list[Document]:
    """What the pipeline really publishes: each task's predictions, alerts raised and cleared."""
    found: list[Document] = []
    for name in ("dense_int8", "classifier_int8", "gru_float32"):
        bundle = golden_bundle(name)
        flow = make_flow(bundle_plan(name, bundle))
        messages = bundle_messages(bundle, f"{name}/Pump #1", 120, seed=1)
        found += [json.loads(p.payload) for p in run(flow, messages).publications]
    return found


def test_what_is_published_obeys_the_schemas(published):
    for document in published:
        validator(kind_of(document)).validate(document)
    assert {document.get("state") for document in published} == {None, "raised", "cleared"}
    predictions = [document for document in published if document["kind"] == "prediction"]
    assert [any(part in p for p in predictions) for part in ("contributions", "probabilities")] == [
        True,
        True,
    ]
    assert any("contributions" not in p and "probabilities" not in p for p in predictions)


def _places(node: object, path: tuple[object, ...] = ()) -> Iterator[tuple[object, ...]]:
    """Every place in a document but its root."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in items:
        yield (*path, key)
        yield from _places(child, (*path, key))


def test_what_is_published_is_refused_once_any_of_it_is_spoilt(published):
    """A schema that lets a spoilt document through describes less than it claims."""
    kinds = {(d["kind"], d.get("state"), "contributions" in d, "probabilities" in d): d for d in published}
    for document in kinds.values():
        check = validator(kind_of(document))
        for place in _places(document):
            broken = copy.deepcopy(document)
            holder = functools.reduce(lambda node, key: node[key], place[:-1], broken)
            holder[place[-1]] = [{"unlike": "any"}]
            assert not check.is_valid(broken), place
            if isinstance(holder, dict) and holder is not broken.get("labels"):
                del holder[place[-1]]
                holder[f"{place[-1]} "] = 0
                assert not check.is_valid(broken) or place[0] in ("contributions", "probabilities"), place


def test_documented_ids_are_those_that_the_pattern_describes():
    for document in _examples():
        if "id" in document:
            assert re.fullmatch("[0-9a-f]{32}", document["id"])
