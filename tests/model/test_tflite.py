"""Model files read without a runtime: whole ones, cut ones, damaged ones, and ones that aren't models."""

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.domain.model import TensorSpec
from gatewayd.errors import ModelError
from gatewayd.model.tflite import read_model
from tests.support.models import NAMES, case_model, golden_bundle

WHOLE = golden_bundle("dense_int8").model


@pytest.mark.parametrize(
    ("name", "given_shape", "result_shape", "dtype"),
    [
        ("dense_int8", (32, 4), (32, 4), "int8"),
        ("dense_float32", (32, 4), (32, 4), "float32"),
        ("conv_int8", (64, 8), (64, 8), "int8"),
        ("classifier_int8", (16, 3), (3,), "int8"),
        ("gru_float32", (16, 3), (1,), "float32"),
    ],
)
def test_tensors_of_real_models(name, given_shape, result_shape, dtype):
    file = read_model(golden_bundle(name).model)
    assert (file.input.shape, file.output.shape) == (given_shape, result_shape)
    assert (file.input.dtype, file.output.dtype) == (dtype, dtype)
    assert (file.input.scale > 0) == (dtype == "int8")
    assert file.custom_ops == ()


def test_case_18_scale_and_zero_point_are_read_from_the_model():
    file = read_model(case_model("fc_uint8.tflite"))
    scales = struct.unpack("<2f", struct.pack("<2f", 0.05, 0.1))  # as float32
    assert file.input == TensorSpec(shape=(4,), dtype="uint8", scale=scales[0], zero_point=118)
    assert file.output == TensorSpec(shape=(2,), dtype="uint8", scale=scales[1], zero_point=133)
    outside = read_model(case_model("float_io_int8_core.tflite"))
    assert outside.input == TensorSpec(shape=(4,), dtype="float32", scale=0.0, zero_point=0)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_is_cut_anywhere_is_refused(name):
    """The runtimes crash on some of these; not one may reach them. (The last 16 bytes can be padding.)"""
    model = golden_bundle(name).model
    for end in range(0, len(model) - 16, 7):
        with pytest.raises(ModelError):
            read_model(model[:end])


@given(st.data())
def test_damaged_bytes_give_a_model_or_an_error_of_ours(data):
    damaged = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ModelError):
        read_model(bytes(damaged))


@given(st.binary(max_size=200))
def test_any_bytes_behind_the_mark_are_an_error(rest):
    with pytest.raises(ModelError):
        read_model(struct.pack("<I", 8) + b"TFL3" + rest)


@given(st.binary(max_size=64).filter(lambda data: data[4:8] != b"TFL3"))
def test_other_files_are_not_valid_models(data):
    with pytest.raises(ModelError, match="not a valid model" if data else "is empty"):
        read_model(data)


def test_a_file_that_has_a_vector_longer_than_itself_is_refused_at_once():
    """A length of 4 GiB is held to the file's size before anything is made of it."""
    position = WHOLE.index(b"TFL3")
    model = bytearray(WHOLE)
    for offset in range(position + 4, len(model) - 4, 4):
        model[offset : offset + 4] = b"\xff\xff\xff\xff"
    with pytest.raises(ModelError, match="cut short or damaged"):
        read_model(bytes(model))


def _patched(old, new):
    assert len(old) == len(new)
    assert WHOLE.count(old) >= 1
    return WHOLE.replace(old, new)


@pytest.mark.parametrize("scale", [0.0, -0.5, float("nan"), float("inf")])
def test_a_scale_that_cannot_be_divided_by_is_refused(scale):
    found = read_model(WHOLE).input.scale
    with pytest.raises(ModelError, match=r"input must have a scale that is finite and greater than 0, not"):
        read_model(_patched(struct.pack("<f", found), struct.pack("<f", scale)))


def test_a_zero_point_outside_the_dtype_is_refused():
    zero_point = read_model(WHOLE).output.zero_point
    with pytest.raises(ModelError, match=r"must have a zero point in -128\.\.127, not 300"):
        read_model(_patched(struct.pack("<Iq", 1, zero_point), struct.pack("<Iq", 1, 300)))


def test_a_fixed_batch_other_than_one_is_refused():
    with pytest.raises(ModelError, match=r"input must have batch size 1 in the file, not shape \[2, 32, 4\]"):
        read_model(_patched(struct.pack("<3i", 1, 32, 4), struct.pack("<3i", 2, 32, 4)))


def test_a_free_length_is_refused():
    with pytest.raises(ModelError, match=r"input must have a fixed shape after the batch, not \[-1, -1, 4\]"):
        read_model(_patched(struct.pack("<3i", -1, 32, 4), struct.pack("<3i", -1, -1, 4)))


class Place:
    """Walks to a field of the whole model by the numbers of schema.fbs, to damage exactly that one."""

    def __init__(self, position=None):
        (root,) = struct.unpack_from("<I", WHOLE, 0)
        self.position = root if position is None else position

    def field(self, number):
        """Where the field's value, or the reference to it, stands."""
        vtable = self.position - struct.unpack_from("<i", WHOLE, self.position)[0]
        (offset,) = struct.unpack_from("<H", WHOLE, vtable + 4 + 2 * number)
        assert offset
        return self.position + offset

    def vector(self, number):
        """Where the length of a vector stands."""
        return self.field(number) + struct.unpack_from("<I", WHOLE, self.field(number))[0]

    def table(self, number, index=None):
        """A table, or one of a vector of tables."""
        at = self.field(number) if index is None else self.vector(number) + 4 + 4 * index
        return Place(at + struct.unpack_from("<I", WHOLE, at)[0])


MODEL = Place()
GRAPH = MODEL.table(2, 0)
INPUT = GRAPH.table(0, struct.unpack_from("<i", WHOLE, GRAPH.vector(1) + 4)[0])
OPERATOR = GRAPH.table(3, 0)


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (MODEL.vector(2), b"\0\0\0\0", "is not a valid model: it has no graph"),
        (GRAPH.vector(1), b"\0\0\0\0", "must have one input, not 0"),
        (GRAPH.vector(2), b"\0\0\0\0", "must have one output, not 0"),
        (INPUT.field(1), b"\x02", "input must be float32, int8, uint8 or int16, not int32"),
        (INPUT.field(1), b"\x63", "input must be float32, int8, uint8 or int16, not type 99"),
        (
            INPUT.vector(0),
            b"\1\0\0\0",
            "input must have a batch dimension and at least one more, not shape [1]",
        ),
        (
            INPUT.table(4).vector(2),
            b"\0\0\0\0",
            "input is int8 and must have one scale and one zero point, not 0 and 1",
        ),
        (GRAPH.vector(1) + 4, b"\x00\x01\0\0", "is not a valid model: cut short or damaged"),
        (INPUT.field(2), b"\x00\x01\0\0", "is not a valid model: cut short or damaged"),
        (OPERATOR.vector(1) + 4, b"\xfe\xff\xff\xff", "is not a valid model: cut short or damaged"),
        (0, b"\xff\xff\xff\xff", "is not a valid model: cut short or damaged"),
        (MODEL.position, b"\0\0\0\x80", "is not a valid model: cut short or damaged"),
        (MODEL.position, b"\xff\xff\xff\x7f", "is not a valid model: cut short or damaged"),
    ],
)
def test_one_damaged_field_is_refused(position, value, message):
    model = bytearray(WHOLE)
    model[position : position + len(value)] = value
    with pytest.raises(ModelError) as caught:
        read_model(bytes(model))
    assert str(caught.value) == message


def test_ops_that_are_not_built_in_are_named():
    assert read_model(case_model("flex_erf.tflite")).custom_ops == ("FlexErf",)
