"""YAML text to nodes: what is refused, where, and that nothing gets around it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.config.document import MAX_FILE_BYTES, Document, Items, Table, read_document, read_node


def only_fault(data):
    document = read_document(data if isinstance(data, bytes) else data.encode())
    assert len(document.faults) == 1, document.faults
    fault = document.faults[0]
    return fault.place.line, fault.place.column, fault.message


LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)
)


@pytest.mark.parametrize(
    ("data", "line", "words"),
    [
        ("", 1, "empty"),
        ("# nothing\n---\n", 3, "empty"),
        ("- a\n- b\n", 1, "top level"),
        ("text", 1, "top level"),
        ("a: 1\nnote: a: b\n", 2, "no ': ' is expected here"),
        ("a: 1\npassword: !pass\n", 2, "tags are not taken"),
        ("a: 1\nb: !!int 5\n", 2, "tags are not taken"),
        ("a: !x!y 5\n", 1, "tags are not taken"),
        ("a: 1\nb: *S3cret\n", 2, "alias"),
        ("a:\n\tb: 1\n", 2, "tab"),
        ("a: 1\n---\nb: 1\n", 2, "one document"),
        ("a: {b: 1\n", 2, "not valid YAML"),
        ('a: 1\nb: "\\UFFFFFFFF"\n', 2, "out of range"),
        ('a: 1\nb: "\\ud800"\n', 2, "surrogate"),
        (b"a: 1\nb: \xe4\n", 2, "not UTF-8 text: byte 0xe4"),
        (b"a: 1\nb: c\x00d\n", 2, "control character"),
        ("a: 1\na: 2\n", 2, "a: given twice, in lines 1 and 2"),
        ("a:\n  b: 1\n  c: 2\n  b: 3\n", 4, "a.b: given twice, in lines 2 and 4"),
        ("? [a]\n: 1\n", 1, "a key must be a text"),
        ("a: &x\n  b: *x\n", 1, "its own alias"),
        ("<<: 5\na: 1\n", 1, "merges mappings"),
        ("a: {b: x{y}}\n", 1, "must be quoted"),
        ("a: " + "[" * 5000, 1, "levels deep"),
        (LAUGHS, None, "aliases expanded"),
        (b"a: 1 #" + b"x" * MAX_FILE_BYTES, 1, "too long"),
    ],
)
def test_what_is_refused_is_named_with_its_line(data, line, words):
    found_line, column, message = only_fault(data)
    assert words in message
    assert column >= 1
    assert line is None or found_line == line
    assert "S3cret" not in message
    assert "http" not in message


def test_scalars_stay_as_written_and_keys_are_text():
    root = read_document(b"on: 0777\nno: 'x'\n1.10: 22:30\n").root
    assert [(k, e.value.text, e.value.is_plain) for k, e in root.entries.items()] == [
        ("on", "0777", True),
        ("no", "x", False),
        ("1.10", "22:30", True),
    ]


def test_a_byte_order_mark_is_no_part_of_the_first_key():
    document = read_document("\ufeffa: 1\n".encode())
    assert list(document.root.entries) == ["a"]
    assert not document.faults


def test_merged_keys_may_be_overridden_and_keep_their_place():
    text = "x-a: &a {p: 1, q: 1}\nx-b: &b {q: 2, r: 2}\nc:\n  <<: [*a, *b]\n  p: 3\n"
    entries = read_document(text.encode()).root.entries["c"].value.entries
    assert {key: entry.value.text for key, entry in entries.items()} == {"p": "3", "q": "1", "r": "2"}
    assert entries["r"].key_place.line == 2
    assert entries["p"].key_place.line == 5


def test_a_fault_below_a_secret_does_not_name_it():
    assert only_fault("password: {S3cret: 1, S3cret: 2}\n")[2].startswith("a key: given twice")
    assert "S3cret" not in repr(read_document(b"password: S3cret\n"))


@given(
    st.one_of(st.binary(), st.text(alphabet="ab:-[]{}&*!|>'\"%#\n\t ?,<0\\", max_size=200).map(str.encode))
)
def test_any_bytes_give_a_document(data):
    document = read_document(data)
    assert isinstance(document, Document)
    assert document.faults or isinstance(document.root, Table)
    assert document.root is None or all(isinstance(key, str) for key in document.root.entries)


def test_a_file_of_another_kind_may_hold_a_list_at_its_top_level():
    root, faults = read_node(b"- a\n- {b: c}\n", empty="nothing")
    assert isinstance(root, Items)
    assert (len(root.items), faults) == (2, ())


def test_what_is_said_of_an_empty_file_is_up_to_its_kind():
    root, (fault,) = read_node(b"# only a comment\n", empty="expected cases")
    assert (root, fault.message) == (None, "expected cases")
