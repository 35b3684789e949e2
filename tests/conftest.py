"""Settings for the unit tests."""

import gc

import matplotlib
from hypothesis import settings

matplotlib.use("Agg")  # no window; not MPLBACKEND, which the notebooks' kernels would inherit

# The same examples on every run, and no time limit an example: a slow machine is not a failure.
settings.register_profile("dartslib", derandomize=True, deadline=None)
settings.load_profile("dartslib")


def pytest_collection_finish():
    # What was imported stays: the collector need not look through torch again and again.
    gc.freeze()
