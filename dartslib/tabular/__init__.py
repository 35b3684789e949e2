"""Every cell of a small space, trained; `tabular.load()` gives the table of results."""

from dartslib.tabular.table import Answer, Table, load

__all__ = ["Answer", "Table", "load"]
