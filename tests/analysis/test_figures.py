"""The figure kinds beside curves and final scores: the numbers they plot, and that every kind draws
the same bytes twice.
"""

import math
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from analysis import figures
from analysis.evidence.frames import Evidence
from analysis.evidence.loading import evidence_from
from analysis.figures import mass_drain, prefix, repeated_tokens, signal, survival
from analysis.pages import style
from analysis.pages.report import draw_page, write_figure
from study.spec.grid.grid import load_grid
from study.spec.report.tables import FigurePage
from tests.support.synthetic import records

BIASED = {"teacher": "rlvr", "objective": "biased_k1", "length": "standard"}
STOPPED = BIASED | {"objective": "stop_gradient_k1"}
ROW: dict[str, Any] = {"title": "K = 1", "arms": [BIASED, STOPPED], "names": ["biased", "stopped"]}
PAGES: dict[str, dict[str, Any]] = {
    "bars": {
        "rows": [ROW],
        "panels": ["score", "mean_tokens"],
        "lines": [{"name": "placebo", "arm": STOPPED}],
    },
    "prefix": {
        "rows": [
            {"title": "own", "arms": [STOPPED], "at": [0.5]},
            {"title": "student's", "arms": [BIASED], "at": [0.5]},
        ]
    },
    "repeated_tokens": {"rows": [ROW]},
    "signal": {"rows": [ROW]},
    "mass_drain": {"rows": [ROW]},
    "pi_optimum": {"rows": [ROW], "marks": [{"name": "geometric mean", "outcome": "score"}]},
    "survival": {"rows": [ROW]},
}


@cache
def evidence() -> Evidence:
    grid = load_grid("smoke")
    return evidence_from(records(grid, seeds=(0, 1, 2)), grid, scale="lab", seeds=(0, 1, 2))


def page(kind: str, **changed: Any) -> FigurePage:
    return FigurePage.model_validate(
        {"title": kind, "grid": "smoke", "scale": "lab", "kind": kind, **PAGES[kind], **changed}
    )


def test_a_figure_is_the_same_bytes_twice_and_carries_its_data(tmp_path: Path) -> None:
    kind = "bars"
    drawn = draw_page(kind, page(kind), evidence())
    first, second = (write_figure(drawn, evidence(), tmp_path / name) for name in "ab")
    assert {path.suffix for path in first} == {".png", ".svg", ".pdf", ".csv"}
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert style.drawn_from(tmp_path / "a" / "figures" / f"{kind}.svg") == style.data_hash(
        drawn.csv
    )
    svg = (tmp_path / "a" / "figures" / f"{kind}.svg").read_text(encoding="utf-8")
    assert "scale(0.015625)" in svg  # of the letters: what is small keeps its digits
    assert not re.search(r"\s[1-9]\d*\.\d{3}", svg)


def test_a_panel_without_a_measurement_says_so() -> None:
    held = records(load_grid("smoke"), seeds=(0, 1, 2))
    scored_by_a_server = [
        one.model_copy(
            update={"history": {k: v for k, v in one.history.items() if k != "train/reverse_kl"}}
        )
        for one in held
    ]
    seen = evidence_from(scored_by_a_server, load_grid("smoke"), scale="lab", seeds=(0, 1, 2))
    shown = FigurePage.model_validate(
        {
            "title": "t",
            "grid": "smoke",
            "scale": "lab",
            "kind": "curves",
            "panels": ["eval/avg@k", "train/reverse_kl"],
            "rows": [ROW],
        }
    )
    drawn = draw_page("curves", shown, seen)
    empty, measured = (
        [text.get_text() for text in ax.texts]
        for ax in reversed(figures.draw(drawn.page, seen, drawn.rows).axes[:2])
    )
    assert (empty, measured) == (["not measured"], [])


@pytest.mark.parametrize("kind", PAGES)
def test_every_kind_draws_what_it_plots(kind: str) -> None:
    drawn = draw_page(kind, page(kind), evidence())
    assert drawn.csv.count("\n") > 3
    assert sum(len(ax.lines) for ax in figures.draw(drawn.page, evidence(), drawn.rows).axes) > 3


@pytest.mark.parametrize("kind", PAGES)
def test_every_kind_draws_arms_that_were_not_run(kind: str) -> None:
    empty = evidence_from([], load_grid("smoke"), scale="lab")
    drawn = draw_page(kind, page(kind), empty)
    assert drawn.csv.count("\n") == 1
    assert figures.draw(drawn.page, empty, drawn.rows).axes


def test_bars_hold_every_base_their_mean_and_the_reference_line() -> None:
    points = figures.plotted(page("bars"), evidence())
    mine = {
        point.seed: point.value
        for point in points
        if (point.panel, point.arm) == ("score", "biased")
    }
    assert set(mine) == {"0", "1", "2", "mean"}
    assert mine["mean"] == pytest.approx(sum(mine[seed] for seed in "012") / 3)
    (line,) = [point for point in points if point.panel == "score" and not point.row]
    assert (line.arm, line.value) == (
        "placebo",
        pytest.approx(sum(evidence().scores(STOPPED).values()) / 3),
    )


def test_the_prefix_counts_are_mcnemar_s() -> None:
    found = {
        p.seed: p.value
        for p in prefix.plotted(page("prefix"), evidence())
        if p.panel == prefix.COUNTS
    }
    own, theirs = (prefix._right(evidence(), arm) for arm in (STOPPED, BIASED))
    lost = sum(own[key] and not theirs[key] for key in own)
    assert lost > 20
    assert (found["right_to_wrong"], found["wrong_to_right"]) == (
        lost,
        sum(theirs[key] and not own[key] for key in own),
    )
    assert found["p"] < 1e-6


def test_repeated_tokens_are_ranked_and_averaged_over_bases() -> None:
    points = [
        p
        for p in repeated_tokens.plotted(page("repeated_tokens"), evidence())
        if p.arm == "biased" and p.seed == "mean"
    ]
    assert [p.token for p in points if p.when == "end"] == ["maybe", ";"]
    (start,) = [p.positions for p in points if (p.when, p.token) == ("start", "maybe")]
    (end,) = [p.positions for p in points if (p.when, p.token) == ("end", "maybe")]
    assert end > start


def test_the_signal_leaves_out_bins_without_tokens_and_weighs_steps_by_tokens() -> None:
    points = [
        p
        for p in signal.plotted(page("signal"), evidence())
        if p.arm == "stopped" and p.seed == "0"
    ]
    assert [p.x for p in points if (p.panel, p.kind) == ("start", "correct")] == [2.0, 6.0]
    (whole,) = [p.value for p in points if (p.panel, p.kind, p.x) == (signal.STEPS, "correct", 2.0)]
    assert whole == pytest.approx((-0.1 * 400 - 0.05 * 300) / 700)


def test_the_biased_loss_drains_to_teacher_mass_over_e_and_stop_gradient_to_all_of_it() -> None:
    points = mass_drain.plotted(page("mass_drain"), evidence())
    for arm, factor in (("biased", 1 / math.e), ("stopped", 1.0)):
        last = {
            line: [p.mass for p in points if (p.arm, p.line, p.seed) == (arm, line, "mean")][-1]
            for line in ("teacher", "predicted")
        }
        assert last["predicted"] == pytest.approx(factor * last["teacher"])


def test_survival_counts_the_collapsed_and_the_censored() -> None:
    points = survival.plotted(page("survival"), evidence())
    assert {p.value for p in points if p.arm == "biased" and p.seed.isdigit()} == {1.0}
    stopped = {(p.step, p.value) for p in points if p.arm == "stopped" and p.seed.isdigit()}
    assert stopped == {(120, 0.0)}
    means = {p.arm: p.value for p in points if p.seed == "restricted_mean"}
    assert means["stopped"] == 120.0
    assert means["biased"] < 120.0


@pytest.mark.parametrize(
    ("kind", "changed", "word"),
    [
        ("bars", {"panels": ["scor"]}, "did you mean 'score'"),
        ("prefix", {"rows": [ROW]}, "needs `at`"),
        ("pi_optimum", {"marks": []}, "needs marks"),
        ("bars", {"rows": [ROW | {"names": ["one"]}]}, "1 entries for 2 arms"),
        ("signal", {"rows": []}, "needs rows"),
    ],
)
def test_a_page_that_its_kind_cannot_draw_is_refused(
    kind: str, changed: dict[str, Any], word: str
) -> None:
    with pytest.raises(ValidationError, match=word):
        page(kind, **changed)


@pytest.mark.parametrize("kind", ["bars", "pi_optimum", "survival"])
def test_arms_without_a_name_on_the_page_are_found_among_the_points(kind: str) -> None:
    """Points and looks are joined by name: two different ones would draw recorded arms as
    not run.
    """
    page = FigurePage.model_validate(
        {
            **PAGES[kind],
            "rows": [ROW | {"names": []}],
            "title": "t",
            "grid": "smoke",
            "scale": "lab",
            "kind": kind,
        }
    )
    drawn = figures.draw(page, evidence(), figures.plotted(page, evidence()))
    texts = [
        text.get_text()
        for ax in drawn.axes
        for text in [*ax.texts, *(ax.get_legend().get_texts() if ax.get_legend() else [])]
    ]
    assert not [text for text in texts if "not run" in text]
    assert any(
        "biased_k1" in text.get_text()
        for ax in drawn.axes
        for text in [
            *ax.texts,
            *ax.get_yticklabels(),
            *(ax.get_legend().get_texts() if ax.get_legend() else []),
        ]
    )
