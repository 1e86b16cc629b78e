"""Check what claims and gates read: an arm has the outcome, and a contrast reads a difference."""

from study.errors import SpecError
from study.spec.grid.labelled import LabelledCell
from study.spec.recipe.model import DistilledModel
from study.spec.report.outcome import ReportOutcome, outcome
from study.spec.yaml.load import suggestion


def refuse_unmeasured(text: str, labelled: LabelledCell, where: str) -> None:
    """Raise SpecError for an outcome that no run of this cell can have: a task that it is not
    scored on, a probe that it has not, a step at which its curve is not measured, pass@k with more
    samples than its evaluation draws.
    """
    wanted = outcome(text)
    match wanted.kind:
        case "score" | "pass":
            _refuse_other_task(wanted, labelled, where)
        case "probe":
            known = [probe.name for probe in labelled.cell.probes]
            _refuse_unknown("probe", wanted.probe, known, labelled, where)
        case "step":
            _refuse_other_step(wanted, labelled, where)
        case _:
            pass
    if wanted.kind == "pass":
        _refuse_more_k(wanted, labelled, where)


def _refuse_other_task(wanted: ReportOutcome, labelled: LabelledCell, where: str) -> None:
    if wanted.task is not None:
        known = [evaluation.score_name for evaluation in labelled.cell.evaluations]
        _refuse_unknown("evaluation", wanted.task, known, labelled, where)


def _refuse_unknown(
    what: str, name: str, known: list[str], labelled: LabelledCell, where: str
) -> None:
    if name not in known:
        raise SpecError(
            f"{where}: {labelled.text} has no {what} {name!r}{suggestion(name, known)}",
            hint=f"it has: {', '.join(known) or 'none'}",
        )


def _refuse_other_step(wanted: ReportOutcome, labelled: LabelledCell, where: str) -> None:
    model, step = labelled.cell.model, wanted.step
    if step is None or not wanted.column.startswith("eval/"):
        return
    if isinstance(model, DistilledModel):
        last, every = model.training.steps, model.training.curve.every
        if step > last or (step % every and step != last):
            raise SpecError(
                f"{where}: the curve of {labelled.text} is not measured at step {step}",
                hint=f"it is measured every {every} steps up to {last}",
            )


def _refuse_more_k(wanted: ReportOutcome, labelled: LabelledCell, where: str) -> None:
    samples = next(
        evaluation.k
        for evaluation in labelled.cell.evaluations
        if wanted.task in (None, evaluation.score_name)
    )
    if wanted.k > samples:
        raise SpecError(
            f"{where}: pass@{wanted.k} needs at least {wanted.k} samples of a problem; the"
            f" evaluation of {labelled.text} draws {samples}",
            hint=f"pass@1 to pass@{samples}, or an evaluation with k: {wanted.k}",
        )
