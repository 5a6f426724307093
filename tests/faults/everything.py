"""Imports every module that registers faults."""

from tests.faults import data, hub, jobs, names, report, security, storage, weights

__all__ = ["data", "hub", "jobs", "names", "report", "security", "storage", "weights"]
