"""The scorecard: words and strips from verdicts by hand, the figure's data and bytes, the text."""

import math
from pathlib import Path
from typing import get_args

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from analysis import figures
from analysis.claims.decide import NOT_TESTABLE, Verdict, Word
from analysis.claims.declared import Declared
from analysis.claims.declared import Word as DeclaredWord
from analysis.claims.scorecard import NOT_RUN, WORDS, Scored, tally
from analysis.claims.scorecard_text import LEFT, RIGHT, WIDTH, strip, to_table, to_text
from analysis.figures import scorecard as figure
from analysis.pages import html, style
from analysis.pages.render import to_markdown
from study.spec.report.claim import Claim
from study.spec.report.contrast import Level
from study.spec.report.finding import Finding
from study.stats.comparisons import compare

BASES = {0: -0.30, 1: -0.20, 2: -0.25, 3: -0.15, 4: -0.35}


def scored(
    word: Word | None = "REPRODUCED",
    differences: dict[int, float] = BASES,
    *,
    expectation: str = "negative",
    smallest: float = 0.1,
    not_testable: dict[str, str] | None = None,
    text: str = "The loss collapses",
    declared: DeclaredWord = "declared before data",
) -> Scored:
    finding = Finding(id="f", text=text, source="s", decided_by="it", claims={"math": ["it"]})
    if word is None:
        return Scored(finding, None)
    claim = Claim.model_validate(
        {
            "id": "it",
            "text": "t",
            "outcome": "score",
            "contrast": Level(arm={"a": "b"}),
            "source": "s",
            "expectation": expectation,
            "smallest_effect": smallest,
            "not_testable": not_testable,
        }
    )
    finite = all(map(math.isfinite, differences.values()))
    comparison = compare(list(differences.values())) if finite else None
    return Scored(finding, Verdict(claim, word, differences, comparison, Declared(declared, {})))


def test_positions_are_multiples_of_the_smallest_effect_and_right_is_what_the_source_says() -> None:
    fall = scored()
    assert fall.dots == pytest.approx({0: 3.0, 1: 2.0, 2: 2.5, 3: 1.5, 4: 3.5})
    assert fall.interval is not None
    low, high = fall.interval
    assert low < 2.5 < high
    rise = scored(expectation="positive")
    assert rise.dots == pytest.approx({base: -place for base, place in fall.dots.items()})
    assert rise.interval == pytest.approx((-high, -low))


def test_without_a_smallest_effect_a_row_has_a_scale_of_its_own() -> None:
    row = scored("UNDECIDED", {0: -0.04, 1: 0.01, 2: 0.02}, smallest=0.0)
    assert row.zone == "any"
    limits = [*row.dots.values(), *(row.interval or ())]
    assert max(abs(place) for place in limits) == pytest.approx(2.0)
    nothing = scored("UNDECIDED", {0: 0.0, 1: 0.0, 2: 0.0}, smallest=0.0)
    assert set(nothing.dots.values()) == {0.0}


def test_every_word_and_its_label() -> None:
    assert [
        scored(word).word for word in ("REPRODUCED", "CONTRADICTED", "UNDECIDED", "INVALID")
    ] == [
        "holds",
        "does not appear",
        "undecided",
        "control failed",
    ]
    assert scored(None).label == NOT_RUN
    assert scored("REPRODUCED", {0: -0.3, 1: -0.3, 2: -0.4}).label == "holds (provisional)"


def test_the_tally_counts_each_word_once() -> None:
    rows = [scored(), scored(), scored("CONTRADICTED"), scored("UNDECIDED"), scored(None)]
    assert tally(rows) == "5 findings: 2 hold, 1 does not appear, 1 undecided, 1 not run"


def test_a_strip_has_every_base_and_marks_what_is_beyond() -> None:
    inside = strip(scored())
    assert len(inside) == WIDTH
    assert sum(int(c) if c.isdigit() else c == "•" for c in inside) == len(BASES)
    assert inside.index("│") < inside.index("┊")
    far = strip(scored(differences={0: -9.0, 1: 9.0, 2: -0.05}))
    assert (far[0], far[-1]) == (LEFT, RIGHT)
    assert strip(scored(expectation="equal")).count("┊") == 2
    assert strip(scored(None)).strip() == ""


def test_the_text_fits_its_width_and_says_each_word() -> None:
    rows = [scored(text="word " * 30), scored("CONTRADICTED"), scored("INVALID"), scored(None)]
    for width in (80, 100):
        text = to_text(rows, width)
        assert max(map(len, text.splitlines())) <= width
        for row in rows:
            assert row.label in text
    painted = to_text(rows, 80, lambda text, word: f"<{word}>{text}</>")
    assert "<does not appear>does not appear</>" in painted


def test_words_are_coloured_in_the_html() -> None:
    page = html.page(to_markdown(to_table([scored(), scored("INVALID")], "lab")), title="t")
    assert '<td class="scored"><span class="word REPRODUCED">holds</span></td>' in page
    assert '<span class="word INVALID">control failed</span>' in page


def test_the_figure_is_drawn_from_its_csv_and_twice_the_same(tmp_path: Path) -> None:
    rows = [
        scored(),
        scored("CONTRADICTED", {0: 9.0, 1: -9.0, 2: 0.0}, text="Another"),
        scored("UNDECIDED", smallest=0.0, text="A third"),
        scored("INVALID", {0: math.nan, 1: 0.1, 2: 0.1}, text="A fourth"),
        scored("REPRODUCED", expectation="equal", text="A fifth", declared="declared after data"),
        scored(None, text="A sixth"),
    ]
    points = figure.plotted(rows)
    csv = figures.csv_text(figure.Point, points)
    assert csv.count("The loss collapses") == len(BASES) + 1  # its bases and the interval
    assert csv.count("A fourth") == 2
    assert csv.count("A sixth") == 1
    for name in ("one", "two"):
        style.save(figure.draw(points, tally(rows), "a note"), tmp_path / name, csv)
    for suffix in (".png", ".svg", ".pdf", ".csv"):
        one, two = ((tmp_path / name).with_suffix(suffix).read_bytes() for name in ("one", "two"))
        assert one == two
    assert style.drawn_from(tmp_path / "one.svg") == style.data_hash(csv)


def test_every_word_of_a_verdict_is_on_the_scorecard() -> None:
    assert set(WORDS) == set(get_args(Word))
    assert set(figure.COLOURS) <= set(WORDS.values())


NO_ROOM = {"reason": "All students end at the ceiling", "world": "A held-out style."}


def untestable(text: str = "A near teacher is better") -> Scored:
    return scored(NOT_TESTABLE, text=text, not_testable=NO_ROOM)


def test_a_finding_that_this_lab_cannot_test_has_a_word_and_a_reason_of_its_own() -> None:
    row = untestable()
    assert (row.word, row.label) == ("this lab cannot tell", "this lab cannot tell")
    assert row.reason == NO_ROOM["reason"]
    assert row.dots == scored().dots  # measured, no verdict
    assert scored(not_testable=NO_ROOM).reason == ""  # declared, but another word was drawn
    assert tally([row]) == "1 finding: 1 that this lab cannot tell"
    assert tally([scored(), row, row]) == "3 findings: 1 holds, 2 that this lab cannot tell"


def test_its_reason_is_in_text_table_html_and_figure(tmp_path: Path) -> None:
    rows = [scored(), untestable()]
    for width in (80, 100):
        text = to_text(rows, width)
        assert max(map(len, text.splitlines())) <= width
        assert "why: All students end at the ceiling" in " ".join(text.split())
        assert "no result" in " ".join(text.split())
    assert "no result" not in to_text([scored()])
    table = to_markdown(to_table(rows, "lab"))
    assert "(why: All students end at the ceiling)" in table
    page = html.page(table, title="t")
    assert '<span class="word NOT_TESTABLE_HERE">this lab cannot tell</span>' in page
    points = figure.plotted(rows)
    assert {point.reason for point in points if point.word == "holds"} == {""}
    assert {point.reason for point in points if point.word != "holds"} == {NO_ROOM["reason"]}
    drawn = figure.draw(points, tally(rows), "a note")
    said = " ".join(
        " ".join(text.get_text().split()) for place in (drawn, *drawn.axes) for text in place.texts
    )
    assert "All students end at the ceiling" in said
    assert "no result" in said
    style.save(drawn, tmp_path / "one", figures.csv_text(figure.Point, points))


def test_the_word_of_such_a_claim_is_coloured_as_one_word() -> None:
    page = html.page("### a: NOT TESTABLE HERE\n\n### b: INVALID (provisional)\n", title="t")
    assert '<span class="word NOT_TESTABLE_HERE">NOT TESTABLE HERE</span>' in page
    assert '<span class="word INVALID">INVALID (provisional)</span>' in page


@pytest.mark.parametrize(
    ("declared", "shown"),
    [
        ("declared before data", False),
        ("changed after data", True),
        ("extended after data", True),
        ("text before data, world not recorded", True),
    ],
)
def test_the_figure_shows_the_label_of_a_claim_unless_all_was_declared_before(
    declared: DeclaredWord, shown: bool
) -> None:
    points = figure.plotted([scored(declared=declared)])
    drawn = figure.draw(points, "", "")
    small = " ".join(text.get_text() for text in drawn.axes[0].texts)
    assert (declared in small) == shown


def test_the_small_print_ends_below_the_axis() -> None:
    drawn = figure.draw(figure.plotted([untestable()]), "", "A long note. " * 40)
    canvas = FigureCanvasAgg(drawn)
    canvas.draw()
    small = next(text for text in drawn.texts if text.get_text().startswith("Dots:"))
    label = drawn.axes[0].xaxis.label.get_window_extent(canvas.get_renderer())
    assert small.get_window_extent(canvas.get_renderer()).y1 < label.y0


def test_no_print_of_a_row_reaches_the_strip() -> None:
    long = scored(
        "UNDECIDED", smallest=0.0, declared="text before data, world not recorded",
        text="A sentence of the paper that is about as long as they get, and then some more words",
    )  # fmt: skip
    drawn = figure.draw(figure.plotted([long, untestable()]), "", "")
    canvas = FigureCanvasAgg(drawn)
    canvas.draw()
    ax = drawn.axes[0]
    strip_left = ax.get_window_extent().x0
    for text in ax.texts:
        if text.get_horizontalalignment() == "left" and text.get_fontweight() != "bold":
            assert text.get_window_extent(canvas.get_renderer()).x1 < strip_left


def test_non_inferiority_holds_beyond_minus_one() -> None:
    row = scored(expectation="not_worse", differences={0: 0.2, 1: 0.25, 2: 0.3})
    assert row.zone == "not_worse"
    marks = strip(row)
    assert marks.index("┊") < marks.index("│")


def test_lines_of_a_sentence_are_about_equally_long() -> None:
    lines = figure.balanced("A self-distilled student ends where its prompted teacher is", 56)
    assert len(lines) == 2
    assert abs(len(lines[0]) - len(lines[1])) < 12
