"""Imports every module that registers faults."""

from tests.faults import data, environment, hub, jobs, models, names, report, security, storage, weights

__all__ = ["data", "environment", "hub", "jobs", "models", "names", "report", "security", "storage", "weights"]
