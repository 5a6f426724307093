"""Hydra finds sweepers only under the namespace package `hydra_plugins`; what a sweep does is in `harness.search.grid`."""
