"""One gatewayd to a state folder, and a folder that cannot be used is said so."""

import os

import pytest

from gatewayd.errors import StartupError
from gatewayd.store.folder import StateFolder


def test_the_folder_is_made_and_held_until_closed(tmp_path):
    path = tmp_path / "a" / "b"
    with StateFolder(path) as folder:
        assert folder.path == path
        assert path.is_dir()
        with pytest.raises(StartupError, match="in use by another gatewayd"):
            StateFolder(path)
    StateFolder(path).close()


def test_a_file_in_its_place_is_named(tmp_path):
    (tmp_path / "state").write_text("")
    with pytest.raises(StartupError, match=r"state_dir: .*state cannot be used: .*; name a folder"):
        StateFolder(tmp_path / "state")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StartupError, match="cannot be used"):
        StateFolder(tmp_path / "state")
