"""Pictures as SVG that a page holds within itself: the curves of a run, the values of a tensor.

matplotlib draws them, in colours that stand for the page's own: these follow light and dark. Text
stays text. Nothing here comes from pyplot, which keeps figures and looks for a screen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import StringIO
from math import isfinite
from typing import Any, NamedTuple
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, MaxNLocator

from sacdoctor.diagnosis.spread import BINS, LARGEST, SMALLEST, Spread
from sacdoctor.severity import Severity

_COLOURS = {
    "#010101": "--ink",
    "#020202": "--muted",
    "#030303": "--line",
    "#040404": "--zero",
    "#050505": "--critical",
    "#060606": "--warning",
    "#070707": "--notice",
    "#080808": "--ok",
    "#0a0a0a": "--curve-1",
    "#0b0b0b": "--curve-2",
    "#0c0c0c": "--curve-3",
    "#0d0d0d": "--curve-4",
}
"""What is drawn in, and the property of the page's style sheet that it becomes."""
_INK, _MUTED, _LINE, _ZERO, *_ = _COLOURS
_OF_SEVERITY = dict(
    zip(
        (Severity.CRITICAL, Severity.WARNING, Severity.NOTICE, Severity.OK),
        list(_COLOURS)[4:8],
        strict=True,
    )
)
_CURVES = tuple(_COLOURS)[8:]
_STYLE: Any = {
    "svg.fonttype": "none",  # text can be selected, searched and enlarged
    "svg.hashsalt": "sacdoctor",  # the same picture is the same text
    "text.parse_math": False,  # a dollar sign is one
    "font.size": 9.0,
    "text.color": _INK,
    "axes.edgecolor": _LINE,
    "axes.labelcolor": _MUTED,
    "axes.titlecolor": _INK,
    "axes.titlesize": 9.0,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": _LINE,
    "grid.linewidth": 0.6,
    "xtick.color": _LINE,
    "ytick.color": _LINE,
    "xtick.labelcolor": _MUTED,
    "ytick.labelcolor": _MUTED,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "ytick.major.size": 0.0,
    "lines.linewidth": 1.5,
}
_MOST_POINTS = 400
"""Of a curve: more than a screen has room for."""
_TICKS = {"wide": 8, "narrow": 4}
_CLOSE = 0.2
"""Inches between two numbers at which they would touch."""
_DRAWABLE = 1e100
"""Beyond it the arithmetic of a plot overflows; such a value is shown as one that is not finite."""
_DECADES = 30.0
"""Values whose extremes are further apart than this factor are drawn on a logarithmic axis."""
_FONT = re.compile(r"font: (?:[\w-]+ )*?([\d.]+px)[^;]*")
_FAMILY = re.compile(r"font-family: [^;]*;? ?")
_PLACES = frozenset(("d", "x", "y", "width", "height", "transform"))
_NUMBER = re.compile(r"-?\d+\.\d+")
"""With more decimals than anybody sees."""


class Curve(NamedTuple):
    """A line: `xs` in timesteps, `ys` None where nothing is known."""

    xs: Sequence[float]
    ys: Sequence[float | None]


class Panel(NamedTuple):
    """Curves of one quantity, under its name."""

    title: str
    curves: Sequence[Curve]


class Mark(NamedTuple):
    """Something that came up: by a time, after another where that is known, under a number."""

    number: int
    after: float | None
    by: float
    severity: Severity


# -- the course of a run -----------------------------------------------------------------------


def course(panels: Sequence[Panel], marks: Sequence[Mark], label: str, key: str) -> Markup:
    """Return the panels one below the other on one time axis, with the marks through all of them.

    They are drawn twice, for wide screens and for narrow ones; the page shows one of the two.
    `label` is what a screen reader says, `key` is like no other picture's on the page.
    """
    return Markup("").join(
        _course(panels, marks, label, f"{key}-{name}", name, width)
        for name, width in (("wide", 9.0), ("narrow", 3.7))
    )


def _course(
    panels: Sequence[Panel],
    marks: Sequence[Mark],
    label: str,
    key: str,
    kind: str,
    width: float,
) -> Markup:
    with _styled():
        height = 0.5 + 1.05 * len(panels)
        figure = Figure(figsize=(width, height))
        axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for place, panel in zip(axes, panels, strict=True):
            _draw(place, panel)
            _mark(place, marks)
        _number(axes[0], marks, _CLOSE / width)
        bottom: Axes = axes[-1]
        bottom.xaxis.set_major_locator(MaxNLocator(_TICKS[kind], steps=(1, 2, 5, 10)))
        bottom.xaxis.set_major_formatter(EngFormatter(sep=""))
        bottom.set_xlabel("timesteps", loc="right", fontsize=8)
        figure.subplots_adjust(
            left=0.52 / width,
            right=1 - 0.12 / width,
            bottom=0.42 / height,
            top=1 - 0.42 / height,
            hspace=0.62,
        )
        return _inline(figure, label, key, kind)


def _draw(axes: Axes, panel: Panel) -> None:
    known = [y for curve in panel.curves for y in curve.ys if y is not None and abs(y) < _DRAWABLE]
    for curve, colour in zip(panel.curves, _cycle(), strict=False):
        xs, ys = _thinned(curve)
        is_known = np.abs(ys) < _DRAWABLE  # NaN is not
        axes.plot(
            xs,
            np.where(is_known, ys, np.nan),
            color=colour,
            marker="o" if len(xs) <= 30 else None,
            markersize=3,
        )
        lost = xs[np.isnan(ys) | (np.isfinite(ys) & ~is_known)]
        at_bottom = axes.get_xaxis_transform()
        if len(lost):
            axes.plot(
                lost,
                [0.06] * len(lost),
                transform=at_bottom,
                color=_OF_SEVERITY[Severity.CRITICAL],
                marker="x",
                markersize=5,
                linestyle="none",
            )
    low, high = min(known, default=0.0), max(known, default=1.0)
    if low > 0 and high > _DECADES * low:
        axes.set_yscale("log")
        axes.minorticks_off()
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0e}"))
    else:
        axes.yaxis.set_major_locator(MaxNLocator(3))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
    axes.margins(x=0.02, y=0.12)
    axes.set_title(panel.title)


def _cycle() -> Iterator[str]:
    while True:
        yield from _CURVES


def _thinned(curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    """Return the points as numbers, of many some; what is not known is infinite, so a gap."""
    ys = np.array([np.inf if y is None else (y if isfinite(y) else np.nan) for y in curve.ys])
    xs = np.array(curve.xs, np.float64)
    if len(xs) <= _MOST_POINTS:
        return xs, ys
    keep = np.unique(np.linspace(0, len(xs) - 1, _MOST_POINTS).astype(np.int64))
    return xs[keep], ys[keep]


def _mark(axes: Axes, marks: Sequence[Mark]) -> None:
    for mark in marks:
        colour = _OF_SEVERITY[mark.severity]
        if mark.after is not None and mark.after < mark.by:
            axes.axvspan(mark.after, mark.by, color=colour, alpha=0.14, linewidth=0)
        axes.axvline(mark.by, color=colour, linewidth=0.9, linestyle=(0, (4, 2)))


def _number(axes: Axes, marks: Sequence[Mark], close: float) -> None:
    """Write the marks' numbers above the topmost panel.

    Those that are no further apart than `close`, as a share of the axis, have one place together.
    """
    low, high = axes.get_xlim()
    groups: list[list[Mark]] = []
    for mark in sorted(marks, key=lambda mark: mark.by):
        if groups and mark.by - groups[-1][-1].by <= close * (high - low):
            groups[-1].append(mark)
        else:
            groups.append([mark])
    for here in groups:
        numbers = sorted(mark.number for mark in here)
        axes.text(
            (here[0].by + here[-1].by) / 2,
            1.4,
            str(numbers[0]) if len(here) == 1 else f"{numbers[0]}–{numbers[-1]}",
            transform=axes.get_xaxis_transform(),
            horizontalalignment="center",
            fontsize=8,
            fontweight="bold",
            color=_OF_SEVERITY[max(here, key=lambda mark: mark.severity.rank).severity],
        )


# -- the values of a tensor --------------------------------------------------------------------


def histograms(spreads: Mapping[str, Spread], labels: Mapping[str, str]) -> dict[str, Markup]:
    """Return for each key how the absolute values of a tensor are spread over powers of ten.

    Exact zeros, which no logarithm has, are a bar of their own on the left. `labels` are what a
    screen reader says. All are drawn in one figure, one after the other: making one takes longer.
    """
    found = {}
    with _styled():
        figure = Figure(figsize=(3.0, 1.0))
        axes = figure.add_axes((0.02, 0.27, 0.96, 0.68))
        edges = np.linspace(SMALLEST, LARGEST, BINS + 1)
        stairs = axes.stairs([0] * BINS, edges, fill=True, color=_CURVES[0], linewidth=0)
        left = SMALLEST - 1.6
        (bar,) = axes.bar(left, 0, width=1.0, color=_ZERO)
        axes.axvline(SMALLEST - 0.6, color=_LINE, linewidth=0.8)
        axes.set_xlim(left - 0.8, LARGEST + 0.3)
        axes.set_yticks([])
        axes.set_xticks([left, -8, -4, 0, 4], ["zero", "1e-8", "1e-4", "1", "1e4"])
        axes.tick_params(axis="x", length=0)
        for key, spread in spreads.items():
            stairs.set_data(spread.counts)
            bar.set_height(spread.zeros)
            axes.set_ylim(0, max(1, spread.zeros, *spread.counts))
            found[key] = _inline(figure, labels[key], key, "histogram")
    return found


# -- SVG ---------------------------------------------------------------------------------------


@contextmanager
def _styled() -> Iterator[None]:
    """Draw in the page's style, whatever the user's own settings of matplotlib are."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


def _inline(figure: Figure, label: str, key: str, kind: str) -> Markup:
    """Return the figure as an element of a page, with the page's colours and fonts.

    Ids are made unlike those of other pictures; what nobody refers to has none.
    """
    figure.patch.set_visible(False)
    for axes in figure.axes:
        axes.patch.set_visible(False)
    file = StringIO()
    figure.savefig(
        file, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type"))
    )
    root = ElementTree.fromstring(file.getvalue())
    parts = list(root.iter())
    used = {name for part in parts for value in part.attrib.values() for name in _referred(value)}
    for part in parts:
        part.tag = part.tag.rpartition("}")[2]
        part.attrib = _attributes(part.attrib, used, key)
        part.tail = None
        part.text = part.text if part.tag == "text" else None
    for part in reversed(parts):
        for child in [child for child in part if _is_empty(child)]:
            part.remove(child)
    view = root.attrib["viewBox"]
    root.attrib = {"viewBox": view, "class": f"picture {kind}", "role": "img", "aria-label": label}
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _is_empty(part: ElementTree.Element) -> bool:
    """Return whether nothing is drawn by it, nor by what is in it."""
    return part.tag in ("metadata", "style") or (part.tag in ("g", "defs") and not len(part))


def _referred(value: str) -> Iterator[str]:
    yield from re.findall(r"url\(#([^)]+)\)", value)
    if value.startswith("#"):
        yield value[1:]


def _attributes(given: Mapping[str, str], used: set[str], key: str) -> dict[str, str]:
    found = {}
    for long_name, value in given.items():
        name = long_name.rpartition("}")[2]
        if name == "id":
            if value not in used:
                continue
            value = f"{key}-{value}"
        elif name == "href":
            value = f"#{key}-{value[1:]}"
        elif name == "style":
            value = _FAMILY.sub("", _FONT.sub(r"font-size: \1", value))
            for colour, own in _COLOURS.items():
                value = value.replace(colour, f"var({own})")
        elif name == "transform" and value.startswith("rotate(-0 "):
            continue
        if name in _PLACES:
            value = _NUMBER.sub(lambda number: f"{float(number[0]):.1f}", value)
        found[name] = re.sub(r"url\(#([^)]+)\)", rf"url(#{key}-\1)", value)
    return found
