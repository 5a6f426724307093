"""Imports every module that registers faults."""

from tests.faults import data, hub, jobs, security, storage, weights

__all__ = ["data", "hub", "jobs", "security", "storage", "weights"]
