"""`study explain`: describe one run from its record - its settings, what happened, when and why it
collapsed, samples of what it wrote.
"""

from collections.abc import Iterator, Sequence

from analysis.claims.outcomes import ACCURACY, lasting
from analysis.compare.arms import recipe
from analysis.evidence.curves import Series, series_of
from analysis.evidence.definitions import BY_NAME
from analysis.pages.render import number
from study.record.machine import described
from study.record.schema import Completion, Record, Score

TOLD = (
    ACCURACY, "eval/mean_tokens", "eval/truncated_fraction", "eval/repetition_3gram",
    "train/reverse_kl", "train/student_topk_mass",
    "train/teacher_topk_mass", "train/student_entropy", "train/topk_overlap", "rollout/accuracy",
    "rollout/mean_tokens",
)  # fmt: skip
MAIN = ("kind", "objective", "privileged", "training.steps", "data.kind")
WHY = {
    "not_finite": "loss, gradient or weights were not finite",
    "topk_drain": "probability left the student's own TopK: the loss descended on that mass",
    "entropy": "the student's next-token distribution became flat",
    "length": "completions became long",
    "truncation": "completions no longer ended",
    "repetition": "completions repeated themselves",
    "overlap": "student and teacher agreed on fewer of the likeliest tokens",
    "divergence": "the student moved away from its teacher",
    "zero_signal": "the gradient was zero: nothing was left to learn from",
}
BLOCKS = "▁▂▃▄▅▆▇█"
SHOWN = 3  # completions at each point in time


def story(record: Record) -> str:
    """Write the description as Markdown."""
    curves = series_of(record)
    lines = [
        f"# {record.run}",
        "",
        *_what_it_was(record),
        "",
        "## What happened",
        "",
        *_what_happened(record, curves),
        "",
    ]
    lines += [
        "## Why",
        "",
        *_why(record, curves),
        "",
        "## What it wrote",
        "",
        *_completions(record.completions),
    ]
    return "\n".join([*lines, "## Where it comes from", "", *_origin(record)]).rstrip() + "\n"


def _what_it_was(record: Record) -> Iterator[str]:
    settings = recipe(record)
    telling = {
        path.removeprefix("model."): text
        for path, text in settings.items()
        if path.startswith("model.")
    }
    yield (
        f"A run of the cell `{record.cell}` on base student {record.seed}, at the scale"
        f" {record.scale}."
    )
    yield ""
    yield (
        "- Stages:"
        f" {', '.join(f'{role} `{stage}`' for role, stage in record.stages.items()) or 'none'}."
    )
    for name in MAIN:
        found = {
            path: text
            for path, text in telling.items()
            if path == name or path.startswith(f"{name}.")
        }
        if found:
            settings = [
                _setting_text(path.removeprefix(name).lstrip("."), text)
                for path, text in found.items()
            ]
            yield f"- {name}: {', '.join(settings)}."
    yield f"- All settings: study show {record.cell}"


def _setting_text(path: str, text: str) -> str:
    return f"{path} {text}" if path else text


def _what_happened(record: Record, curves: Series) -> Iterator[str]:
    yield _outcome(record, curves)
    yield ""
    told = [name for name in TOLD if curves.get(name)]
    if told:
        yield "| metric | first | highest (at step) | last | course |"
        yield "|---|---|---|---|---|"
    for name in told:
        points = curves[name]
        step, best = max(points, key=lambda point: point[1])
        first, last = points[0][1], points[-1][1]
        drawn = spark(
            [value for _, value in points],
            BY_NAME[name].bounds if name in BY_NAME else (None, None),
        )
        yield (
            f"| {_title(name)} | {number(first, 3)} | {number(best, 3)} ({step}) |"
            f" {number(last, 3)} | {drawn} |"
        )
    yield ""
    for task, score in record.scores.items():
        yield _score(task, score)


def _outcome(record: Record, curves: Series) -> str:
    points = curves.get(ACCURACY, [])
    if not points:
        return "It has no training curve: the model was evaluated as it is."
    start, end = number(points[0][1], 3), number(points[-1][1], 3)
    lasted = lasting(record)
    if record.status == "collapsed":
        return (
            f"**It collapsed; the guard stopped it at step {record.collapsed_at}.** Sampled"
            f" accuracy went from {start} to {end}."
        )
    if lasted is not None and lasted.collapsed:
        return (
            f"**It collapsed: from step {lasted.step} on sampled accuracy stayed below half of its"
            f" best.** It went from {start} to {end}."
        )
    return (
        f"It did not collapse within its {points[-1][0]} steps. Sampled accuracy went from {start}"
        f" to {end}{_peak(points)}."
    )


def _peak(points: Sequence[tuple[int, float]]) -> str:
    """Name the best value where it is above the first and the last, so that a fall shows."""
    step, best = max(points, key=lambda point: point[1])
    if best <= max(points[0][1], points[-1][1]):
        return ""
    return f" (highest: {number(best, 3)} at step {step})"


def _title(name: str) -> str:
    return f"{BY_NAME[name].title} ({BY_NAME[name].unit})" if name in BY_NAME else name


def _score(task: str, score: Score) -> str:
    rates = (
        f"{number(score.truncated_fraction, 3)} truncated, {number(score.unparsed_fraction, 3)}"
        f" unparsed, {score.mean_tokens:.1f} tokens"
    )
    return (
        f"- Final, {task}: {number(score.mean, 3)} (avg@{score.k} on {score.num_problems} problems;"
        f" {rates})."
    )


def spark(values: Sequence[float], bounds: tuple[float | None, float | None] = (None, None)) -> str:
    """A line of blocks, from the lower bound (or the least value) to the highest; a value that is
    not finite is `!`.
    """
    finite = [value for value in values if abs(value) < float("inf")]
    if not finite:
        return "!" * len(values)
    low = min(finite) if bounds[0] is None else min(bounds[0], *finite)
    high = max(finite) if bounds[1] is None else max(bounds[1], *finite)
    width = (high - low) or 1.0
    top = len(BLOCKS) - 1
    return "".join(
        (
            BLOCKS[min(top, int((value - low) / width * top + 0.5))]
            if abs(value) < float("inf")
            else "!"
        )
        for value in values
    )


def _why(record: Record, curves: Series) -> Iterator[str]:
    guard = record.guard
    if guard is None:
        yield (
            "The record holds no guard (schema 1, or nothing was distilled): only its curves can be"
            " read."
        )
    elif not guard.alarms:
        yield f"The guard ({guard.policy}) raised no alarm."
    else:
        yield f"Alarms of the guard ({guard.policy}), in their order:"
        yield ""
        for name, step in sorted(guard.alarms.items(), key=lambda item: (item[1], item[0])):
            yield f"- step {step}: `{name}` - {WHY.get(name, name)}."
    if guard is not None and guard.fell_at is not None:
        yield (
            f"- step {guard.fell_at}: the accuracy of the training rollouts had fallen below its"
            " start."
        )
    mass = curves.get("train/student_topk_mass", [])
    if len(mass) > 1:
        yield ""
        (first, before), (last, after) = mass[0], mass[-1]
        yield (
            f"The student's TopK mass went from {number(before, 3)} (step {first}) to"
            f" {number(after, 3)} (step {last})."
        )
    if record.repeated_tokens:
        yield ""
        yield "Tokens that repeated most:"
        yield ""
        for step, pairs in sorted(record.repeated_tokens.items(), key=lambda item: int(item[0])):
            yield (
                f"- from step {step}:"
                f" {', '.join(f'`{token}` {count}' for token, count in pairs[:6])}."
            )


def _completions(completions: Sequence[Completion]) -> Iterator[str]:
    if not completions:
        yield from ("The record holds no completions.", "")
    for step in dict.fromkeys(completion.step for completion in completions):
        yield from (f"### Step {step}", "", "```")
        for completion in [found for found in completions if found.step == step][:SHOWN]:
            yield f"{completion.prompt}"
            yield f"    {completion.completion}   [{completion.outcome}]"
        yield from ("```", "")


def _origin(record: Record) -> Iterator[str]:
    made = record.provenance
    packages = ", ".join(
        f"{name} {made.packages[name]}"
        for name in ("torch", "transformers", "trl")
        if name in made.packages
    )
    minutes = {kind: cost.core_s / 60.0 for kind, cost in record.cost.items()}
    yield (
        f"- Made from {made.started} to {made.finished}, code `{made.code[:16]}`,"
        f" {packages or 'no package named'}, Python {made.python}."
    )
    machine = described(made.machine)
    yield f"- Machine: {', '.join(f'{name} {value}' for name, value in machine.items())}."
    yield (
        f"- Core minutes: {', '.join(f'{kind} {spent:.1f}' for kind, spent in minutes.items())}"
        " (stages shared with other runs included)."
    )
    yield (
        "- State of the claims pages when it started:"
        f" {f'`{made.claims[:16]}`' if made.claims else 'none'}."
    )
    if record.trimmed:
        yield f"- Shortened to fit its size: {', '.join(record.trimmed)}."
