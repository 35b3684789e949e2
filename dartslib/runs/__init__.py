"""Around the loops: profiles, checkpoints, records, progress, the command line."""
