"""What every measured number means: name, unit, formula.

Figures take their labels from here and `docs/metrics.md` is generated from it.

Legend: B responses, T tokens of a response, P problems, S samples per problem, V vocabulary; p =
student, q = teacher next-token probabilities at one position of the student's own completion, K =
the k of the objective, else 5; top = the K likeliest tokens of p. A `train/` or `rollout/` value at
a step is the mean over the steps since the previous point, so step 0 has none; "mean over tokens"
weighs every token of those rollouts alike. An `eval/` value is measured at the step itself.
"""

from dataclasses import dataclass
from typing import Literal

from study.spec.report.outcome import ReportOutcome, outcome


@dataclass(frozen=True)
class Definition:
    """axis: how a figure draws it; unit: what the axis says behind the name; bounds: values the
    metric cannot leave (None = open).

    shown: values that an axis always includes, so that a difference of a thousandth does not fill a
    panel.
    """

    name: str
    title: str
    unit: str
    formula: str
    meaning: str
    axis: Literal["linear", "log"] = "linear"
    bounds: tuple[float | None, float | None] = (0.0, None)
    shown: tuple[float, ...] = ()


SHARE = (0.0, 1.0)

DEFINITIONS: tuple[Definition, ...] = (
    Definition(
        "score",
        "Final accuracy",
        "avg@k, T = 1",
        "(1 / P) sum_p c_p / k,  c_p = samples of problem p graded correct, of k",
        "Accuracy of one sampled completion on the held-out problems after the last step: the"
        " headline of every table. An answer that cannot be parsed and a completion cut at the"
        " length limit are outcomes of their own and are not correct.",
        bounds=SHARE,
    ),
    Definition(
        "score/truncated_fraction",
        "Truncated",
        "share of samples",
        "#(samples that reach the length limit) / (P k)",
        "Samples of the final evaluation that never ended by themselves.",
        bounds=SHARE,
    ),
    Definition(
        "score/unparsed_fraction",
        "Unparsed",
        "share of samples",
        "#(samples without a readable boxed answer) / (P k)",
        "Samples of the final evaluation that ended but gave no answer that the grader can read.",
        bounds=SHARE,
    ),
    Definition(
        "score/parsed_accuracy",
        "Accuracy among parseable",
        "correct / readable answers",
        "sum_p c_p / (P k (1 - truncated - unparsed))",
        "Of the samples of the final evaluation that end with a readable answer, the share that is"
        " right: what is left of a fall in accuracy once broken formats are taken out. Not a number"
        " where no sample is readable.",
        bounds=SHARE,
    ),
    Definition(
        "score/greedy",
        "Greedy accuracy",
        "share of problems",
        "#(problems whose greedy completion is correct) / P",
        "Of the final evaluation, where it was measured.",
        bounds=SHARE,
    ),
    Definition(
        "collapse_step",
        "Time to collapse",
        "optimiser steps",
        "the guard's stop, else the first step from which eval/avg@k stays below half of its"
        " highest value so far, to the end",
        "A run that does not collapse counts its last step (censored). A dip from which a run comes"
        " back is no collapse.",
    ),
    Definition(
        "collapsed",
        "Collapse rate",
        "share of bases",
        "1 if the guard stopped the run or eval/avg@k stays below half of its highest value so far"
        " from some step to the end, else 0; over n bases the rate is (collapsed bases) / n",
        "The interval of a rate is exact (Clopper-Pearson, 95%): with none of five it is [0, .522]."
        " Limits: a run is judged over the steps it had, so arms of unequal length are no fair"
        " comparison; a curve with few points dates a fall late or misses it.",
        bounds=SHARE,
    ),
    Definition(
        "score/pass@k",
        "pass@k",
        "share of problems",
        "(1 / P) sum_p [1 - C(n - c_p, k) / C(n, k)],  c_p of the n samples of problem p correct",
        "Outcome `pass@4`, or `pass@4:TASK`: the chance that k samples hold a correct one, unbiased"
        " for 1 - (1 - accuracy_p)^k, from the samples of the final evaluation. Limits: k = 1 is"
        " the score; k is at most n; k = n is the share of problems with any correct sample, and"
        " its variance over samples is largest there.",
        bounds=SHARE,
    ),
    Definition(
        "steps_to",
        "Steps to a value",
        "optimiser steps",
        "min {step : metric(step) >= value} over the measured steps",
        "Outcome `steps_to:0.6:eval/avg@k`. A run that never gets there counts its last step, one"
        " that the guard stopped before counts all steps that were declared for it (censored: the"
        " truth is larger). Limits: no finer than the curve's steps; reaching a value and losing it"
        " again counts as reached; arms of unequal length are censored at different steps.",
    ),
    Definition(
        "auc",
        "Mean over steps",
        "as the metric",
        "area under the curve by the trapezoid rule / (last step - first step)",
        "Outcome `auc:METRIC`: how high a curve is on average, so an early rise counts. Limits: one"
        " measured step has none.",
        bounds=(None, None),
    ),
    Definition(
        "best",
        "Best step",
        "as the metric",
        "max over measured steps of the metric",
        "Outcome `best:METRIC`. Chosen by its result, so biased upwards by the noise of the curve;"
        " tables and figures say so.",
        bounds=(None, None),
    ),
    Definition(
        "signal_gap",
        "Signal on wrong minus on right",
        "nats per token",
        "mean |log p - log q| of the sampled tokens of wrong completions minus that of correct"
        " ones, at the start of training (signed means per bin of positions, pooled)",
        "Above zero the teacher disagrees more with the wrong completions of its student. Not"
        " measured where the start of training has no completion of one of the two kinds.",
        bounds=(None, None),
    ),
    Definition(
        "score/mean_tokens",
        "Length",
        "tokens",
        "(1 / (P k)) sum of sample lengths",
        "Mean completion length in the final evaluation.",
    ),
    Definition(
        "eval/avg@k",
        "Sampled accuracy",
        "avg@k, T = 1",
        "(1 / P) sum_p c_p / k",
        "The same estimator while training, on the curve's held-out problems with the k of the"
        " column's name (`eval/avg@2`: two samples a problem). Greedy decoding can stay high while"
        " this one collapses, so this one is drawn.",
        bounds=SHARE,
        shown=(0.0, 1.0),
    ),
    Definition(
        "eval/greedy",
        "Greedy accuracy",
        "share of problems",
        "#(problems whose greedy completion is correct) / P",
        "Temperature zero, one completion a problem, the same problems as eval/avg@k.",
        bounds=SHARE,
        shown=(0.0, 1.0),
    ),
    Definition(
        "eval/mean_tokens",
        "Completion length",
        "tokens",
        "(1 / (P S)) sum of lengths",
        "Mean length of the sampled held-out completions, end token included.",
        shown=(10.0, 30.0),
    ),
    Definition(
        "eval/truncated_fraction",
        "Truncated",
        "share of samples",
        "#(samples that reach the length limit) / (P S)",
        "Sampled held-out completions cut at the length limit.",
        bounds=SHARE,
        shown=(0.0, 0.2),
    ),
    Definition(
        "eval/repetition_3gram",
        "3-gram repetition",
        "share of tokens",
        "mean over responses of #{t : (y_{t-2}, y_{t-1}, y_t) ended earlier in the same"
        " response} / T",
        "The statistic of the paper's Fig. 4, by the definition in the authors' code, on sampled"
        " held-out completions.",
        bounds=SHARE,
        shown=(0.0, 0.2),
    ),
    Definition(
        "train/loss",
        "Loss",
        "nats per token",
        "the objective as declared, reduced as declared",
        "What the optimiser descends. Biased forms can go far below zero while the model breaks: no"
        " measure of success.",
        bounds=(None, None),
    ),
    Definition(
        "train/reverse_kl",
        "Exact reverse KL",
        "nats per token",
        "mean over tokens of sum_v p_v (log p_v - log q_v), over the whole vocabulary",
        "KL(student || teacher) on the student's own rollouts, unclamped, whatever the objective"
        " was. Drawn on a logarithmic axis.",
        axis="log",
    ),
    Definition(
        "train/student_entropy",
        "Student entropy",
        "nats per token",
        "mean over tokens of -sum_v p_v log p_v",
        "Of the student's next-token distribution on its own rollouts.",
        shown=(0.0, 1.0),
    ),
    Definition(
        "train/teacher_entropy",
        "Teacher entropy",
        "nats per token",
        "mean over tokens of -sum_v q_v log q_v",
        "Of the teacher's next-token distribution on the student's rollouts.",
    ),
    Definition(
        "train/student_topk_mass",
        "Student TopK mass",
        "probability",
        "mean over tokens of sum_{v in top} p_v",
        "How much of the student's own probability the K likeliest tokens hold; the biased loss"
        " drains it.",
        bounds=SHARE,
        shown=(0.8, 1.0),
    ),
    Definition(
        "train/teacher_topk_mass",
        "Teacher TopK mass",
        "probability",
        "mean over tokens of sum_{v in top} q_v",
        "The teacher's probability on the student's K likeliest tokens.",
        bounds=SHARE,
        shown=(0.8, 1.0),
    ),
    Definition(
        "train/student_tail_mass",
        "Student tail mass",
        "probability",
        "1 - train/student_topk_mass",
        "What the student keeps outside its K likeliest tokens: the tail into which the biased loss"
        " drains. Not a column of records; computed from the one that is. It starts near zero, so"
        " its ratio tells more than its difference. Limits: as many digits as the record keeps of"
        " the mass.",
        bounds=SHARE,
    ),
    Definition(
        "train/topk_overlap",
        "TopK overlap",
        "share of K",
        "mean over tokens of |top_K(p) and top_K(q) in common| / K",
        "How far both sides agree on the likeliest tokens.",
        bounds=SHARE,
    ),
    Definition(
        "train/grad_norm",
        "Gradient norm",
        "L2",
        "|| gradient of the reduced loss over all parameters ||_2, before clipping",
        "Of the optimiser step.",
    ),
    Definition(
        "train/teacher_cut_mass",
        "Teacher mass cut off",
        "probability",
        "mean over tokens of sum of q_v over ids v that the student does not have",
        "Zero where both heads have the same width; above it the teacher's probability on the"
        " padding of a wider head is lost.",
        bounds=SHARE,
    ),
    Definition(
        "train/teacher_coverage",
        "Returned by the server",
        "share of K",
        "mean over tokens of |top_K(p) and returned in common| / K",
        "Where a server scores for the teacher: which share of the student's K likeliest tokens it"
        " returned. What the objective does with the others is its missing-token policy. Columns"
        " that need the teacher's whole distribution are absent from such a run.",
        bounds=SHARE,
    ),
    Definition(
        "train/teacher_coverage_mass",
        "Student mass returned",
        "probability",
        "mean over tokens of sum of p_v over v in top_K(p) that the server returned",
        "The student's probability on those tokens; next to train/student_topk_mass it says how"
        " much of the support had no score.",
        bounds=SHARE,
    ),
    Definition(
        "rollout/accuracy",
        "Rollout accuracy",
        "share of rollouts",
        "#(training rollouts graded correct) / B",
        "On the training problems, while the student changes; never the accuracy that is reported.",
        bounds=SHARE,
    ),
    Definition(
        "rollout/mean_tokens",
        "Rollout length",
        "tokens",
        "(1 / B) sum of lengths",
        "Mean length of the training rollouts of the step.",
    ),
    Definition(
        "rollout/truncated_fraction",
        "Truncated rollouts",
        "share of rollouts",
        "#(rollouts that reach the length limit) / B",
        "Training rollouts cut at the length limit.",
        bounds=SHARE,
    ),
    Definition(
        "rollout/repetition_3gram",
        "Rollout repetition",
        "share of tokens",
        "as eval/repetition_3gram, on the training rollouts",
        "3-gram repetition of the training rollouts of the step.",
        bounds=SHARE,
    ),
)


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
        "Of a training curve: the effect of training, and the student before it.",
    ),
    ContrastDefinition(
        "share: share internalised",
        "1 = all of it",
        "(student - untouched) / (prompted - untouched)",
        "How much of what the prompt does to the teacher is in its student without the prompt. 0:"
        " nothing; 1: as the prompted teacher; above 1: beyond it. Not a number for a base whose"
        " `full` differs from its `start` by less than `moves_at_least` (in the outcome's unit):"
        " there is nothing to internalise there. Limits: the denominator is measured too, so a"
        " small one makes the share noisy; shares of outcomes in other units can be compared,"
        " effects cannot.",
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
        " mass, a KL, a length. 0.69 is a factor of 2. Not a number unless both are above zero.",
    ),
)

BY_NAME: dict[str, Definition] = {definition.name: definition for definition in DEFINITIONS}


# Metrics that are 1 - a column of the records.
COMPLEMENTS: dict[str, str] = {"train/student_tail_mass": "train/student_topk_mass"}


def canonical_metric(column: str) -> str:
    """A history column's name without the number of its samples: eval/avg@2 -> eval/avg@k."""
    head, at, tail = column.partition("@")
    return f"{head}@k" if at and tail.isdigit() else column


def outcome_words(text: str) -> tuple[str, str]:
    """Title and unit of an outcome (study/spec/report/outcome.py), for an axis."""
    wanted = outcome(text)
    task = f", {wanted.task}" if wanted.task else ""
    if wanted.kind == "probe":
        return f"{wanted.probe} {wanted.column}", "probe"
    found = BY_NAME[_defined(wanted)]
    if wanted.kind == "pass":
        return f"pass@{wanted.k}{task}", found.unit
    if wanted.kind == "steps_to":
        metric = BY_NAME[canonical_metric(wanted.column)]
        return f"Steps to {metric.title.lower()} {wanted.reached:g}", found.unit
    how = {"step": f", step {wanted.step}", "auc": ", mean over steps", "best": ", best step"}.get(
        wanted.kind, ""
    )
    return f"{found.title}{task}{how}", found.unit


def outcome_bounds(text: str) -> tuple[float | None, float | None]:
    """The values that an outcome cannot leave (None = open); a probe's are not known."""
    wanted = outcome(text)
    if wanted.kind == "probe":
        return None, None
    name = _defined(wanted)
    return BY_NAME[name].bounds if name in BY_NAME else (None, None)


def _defined(wanted: ReportOutcome) -> str:
    """The name under which an outcome is defined; a curve's is its metric, whose values `auc`,
    `best` and a step share.
    """
    match wanted.kind:
        case "collapse":
            return "collapse_step"
        case "collapsed" | "signal_gap" | "steps_to":
            return wanted.kind
        case "pass":
            return "score/pass@k"
        case "score":
            return "score" if wanted.column == "score" else f"score/{wanted.column}"
        case _:
            return canonical_metric(wanted.column)


def metrics_page() -> str:
    """The text of `docs/metrics.md`."""
    legend = " ".join(line.strip() for line in (__doc__ or "").split("Legend: ")[1].splitlines())
    head = [
        "# What is measured",
        "",
        (
            "Generated from `analysis/evidence/definitions.py` by `study analyze --metrics-page`;"
            " edit it there."
        ),
        "",
        legend.strip(),
        "",
    ]
    rows = [
        f"| `{d.name}` | {d.title} | {d.unit} | `{_escaped(d.formula)}` | {_escaped(d.meaning)} |"
        for d in DEFINITIONS
    ]
    return "\n".join(
        [
            *head,
            "| metric | title | unit | definition | meaning |",
            "|---|---|---|---|---|",
            *rows,
            "",
            *_contrasts(),
            "",
        ]
    )


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
