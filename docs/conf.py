"""Settings of the documentation site (`make docs`): Sphinx reads the Markdown pages of this folder and the docstrings of the package."""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # the code beside these pages, whatever is installed

project = "model-selection-harness"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
suppress_warnings = ["toc.not_readable"]  # of pages that are on their way: export, python, trackers

html_theme = "furo"
html_title = project
html_copy_source = False
html_show_copyright = False

myst_heading_anchors = 4  # links such as benchmarks.md#modes, as on a repository browser

default_role = "literal"  # single backticks in docstrings are code
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
add_module_names = False


def setup(app: Any) -> None:
    """What Sphinx calls."""
    app.connect("autodoc-process-docstring", _keep_colons, priority=1)


def _keep_colons(_app: Any, what: str, _name: str, _obj: Any, _options: Any, lines: list[str]) -> None:
    """The text of an attribute, as it is written: napoleon takes what stands before a colon in its first line for a type."""
    if what in {"attribute", "property"}:
        lines[:0] = ["..", ""]  # an empty comment
