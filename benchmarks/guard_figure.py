"""Draw the figure of the guard's calibration: when each detector fired in runs that fell, and how
long before the fall.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from analysis.pages import style
from study.train.guard.calibration import ANY, Watched
from study.train.guard.detectors import DETECTORS
from study.train.guard.worth import Alarms, worth

# Okabe-Ito colours, each with its own marker, so that no two differ only by colour.
LOOKS: dict[str, tuple[str, str]] = {
    "not_finite": ("#7F7F7F", "<"), "topk_drain": ("#D55E00", "o"), "entropy": ("#0072B2", "s"),
    "length": ("#E69F00", "^"),
    "truncation": ("#CC79A7", "v"), "repetition": ("#56B4E9", "P"), "overlap": ("#009E73", "D"),
    "divergence": ("#000000", "X"),
    "zero_signal": ("#7F7F7F", "h"), ANY: ("#444444", "o"),
}  # fmt: skip
STEPS = (5, 10, 20, 50, 100, 200, 400)
LEADS = (-100, -20, -5, 0, 5, 20, 100)
PLACES = (1.1, 1.26, 1.42)  # positions of the three columns of numbers, in widths of the panel
Seen = Sequence[tuple[Watched, Alarms]]


def draw(seen: Seen) -> Figure:
    """Draw the figure. Left: a line for each run that fell, in steps. Right: a line for each
    detector, with its lead in steps and its shares in words.
    """
    fallen = [(run, alarms) for run, alarms in seen if run.outcome in ("dipped", "collapsed")]
    fallen.sort(key=lambda pair: (pair[0].outcome == "dipped", pair[0].fell or 0))
    with style.styled():
        figure = Figure(
            figsize=(12.4, 1.9 + 0.23 * max(len(fallen), len(DETECTORS) + 4)), layout="constrained"
        )
        left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": [1.0, 1.05]})
        _timelines(left, fallen)
        _leads(right, seen)
        title = "When the guard's detectors fire, and how long before accuracy falls"
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
        figure.supxlabel(_note(seen), x=0.01, ha="left", fontsize=7.5, color="#444444")
    return figure


def save(figure: Figure, path: Path, csv_text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with style.styled():
        figure.set_dpi(style.DPI)
        FigureCanvasAgg(figure).print_png(
            path,
            metadata={"Description": f"data sha256 {style.data_hash(csv_text)}", "Software": None},
        )


def _timelines(ax: Axes, fallen: Seen) -> None:
    for height, (run, alarms) in enumerate(fallen):
        ax.plot([5, len(run.trace["step"])], [height] * 2, color="#CCCCCC", linewidth=0.8, zorder=1)
        if run.fell is not None:
            ax.plot(
                [run.fell] * 2,
                [height - 0.42, height + 0.42],
                color="#B00000",
                linewidth=2.4,
                zorder=2,
            )
        for name, step in alarms.items():
            colour, marker = LOOKS[name]
            # Shifted, so that detectors that fire together stay visible.
            shift = 0.1 * (list(DETECTORS).index(name) - 4) / 1.2
            ax.plot(
                [step],
                [height + shift],
                marker=marker,
                markersize=5.5,
                color=colour,
                markeredgecolor="white",
                markeredgewidth=0.5,
                zorder=3,
            )
    ax.set_yticks(range(len(fallen)), [f"{run.cell}, base {run.base}" for run, _ in fallen])
    collapsed = sum(run.outcome == "collapsed" for run, _ in fallen)
    if 0 < collapsed < len(fallen):
        ax.axhline(collapsed - 0.5, color="#444444", linewidth=0.8, linestyle=(0, (4, 3)))
        ax.text(
            5.1,
            collapsed - 0.42,
            "dips (came back)",
            va="top",
            fontsize=7.5,
            style="italic",
            color="#444444",
        )
    ax.set_ylim(max(len(fallen), 1) - 0.4, -0.6)
    ax.set_xscale("log")
    ax.set_xlim(5, 420)
    ax.set_xticks(STEPS, [str(step) for step in STEPS])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("optimiser step")
    ax.set_title("first alarm of each detector, run by run", loc="left", fontweight="bold")
    names = [name for name in DETECTORS if any(name in alarms for _, alarms in fallen)]
    handles = [
        Line2D([], [], linestyle="", color=LOOKS[n][0], marker=LOOKS[n][1], markersize=5.5, label=n)
        for n in names
    ]
    fall = Line2D(
        [],
        [],
        linestyle="",
        color="#B00000",
        marker="|",
        markersize=10,
        markeredgewidth=2.4,
        label="accuracy falls",
    )
    ax.legend(
        handles=[fall, *handles],
        loc="upper center",
        bbox_to_anchor=(0.3, -0.11),
        ncols=5,
        columnspacing=1.2,
        handletextpad=0.2,
    )


def _leads(ax: Axes, seen: Seen) -> None:
    names = [*DETECTORS, ANY]
    for height, name in enumerate(names):
        found = worth(name, seen)
        colour, marker = LOOKS[name]
        for place, lead in enumerate(found.leads):
            # Leads are sorted, so neighbours do not cover each other.
            offset = 0.16 * (place % 3 - 1)
            ax.plot(
                [lead],
                [height + offset],
                marker=marker,
                markersize=5,
                color=colour,
                markeredgecolor="white",
                markeredgewidth=0.4,
            )
        if found.leads:
            ax.plot(
                [median(found.leads)] * 2,
                [height - 0.38, height + 0.38],
                color=colour,
                linewidth=1.6,
            )
        shares = (found.false_alarms, found.on_dips, found.before)
        for place, share in zip(PLACES, shares, strict=True):
            ax.text(
                place,
                height,
                f"{share.k}/{share.n}",
                transform=ax.get_yaxis_transform(),
                va="center",
                ha="center",
                fontsize=8.5,
            )
    for place, text in zip(
        PLACES, ("false alarms\n(healthy)", "on\ndips", "collapses\nbefore fall"), strict=True
    ):
        ax.text(
            place,
            -0.75,
            text,
            transform=ax.get_yaxis_transform(),
            va="bottom",
            ha="center",
            fontsize=7.5,
            color="#444444",
        )
    ax.axvline(0, color="#B00000", linewidth=1.6, zorder=1)
    ax.set_yticks(range(len(names)), names)
    ax.get_yticklabels()[-1].set_fontweight("bold")
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.set_xscale("symlog", linthresh=10)
    ax.set_xlim(-110, 250)
    ax.set_xticks(LEADS, [f"{lead:+d}" if lead else "0" for lead in LEADS])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("lead in steps: alarm before the fall (right) or after it (left)")
    ax.set_title("lead on each collapse", loc="left", fontweight="bold")


def _note(seen: Seen) -> str:
    bases = ", ".join(str(base) for base in sorted({run.base for run, _ in seen}))
    n = Counter(run.outcome for run, _ in seen)
    return (
        f"Lab scale, bases {bases} (thresholds were chosen on base 0): {n['healthy']} runs healthy"
        f" and {n['cut short']} cut short (not on the left), {n['dipped']} dipped, {n['collapsed']}"
        " collapsed. Upright bars on the right: medians.\nA fall is from the start of the run or"
        " from its best, whichever is earlier; of a collapse the one that it did not come back"
        " from."
    )
