"""Settings for every test and for the kernels that nbval starts; loaded whatever is selected.

It stands at the root, not in tests/, so that `pytest --nbval notebooks/01_toy_bilevel.ipynb`
gets it, too.
"""

import os
from pathlib import Path

from tools.run_notebooks import KERNEL_ENVIRONMENT

# Kernels inherit it: notebooks run here as they ran when their outputs were written.
os.environ.update(KERNEL_ENVIRONMENT)

# What makes programs color or wrap what they print. pytest has read it before the tests begin, and
# the processes that tests start, and compare the words of, are not to.
ASKED_OF_A_TERMINAL = "FORCE_COLOR CLICOLOR_FORCE NO_COLOR PY_COLORS PYTHON_COLORS COLUMNS LINES"


def pytest_sessionstart():
    for name in ASKED_OF_A_TERMINAL.split():
        os.environ.pop(name, None)


def pytest_configure(config):
    # nbval opens its sanitize file relative to the current folder. Make it relative to this one.
    name = config.option.nbval_sanitize_with
    if name is not None and not Path(name).exists():
        config.option.nbval_sanitize_with = str(config.rootpath / name)
