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
# A call costs 1.5 µs whatever its batch, so padding to the next of four sizes beats more calls; beyond 64 a
# window gets hardly cheaper (docs/models.md has the figures), and each size holds the model's activations
# once more.
BATCH_SIZES = (1, 4, 16, 64)
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

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """The prepared batch sizes; ``(1,)`` where the model cannot be batched."""
        return tuple(sorted(self._prepared))

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
        if inputs.dtype != self.input.dtype or inputs.shape[1:] != self.input.shape or n == 0:
            raise ValueError(
                f"expected {self.input.dtype} (n, {self.input.shape}), not {inputs.dtype} {inputs.shape}"
            )
        outputs = cast("Raw", np.empty((n, *self.output.shape), self.output.dtype))
        done = 0
        with self._lock:
            for size in self._plan(n):
                took = min(size, n - done)
                outputs[done : done + took] = self._prepared[size].run(inputs[done : done + took])
                done += took
        return outputs

    def _plan(self, n: int) -> list[int]:
        """Return the batch sizes that n windows are cut into; the last is padded to at most twice its windows."""
        sizes, plan = self.batch_sizes, []
        while n > 0:
            fitting = next((size for size in sizes if n <= size <= 2 * n), None)
            size = fitting or max(size for size in sizes if size <= n)
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
        """Add batch sizes as long as the model gives the same bytes in them as one window at a time."""
        probe = _probe(self.input, max(BATCH_SIZES))
        try:
            expected = np.concatenate([self._prepared[1].run(probe[i : i + 1]) for i in range(len(probe))])
        except RejectedInputError:
            return
        for size in BATCH_SIZES[1:]:
            try:
                prepared = _Prepared(factory(model_content=model, num_threads=threads), size, self.input)
                found = prepared.run(probe[:size])
            except (RuntimeError, ValueError, RejectedInputError):
                return
            if found.shape != expected[:size].shape or found.tobytes() != expected[:size].tobytes():
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

    def run(self, inputs: Raw) -> Raw:
        """Run at most ``size`` windows; the rest of the batch is what was there before."""
        count = len(inputs)
        if count < len(self._padded):
            self._padded[:count] = inputs
            inputs = self._padded
        try:
            self._native.set_tensor(self._input, inputs)
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
