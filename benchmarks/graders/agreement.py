r"""Compare the graders with labels and with math-verify, list every disagreement, and write the
measured part of docs/graders.md.

    python -m benchmarks.graders.agreement DATA_FOLDER [--page docs/graders.md] [--workers 2]

DATA_FOLDER holds math500.jsonl, aime24.jsonl, aime25.jsonl, amc23.jsonl, gsm8k-test.jsonl and
gsm8k-model-solutions.jsonl. Labels: pairs by how they were made (benchmarks/graders/pairs.py) or by
hand (cases.py), completions by the label that came with them. math-verify is called as its
documentation shows, with its own extraction. A disagreement is a pair on which our strict outcome
(relaxed, for completions without a box) and math-verify differ; the label says who is right, WHY
gives the reason. All were read first.
"""

import argparse
import json
import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.graders.cases import CASES
from benchmarks.graders.pairs import FILES, RELAXED_WRAPPINGS, STRICT_WRAPPINGS, Pair, golds, pairs
from benchmarks.graders.spellings import KINDS, STATED
from study.grading.boxed import Outcome
from study.grading.math.extraction import boxed, reference
from study.grading.registry import Grade, Grader, Sample, open_grader

MARK = "<!-- Everything below this line is written by benchmarks/graders/agreement.py -->"
LISTED = 40  # per kind; the rest is only counted
PATIENT_S = 60  # seconds for math-verify, so that a busy machine does not make it wrong

WHY: dict[str, str] = {
    "written by hand/ours": (
        "math-verify does not read `5\\%`, `90°`, `1 4/5`, digits after `\\,` or a repeating"
        " decimal in a box, compares lists as sets and letters as a product, and drops the power of"
        " a unit."
    ),
    "written by hand/neither": "Kinds that neither knows: see What is known to be wrong.",
    "sympy's own": (
        "To math-verify `6i` is six times a variable and `6 i` a complex number: whether the gold"
        " has the space decides."
    ),
    "expanded": "The same.",
    "factored": "The same.",
    "other base": "math-verify drops the subscript, so every base is equal.",
    "last digit": (
        "math-verify rounds both to six places after the point: too few for a small number."
    ),
    "other bracket": (
        "math-verify compares sets of numbers; as written, an interval that is closed at infinity"
        " is not the answer."
    ),
    "equation with both sides doubled": (
        "An equation that is still to be solved; neither solves it."
    ),
    "units and currencies of any script": (
        "math-verify parses nothing next to other letters, `£` or `²`; `60 km/h` is 60km/h to it."
    ),
    "Unicode mathematics": "math-verify parses LaTeX and ASCII alone.",
    "power with two stars": "math-verify reads the number before the stars, or nothing.",
    "answer tags": (
        "math-verify has no tags: it takes the last number, and no fraction without dollar signs."
    ),
    "assignment written backwards": "math-verify unwraps `y=6` and keeps `6=y` as an equation.",
    "letters for pi": "math-verify reads `pi` as p times i.",
    "exact beyond sixteen digits": (
        "math-verify reads both exactly and compares them rounded, where tiny numbers are the same."
    ),
    "number beside a letter of any script": (
        "math-verify reads no number that a letter of another script follows."
    ),
    "thousands": "math-verify stops before the braces, or before the space between the groups.",
    "percent in words": "math-verify rewrites `pct` as a percent sign and then parses nothing.",
    "name with a subscript": "math-verify does not parse a name with a command in its subscript.",
    "equation that ends in the answer": "math-verify reads `3!=6` as: 3 is not 6.",
    "operation that ends in the answer": "math-verify does not parse a congruence.",
    "false equation": "math-verify takes the last side of an equation, be it false.",
    "comma between digits": "math-verify takes a comma between digits for a set.",
    "currency with a letter": "math-verify reads the letters as variables.",
    "grouping by hundreds": "math-verify reads a set of three numbers.",
    "values listed in prose": (
        "math-verify takes the last number, also out of a list and after a `not`."
    ),
}


class Case(NamedTuple):
    """One pair that both graders have graded."""

    source: str
    pair: Pair
    ours: Grade
    ours_correct: bool
    stock: bool


def stock(completion: str, answer: str) -> bool:
    from math_verify import parse, verify

    gold, found = (
        parse(f"${answer}$", parsing_timeout=PATIENT_S),
        parse(completion, parsing_timeout=PATIENT_S),
    )
    return bool(verify(gold, found, timeout_seconds=PATIENT_S))


def itself(folder: Path, grader: Grader) -> list[str]:
    """Return the rows of the first table: golds against themselves."""
    lines = [
        "| golds | n | "
        + " | ".join([*STRICT_WRAPPINGS, *RELAXED_WRAPPINGS])
        + " | math-verify, box |",
        "|---" * 10 + "|",
    ]
    for name in FILES:
        references = golds(folder, name)
        shares = [
            sum(r.outcome is Outcome.correct for r in _wrapped(grader, references, w))
            for w in STRICT_WRAPPINGS.values()
        ]
        shares += [
            sum(r.relaxed is Outcome.correct for r in _wrapped(grader, references, w))
            for w in RELAXED_WRAPPINGS.values()
        ]
        shares.append(sum(stock(f"$\\boxed{{{gold}}}$", gold) for gold in references))
        lines.append(f"| {name} | {len(references)} | " + " | ".join(map(str, shares)) + " |")
    return lines


def _wrapped(grader: Grader, references: Sequence[str], wrapping: str) -> list[Grade]:
    return grader.grade_many([Sample(wrapping.replace("%s", gold), gold) for gold in references])


def made_pairs(folder: Path, grader: Grader) -> list[Case]:
    cases: list[Case] = []
    by_hand = [
        Pair("written by hand", "written by hand", answer, gold, equal)
        for answer, gold, equal in CASES
    ]
    for name, made in [
        *((name, pairs(golds(folder, name))) for name in FILES),
        ("benchmarks/graders/cases.py", by_hand),
    ]:
        results = grader.grade_many(
            [Sample(f"$\\boxed{{{pair.answer}}}$", pair.gold) for pair in made]
        )
        for pair, result in zip(made, results, strict=True):
            said = stock(f"$\\boxed{{{pair.answer}}}$", pair.gold)
            cases.append(Case(name, pair, result, result.outcome is Outcome.correct, said))
    return cases


def spellings(grader: Grader) -> list[Case]:
    """Return the pairs of benchmarks/graders/spellings.py, in a box, or as they are if they need
    none.
    """
    cases: list[Case] = []
    for kinds, wrapping in ((KINDS, "$\\boxed{%s}$"), (STATED, "%s")):
        for kind, some in kinds.items():
            made = [Pair("spelling", kind, *case) for case in some]
            texts = [wrapping.replace("%s", pair.answer) for pair in made]
            samples = [Sample(text, pair.gold) for text, pair in zip(texts, made, strict=True)]
            results = grader.grade_many(samples)
            for pair, text, result in zip(made, texts, results, strict=True):
                ours = result.relaxed if kinds is STATED else result.outcome
                right = ours is Outcome.correct
                said = stock(text, pair.gold)
                cases.append(Case("benchmarks/graders/spellings.py", pair, result, right, said))
    return cases


def completions(folder: Path, grader: Grader) -> list[Case]:
    """Return model solutions of GSM8K.

    They state an answer without a box, so the relaxed outcome is compared.
    """
    with (folder / "gsm8k-model-solutions.jsonl").open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    found = [
        (value, reference(row["ground_truth"]))
        for row in rows
        for value in row.values()
        if isinstance(value, dict)
    ]
    results = grader.grade_many([Sample(value["solution"], gold) for value, gold in found])
    return [
        Case(
            "GSM8K completions",
            Pair("completion", "completion", _end(value["solution"]), gold, value["is_correct"]),
            result,
            result.relaxed is Outcome.correct,
            stock(value["solution"], gold),
        )
        for (value, gold), result in zip(found, results, strict=True)
    ]


def _end(text: str) -> str:
    assert boxed(text) is None
    return text[-40:].replace("\n", " ")


def table(cases: Sequence[Case]) -> list[str]:
    lines = [
        "| source | pairs | n | ours right | math-verify right | disagreements | ours right in them"
        " | correct relaxedly alone | timed out |"
    ]
    lines.append("|---" * 9 + "|")
    for source, group in dict.fromkeys((case.source, case.pair.group) for case in cases):
        some = [case for case in cases if (case.source, case.pair.group) == (source, group)]
        ours, theirs = (
            sum(c.ours_correct == c.pair.equal for c in some),
            sum(c.stock == c.pair.equal for c in some),
        )
        differing = [c for c in some if c.ours_correct != c.stock]
        band = sum(c.ours.relaxed is Outcome.correct and not c.ours_correct for c in some)
        late = sum(c.ours.outcome is Outcome.timed_out for c in some)
        won = sum(c.ours_correct == c.pair.equal for c in differing)
        lines.append(
            f"| {source} | {group} | {len(some)} | {ours} | {theirs} | {len(differing)} | {won} |"
            f" {band} | {late} |"
        )
    return lines


def disagreements(cases: Iterable[Case]) -> list[str]:
    """Group by kind and by who is right; then the pairs on which both are wrong."""
    groups: dict[tuple[str, str], list[Case]] = defaultdict(list)
    for case in cases:
        if case.ours_correct != case.stock:
            groups[
                case.pair.kind, "ours" if case.ours_correct == case.pair.equal else "math-verify"
            ].append(case)
        elif case.ours_correct != case.pair.equal:
            groups[case.pair.kind, "neither"].append(case)
    lines: list[str] = []
    for who in ("ours", "math-verify", "neither"):
        chosen = {kind: some for (kind, right), some in groups.items() if right == who}
        lines += ["", f"### {who.capitalize()} right: {sum(map(len, chosen.values()))}", ""]
        for kind, some in sorted(chosen.items(), key=lambda item: -len(item[1])):
            lines += _listed(kind, who, some)
    return lines


def _listed(kind: str, who: str, cases: Sequence[Case]) -> list[str]:
    sources = ", ".join(
        f"{source} {n}" for source, n in Counter(case.source for case in cases).items()
    )
    equal = " or ".join(sorted({"equal" if case.pair.equal else "different" for case in cases}))
    why = WHY.get(f"{kind}/{who}", WHY.get(kind, ""))
    shown = [
        f"`{case.pair.answer}` for `{case.pair.gold}` ({_truth(case)})" for case in cases[:LISTED]
    ]
    more = [f"and {len(cases) - LISTED} more"] if len(cases) > LISTED else []
    return [
        f"- **{kind}** ({cases[0].pair.group}, {equal}; {sources}). {why}",
        f"  {'; '.join([*shown, *more])}",
    ]


def _truth(case: Case) -> str:
    if case.ours_correct == case.stock:
        return "both wrong: equal" if case.pair.equal else "both wrong: different"
    return "equal" if case.pair.equal else "different"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--page", type=Path, default=Path("docs/graders.md"))
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    with open_grader(workers=asked.workers) as grader:
        lines = ["## Golds against themselves", "", *itself(asked.folder, grader), ""]
        cases = [
            *made_pairs(asked.folder, grader),
            *spellings(grader),
            *completions(asked.folder, grader),
        ]
    lines += [
        "## Labelled pairs and completions",
        "",
        *table(cases),
        "",
        "## Every disagreement, and who is right",
    ]
    lines += disagreements(cases)
    before = (
        asked.page.read_text(encoding="utf-8").partition(MARK)[0] if asked.page.exists() else ""
    )
    asked.page.write_text(
        f"{before.rstrip()}\n\n{MARK}\n\n" + "\n".join(lines).rstrip() + "\n", encoding="utf-8"
    )
    print(f"{len(cases)} cases in {asked.page}")


if __name__ == "__main__":
    main()
