"""Rows of Parquet files, where the extra is there."""

import subprocess
import sys

import numpy as np
import pytest

from gatewayd.workbench.recording import RecordingError, Unread
from gatewayd.workbench.recording_parquet import Nanoseconds, read_parquet_rows
from gatewayd.workbench.recording_table import read_rows

core = pytest.importorskip("arro3.core", reason="needs the extra 'parquet'")
io = pytest.importorskip("arro3.io", reason="needs the extra 'parquet'")

BEGIN = 1_700_000_000 * 10**9


def write(path, **columns):
    io.write_parquet(core.Table.from_pydict(columns), path)
    return path


def array(values, kind):
    return core.Array(values, type=kind)


def test_rows_are_plain_values_and_time_stamps_keep_their_nanoseconds(tmp_path):
    whole = core.DataType.int64()
    path = write(
        tmp_path / "t.parquet",
        ns=array([BEGIN + 1, None], whole).cast(core.DataType.timestamp("ns")),
        us=array([BEGIN // 1000, 0], whole).cast(core.DataType.timestamp("us", tz="UTC")),
        name=array(["p", None], core.DataType.string()),
        coded=array(["p", "q"], core.DataType.string()).cast(
            core.DataType.dictionary(core.DataType.int32(), core.DataType.string())
        ),
        x=array([1.5, None], core.DataType.float64()),
        n=array([7, 8], core.DataType.int16()),
        flag=array([True, None], core.DataType.bool()),
    )
    titles = ("ns", "us", "name", "coded", "x", "n", "flag")
    rows = list(read_parquet_rows(path))
    assert rows == [
        (titles, (BEGIN + 1, BEGIN, "p", "p", 1.5, 7, True)),
        (titles, (None, 0, None, "q", None, 8, None)),
    ]
    ns, us, *_, n, _ = rows[0][1]
    assert type(ns) is type(us) is Nanoseconds
    assert type(n) is int


def test_rows_of_many_batches_are_numbered_on(tmp_path):
    path = write(tmp_path / "t.parquet", x=core.Array(np.arange(10_000, dtype=np.float64)))
    rows = list(read_rows(path, "parquet", Unread(), lambda *_: None))
    assert rows[0] == (1, ("x",), (0.0,))
    assert rows[-1] == (10_000, ("x",), (9999.0,))
    assert rows[0].titles is rows[-1].titles
    assert len(rows) == 10_000


def test_the_columns_are_told_once(tmp_path):
    path = write(tmp_path / "t.parquet", x=core.Array(np.zeros(3)), y=core.Array(np.zeros(3)))
    told = []
    assert len(list(read_rows(path, "parquet", Unread(), lambda *titles: told.append(titles)))) == 3
    assert told == [(path, 0, ("x", "y"))]


@pytest.mark.parametrize("keep", [0, 3, 12, -1, -20])
def test_a_file_that_is_cut_off_is_one_line(tmp_path, keep, capfd):
    path = write(tmp_path / "t.parquet", x=core.Array(np.arange(100, dtype=np.float64)))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(RecordingError) as caught:
        list(read_parquet_rows(path))
    assert str(caught.value) == f"{path}: is no Parquet file, or is cut off"
    assert capfd.readouterr() == ("", "")


def test_a_footer_of_nonsense_is_one_error_too(tmp_path):
    path = tmp_path / "t.parquet"
    path.write_bytes(b"PAR1" + b"\xff" * 50 + (50).to_bytes(4, "little") + b"PAR1")
    with pytest.raises(RecordingError, match="is no Parquet file that can be read"):
        list(read_parquet_rows(path))


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(RecordingError, match=r"none\.parquet: cannot be read: No such file"):
        list(read_parquet_rows(tmp_path / "none.parquet"))


def test_without_the_extra_it_is_named(tmp_path):
    code = (
        "import sys\nsys.modules['arro3'] = None\n"
        "from pathlib import Path\nfrom gatewayd.workbench.recording_parquet import read_parquet_rows\n"
        "list(read_parquet_rows(Path('t.parquet')))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1].endswith(
        "t.parquet: Parquet needs the extra 'parquet': pip install 'gatewayd[parquet]'"
    )
