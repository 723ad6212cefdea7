"""What the tests of several rooms share."""

import pytest

from tests.launcher import Launcher


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory) -> str:
    """A folder for prepared data, so that each corpus is generated once."""
    return str(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def launcher():
    launcher = Launcher()
    yield launcher
    launcher.close()
