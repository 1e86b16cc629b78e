"""Check how much of the teacher's probability the TopK of the student covers."""

import torch

from study.objectives.diagnostics import support_mass
from study.objectives.divergences import logprobs
from study.objectives.topk import top_ids
from study.train.preflight.check import Check
from study.train.preflight.scores import Scored

# below this share of the teacher's probability a note says that a TopK loss sees little of the
# teacher
COVERAGE = 0.9


def coverage(scored: Scored, k: int, subject: str) -> Check:
    """Check how much of the teacher's probability a TopK loss sees: on the student's K likeliest
    tokens, and on the teacher's own.
    """
    with torch.no_grad():
        student_NV, teacher_NV = (
            scored.student_head(scored.student_NH),
            scored.teacher_head(scored.teacher_NH),
        )
    shared = min(student_NV.shape[-1], teacher_NV.shape[-1])
    student_NV, teacher_NV = student_NV[:, :shared], teacher_NV[:, :shared]
    seen, own = (
        float(support_mass(logprobs(teacher_NV), top_ids(side, k)).mean())
        for side in (student_NV, teacher_NV)
    )
    measured = {
        "k": k,
        "teacher_in_student_topk": seen,
        "teacher_in_its_topk": own,
        "tokens": len(scored.tokens_N),
    }
    if not scored.trained:
        return Check(
            "coverage",
            subject,
            True,
            "measured on untrained weights: not representative",
            measured=measured,
        )
    if seen < COVERAGE:
        message = (
            f"a loss on the student's TopK sees less than {COVERAGE}"
            f" of the teacher's probability at K = {k}"
        )
        return Check(
            "coverage",
            subject,
            True,
            message,
            "a larger K, or normalisation: tail_bucket",
            True,
            measured,
        )
    return Check(
        "coverage",
        subject,
        True,
        f"at least {COVERAGE} of the teacher's probability is in the student's TopK",
        measured=measured,
    )
