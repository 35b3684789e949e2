"""Every cell of a small space, trained: the truth, to ask."""
