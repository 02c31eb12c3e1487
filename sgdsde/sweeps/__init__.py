"""Sweeps: an experiment over many values and seeds, computed in parts by any number of processes, and nothing lost."""
