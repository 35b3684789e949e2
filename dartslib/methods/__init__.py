"""What others changed in DARTS: one small file per method, loaded when it is asked for by name."""
