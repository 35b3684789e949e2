"""What others changed in DARTS: one small file per method.

Importing this package registers all of them; a `SearchConfig` with a relaxation imports it.
"""

from importlib import import_module
from pkgutil import iter_modules

NAMES = tuple(sorted(module.name for module in iter_modules(__path__)))
for _name in NAMES:
    import_module(f"{__name__}.{_name}")
