"""Request the log-probabilities of given tokens from an OpenAI-compatible vLLM server: POST
/v1/completions with `prompt_logprobs`.

    # one position for every token of rows[i][firsts[i]:]
    scores(url, rows, firsts, top_k) -> Returned

rows: token ids of a prompt and its completion together; nothing is tokenised again. The server must
have been started with `--max-logprobs -1`. Its answers are log-softmax values at temperature 1, in
nats, whatever the temperature of a request is. Plain HTTP and JSON: nothing of vLLM is imported.
Rows go one request after another, in the order in which they come.

Errors: `ScoringFailed`, with the server's address, for a server that cannot be reached, refuses a
request, does not answer as a whole within `ANSWER_S`, or answers something else: a log-probability
that is not finite or above 0, an id outside the vocabulary, probabilities of a position that add up
to more than `MOST_MASS`, one row answered twice.

Source: vLLM's OpenAI-compatible server; field `prompt_logprobs` of a choice = [null, {"<id>":
{"logprob", "rank", ...}}, ...].
"""

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch

from study.errors import StudyError
from study.http_client import NoAnswer, exchange
from study.models.server.scores import Returned

SERVED = "teacher"  # the name under which the stage's server knows its model
AT_ONCE = 200_000  # returned tokens in one request: about 15 MB of JSON
ANSWER_S = 600.0  # seconds for a whole answer
MOST_MASS = 1.0 + 1e-3  # of one position: rounded logarithms may add up to slightly more than 1
_LOWEST = -1e30  # vLLM writes -9999 for minus infinity
_BYTES_EACH = 400  # of one returned token in JSON, its decoded text included
_SHOWN = 300


class ScoringFailed(StudyError):
    """A teacher server that gave no usable scores."""


def scores(
    url: str,
    rows: Sequence[Sequence[int]],
    firsts: Sequence[int],
    top_k: int | Literal["all"],
    vocabulary: int,
) -> Returned:
    """Return the teacher's `top_k` likeliest tokens (all of its `vocabulary`) at each position from
    rows[i][firsts[i]] on, and the score of the written token.

    Ties go to the lower id. Raises ValueError for a first position of 0: no token precedes it.
    """
    if any(first < 1 for first in firsts):
        raise ValueError("the first token of a row has no score: a prompt is not empty")
    k = vocabulary if top_k == "all" else min(top_k, vocabulary)
    requested = -1 if top_k == "all" else k
    positions: list[tuple[list[int], list[float], float]] = []
    for part in _parts(rows, k):
        answers = _scored(url, rows[part], requested, k)
        for row, first, places in zip(rows[part], firsts[part], answers, strict=True):
            for at in range(first, len(row)):
                positions.append(_position(url, places[at], row[at], k, vocabulary))
    ids = torch.tensor([ids for ids, _, _ in positions], dtype=torch.int64).view(-1, k)
    values = torch.tensor([values for _, values, _ in positions], dtype=torch.float32).view(-1, k)
    return Returned(
        ids,
        values,
        torch.tensor([written for _, _, written in positions], dtype=torch.float32),
        vocabulary,
    )


def _parts(rows: Sequence[Sequence[int]], k: int) -> Iterable[slice]:
    """Yield slices of rows whose answers stay below `AT_ONCE`
    tokens; a row that is larger goes alone.
    """
    start, size = 0, 0
    for i, row in enumerate(rows):
        cost = len(row) * k
        if i > start and size + cost > AT_ONCE:
            yield slice(start, i)
            start, size = i, 0
        size += cost
    if rows:
        yield slice(start, len(rows))


def _scored(
    url: str, rows: Sequence[Sequence[int]], prompt_logprobs: int, k: int
) -> list[list[Any]]:
    """Return `prompt_logprobs` of each row: as many entries as it has tokens."""
    request = {
        "model": SERVED,
        "prompt": [list(row) for row in rows],
        "max_tokens": 1,
        "temperature": 0,
        "prompt_logprobs": prompt_logprobs,
    }
    tokens = sum(map(len, rows))
    answer = _posted(f"{url}/v1/completions", request, limit=2**20 + tokens * (k + 1) * _BYTES_EACH)
    try:
        choices = list(answer["choices"])
        indices = [choice["index"] for choice in choices]
        found = [choice["prompt_logprobs"] for choice in choices]
        lengths = [len(places) for places in found]
    except (KeyError, TypeError) as error:
        raise _unusable(url, f"an answer without prompt_logprobs ({error})") from error
    if any(type(index) is not int for index in indices) or sorted(indices) != [*range(len(rows))]:
        what = f"choices {str(indices)[:_SHOWN]} for {len(rows)} rows"
        raise _unusable(url, f"{what}; each row is answered once")
    in_order = [places for _, places in sorted(zip(indices, found, strict=True), key=_index)]
    lengths = [len(places) for places in in_order]
    if lengths != [len(row) for row in rows]:
        raise _unusable(url, f"scores of {lengths} tokens for rows of {[len(row) for row in rows]}")
    return in_order


def _index(pair: tuple[int, Any]) -> int:
    return pair[0]


def _position(
    url: str, place: Any, written: int, k: int, vocabulary: int
) -> tuple[list[int], list[float], float]:
    """Return (ids, log-probabilities, that of the written token).

    A server returns the k likeliest tokens, and the written one with them.
    """
    if not isinstance(place, dict):
        raise _unusable(url, f"no scores for token {written}: {str(place)[:_SHOWN]}")
    values = {_token(url, name, vocabulary): _logprob(url, said) for name, said in place.items()}
    if len(values) < len(place):
        raise _unusable(url, f"a position with one token twice: {str(place)[:_SHOWN]}")
    if written not in values:
        raise _unusable(url, f"it did not score token {written}: {str(place)[:_SHOWN]}")
    if len(values) < k:
        hint = "start it with --max-logprobs -1; top_k is at most the teacher's vocabulary"
        what = f"it returned {len(values)} tokens of a position, not the {k} of the request"
        raise _unusable(url, what, hint)
    mass = math.fsum(map(math.exp, values.values()))
    if mass > MOST_MASS:
        raise _unusable(url, f"the probabilities of a position add up to {mass:.4f}")
    best = sorted(values.items(), key=lambda item: (-item[1], item[0]))[:k]
    return [token for token, _ in best], [value for _, value in best], values[written]


def _token(url: str, name: Any, vocabulary: int) -> int:
    """Read a token id as vLLM spells it: a decimal number inside the teacher's vocabulary."""
    decimal = isinstance(name, str) and name.isascii() and name.isdecimal() and len(name) < 12
    if decimal and int(name) < vocabulary:
        return int(name)
    what = f"token {str(name)[:40]!r}, which is not one of the teacher's {vocabulary}"
    raise _unusable(url, what, "does the server serve this teacher?")


def _logprob(url: str, said: Any) -> float:
    """Read a finite number of at most 0; 0 for a rounding error above it."""
    value: Any = said.get("logprob") if isinstance(said, dict) else None
    if type(value) in (int, float) and _LOWEST < value <= MOST_MASS - 1.0:  # false for NaN
        return min(float(value), 0.0)
    raise _unusable(url, f"a value that is not a log-probability: {str(said)[:_SHOWN]}")


def _posted(url: str, request: dict[str, Any], limit: int) -> Any:
    try:
        reply = exchange("POST", url, deadline_s=ANSWER_S, limit=limit, json=request)
    except NoAnswer as error:
        raise _unusable(url, str(error)) from error
    if reply.status != 200:
        said = reply.body.decode(errors="replace")[:_SHOWN]
        hint = (
            "the server must allow it: --max-logprobs -1,"
            " and a context of prompt, completion and one token"
        )
        what = f"the teacher server at {url} refused a request ({reply.status}): {said}"
        raise ScoringFailed(what, hint=hint)
    try:
        return json.loads(reply.body)
    except (ValueError, RecursionError) as error:
        raise _unusable(url, f"an answer that is not JSON ({type(error).__name__})") from error


def _unusable(
    url: str, what: str, hint: str = "its output is in the stage's log.txt"
) -> ScoringFailed:
    return ScoringFailed(f"no scores from the teacher server at {url}: {what}", hint=hint)
