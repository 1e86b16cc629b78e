"""Numbers in prose: each one that is cited with its claim is what the committed records give."""

import math
import re
from functools import cache
from statistics import fmean

import pytest

from analysis.claims.contrasts import contrast_by_base
from analysis.claims.outcomes import by_base
from analysis.claims.rules import SECOND
from analysis.evidence.frames import Evidence
from analysis.evidence.loading import load
from analysis.pages.numbered import claims_of
from analysis.verdicts.measure import measure
from study.spec.report.contrast import Difference
from study.spec.yaml.load import names
from study.stats.comparisons import compare
from tests.support.paths import ROOT

PAGES = ("docs/findings.md", "docs/lab.md")
NUMBER = r"-?\d*\.\d+"
CITED = re.compile(rf"`([a-z-]+)/([a-z0-9_]+)`\s+({NUMBER})\s+\[({NUMBER}),\s+({NUMBER})\]")
NAMED = re.compile(r"`([a-z-]+)/([a-z0-9_]+)`")
RLVR = {"teacher": "rlvr", "length": "standard"}


def text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def citations() -> list[tuple[str, ...]]:
    found = [found.groups() for page in PAGES for found in CITED.finditer(text(page))]
    return list(dict.fromkeys(found))


@cache
def committed(grid: str) -> Evidence:
    return load(ROOT / "results" / "records", grid=grid)


def as_written(value: float, shown: str) -> bool:
    """Whether a number is the printed one, within half of its last digit."""
    digits = len(shown.partition(".")[2])
    return abs(value - float(shown)) <= 0.5 * 10**-digits + 1e-9


@pytest.mark.parametrize("cited", citations(), ids="/".join)
def test_a_cited_number_is_what_the_records_give(cited: tuple[str, ...]) -> None:
    grid, name, mean, low, high = cited
    page = claims_of(grid)
    claim = page.claim(name) if page else None
    assert claim is not None
    found = measure(claim, committed(grid), SECOND)
    interval = compare(found.defined, span=found.span).interval
    assert interval.low is not None
    assert interval.high is not None
    assert as_written(interval.mean, mean)
    assert as_written(interval.low, low)
    assert as_written(interval.high, high)


@pytest.mark.parametrize("page", PAGES)
def test_claims_that_are_named_exist(page: str) -> None:
    named = [(grid, name) for grid, name in NAMED.findall(text(page)) if grid in names("claims")]
    assert named
    for grid, name in named:
        declared = claims_of(grid)
        assert declared is not None
        assert declared.claim(name) is not None, f"{grid}/{name}"


def test_most_results_are_cited() -> None:
    assert len(citations()) > 25


def test_what_the_prose_says_of_the_largest_k() -> None:
    arms = [RLVR | {"objective": name} for name in ("biased_k20", "stop_gradient_k20")]
    contrast = Difference(arm=arms[0], versus=arms[1], scale="log")
    divergence = contrast_by_base(contrast, "train/reverse_kl", committed("math"))
    assert as_written(math.exp(fmean(divergence.values())), "2.2")
    assert "so does the reverse KL to the teacher (2.2 times)" in " ".join(
        text("docs/findings.md").split()
    )


def test_what_the_prose_says_of_the_collapse() -> None:
    evidence = committed("math")
    at_1, at_5 = (RLVR | {"objective": name} for name in ("biased_k1", "biased_k5"))
    repeated = by_base(evidence, at_1, "eval/repetition_3gram").values()
    assert max(repeated) <= 0.021
    assert min(by_base(evidence, at_1, "train/student_entropy").values()) >= 2.3
    assert min(by_base(evidence, at_1, "eval/truncated_fraction").values()) > 0.99
    for length in ("standard", "long"):
        arm = at_5 | {"length": length}
        assert max(by_base(evidence, arm, "eval/repetition_3gram").values()) < 0.04


def test_how_near_students_end_to_their_prompted_teachers() -> None:
    evidence = committed("opsd-shared")
    for name in ("rule", "style", "refusal"):
        contrast = Difference(arm={"arm": name}, versus={"arm": f"{name}_score"})
        found = contrast_by_base(contrast, "score", evidence).values()
        assert abs(fmean(found)) < 0.02
        assert max(map(abs, found)) < 0.045
    contrast = Difference(arm={"arm": "concise"}, versus={"arm": "concise_score"})
    tokens = contrast_by_base(contrast, "mean_tokens", evidence).values()
    assert abs(fmean(tokens)) < 0.02
    assert max(map(abs, tokens)) < 0.05


def test_warm_up_at_equal_numbers_of_steps() -> None:
    evidence = committed("warmup")
    cold = {
        (point.seed, point.step): point.value
        for point in evidence.series({"arm": "far_0"}, "eval/avg@k")
    }
    ahead: dict[int, list[float]] = {}
    for point in evidence.series({"arm": "far_40"}, "eval/avg@k"):
        if (point.seed, point.step + 40) in cold:
            ahead.setdefault(point.step, []).append(
                point.value - cold[(point.seed, point.step + 40)]
            )
    means = [fmean(values) for values in ahead.values()]
    assert len(means) == 5
    assert max(map(abs, means)) <= 0.021
    assert min(means) < 0.0 < max(means)
