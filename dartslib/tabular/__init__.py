"""Every cell of a small space, trained: the truth, to ask. `tabular.load()` gives the table."""

from dartslib.tabular.table import Answer, Table, load

__all__ = ["Answer", "Table", "load"]
