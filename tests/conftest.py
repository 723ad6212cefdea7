"""What the tests of several rooms share."""

import secrets

import pytest
from hypothesis import HealthCheck, settings

from sa_vae_tf import environment
from tests.launcher import Launcher

environment.set_up()  # as scripts do

# Of tests/fuzz: few examples, the same each time, or many, others each time, by --hypothesis-profile=torture.
UNTIMED = {"deadline": None, "suppress_health_check": list(HealthCheck)}
settings.register_profile("few", max_examples=20, derandomize=True, **UNTIMED)
settings.register_profile("torture", max_examples=1000, database=None, **UNTIMED)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    if config.option.hypothesis_profile == "torture" and config.option.hypothesis_seed is None:
        config.option.hypothesis_seed = secrets.randbelow(2**32)


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory) -> str:
    """A folder for prepared data, so that each corpus is generated once."""
    return str(tmp_path_factory.mktemp("data"))


# What imports TensorFlow is imported where it is needed: after the environment is set up, and not for tests without it.


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, str]:
    """A tiny corpus of text, its files by the flags that name them."""
    from tests import corpora

    return corpora.write(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def data_file(tmp_path_factory) -> str:
    """The file of a tiny corpus of images."""
    from tests import images

    return images.write(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="session")
def launcher():
    launcher = Launcher()
    yield launcher
    launcher.close()
