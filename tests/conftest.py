"""Settings for the unit tests."""

import gc
import signal

import matplotlib
import pytest
from hypothesis import settings

matplotlib.use("Agg")  # no window; not MPLBACKEND, which the notebooks' kernels would inherit

# The same examples on every run, and no time limit an example: a slow machine is not a failure.
settings.register_profile("dartslib", derandomize=True, deadline=None)
settings.load_profile("dartslib")


def pytest_collection_finish():
    # What was imported stays: the collector need not look through torch again and again.
    gc.freeze()


@pytest.fixture(autouse=True)
def _ctrl_c_arrives():
    """Even if the tests run in the background, where a shell has Ctrl-C ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
