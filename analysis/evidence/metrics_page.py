"""Write `docs/metrics.md`: every metric, outcome and contrast with unit, formula and limits."""

from dataclasses import dataclass

from analysis.evidence.definition import Definition
from analysis.evidence.definitions import DEFINITIONS

LEGEND = """
B responses, T tokens of a response, P problems, S samples per problem, V vocabulary; p =
student, q = teacher next-token probabilities at one position of the student's own completion, K =
the k of the objective, else 5; top = the K likeliest tokens of p. A `train/` or `rollout/` value at
a step is the mean over the steps since the previous point, so step 0 has none; "mean over tokens"
weighs every token of those rollouts alike. An `eval/` value is measured at the step itself.

A training may declare `measure_every: n` (1 unless declared; the record has it with its recipe).
Then the loss, the gradient norm, the share of informative tokens and everything of `rollout/` and
`eval/` stay exact. Sampled, on one of every n tokens of each response from a seeded first one:
`train/reverse_kl`, `*_entropy`, `*_topk_mass`, `topk_overlap`, `teacher_cut_mass`, the coverage of
a server, and the log-ratios by position. Their expectation is the mean over all tokens; their noise
is that of 1/n of the tokens, and the guard, whose thresholds were calibrated on all tokens, reads
them as they are. Absent: of a step without a measured token. Behind a server that returned part of
a row, what needs the whole row is absent too.

Limits: what the outcome cannot leave ([claims.md](claims.md) says how an interval keeps them). A
number of a probe has the limits 0-1 if its name is `accuracy` or ends in `_fraction`, else none.
Better: the side that `not_worse` protects. `study check` refuses a claim whose `better` is the
other side, and, where neither is better (also for a number of a probe, but for `accuracy`), one
that does not write `better` itself. Of a share the page says it: `higher` unless it writes `lower`.
"""

# Outcomes of a curve: its metric says their limits and their better side.
OF_A_CURVE = {
    "auc": ("the metric's", "the metric's"),
    "best": ("the metric's", "the metric's"),
    "steps_to": (">= 0", "lower where the metric's is higher, higher where it is lower"),
}


@dataclass(frozen=True)
class ContrastDefinition:
    """What a contrast of outcomes means: `study.spec.report.claim` has the kinds."""

    name: str
    unit: str
    formula: str
    meaning: str


CONTRASTS: tuple[ContrastDefinition, ...] = (
    ContrastDefinition("level", "the outcome's", "a", "The outcome of one arm."),
    ContrastDefinition(
        "difference", "the outcome's", "a - b", "Two arms of the same base student."
    ),
    ContrastDefinition(
        "interaction",
        "the outcome's",
        "(a - b) - (c - d)",
        "How much larger one difference is than a control difference.",
    ),
    ContrastDefinition(
        "change, start",
        "the outcome's",
        "last step - step 0; step 0",
        "Of a training curve: the effect of training, and the student before it. The last step is"
        " the last measured one, which of a run that the guard stopped is the stop. A base without"
        " a value at step 0 is left out.",
    ),
    ContrastDefinition(
        "share: share internalised",
        "1 = all of it",
        "(student - untouched) / (prompted - untouched)",
        "How much of what the prompt does to the teacher is in its student without the prompt. 0:"
        " nothing; 1: as the prompted teacher; above 1: beyond it. Not a number for a base whose"
        " `full` differs from its `start` by less than `moves_at_least` (|full - start|, in the"
        " outcome's unit): there is nothing to internalise there. Limits: the denominator is"
        " measured too, so a small one makes the share noisy; shares of outcomes in other units can"
        " be compared, effects cannot.",
    ),
    ContrastDefinition(
        "share: gap recovery",
        "1 = all of it",
        "(student - start) / (teacher - start)",
        "How much of the distance from the student before training to its teacher was closed; the"
        " same rule for a teacher that is too near. Limits: near a ceiling every student recovers"
        " all, whatever the teacher.",
    ),
    ContrastDefinition(
        "difference, change with `scale: log`",
        "log ratio (nats)",
        "log(a / b); log(last step / step 0)",
        "For two positive quantities of which the ratio is steady and the difference is not: a tail"
        " mass, a KL, a length. The smallest effect is then in nats: 0.69 = log 2 is a factor of 2."
        " Not a number unless both are above zero.",
    ),
)


def metrics_page() -> str:
    """The text of `docs/metrics.md`."""
    legend = [" ".join(part.split()) for part in LEGEND.split("\n\n")]
    head = [
        "# What is measured",
        "",
        (
            "Generated from the definitions in `analysis/evidence/` by `study analyze"
            " --metrics-page`; edit them there."
        ),
        "",
        *(line for part in legend for line in (part, "")),
    ]
    rows = [_row(definition) for definition in DEFINITIONS]
    return "\n".join(
        [
            *head,
            "| metric | title | unit | limits | better | definition | meaning |",
            "|---|---|---|---|---|---|---|",
            *rows,
            "",
            *_contrasts(),
            "",
        ]
    )


def _row(definition: Definition) -> str:
    own = (_limits(definition.bounds), definition.better)
    limits, better = OF_A_CURVE.get(definition.name, own)
    cells = (
        f"`{definition.name}`",
        definition.title,
        definition.unit,
        limits,
        better,
        f"`{_escaped(definition.formula)}`",
        _escaped(definition.meaning),
    )
    return f"| {' | '.join(cells)} |"


def _limits(bounds: tuple[float | None, float | None]) -> str:
    low, high = bounds
    if low is None:
        return "none"
    return f">= {low:g}" if high is None else f"{low:g}-{high:g}"


def _contrasts() -> list[str]:
    rows = [
        f"| {each.name} | {each.unit} | `{_escaped(each.formula)}` | {_escaped(each.meaning)} |"
        for each in CONTRASTS
    ]
    return [
        "## Contrasts",
        "",
        (
            "A claim compares outcomes of arms for one base student at a time; a, b, ... are the"
            " outcomes of its arms for that base ([claims.md](claims.md) has the spelling)."
        ),
        "",
        "| contrast | unit | per base | meaning and limits |",
        "|---|---|---|---|",
        *rows,
    ]


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")
