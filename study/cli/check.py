"""`study check`: validate every grid, scale, claim, table and figure."""

from typing import Annotated

import typer

from study.cli.console import say, styled
from study.errors import SpecError
from study.runner.verbs.check import check_experiments
from study.spec.report.claim import Claims, load_claims
from study.spec.report.sentences import claim_sentence, gate_sentence
from study.spec.yaml.load import names

SHOWN = 20  # claims whose sentences are shown without a request


def check(
    sentences: Annotated[
        bool,
        typer.Option("--sentences", help="Show what each claim tests, next to its own text."),
    ] = False,
) -> None:
    """Expand every grid at every scale; look up the cells that claims, tables and figures name."""
    problems = 0
    for name, outcome in check_experiments():
        ok = not isinstance(outcome, SpecError)
        problems += not ok
        say(f"{styled('ok' if ok else 'BAD', 'good' if ok else 'bad')}  {name}: {outcome}")
    if problems:
        files = "file has" if problems == 1 else "files have"
        raise SpecError(f"{problems} {files} errors, marked BAD above")
    _say_sentences([load_claims(name) for name in names("claims")], sentences)


def _say_sentences(pages: list[Claims], wanted: bool) -> None:
    """Show the generated sentence of each claim next to its own text; of many, only on request."""
    count = sum(len(page.claims) for page in pages)
    if count > SHOWN and not wanted:
        say(f"what each of the {count} claims tests, next to its text: study check --sentences")
        return
    for page in pages:
        say()
        say(f"claims on the grid {page.grid}")
        for gate in page.gates:
            _say_pair(f"control {gate.id}", gate.text, gate_sentence(gate))
        for claim in page.claims:
            _say_pair(claim.id, claim.text, claim_sentence(claim))


def _say_pair(name: str, text: str, sentence: str) -> None:
    say(f"  {name}")
    say(f"    says   {text}")
    say(f"    tests  {sentence}", "dim")
