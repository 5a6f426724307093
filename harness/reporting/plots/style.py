"""The style of every plot and how it is saved: a palette safe for colour-blind readers, text that the reader's fonts draw."""

import io
import logging
import re
import unicodedata
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font

from harness.reporting.formats import one_line, shorten
from harness.study.store import atomic_write
from harness.text.language import listed, say

BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, INK = "#0072B2", "#D55E00", "#009E73", "#B0568C", "#C98500", "#3B9BD1", "#222222"
"""After Okabe and Ito, the light ones darkened so that they read as text on white."""
LINES = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
QUIET = "#B4B4B4"
FONT_PT = 9.0

_FONT = "DejaVu Sans"
OTHER_SCRIPTS = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "PingFang SC"),
    *(
        "Hiragino Sans GB",
        "Microsoft YaHei",
        "SimHei",
        "Droid Sans Fallback",
        "Noto Sans Arabic",
        "Noto Sans Hebrew",
        "Noto Sans Devanagari",
    ),
)
"""Fonts with the letters that the first has not; those that are installed draw the PNG files."""
_STACK = ", ".join(f"'{name}'" for name in (_FONT, "Verdana", *OTHER_SCRIPTS)) + ", sans-serif"
"""For the reader's machine, whatever is installed here."""

_RC: Any = {
    # Whatever a `matplotlibrc` says that lies in the current folder or at home.
    **{key: value for key, value in mpl.rcParamsDefault.items() if not key.startswith("backend")},
    "font.family": [_FONT],
    "font.size": FONT_PT,
    "text.parse_math": False,  # a `$` in a class name is a `$`
    "text.color": INK,
    "axes.edgecolor": "#888888",
    "axes.labelcolor": INK,
    "axes.titlesize": FONT_PT,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "axes.formatter.limits": (-6, 9),
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.7,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "xtick.labelsize": FONT_PT - 0.5,
    "ytick.labelsize": FONT_PT - 0.5,
    "legend.frameon": False,
    "legend.fontsize": FONT_PT - 0.5,
    "svg.fonttype": "none",
    "svg.hashsalt": "model-selection-harness",
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


@contextmanager
def themed() -> Iterator[None]:
    """Context in which figures are drawn and saved, whatever the settings of this machine. What no font has is said by `undrawn`."""
    with mpl.rc_context(_RC | {"font.family": [_FONT, *_installed()]}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph \d+ |Matplotlib currently does not support ", category=UserWarning)
        fonts = logging.getLogger("matplotlib.font_manager")
        before = fonts.level
        fonts.setLevel(logging.ERROR)  # a font of other letters that lacks a weight is used as it is, without a word
        try:
            yield
        finally:
            fonts.setLevel(before)


def new_figure(width_in: float, height_in: float, **layout: Any) -> Figure:
    """An empty figure that no global state knows of."""
    figure = Figure(figsize=(width_in, height_in), layout=layout.pop("layout", "constrained"))
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, folder: Path, name: str) -> str:
    """Write `name.svg` and `name.png`; return the SVG for a page that holds several."""
    svg, png = io.StringIO(), io.BytesIO()
    if (engine := figure.get_layout_engine()) is not None:
        engine.execute(figure)
        figure.set_layout_engine("none")  # the places are found; finding them again for each file takes as long as drawing
    figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    # The usual compression takes several times as long and saves a fifth.
    figure.savefig(png, format="png", dpi=160, metadata={"Software": None}, pil_kwargs={"compress_level": 2})
    text = re.sub(rf"'{_FONT}'(, '[^']*')*(, sans-serif)?", _STACK, svg.getvalue())
    for suffix, content in (("svg", text.encode()), ("png", png.getvalue())):
        with atomic_write(folder / f"{name}.{suffix}") as temporary:
            temporary.write_bytes(content)
    return inline(text, name)


def inline(svg: str, name: str) -> str:
    """An SVG element for an HTML page: no prolog, no comments, every id made unique by the picture's name."""
    svg = re.sub(r"<!--.*?-->", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'href="#', f'href="#{name}-', svg)
    svg = re.sub(r"url\(#", f"url(#{name}-", svg)
    svg = re.sub(r'<svg ([^>]*?)\bwidth="[^"]*"', r"<svg \1", svg, count=1)
    svg = re.sub(r'<svg ([^>]*?)\bheight="[^"]*"', r'<svg aria-hidden="true" \1', svg, count=1)
    return re.sub(r"\n\s*", "\n", svg).strip()


def label(text: str, length: int = 34) -> str:
    """A name fit for a picture: one line, not too long."""
    return shorten(one_line(text), length)


def undrawn(names: Iterable[str]) -> str:
    """What the PNG files show as boxes, as no font with these letters is installed here, in a sentence; empty where they show everything."""
    lacking = [name for name in dict.fromkeys(names) if not all(map(_has_glyph, map(ord, label(name))))]
    if not lacking:
        return ""
    return say(
        "No font installed here has the letters of {names}, which the PNG files show as boxes; the SVG files and the page use the fonts of the "
        "reader. On Debian, `apt-get install fonts-noto-cjk` adds Chinese, Japanese and Korean.",
        names=listed([f"“{label(name)}”" for name in lacking], 1),
    )


def width_pt(text: str) -> float:
    """About how wide a text is drawn (points); letters of Chinese are twice as wide."""
    return 0.53 * FONT_PT * sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def spread(wanted: Sequence[float], gap: float) -> list[float]:
    """Positions near the wanted ones, in the same order, that are at least `gap` apart."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    groups: list[list[int]] = []
    centres: list[float] = []
    for i in order:  # merge each position with the group below it until groups no longer touch
        groups.append([i])
        centres.append(wanted[i])
        while len(groups) > 1 and centres[-1] - centres[-2] < gap * (len(groups[-1]) + len(groups[-2])) / 2:
            merged = groups[-2] + groups[-1]
            groups[-2:], centres[-2:] = [merged], [sum(wanted[k] for k in merged) / len(merged)]
    placed = list(wanted)
    for group, centre in zip(groups, centres, strict=True):
        for place, i in enumerate(group):
            placed[i] = centre + gap * (place - (len(group) - 1) / 2)
    return placed


def gap_in_data(axes: Axes, height_in: float) -> float:
    """Vertical distance (data units) of two text lines in axes that are `height_in` high."""
    low, high = axes.get_ylim()
    return 1.25 * FONT_PT / 72 / height_in * (high - low)


@cache
def _installed() -> tuple[str, ...]:
    """Those of the other fonts that this machine has."""
    known = {font.name for font in fontManager.ttflist}
    return tuple(name for name in OTHER_SCRIPTS if name in known)


@cache
def _has_glyph(code: int) -> bool:
    return any(get_font(findfont(FontProperties(family=name))).get_char_index(code) for name in (_FONT, *_installed()))
