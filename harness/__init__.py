"""Which pretrained backbone to start from, how deep to freeze it, and whether to trust the answer."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("model-selection-harness")
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0+checkout"
