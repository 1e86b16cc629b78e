"""Slow float64 twins of the objectives, one position at a time, written from the definitions in
probability space.

They share no code with `study.objectives`: plain Python floats, probabilities instead of
log-probabilities, sets instead of tensors.
"""

import itertools
import math
from collections.abc import Sequence

from study.spec.recipe.objective import Objective

Row = Sequence[float]


def softmax(logits: Row, temperature: float = 1.0) -> list[float]:
    largest = max(logits)
    weights = [math.exp((logit - largest) / temperature) for logit in logits]
    return [weight / math.fsum(weights) for weight in weights]


def top(logits: Row, k: int) -> set[int]:
    """The k largest; the lower id wins a tie."""
    return set(sorted(range(len(logits)), key=lambda v: (-logits[v], v))[:k])


def kl(a: Row, b: Row) -> float:
    """sum a log(a / b) over outcomes that need not add up to one; 0 log 0 = 0."""
    return math.fsum(x * math.log(x / y) for x, y in zip(a, b, strict=True) if x > 0)


def divergence(objective: Objective, p: Row, q: Row) -> float:
    """p student, q teacher."""
    if objective.divergence == "reverse_kl":
        return kl(p, q)
    if objective.divergence == "forward_kl":
        return kl(q, p)
    assert objective.beta is not None
    mixture = [objective.beta * y + (1 - objective.beta) * x for x, y in zip(p, q, strict=True)]
    return objective.beta * kl(q, mixture) + (1 - objective.beta) * kl(p, mixture)


def support(objective: Objective, student: Row, teacher: Row) -> list[int]:
    if objective.k is None:
        return list(range(len(student)))
    ours, theirs = top(student, objective.k), top(teacher, objective.k)
    chosen = {
        "student_topk": ours,
        "teacher_topk": theirs,
        "intersection": ours & theirs,
        "union": ours | theirs,
    }[objective.support]
    return sorted(chosen & theirs if objective.missing == "intersection" else chosen)


def returned_teacher(objective: Objective, p: Row, q: Row, teacher: Row) -> list[float]:
    """The teacher's probabilities as they are known when it returned only its own TopK."""
    if objective.k is None or objective.missing in ("exact", "intersection"):
        return list(q)
    known = top(teacher, objective.k)
    if objective.missing == "student_value":
        return [q[v] if v in known else p[v] for v in range(len(q))]
    kept = math.fsum(q[v] for v in range(len(q)) if v not in known)
    return [q[v] if v in known else kept / (len(q) - len(known)) for v in range(len(q))]


def outcomes(
    objective: Objective, student: Row, teacher: Row, token: int, at: Row | None = None
) -> tuple[list[float], list[float]]:
    """(p, q) on the objective's outcomes. `at`: the student's logits that choose the support and
    fill missing values.
    """
    at = student if at is None else at
    p, q = softmax(student, objective.temperature), softmax(teacher, objective.temperature)
    tokens = [token] if objective.support == "sampled" else support(objective, at, teacher)
    known = returned_teacher(objective, softmax(at, objective.temperature), q, teacher)
    inside_p, inside_q = [p[v] for v in tokens], [known[v] for v in tokens]
    if objective.normalisation == "renormalised":
        return [x / math.fsum(inside_p) for x in inside_p], [
            y / math.fsum(inside_q) for y in inside_q
        ]
    if objective.normalisation == "tail_bucket" and len(tokens) < len(p):
        outside = [v for v in range(len(p)) if v not in tokens]
        inside_p.append(math.fsum(p[v] for v in outside))
        inside_q.append(math.fsum(known[v] for v in outside))
    return inside_p, inside_q


def value(objective: Objective, student: Row, teacher: Row, token: int) -> float:
    """The loss at one position."""
    if objective.advantage is not None:
        return -objective.advantage
    p, q = outcomes(objective, student, teacher, token)
    return math.log(p[0] / q[0]) if objective.support == "sampled" else divergence(objective, p, q)


def gradient(
    objective: Objective, student: Row, teacher: Row, token: int, step: float = 1e-5
) -> list[float]:
    """The gradient in the student's logits: central differences of what the objective lets vary, at
    a held support.
    """
    p_0, q_0 = outcomes(objective, student, teacher, token)

    def varying(logits: Row) -> float:
        p, q = outcomes(objective, logits, teacher, token, at=student)
        if objective.gradient == "stop_gradient":
            return math.fsum(x * math.log(x_0 / y) for x, x_0, y in zip(p, p_0, q, strict=True))
        if objective.advantage is not None:
            return -objective.advantage * math.log(p[0])
        if objective.gradient == "score_function":
            return math.log(p[0]) * math.log(p_0[0] / q_0[0])
        return (
            math.log(p[0] / q[0]) if objective.support == "sampled" else divergence(objective, p, q)
        )

    def shifted(j: int, by: float) -> list[float]:
        return [logit + by * (v == j) for v, logit in enumerate(student)]

    return [
        (varying(shifted(j, step)) - varying(shifted(j, -step))) / (2 * step)
        for j in range(len(student))
    ]


# Completions: every way to write tokens until token 0 or the limit; a batch is some of them.

Logits = dict[tuple[int, ...], Row]  # prefix -> logits of the next token


def completions(student: Logits, limit: int) -> list[tuple[tuple[int, ...], float]]:
    """Every completion with its probability."""
    found: list[tuple[tuple[int, ...], float]] = []

    def write(prefix: tuple[int, ...], probability: float) -> None:
        if len(prefix) == limit or (prefix and prefix[-1] == 0):
            found.append((prefix, probability))
            return
        for token, p in enumerate(softmax(student[prefix])):
            write((*prefix, token), probability * p)

    write((), 1.0)
    return found


def weights(reduction: str, lengths: Sequence[int], constant_tokens: int) -> list[float]:
    """What a reduction multiplies each token of each response by."""
    number = len(lengths)
    if reduction == "token_mean":
        return [1 / sum(lengths)] * number
    if reduction == "constant":
        return [1 / (number * constant_tokens)] * number
    return [1 / (number * length) for length in lengths]


def expected_gradient(
    objective: Objective, student: Logits, teacher: Logits, limit: int, number: int, constant: int
) -> dict[tuple[int, ...], list[float]]:
    """The mean of the gradient over every batch of `number` responses, by state."""
    every = completions(student, limit)
    total = {prefix: [0.0] * len(row) for prefix, row in student.items()}
    known: dict[tuple[tuple[int, ...], int], list[float]] = {}
    for batch in itertools.product(every, repeat=number):
        probability = math.prod(p for _, p in batch)
        by_response = weights(objective.reduction, [len(y) for y, _ in batch], constant)
        for (written, _), weight in zip(batch, by_response, strict=True):
            for place, token in enumerate(written):
                prefix = written[:place]
                if (prefix, token) not in known:
                    known[prefix, token] = gradient(
                        objective, student[prefix], teacher[prefix], token
                    )
                for j, slope in enumerate(known[prefix, token]):
                    total[prefix][j] += probability * weight * slope
    return total
