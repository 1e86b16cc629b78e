"""The table of verbs, in the order of a user's work, and the README's table made from it.

`python -m study.cli.verbs README.md` writes the README's table again.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

BEGIN, END = "<!-- verbs:begin -->", "<!-- verbs:end -->"


@dataclass(frozen=True)
class Verb:
    """A verb of the command line; its module is imported only when the verb is used.

    help: one short line for `study --help`. examples: shown at the end of the verb's own help.
    """

    module: str
    function: str
    panel: str
    help: str
    examples: tuple[str, ...]


def _verb(panel: str, name: str, text: str, *examples: str) -> Verb:
    function = name.replace("-", "_")
    return Verb(f"study.cli.{function}", function, panel, text, examples)


VERBS: dict[str, Verb] = {
    # start
    "init": _verb(
        "Start",
        "init",
        "Write an experiment of your own student, teacher and data",
        "study init mine --student ./small --teacher ./large --data problems.jsonl",
    ),
    "plan": _verb(
        "Start",
        "plan",
        "Show what is done, pending or failed, and the time left",
        "study plan --grid smoke",
        "study plan --grid math --only 'biased_*,teacher=rlvr'",
    ),
    "declare": _verb(
        "Start",
        "declare",
        "Seal claims, arms, seeds and expected power before runs",
        "study declare --grid math",
        "study declare --grid math --variance-from results/records --pilot 0-4",
    ),
    "run": _verb(
        "Start",
        "run",
        "Train, evaluate and record what a grid still lacks",
        "study run --grid smoke",
        "study run --grid math --core --jobs 2",
    ),
    "status": _verb(
        "Start",
        "status",
        "Show what is running, done, failed and waiting",
        "study status --watch",
    ),
    # look
    "show": _verb(
        "Look",
        "show",
        "Show the settings of a cell and where each one comes from",
        "study show rlvr,biased_k5,standard --grid math",
    ),
    "diff": _verb(
        "Look",
        "diff",
        "Show what differs between two cells or two runs",
        "study diff rlvr,biased_k5,standard rlvr,full,standard",
    ),
    "losses": _verb(
        "Look",
        "losses",
        "Compare the losses without training: value, gradient, bias",
        "study losses --k 1 --k 5 --states 64",
    ),
    "logs": _verb(
        "Look",
        "logs",
        "Show why a run failed, and the logs of its stages",
        "study logs 69ba8eb9-s0",
        "study logs rlvr,full,standard --grid math --follow",
    ),
    "explain": _verb(
        "Look",
        "explain",
        "Describe one run: what happened, when and why it collapsed",
        "study explain 69ba8eb9-s0",
        "study explain 69ba8eb9-s0 --output run.html",
    ),
    # judge
    "evaluate": _verb(
        "Judge",
        "evaluate",
        "Evaluate any model on benchmark tasks, with intervals",
        "study evaluate ./my-model --tasks math500,aime24 --k 4",
    ),
    "grade": _verb(
        "Judge",
        "grade",
        "Grade a file of completions against gold answers",
        "study grade completions.jsonl --output outcomes.csv",
    ),
    "compare": _verb(
        "Judge",
        "compare",
        "Compare two arms: paired difference, interval, cost",
        "study compare rlvr,full,standard rlvr,biased_k5,standard",
        "study compare evaluations/mine evaluations/base --json difference.json",
    ),
    "power": _verb(
        "Judge",
        "power",
        "Compute what a comparison can detect, and what it costs",
        "study power --tasks aime24 --k 16 --effect 5",
        "study power --claims --grid math",
        "study power --claims --expected --bases 10",
    ),
    "screen": _verb(
        "Judge",
        "screen",
        "Choose bases by gates before any treatment",
        "study screen --grid GRID",
    ),
    "regrade": _verb(
        "Judge",
        "regrade",
        "Grade stored completions again with another grader",
        "study regrade 69ba8eb9-s0 --grader math-1",
    ),
    # report
    "analyze": _verb(
        "Report",
        "analyze",
        "Build the tables, figures and verdicts of a grid",
        "study analyze --grid math --partial",
    ),
    "report": _verb(
        "Report",
        "report",
        "Write the report on all grids, as Markdown and HTML",
        "study report",
        "study report --records results/records --out pages",
    ),
    "table": _verb(
        "Report",
        "table",
        "Show a numbered table from the committed records",
        "study table 2",
    ),
    "figure": _verb(
        "Report",
        "figure",
        "Draw a numbered figure from the committed records",
        "study figure 3",
    ),
    "reproduce": _verb(
        "Report",
        "reproduce",
        "Run again what a table or figure needs, and compare",
        "study reproduce table 2 --core --jobs 2",
    ),
    # keep
    "publish": _verb(
        "Keep",
        "publish",
        "Copy sealed records into the committed evidence",
        "study publish --grid math",
    ),
    "verify": _verb(
        "Keep",
        "verify",
        "Make committed runs again and compare the records",
        "study verify --sample 1 --grid smoke",
    ),
    "export": _verb(
        "Keep",
        "export",
        "Write a trained model as a folder for transformers",
        "study export 69ba8eb9-s0 exported/my-model",
    ),
    "clean": _verb(
        "Keep",
        "clean",
        "List files that no run needs; remove them with --apply",
        "study clean",
        "study clean --apply",
    ),
    "fetch": _verb(
        "Keep",
        "fetch",
        "Download the models and data that a scale pins",
        "study fetch --scale paper --list",
    ),
    "sync-mlflow": _verb(
        "Keep",
        "sync-mlflow",
        "Rebuild the MLflow mirror from the records",
        "study sync-mlflow",
        "study sync-mlflow --rebuild",
    ),
    "check": _verb(
        "Keep",
        "check",
        "Validate every grid, scale, claim, table and figure",
        "study check",
        "study check --sentences",
    ),
    "preflight": _verb(
        "Keep",
        "preflight",
        "Check a grid's student, teacher, loss, data and grader",
        "study preflight --grid smoke",
    ),
    "rehearse": _verb(
        "Keep",
        "rehearse",
        "Estimate time, memory and cost of a grid on a machine",
        "study rehearse --grid math --scale paper --profile h200",
    ),
}


def by_panel() -> dict[str, dict[str, Verb]]:
    """Return the verbs of each panel, both in the order of the table."""
    panels: dict[str, dict[str, Verb]] = {}
    for name, verb in VERBS.items():
        panels.setdefault(verb.panel, {})[name] = verb
    return panels


def markdown() -> str:
    """Return the verbs as a Markdown table with one example each."""
    lines = ["| | command | what it does | example |", "|---|---|---|---|"]
    for panel, verbs in by_panel().items():
        for number, (name, verb) in enumerate(verbs.items()):
            title = panel.lower() if number == 0 else ""
            example = verb.examples[0].replace("|", "\\|")
            lines.append(f"| {title} | `study {name}` | {verb.help} | `{example}` |")
    return "\n".join(lines)


def with_verbs(text: str) -> str:
    """Return the text with the table between its two marks written again.

    Errors: ValueError if a mark is missing.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no {BEGIN} ... {END} in this file")
    return f"{before}{BEGIN}\n{markdown()}\n{END}{after}"


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        path = Path(argument)
        try:
            new = with_verbs(path.read_text(encoding="utf-8"))
        except ValueError as error:
            sys.exit(f"{path}: {error}")
        path.write_text(new, encoding="utf-8")
