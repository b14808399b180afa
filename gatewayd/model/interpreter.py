"""The TensorFlow Lite runtimes behind one adapter; the only import of tflite_runtime and ai_edge_litert.

An interpreter has a fixed batch size, and changing it costs an allocation. So there is one interpreter per
prepared batch size; a batch is cut into those and the rest padded. Whether that is safe is tried when the
model is opened: a model that cannot be resized, or whose outputs would depend on the batch size, runs one
window at a time.

The model is loaded from bytes, never mapped: a mapped file that is truncated kills the process (SIGBUS).
"""

import functools
import importlib
import importlib.metadata
import platform
import re
import threading
from collections.abc import Mapping
from typing import Literal, Protocol, cast

import numpy as np
import numpy.typing as npt

from gatewayd.domain.arrays import Raw
from gatewayd.domain.model import TensorSpec
from gatewayd.errors import ModelError, RejectedInputError
from gatewayd.model.bundle import Bundle
from gatewayd.model.tflite import read_model
from gatewayd.model.verify import check_golden

Runtime = Literal["auto", "tflite-runtime", "ai-edge-litert"]
# in the order in which `auto` takes them
_MODULES = {"ai-edge-litert": "ai_edge_litert.interpreter", "tflite-runtime": "tflite_runtime.interpreter"}
# A call costs 3 µs whatever its batch, so one padded call beats several; beyond 64 a window gets hardly cheaper
# (docs/models.md has the figures). Each size holds the activations, and with XNNPACK the weights, once more: a large
# model, whose own work outweighs the call, does with two.
BATCH_SIZES = (1, 4, 16, 64)
_LARGE_BYTES = 1 << 20
_LARGE_BATCH_SIZES = (1, 16)
_PROBE_SEED = 20


class _Native(Protocol):
    """What both runtimes' interpreters do, as far as it is used here."""

    def resize_tensor_input(self, index: int, size: list[int]) -> None: ...
    def allocate_tensors(self) -> None: ...
    def get_input_details(self) -> list[Mapping[str, object]]: ...
    def get_output_details(self) -> list[Mapping[str, object]]: ...
    def set_tensor(self, index: int, value: Raw) -> None: ...
    def invoke(self) -> None: ...
    def get_tensor(self, index: int) -> Raw: ...


class _Factory(Protocol):
    def __call__(self, *, model_content: bytes, num_threads: int) -> _Native: ...


class Interpreter:
    """A model, ready to run; satisfies ``pipeline.infer.Model``. Owned by one thread.

    A lock makes a second thread wait rather than mix its windows into the first one's; it costs 0.1 µs a
    call.
    """

    def __init__(self, model: bytes, *, runtime: Runtime = "auto", threads: int = 1) -> None:
        """Load a model and prepare its batch sizes.

        Args:
            model: The whole ``.tflite`` file.
            runtime: Which runtime; ``auto``: ai-edge-litert where it is installed.
            threads: Of the runtime, per call. More than 1 costs latency where cores are busy.

        Raises:
            ModelError: The model or the runtime cannot be used; one line without a file name.
        """
        file = read_model(model)
        self.input: TensorSpec = file.input
        self.output: TensorSpec = file.output
        self._lock = threading.Lock()
        name, factory = _load_runtime(runtime)
        self.runtime = f"{name} {importlib.metadata.version(name)} {platform.machine()}"
        self._prepared: dict[int, _Prepared] = {}
        try:
            single = _Prepared(factory(model_content=model, num_threads=threads), 1, self.input)
        except (RuntimeError, ValueError) as error:
            raise ModelError(_explain(str(error))) from error
        self._prepared[1] = single
        self._check_details(single)
        self._prepare_batches(factory, model, threads)
        # The prepared batch sizes, ascending; (1,) where the model cannot be batched.
        self.batch_sizes: tuple[int, ...] = tuple(self._prepared)
        self._dtype = np.dtype(self.input.dtype)

    def invoke(self, inputs: Raw) -> Raw:
        """Run the model on windows.

        Args:
            inputs: Shape ``(n, *input.shape)``, n >= 1, of the input's dtype.

        Returns:
            Shape ``(n, *output.shape)``: a copy.

        Raises:
            RejectedInputError: ``model_failed``: the runtime gave up.
            ValueError: Wrong shape or dtype.
        """
        n = len(inputs)
        if inputs.dtype != self._dtype or inputs.shape[1:] != self.input.shape or n == 0:
            raise ValueError(
                f"expected {self.input.dtype} (n, {self.input.shape}), not {inputs.dtype} {inputs.shape}"
            )
        with self._lock:
            if n in self._prepared:
                return self._prepared[n].run(inputs)
            done, parts = 0, []
            for size in self._plan(n):
                parts.append(self._prepared[size].run(inputs[done : done + size]))
                done += size
        return cast("Raw", np.concatenate(parts))

    def _plan(self, n: int) -> list[int]:
        """Return the batch sizes that n windows are cut into; the last may be a third empty."""
        plan = []
        while n > 0:
            fitting = [size for size in self.batch_sizes if n <= size and 2 * size <= 3 * n]
            size = fitting[0] if fitting else max(size for size in self.batch_sizes if size <= n)
            plan.append(size)
            n -= size
        return plan

    def _check_details(self, single: "_Prepared") -> None:
        """Make sure that the runtime reads the file as ``tflite.py`` does."""
        for spec, details, what in (
            (self.input, single.input_details, "input"),
            (self.output, single.output_details, "output"),
        ):
            shape = tuple(int(size) for size in cast("npt.NDArray[np.int32]", details["shape"]))
            dtype = np.dtype(cast("type", details["dtype"])).name
            scale, zero_point = cast("tuple[float, int]", details["quantization"])
            found = TensorSpec(
                shape=shape[1:], dtype=spec.dtype, scale=float(scale), zero_point=int(zero_point)
            )
            if shape[:1] != (1,) or dtype != spec.dtype or (spec.dtype != "float32" and found != spec):
                raise ModelError(f"{what}: the runtime finds {dtype} {shape}, but the file says {spec}")

    def _prepare_batches(self, factory: _Factory, model: bytes, threads: int) -> None:
        """Add batch sizes as long as the model gives the same bytes in them as one window at a time.

        int8 always does; float32 kernels may add up in another order once there are many rows (tflite-runtime's do).
        """
        sizes = BATCH_SIZES if len(model) < _LARGE_BYTES else _LARGE_BATCH_SIZES
        probe = _probe(self.input, max(sizes))
        try:
            expected = self._prepared[1].run_all(probe)
        except RejectedInputError:
            return
        for size in sizes[1:]:
            try:
                prepared = _Prepared(factory(model_content=model, num_threads=threads), size, self.input)
                found = prepared.run_all(probe)
            except (RuntimeError, ValueError, RejectedInputError):
                return
            if found.shape != expected.shape or found.tobytes() != expected.tobytes():
                return
            self._prepared[size] = prepared


class _Prepared:
    """One interpreter with one batch size."""

    def __init__(self, native: _Native, size: int, given: TensorSpec) -> None:
        self._native = native
        self.input_details = native.get_input_details()[0]
        self._input = cast("int", self.input_details["index"])
        if size > 1:
            native.resize_tensor_input(self._input, [size, *given.shape])
        native.allocate_tensors()
        self.input_details = native.get_input_details()[0]
        self.output_details = native.get_output_details()[0]
        self._output = cast("int", self.output_details["index"])
        self._padded = cast("Raw", np.zeros((size, *given.shape), given.dtype))

    def run_all(self, inputs: Raw) -> Raw:
        """Run any number of windows in batches of this one size."""
        size = len(self._padded)
        starts = range(0, len(inputs), size)
        return cast("Raw", np.concatenate([self.run(inputs[start : start + size]) for start in starts]))

    def run(self, inputs: Raw) -> Raw:
        """Run at most ``size`` windows; the rest of the batch is what was there before."""
        count, batch = len(inputs), inputs
        if count < len(self._padded):
            self._padded[:count] = inputs
            batch = self._padded
        try:
            self._native.set_tensor(self._input, batch)
            self._native.invoke()
            return self._native.get_tensor(self._output)[:count]  # get_tensor copies
        except (RuntimeError, ValueError) as error:
            raise RejectedInputError("model_failed", _one_line(str(error))) from error


def open_model(bundle: Bundle, *, runtime: Runtime = "auto", threads: int = 1) -> Interpreter:
    """Load a bundle's model into a runtime, and hold it to the bundle's golden vectors.

    Raises:
        ModelError: The model or the runtime cannot be used, or differs from the golden vectors; one line.
    """
    try:
        interpreter = Interpreter(bundle.model, runtime=runtime, threads=threads)
    except ModelError as error:
        raise ModelError(f"{bundle.folder / 'model.tflite'}: {error}") from error
    check_golden(bundle, interpreter)
    return interpreter


def _load_runtime(runtime: Runtime) -> tuple[str, _Factory]:
    """Find an installed runtime; return its name and its interpreter class."""
    names = list(_MODULES) if runtime == "auto" else [runtime]
    installed = [name for name in names if _is_installed(name)]
    if not installed:
        wanted = " or ".join(names)
        raise ModelError(f"no runtime: install {wanted}")
    name = installed[0]
    if name == "tflite-runtime" and not np.__version__.startswith("1."):
        raise ModelError(
            f"tflite-runtime is built against numpy 1 and cannot run beside numpy {np.__version__}: "
            "install 'numpy<2', or ai-edge-litert in its place"
        )
    return name, _factory(name)


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


@functools.cache
def _factory(name: str) -> _Factory:
    try:
        module = importlib.import_module(_MODULES[name])
    except ImportError as error:
        raise ModelError(f"{name} is installed, but cannot be imported: {_one_line(str(error))}") from error
    return cast("_Factory", module.Interpreter)


def _explain(message: str) -> str:
    """Turn a runtime's refusal of a model into one line."""
    flex = re.search(r"\((Flex\w+)\) failed to prepare", message)
    unresolved = re.search(r"unresolved custom op: (\w+)", message)
    builtin = re.search(r"Didn't find op for builtin opcode '(\w+)' version '(\d+)'", message)
    if flex or unresolved:
        name = (flex or unresolved).group(1)  # type: ignore[union-attr]  # one of the two matched
        return f"needs the op {name}, which this runtime lacks"
    if builtin:
        return f"needs the op {builtin.group(1)} version {builtin.group(2)}, which this runtime lacks"
    return f"is not a model that this runtime can run: {_one_line(message)}"


def _one_line(text: str) -> str:
    return " ".join(text.split())[:200]


def _probe(spec: TensorSpec, count: int) -> Raw:
    """Return windows over the whole range of an input, the same on every start."""
    random = np.random.default_rng(_PROBE_SEED)
    shape = (count, *spec.shape)
    if spec.dtype == "float32":
        return random.standard_normal(shape, np.float32)
    limits = np.iinfo(spec.dtype)
    return cast("Raw", random.integers(limits.min, limits.max, shape, spec.dtype, endpoint=True))
