"""Settings of the documentation site (`make docs`): Sphinx reads the Markdown pages of this folder and the docstrings of the package."""

import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # the code beside these pages, whatever is installed

PAGES = {"README.md": "/index.md", "results/README.md": "/columns.md"}
"""Files outside this folder -> what stands for them on the site."""

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
    app.connect("source-read", _name_other_files)
    app.connect("autodoc-process-docstring", _keep_colons, priority=1)


def _name_other_files(app: Any, docname: str, source: list[str]) -> None:
    """Links to files of the repository that are no pages become the names of these files. Links to nothing stay, and fail the build."""
    folder = Path(app.srcdir, docname).parent

    def named(link: re.Match[str]) -> str:
        path = (folder / link["path"]).resolve()
        if path.is_relative_to(app.srcdir) or not path.is_relative_to(ROOT) or not path.exists():
            return link[0]
        name = path.relative_to(ROOT).as_posix()
        return f"[{link['text']}]({PAGES[name]})" if name in PAGES else f"{link['text']} (`{name}`)"

    source[0] = re.sub(r"\[(?P<text>[^\]]+)\]\((?P<path>\.\./[^)#\s]+)(#[^)\s]*)?\)", named, source[0])


def _keep_colons(_app: Any, what: str, _name: str, _obj: Any, _options: Any, lines: list[str]) -> None:
    """The text of an attribute, as it is written: napoleon takes what stands before a colon in its first line for a type."""
    if what in {"attribute", "property"}:
        lines[:0] = ["..", ""]  # an empty comment
