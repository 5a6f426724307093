"""Silence warnings and logs of model libraries about what the harness checks itself."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_LOGGERS = ("timm", "huggingface_hub")


@contextmanager
def quiet() -> Iterator[None]:
    """Ignore warnings, and log only errors, of timm, torchvision and the hub client. Errors are raised as ever."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
