"""Every cell of a small space, trained, so that results can be looked up."""
