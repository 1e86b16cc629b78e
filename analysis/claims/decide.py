"""Claims -> verdicts: measure every claim, give the primary ones their level, decide each.

The rule itself is `study/stats/decision.py`; docs/claims.md has it in words and formulas. A verdict
depends on its own grid's records, and through Holm's adjustment on the p of all claims of its
family, which may be claims on other grids.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.claims.contrasts import over_placebo, over_problems
from analysis.claims.declared import declared
from analysis.claims.rules import SECOND, Rules
from analysis.evidence.costs import more_evidence
from analysis.evidence.frames import Evidence
from analysis.verdicts import sentences
from analysis.verdicts.families import Families, families
from analysis.verdicts.gates import GateState, gate_states
from analysis.verdicts.measure import Measured, measure, p_of, rule_of
from analysis.verdicts.next_step import more_bases
from analysis.verdicts.verdict import NOT_TESTABLE, Verdict, Word
from study.spec.report.claim import Claim, Claims
from study.spec.report.finding import Finding
from study.stats.comparisons import ENOUGH, compare, holm_factors
from study.stats.decision import Decision, Failing, decide
from study.stats.distributions import sign_flip_p
from study.stats.intervals import Interval

__all__ = ["NOT_TESTABLE", "Verdict", "Word", "decide_all", "judge"]

Place = tuple[str, str]  # grid, id of the claim
OverProblems = dict[Place, Interval | None]  # by claim, see `over_problems`


def decide_all(page: Claims, evidence: Evidence, rules: Rules = SECOND) -> tuple[Verdict, ...]:
    """Every claim's verdict, in the order of the file, as if this page were the whole study."""
    return judge({page.grid: page}, {page.grid: evidence}, rules=rules)[page.grid]


def judge(
    pages: Mapping[str, Claims],
    evidence: Mapping[str, Evidence],
    *,
    findings: Sequence[Finding] = (),
    rules: Rules = SECOND,
    withdrawn: Mapping[str, Collection[str]] | None = None,
    wanted: Collection[str] | None = None,
    known: OverProblems | None = None,
) -> dict[str, tuple[Verdict, ...]]:
    """The verdicts of every grid with evidence, by grid.

    pages: all claims of the study, by grid; one without evidence counts in its families. withdrawn:
    family -> claims that stored states declare and no page has any more. wanted: only these grids;
    the evidence of the others still gives the p of their claims. known: the intervals over problems
    that an earlier call with the same pages and evidence computed, filled here: no rule changes
    them, and their bootstrap takes most of the time of a verdict.
    """
    made = families(pages.values(), findings, rules, withdrawn)
    chosen = [grid for grid in pages if grid in evidence and (wanted is None or grid in wanted)]
    needed = {name for (grid, _), name in made.of.items() if grid in chosen}
    measured: dict[Place, Measured] = {}
    p_values: dict[Place, float | None] = {}
    for grid, page in pages.items():
        for claim in page.claims if grid in evidence else ():
            place = (grid, claim.id)
            if grid in chosen or made.of.get(place) in needed:
                measured[place] = measure(claim, evidence[grid], rules)
                p_values[place] = p_of(claim, measured[place], rules)
    factors = _factors(made, needed, p_values)
    return {
        grid: tuple(
            _Case(
                pages[grid],
                claim,
                evidence[grid],
                measured[(grid, claim.id)],
                rules,
                known if known is not None else {},
            ).verdict(made, factors, p_values)
            for claim in pages[grid].claims
        )
        for grid in chosen
    }


def _factors(
    made: Families, needed: Collection[str], p_values: Mapping[Place, float | None]
) -> dict[Place, float]:
    """Holm's factor of every claim of these families; the size of the family without a p."""
    factors: dict[Place, float] = {}
    for family in needed:
        members, size = made.members(family), made.size(family)
        found = {
            f"{grid}/{claim}": p
            for grid, claim in members
            if (p := p_values.get((grid, claim))) is not None
        }
        by_name = holm_factors(found, size)
        factors |= {
            (grid, claim): by_name.get(f"{grid}/{claim}", float(size)) for grid, claim in members
        }
    return factors


@dataclass(frozen=True)
class _Case:
    """One claim with its measurement."""

    page: Claims
    claim: Claim
    evidence: Evidence
    measured: Measured
    rules: Rules
    known: OverProblems

    @property
    def bases(self) -> list[int]:
        return list(self.measured.values)

    def verdict(
        self,
        made: Families,
        factors: Mapping[Place, float],
        p_values: Mapping[Place, float | None],
    ) -> Verdict:
        place = (self.page.grid, self.claim.id)
        family = made.of.get(place, "")
        measured = self._numbers(
            Verdict(
                self.claim,
                "UNDECIDED",
                dict(self.measured.values),
                None,
                declared(self.page, self.claim, self.evidence),
                family=family,
                family_size=made.size(family) if family else 1,
                factor=factors.get(place, 1.0),
                p=p_values[place],
                rules=self.rules.name,
                span=self.measured.span,
            )
        )
        return self._decided(measured)

    def _numbers(self, verdict: Verdict) -> Verdict:
        """The effect with its 95% interval, and what is shown next to it."""
        values = self.measured.defined
        if not values or not self.measured.finite:
            return verdict
        verdict = replace(verdict, comparison=compare(values, span=self.measured.span))
        if len(values) < 2:
            return verdict
        return replace(
            verdict,
            sign_flip=sign_flip_p(np.asarray(values), np.random.default_rng(0)),
            problems=self._over_problems(),
        )

    def _over_problems(self) -> Interval | None:
        place = (self.page.grid, self.claim.id)
        if place not in self.known:
            self.known[place] = over_problems(
                self.claim.contrast, self.claim.outcome, self.evidence
            )
        return self.known[place]

    def _decided(self, verdict: Verdict) -> Verdict:
        gates = gate_states(
            self.claim,
            self.page.gates_of(self.claim),
            self.evidence,
            self.bases,
            self.measured.undefined,
            self.rules,
        )
        failing = frozenset[int]().union(*(gate.failing for gate in gates))
        verdict = replace(
            verdict,
            gates=tuple(gate.text for gate in gates),
            failing=tuple(base for base in self.bases if base in failing),
        )
        if self.rules.not_testable and self.claim.not_testable is not None:
            reason = "its page declares that the worlds of this study cannot test it"
            return replace(verdict, word=NOT_TESTABLE, reason=reason)
        if verdict.n < ENOUGH:
            return self._too_few(verdict)
        failed = [gate.text for gate in gates if not gate.holds]
        if self.measured.finite and failed:
            reason = "a control failed: " + "; ".join(failed)
            return replace(verdict, word="INVALID", reason=reason)
        if self.claim.expectation == "none" and self.measured.finite:
            reason = "no expectation was declared; the effect is shown as it is"
            return replace(verdict, word="REPORTED", reason=reason)
        return self._ruled(verdict, gates)

    def _too_few(self, verdict: Verdict) -> Verdict:
        seeds = list(self.evidence.seeds)
        seeds += [seed for seed in range(ENOUGH) if seed not in seeds]
        chosen = seeds[: max(ENOUGH, len(self.evidence.seeds))]
        plural = "base" if verdict.n == 1 else "bases"
        reason = f"{verdict.n} {plural} with every arm of this claim; a verdict needs {ENOUGH}"
        return replace(verdict, reason=reason, next_step=more_evidence(self.evidence, chosen).text)

    def _ruled(self, verdict: Verdict, gates: Sequence[GateState]) -> Verdict:
        """The word of the rule, where every gate allows one."""
        decision = self._decision(verdict, gates)
        if decision is None:
            broken = sorted(set(self.bases) - self.measured.undefined - self._finite_bases())
            reason = f"the outcome is not a finite number for bases {broken}"
            return replace(verdict, word="INVALID", reason=f"{reason}: it cannot carry this claim")
        decided = replace(verdict, word=decision.word, decision=decision)
        texts = sentences.placebo_texts(decided)
        decided = replace(decided, placebos=texts)
        decided = replace(decided, reason=sentences.reason(decided))
        if decision.word == "UNDECIDED" and decision.because != "placebo":
            return replace(decided, next_step=more_bases(decided, self.evidence, self.rules))
        return decided

    def _finite_bases(self) -> set[int]:
        return {base for base, value in self.measured.values.items() if math.isfinite(value)}

    def _decision(self, verdict: Verdict, gates: Sequence[GateState]) -> Decision | None:
        """None where the outcome is not a number somewhere."""
        rule = rule_of(
            self.claim, verdict.alpha, sign_flip=self.rules.sign_flip, span=self.measured.span
        )
        if rule is None or not self.measured.finite:
            return None
        position = {base: i for i, base in enumerate(self.bases)}
        over = [over_placebo(self.claim, arm, self.evidence) for arm in self.claim.placebos]
        return decide(
            list(self.measured.values.values()),
            rule,
            gates=[
                Failing(frozenset(position[base] for base in gate.failing), gate.tolerated)
                for gate in gates
            ],
            undefined=frozenset(position[base] for base in self.measured.undefined),
            excess=[[by_base.get(base) for base in self.bases] for by_base in over],
        )
