"""CSV payloads: lines of cells, each line one reading of each column.

The columns are named in the configuration, or else by the first line of each message: ``time,temp,rh`` and below
``1741944413,21.5,48``. A cell that is empty or says ``NaN`` is absent. A line counts as a whole or not at all, as a
wrong number of cells shifts them; a bad one costs nothing but itself. Columns of text are named as such: that a cell
of any other column is no number is an error, and not overlooked.

Reference:
    RFC 4180, for quotes and line ends.
"""

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gatewayd.errors import RejectedInputError
from gatewayd.formats.leaves import MAX_BYTES, MAX_LEAVES
from gatewayd.formats.local_time import Stamps
from gatewayd.formats.sample import Sample, Samples
from gatewayd.formats.scalar import text_number
from gatewayd.formats.timestamp import Unit

MAX_LINES = MAX_LEAVES


class CsvFormat:
    """Reads CSV. Keeps nothing between messages.

    Args:
        columns: Their names, in order; an empty name is a column that is not read. None: the first line has them.
        delimiter: One character.
        decimal: What stands before the fraction; a comma there allows no points.
        time: Name of the column of time stamps; None: there is none.
        time_unit: See ``timestamp.to_ns``.
        timezone: Of time stamps without an offset; None: UTC.
        device: Name of the column that names the device; None: it's the topic's.
        text: Names of columns that hold text, and no readings.
    """

    def __init__(  # one per option of the format
        self,
        *,
        columns: Sequence[str] | None = None,
        delimiter: str = ",",
        decimal: str = ".",
        time: str | None = None,
        time_unit: Unit = "auto",
        timezone: str | None = None,
        device: str | None = None,
        text: Sequence[str] = (),
    ) -> None:
        if len(delimiter) != 1 or delimiter in '"\r\n' or delimiter == decimal:
            raise ValueError(
                f"delimiter must be one character, no quote and not the decimal's, not {delimiter!r}"
            )
        if decimal not in (".", ","):
            raise ValueError(f"decimal must be '.' or ',', not {decimal!r}")
        self._delimiter = delimiter
        self._decimal_comma = decimal == ","
        self._time = time
        self._stamps = Stamps(time_unit, timezone)
        self._device = device
        self._text = frozenset(text)
        try:
            self._layout = None if columns is None else self._laid_out(columns)
        except RejectedInputError as error:
            raise ValueError(
                "columns must hold names, none twice, and among them those of the time and the device"
            ) from error

    def decode(self, topic: str, payload: bytes, *, arrived_at: int) -> Samples:  # noqa: ARG002  # the Protocol's
        """Decode one message; see ``SampleFormat``.

        Errors: ``too_large``, ``not_text``, ``no_header`` (not a name for each column, or none twice; no column for the
        time or the device), ``not_csv`` (a quote that never ends; what's before is kept), ``too_many_values`` and
        ``too_many_lines`` (likewise); per line: ``wrong_columns``, ``not_a_number``; with a line's samples that have no
        time, although one was expected: ``no_time``, ``invalid_time``, ``unbelievable_time``; with a local time that
        clocks skip: ``skipped_time``.
        """
        if len(payload) > MAX_BYTES:
            return Samples(errors=("too_large",))
        samples: list[Sample] = []
        errors: list[str] = []
        try:
            self._read(payload, samples, errors, arrived_at)
        except RejectedInputError as error:
            errors.append(error.reason)
        return Samples(samples=tuple(samples), errors=tuple(errors))

    def _read(self, payload: bytes, samples: list[Sample], errors: list[str], arrived_at: int) -> None:
        lines = self._lines(payload)
        layout = self._layout
        if layout is None:
            header = next(lines, None)
            if header is None:
                return
            layout = self._laid_out([name.strip() for name in header])
        for cells in lines:
            try:
                samples.extend(self._line(layout, cells, errors, arrived_at))
            except RejectedInputError as error:
                errors.append(error.reason)
            if len(samples) > MAX_LEAVES:
                del samples[MAX_LEAVES:]
                raise RejectedInputError("too_many_values")

    def _lines(self, payload: bytes) -> Iterator[list[str]]:
        """Cut the payload into lines of cells; blank lines are left out.

        Raises:
            RejectedInputError: ``not_text``, ``not_csv`` or ``too_many_lines``.
        """
        try:
            text = payload.decode("utf-8-sig")  # Excel's exports start with a byte order mark
        except UnicodeDecodeError as error:
            raise RejectedInputError("not_text") from error
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=self._delimiter, strict=True)
        count = 0
        try:
            for cells in reader:
                if count == MAX_LINES:
                    raise RejectedInputError("too_many_lines")
                count += 1
                if cells:
                    yield cells
        except csv.Error as error:
            raise RejectedInputError("not_csv", str(error)[:80]) from error

    def _laid_out(self, names: Sequence[str]) -> "_Layout":
        named = [name for name in names if name]
        needed = {name for name in (self._time, self._device) if name is not None}
        if not named or len(set(named)) < len(named) or not needed <= set(named):
            raise RejectedInputError("no_header")
        no_readings = needed | self._text
        return _Layout(
            width=len(names),
            channels=tuple(
                (index, name) for index, name in enumerate(names) if name and name not in no_readings
            ),
            time=None if self._time is None else names.index(self._time),
            device=None if self._device is None else names.index(self._device),
        )

    def _line(self, layout: "_Layout", cells: list[str], errors: list[str], arrived_at: int) -> list[Sample]:
        if len(cells) != layout.width:
            raise RejectedInputError("wrong_columns", f"{len(cells)} instead of {layout.width}")
        values = [(name, self._number(cells[index])) for index, name in layout.channels]
        found = [(name, value) for name, value in values if not math.isnan(value)]
        if not found:
            return []
        taken_at: int | None = None
        if layout.time is not None:
            try:
                stamp = self._stamps.read(cells[layout.time].strip() or None, arrived_at=arrived_at)
            except RejectedInputError as error:
                errors.append(error.reason)
            else:
                taken_at = stamp.taken_at
                errors += [] if stamp.exists else ["skipped_time"]
        device = None if layout.device is None else cells[layout.device].strip() or None
        return [
            Sample(device=device, channel=name, value=value, unit=None, taken_at=taken_at)
            for name, value in found
        ]

    def _number(self, cell: str) -> float:
        if self._decimal_comma:
            if "." in cell:
                raise RejectedInputError(
                    "not_a_number", cell[:40]
                )  # 1.234 would be a thousand times too small
            cell = cell.replace(",", ".")
        return text_number(cell)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """Where things stand in a line.

    Attributes:
        width: Number of cells.
        channels: Index and name of each that holds readings.
        time: Index; None: nowhere.
        device: Index; None: nowhere.
    """

    width: int
    channels: tuple[tuple[int, str], ...]
    time: int | None
    device: int | None
