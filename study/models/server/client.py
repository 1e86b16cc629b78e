"""Asks an OpenAI-compatible vLLM server for the log-probabilities of given tokens: POST
/v1/completions with `prompt_logprobs`.

    scores(url, rows, firsts, top_k) -> Returned, one position for every token of
    rows[i][firsts[i]:]

rows: token ids of a prompt and its completion together; nothing is tokenised again. The server must
have been started with `--max-logprobs -1`. Its answers are log-softmax values at temperature 1, in
nats, whatever the temperature of a request is. Plain HTTP and JSON: nothing of vLLM is imported.
Rows go one request after another, in the order in which they come.

Errors: `ScoringFailed` for a server that cannot be reached, refuses a request or does not say what
it was asked. Source: vLLM's OpenAI-compatible server; field `prompt_logprobs` of a choice = [null,
{"<id>": {"logprob", "rank", ...}}, ...].
"""

import json
import urllib.error
import urllib.request
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch

from study.errors import StudyError
from study.models.server.scores import Returned

SERVED = "teacher"  # the name under which the stage's server knows its model
AT_ONCE = 200_000  # returned tokens in one request: about 15 MB of JSON
_ANSWER_S = 600.0
_SHOWN = 300
_open_url = urllib.request.build_opener(
    urllib.request.ProxyHandler({})
).open  # a proxy of the environment knows nothing of this machine


class ScoringFailed(StudyError):
    """A teacher server that gave no scores."""


def scores(
    url: str,
    rows: Sequence[Sequence[int]],
    firsts: Sequence[int],
    top_k: int | Literal["all"],
    vocabulary: int,
) -> Returned:
    """The teacher's `top_k` likeliest tokens (all of its `vocabulary`) at each position from
    rows[i][firsts[i]] on, and the token there.

    Ties go to the lower id. Raises ValueError for a first position of 0: nothing stands before it.
    """
    if any(first < 1 for first in firsts):
        raise ValueError("the first token of a row has no score: a prompt is not empty")
    k = vocabulary if top_k == "all" else min(top_k, vocabulary)
    positions = [
        _position(place, row[at], k)
        for part in _parts(rows, k)
        for row, first, places in zip(
            rows[part],
            firsts[part],
            _asked(url, rows[part], -1 if top_k == "all" else k),
            strict=True,
        )
        for at, place in enumerate(places[first:], first)
    ]
    ids = torch.tensor([ids for ids, _, _ in positions], dtype=torch.int64).view(-1, k)
    values = torch.tensor([values for _, values, _ in positions], dtype=torch.float32).view(-1, k)
    return Returned(
        ids,
        values,
        torch.tensor([written for _, _, written in positions], dtype=torch.float32),
        vocabulary,
    )


def _parts(rows: Sequence[Sequence[int]], k: int) -> Iterable[slice]:
    """Slices of rows whose answers stay below `AT_ONCE` tokens; a row that is larger goes alone."""
    start, size = 0, 0
    for i, row in enumerate(rows):
        cost = len(row) * k
        if i > start and size + cost > AT_ONCE:
            yield slice(start, i)
            start, size = i, 0
        size += cost
    if rows:
        yield slice(start, len(rows))


def _asked(url: str, rows: Sequence[Sequence[int]], prompt_logprobs: int) -> list[list[Any]]:
    """`prompt_logprobs` of each row: as many entries as it has tokens."""
    asked = {
        "model": SERVED,
        "prompt": [list(row) for row in rows],
        "max_tokens": 1,
        "temperature": 0,
        "prompt_logprobs": prompt_logprobs,
    }
    answer = _posted(f"{url}/v1/completions", asked)
    try:
        choices = sorted(answer["choices"], key=lambda choice: choice["index"])
        found = [choice["prompt_logprobs"] for choice in choices]
        lengths = [len(places) for places in found]
    except (KeyError, TypeError) as error:
        raise _unusable(url, f"an answer without prompt_logprobs ({error})") from error
    if lengths != [len(row) for row in rows]:
        raise _unusable(url, f"scores of {lengths} tokens for rows of {[len(row) for row in rows]}")
    return found


def _position(place: Any, written: int, k: int) -> tuple[list[int], list[float], float]:
    """(ids, log-probabilities, that of the written token).

    A server says the k likeliest tokens, and the written one beside them.
    """
    try:
        values = {int(token): float(said["logprob"]) for token, said in place.items()}
        found = values[written]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ScoringFailed(
            f"the teacher server did not score token {written}: {str(place)[:_SHOWN]}"
        ) from error
    if len(values) < k:
        hint = "start it with --max-logprobs -1; top_k is at most the teacher's vocabulary"
        raise ScoringFailed(
            f"the teacher server returned {len(values)} tokens of a position, not the {k} that were"
            " asked for",
            hint=hint,
        )
    best = sorted(values.items(), key=lambda item: (-item[1], item[0]))[:k]
    return [token for token, _ in best], [value for _, value in best], found


def _posted(url: str, asked: dict[str, Any]) -> Any:
    data = json.dumps(asked).encode()
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"})
    try:
        with _open_url(request, timeout=_ANSWER_S) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        said = error.read().decode(errors="replace")[:_SHOWN]
        hint = (
            "the server must allow it: --max-logprobs -1, and a context of prompt, completion and"
            " one token"
        )
        raise ScoringFailed(
            f"the teacher server refused a request ({error.code}): {said}", hint=hint
        ) from error
    except (OSError, ValueError) as error:
        raise _unusable(url, str(getattr(error, "reason", error))) from error


def _unusable(url: str, what: str) -> ScoringFailed:
    return ScoringFailed(
        f"no scores from the teacher server at {url}: {what}",
        hint="what it said is in the stage's log.txt",
    )
