"""How figures look: one colour per objective family (Okabe-Ito, safe for colour-blind readers), one
line and marker per K, fixed bytes.
"""

import gc
import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo

FAMILY_COLOURS: dict[str, str] = {
    "full": "#000000",
    "biased": "#D55E00",
    "stop_gradient": "#0072B2",
    "renormalised": "#009E73",
    "tail_bucket": "#56B4E9",
    "sampled_pg": "#CC79A7",
    "sampled_plain": "#E69F00",
    "other": "#7F7F7F",
}
FAMILY_NAMES: dict[str, str] = {
    "full": "full reverse KL",
    "biased": "biased TopK",
    "stop_gradient": "stop-gradient TopK",
    "renormalised": "renormalised TopK",
    "tail_bucket": "TopK + tail bucket",
    "sampled_pg": "sampled token, policy gradient",
    "sampled_plain": "sampled token, plain loss",
}
K_LINES: dict[int | None, Any] = {None: "-", 1: (0, (1.2, 1.0)), 5: "-", 20: (0, (5, 1.6))}
K_MARKERS: dict[int | None, str] = {None: "D", 1: "o", 5: "s", 20: "^"}
OTHER_LINE, OTHER_MARKER = (0, (3, 1, 1, 1)), "v"

DPI = 160

RC: dict[str, Any] = {
    "svg.hashsalt": (
        "study"
    ),  # element ids of an SVG are derived from it: the same figure is the same bytes
    "svg.fonttype": "path",
    "pdf.fonttype": 42,  # letters stay letters
    "font.family": (
        "DejaVu Sans"
    ),  # ships with matplotlib: no font of a machine decides how a page looks
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.labelsize": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "legend.handlelength": 2.6,
}


@dataclass(frozen=True)
class Look:
    colour: str
    line: Any
    marker: str
    name: str


def look(family: str, k: int | None, preset: str = "") -> Look:
    """The appearance of an objective.

    A K without a line of its own shares one, and its name says which K it is.
    """
    name = FAMILY_NAMES.get(family, preset or family)
    return Look(
        FAMILY_COLOURS.get(family, FAMILY_COLOURS["other"]),
        K_LINES.get(k, OTHER_LINE),
        K_MARKERS.get(k, OTHER_MARKER),
        name if k is None else f"{name}, K\u00a0=\u00a0{k}",  # no line break inside
    )


def styled() -> Any:
    """Context in which figures are drawn: our settings over matplotlib's defaults, nothing of the
    reader's machine.
    """
    settings: Any = {**mpl.rcParamsDefault, **RC, "backend": "agg"}
    return mpl.rc_context(settings)


@contextmanager
def few_collections() -> Iterator[None]:
    """Collect garbage rarely while figures are drawn.

    A figure is tens of thousands of objects in cycles that live until it is saved. Python's
    defaults look through them again and again, which takes a fifth of the time of a figure; one
    figure's worth of garbage is a few MB.
    """
    before = gc.get_threshold()
    gc.set_threshold(100_000, 50, 1000)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def data_hash(csv_text: str) -> str:
    return hashlib.sha256(csv_text.encode()).hexdigest()


def save(figure: Figure, stem: Path, csv_text: str) -> list[Path]:
    """PNG, SVG and PDF, each carrying the hash of the data it was drawn from, and that data as CSV
    next to them. No dates.
    """
    stem.parent.mkdir(parents=True, exist_ok=True)
    description = f"data sha256 {data_hash(csv_text)}"
    paths = [stem.with_suffix(suffix) for suffix in (".png", ".svg", ".pdf", ".csv")]
    with styled():
        figure.set_dpi(DPI)
        _place(figure)
        _write_png(figure, paths[0], description)
        figure.set_dpi(72)  # what an SVG is measured in
        FigureCanvasSVG(figure).print_svg(
            paths[1], metadata={"Description": description, "Date": None, "Creator": None}
        )
        paths[1].write_text(
            _short(paths[1].read_text(encoding="utf-8")), encoding="utf-8", newline="\n"
        )
        FigureCanvasPdf(figure).print_pdf(
            paths[2],
            metadata={
                "Subject": description,
                "CreationDate": None,
                "Creator": None,
                "Producer": None,
            },
        )
    paths[3].write_text(csv_text, encoding="utf-8", newline="\n")
    return paths


def _place(figure: Figure) -> None:
    """Lay everything out, once: the canvases then draw once each, where savefig lays out and draws
    twice.
    """
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine("none")


_SHORTER = (
    (r"\b([1-9]\d*\.\d\d)\d+", r"\1"),  # a hundredth of a point
    (r"\n +", r"\n"),  # indentation
    (r"DejaVuSans-(?:([A-Z])[a-z]+-)?([0-9a-f]+\b)", r"g\1\2"),  # names of letters
)


def _short(svg: str) -> str:
    """The same picture in fewer bytes."""
    for pattern, shorter in _SHORTER:
        svg = re.sub(pattern, shorter, svg)
    # Within a line, and only there, a point follows a point.
    return re.sub(
        r"M [^\nA-Z]*\n(?:L [^\nA-Z]*\n)+", lambda line: line[0].replace(" \nL ", " "), svg
    )


def _write_png(figure: Figure, path: Path, description: str) -> None:
    """128 colours are enough for lines on white."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    picture = Image.frombytes("RGBA", canvas.get_width_height(), canvas.buffer_rgba()).convert(
        "RGB"
    )
    text = PngInfo()
    text.add_text("Description", description)
    picture.quantize(128, dither=Image.Dither.NONE).save(
        path, optimize=True, pnginfo=text, dpi=(DPI, DPI)
    )


def drawn_from(svg: Path) -> str | None:
    """The data hash that an SVG carries, None where it carries none."""
    head, mark, tail = svg.read_text(encoding="utf-8").partition("data sha256 ")
    return tail[:64] if mark and head else None
