"""Cached activations: what frozen layers compute, computed once and shared by jobs, seeds, processes and later sweeps."""
