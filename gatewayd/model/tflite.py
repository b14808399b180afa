"""A ``.tflite`` file read without a runtime: is it whole, what does it take, what does it give.

The runtimes trust what they load: tflite-runtime 2.14 dies of SIGSEGV on a file that was cut short. So each
table, vector and string of the file is held to the file's bounds here, before a runtime sees it; and a bundle
can be checked where no runtime is installed. The layout is that of FlatBuffers, the field numbers those of
TensorFlow Lite's ``schema.fbs`` (version 3): a table starts with a signed offset back to its vtable, which
has the positions of the table's fields; a vector and a string start with their length; a reference is an
unsigned offset forward.
"""

import math
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import cast

from gatewayd.domain.model import DType, TensorSpec
from gatewayd.errors import ModelError

_IDENTIFIER = b"TFL3"
# schema.fbs, enum TensorType
_DTYPES: dict[int, DType] = {0: "float32", 3: "uint8", 7: "int16", 9: "int8"}
_OTHER_DTYPES = {1: "float16", 2: "int32", 4: "int64", 5: "string", 6: "bool", 8: "complex64", 10: "float64"}
_RANGES = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32_768, 32_767)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """What a model file says about itself.

    Attributes:
        input: Its one input, without the batch dimension.
        output: Its one output, without the batch dimension.
        custom_ops: Names of the operations that are not built into TensorFlow Lite, e.g. ``FlexErf``.
    """

    input: TensorSpec
    output: TensorSpec
    custom_ops: tuple[str, ...]


def read_model(data: bytes) -> ModelFile:
    """Hold a model file to its format and read its tensors.

    Args:
        data: The whole file.

    Raises:
        ModelError: Empty, cut short, not a TensorFlow Lite file, or one with other than one usable input and
            output; one line without the file's name.
    """
    if not data:
        raise ModelError("is empty")
    if len(data) < 8 or data[4:8] != _IDENTIFIER:  # noqa: PLR2004  # root offset and identifier
        raise ModelError("is not a valid model: no TensorFlow Lite file (the mark 'TFL3' is missing)")
    try:
        model = _Table(data, _follow(data, 0))
        return _describe(model)
    except (struct.error, IndexError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError("is not a valid model: cut short or damaged") from error


def _describe(model: "_Table") -> ModelFile:
    custom_ops = []
    codes = list(model.tables(1))
    for code in codes:
        name = code.text(1)
        if name is not None:
            custom_ops.append(name)
    buffers = list(model.tables(4))
    for buffer in buffers:
        buffer.vector(0, 1)
    graphs = list(model.tables(2))
    if not graphs:
        raise ModelError("is not a valid model: it has no graph")
    for graph in graphs:
        _check_graph(graph, codes=len(codes), buffers=len(buffers))
    main = graphs[0]
    ends = []
    for field, what in ((1, "input"), (2, "output")):
        indices = main.ints(field)
        if len(indices) != 1:
            raise ModelError(f"must have one {what}, not {len(indices)}")
        ends.append(_tensor(list(main.tables(0))[indices[0]], what))
    return ModelFile(input=ends[0], output=ends[1], custom_ops=tuple(custom_ops))


def _check_graph(graph: "_Table", *, codes: int, buffers: int) -> None:
    """Hold a graph's tables to the file's bounds and its indices to what they point into."""
    tensors = list(graph.tables(0))
    for tensor in tensors:
        _check_tensor(tensor, buffers)
    for operator in graph.tables(3):
        _check_operator(operator, codes=codes, tensors=len(tensors))
    _check_indices((*graph.ints(1), *graph.ints(2)), least=0, count=len(tensors))


def _check_tensor(tensor: "_Table", buffers: int) -> None:
    tensor.ints(0)
    tensor.text(3)
    tensor.ints(7)
    _check_indices((tensor.number(2, "I"),), least=0, count=buffers)
    quantisation = tensor.table(4)
    if quantisation is not None:
        for field, width in ((0, 4), (1, 4), (2, 4), (3, 8)):
            quantisation.vector(field, width)


def _check_operator(operator: "_Table", *, codes: int, tensors: int) -> None:
    _check_indices((operator.number(0, "I"),), least=0, count=codes)
    # -1: an optional input that is left out
    _check_indices((*operator.ints(1), *operator.ints(2)), least=-1, count=tensors)
    operator.vector(5, 1)
    if operator.number(3, "B"):  # builtin_options_type: which table the union holds
        operator.table(4)


def _check_indices(indices: Iterable[int], *, least: int, count: int) -> None:
    if any(not least <= index < count for index in indices):
        raise IndexError


def _tensor(tensor: "_Table", what: str) -> TensorSpec:
    shape, code = tensor.ints(0), tensor.number(1, "b")
    if code not in _DTYPES:
        found = _OTHER_DTYPES.get(code, f"type {code}")
        raise ModelError(f"{what} must be float32, int8, uint8 or int16, not {found}")
    dtype = _DTYPES[code]
    if len(shape) < 2:  # noqa: PLR2004  # a batch dimension and one more
        raise ModelError(f"{what} must have a batch dimension and at least one more, not shape {list(shape)}")
    if shape[0] != 1:
        raise ModelError(f"{what} must have batch size 1 in the file, not shape {list(shape)}")
    signature = tensor.ints(7)
    if any(size < 1 for size in (*shape[1:], *signature[1:])):
        raise ModelError(f"{what} must have a fixed shape after the batch, not {list(signature or shape)}")
    scale, zero_point = _quantisation(tensor, dtype, what)
    return TensorSpec(shape=shape[1:], dtype=dtype, scale=scale, zero_point=zero_point)


def _quantisation(tensor: "_Table", dtype: DType, what: str) -> tuple[float, int]:
    if dtype == "float32":
        return 0.0, 0
    table = tensor.table(4)
    scales = table.vector(2, 4) if table is not None else b""
    zeros = table.vector(3, 8) if table is not None else b""
    if len(scales) != 4 or len(zeros) != 8:  # noqa: PLR2004  # one float32, one int64
        raise ModelError(
            f"{what} is {dtype} and must have one scale and one zero point, "
            f"not {len(scales) // 4} and {len(zeros) // 8}"
        )
    scale, zero_point = struct.unpack("<f", scales)[0], struct.unpack("<q", zeros)[0]
    if not (math.isfinite(scale) and scale > 0):
        raise ModelError(f"{what} must have a scale that is finite and greater than 0, not {scale}")
    low, high = _RANGES[dtype]
    if not low <= zero_point <= high:
        raise ModelError(f"{what} must have a zero point in {low}..{high}, not {zero_point}")
    return scale, zero_point


def _unpack(data: bytes, position: int, code: str) -> int:
    """Read one little-endian number.

    Raises:
        struct.error: Beyond the end. (A negative position would count from the end: never let one in.)
    """
    if position < 0:
        raise IndexError
    return cast("int", struct.unpack_from("<" + code, data, position)[0])


def _follow(data: bytes, position: int) -> int:
    """Return where the reference at ``position`` points."""
    return position + _unpack(data, position, "I")


class _Table:
    """One table: its fields by number, each held to the file's bounds. An absent field reads as 0, empty or None."""

    def __init__(self, data: bytes, position: int) -> None:
        self._data = data
        self._position = position
        self._vtable = position - _unpack(data, position, "i")
        self._vtable_bytes = _unpack(data, self._vtable, "H")
        table_bytes = _unpack(data, self._vtable + 2, "H")
        if (
            self._vtable_bytes < 4  # noqa: PLR2004  # its own two sizes
            or self._vtable + self._vtable_bytes > len(data)
            or table_bytes < 4  # noqa: PLR2004  # the offset to the vtable
            or position + table_bytes > len(data)
        ):
            raise IndexError

    def _field(self, number: int) -> int | None:
        entry = 4 + 2 * number
        if entry + 2 > self._vtable_bytes:
            return None
        offset = _unpack(self._data, self._vtable + entry, "H")
        return self._position + offset if offset else None

    def number(self, number: int, code: str) -> int:
        field = self._field(number)
        return 0 if field is None else _unpack(self._data, field, code)

    def vector(self, number: int, item_bytes: int) -> bytes:
        """Return a vector's items as bytes."""
        field = self._field(number)
        if field is None:
            return b""
        start = _follow(self._data, field)
        end = start + 4 + _unpack(self._data, start, "I") * item_bytes
        if end > len(self._data):
            raise IndexError
        return self._data[start + 4 : end]

    def ints(self, number: int) -> tuple[int, ...]:
        return tuple(item[0] for item in struct.iter_unpack("<i", self.vector(number, 4)))

    def text(self, number: int) -> str | None:
        field = self._field(number)
        return None if field is None else self.vector(number, 1).decode()

    def table(self, number: int) -> "_Table | None":
        field = self._field(number)
        return None if field is None else _Table(self._data, _follow(self._data, field))

    def tables(self, number: int) -> Iterator["_Table"]:
        """Yield a vector's tables."""
        field = self._field(number)
        if field is None:
            return
        count = len(self.vector(number, 4)) // 4
        start = _follow(self._data, field) + 4
        for index in range(count):
            yield _Table(self._data, _follow(self._data, start + 4 * index))
