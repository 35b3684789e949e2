"""Settings for every test and for the kernels that nbval starts; loaded whatever is selected.

It stands at the root, not in tests/, so that `pytest --nbval notebooks/01_toy_bilevel.ipynb`
gets it, too.
"""

import os
from pathlib import Path

from tools.run_notebooks import KERNEL_ENVIRONMENT

# Kernels inherit it: notebooks run here as they ran when their outputs were written.
os.environ.update(KERNEL_ENVIRONMENT)


def pytest_configure(config):
    # nbval opens its sanitize file relative to the current folder. Make it relative to this one.
    name = config.option.nbval_sanitize_with
    if name is not None and not Path(name).exists():
        config.option.nbval_sanitize_with = str(config.rootpath / name)
