"""Judge replies with a language model behind any OpenAI-compatible endpoint: one reply in, PASS or
FAIL out.

Off unless an address is given.

    POST <url>/chat/completions, temperature 0; the last line of the answer must be `VERDICT: PASS`
    or `VERDICT: FAIL`

    pass, fail       the judge's verdict
    unparsed         an answer without a readable verdict: an outcome of its own, never a fail
    unavailable      no answer after `tries`: time-outs, refused connections, status 429 and 5xx;
                     other statuses stop everything

The reply is put between two lines with a marker made from it, but instructions in it can still
influence the judge. The key comes from the environment, goes into one header, follows no redirect,
and is in no message, file or record. A judge is another model with biases of its own: its name and
the rule's version are next to every number, and it should be checked against people on the same
replies.
"""

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from study.errors import PrerequisiteError
from study.grading.preference import replied, rules
from study.http_client import NoAnswer, checked_address, checked_key, exchange

KEY = "OPENAI_API_KEY"
MOST_BYTES = 2**20  # of an answer
MOST_CHARACTERS = 32_000  # of a reply that the judge sees: its beginning and its end
_VERDICT = re.compile(r"\s*\**\s*VERDICT:\s*(PASS|FAIL)\s*\**\.?\s*", re.IGNORECASE)
_AGAIN = (408, 409, 425, 429, 500, 502, 503, 504)


class JudgeAnswer(StrEnum):
    passed = "pass"
    failed = "fail"
    unparsed = "unparsed"
    unavailable = "unavailable"


class Case(NamedTuple):
    """One reply to judge. prompt: "" where it is not known."""

    prompt: str
    completion: str


@dataclass(frozen=True)
class Judge:
    """A judge model. url: up to and including /v1. key_name: the environment variable that holds
    the key; no key is sent if it is not set.
    """

    url: str
    model: str
    rules: str = ""
    key_name: str = KEY
    timeout_s: float = 60.0
    tries: int = 4
    workers: int = 4
    sleep: Callable[[float], None] = time.sleep

    def __post_init__(self) -> None:
        checked_address(self.url, "--judge-url", "http://127.0.0.1:8000/v1")
        self._key()

    def _key(self) -> str:
        """Return the key for the header, "" where none is set. SpecError for one that no header can
        carry.
        """
        return checked_key(os.environ.get(self.key_name, ""), self.key_name)

    @property
    def version(self) -> str:
        """Return the version of rule, wording and model."""
        digest = hashlib.sha256(f"{_data()['template']}\n{self._rules}".encode()).hexdigest()[:8]
        return f"{_data()['version']}-{digest} by {self.model}"

    @property
    def _rules(self) -> str:
        return self.rules or str(_data()["rules"])

    def judge_many(
        self, cases: Sequence[Case], report: Callable[[int, int], None] | None = None
    ) -> list[JudgeAnswer]:
        """Judge in order, `workers` requests at a time. Errors: PrerequisiteError for an endpoint
        that refuses the request itself.
        """
        verdicts: list[JudgeAnswer] = []
        pool = ThreadPoolExecutor(self.workers)
        try:
            for verdict in pool.map(self.judge, cases):
                verdicts.append(verdict)
                if report is not None:
                    report(len(verdicts), len(cases))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        return verdicts

    def judge(self, case: Case) -> JudgeAnswer:
        reply = replied(case.completion)
        body = {
            "model": self.model,
            "temperature": 0,
            "messages": self._messages(case.prompt, reply or "(no reply)"),
        }
        for attempt in range(self.tries):
            if attempt:
                self.sleep(min(2.0**attempt, 30.0))
            answer = self._ask(body)
            if answer is not None:
                return verdict_of(answer)
        return JudgeAnswer.unavailable

    def _messages(self, prompt: str, reply: str) -> list[dict[str, str]]:
        shown = (
            reply
            if len(reply) <= MOST_CHARACTERS
            else f"{reply[: MOST_CHARACTERS // 2]}\n[...]\n{reply[-MOST_CHARACTERS // 2 :]}"
        )
        marker = f"=== {hashlib.sha256(shown.encode('utf-8', 'replace')).hexdigest()[:16]} ==="
        values = {
            "rules": self._rules,
            "prompt": prompt or "(not known)",
            "reply": shown,
            "marker": marker,
        }
        text = re.sub(
            r"\{(rules|prompt|reply|marker)\}",
            lambda match: values[match[1]],
            str(_data()["template"]),
        )
        return [
            {"role": "system", "content": str(_data()["system"])},
            {"role": "user", "content": text},
        ]

    def _ask(self, body: dict[str, Any]) -> str | None:
        """Return the text of the answer, "" for one without text; None where a retry may help."""
        key = self._key()
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        url = f"{self.url.rstrip('/')}/chat/completions"
        try:
            reply = exchange(
                "POST",
                url,
                deadline_s=self.timeout_s,
                limit=MOST_BYTES,
                json=body,
                headers=headers,
            )
        except NoAnswer:
            return None
        if reply.status in _AGAIN:
            return None
        if reply.status != 200:
            hint = f"look at --judge-url, --judge-model and the key in {self.key_name}"
            what = f"the judge at {self.url} answers {reply.status} {reply.reason}"
            raise PrerequisiteError(what, hint=hint)
        return _content(reply.body)


def verdict_of(answer: str) -> JudgeAnswer:
    """Return the verdict on the last line that is not empty, reasoning left out."""
    lines = [line for line in (replied(answer) or "").splitlines() if line.strip()]
    match = _VERDICT.fullmatch(lines[-1]) if lines else None
    if match is None:
        return JudgeAnswer.unparsed
    return JudgeAnswer.passed if match[1].upper() == "PASS" else JudgeAnswer.failed


def _content(data: bytes) -> str:
    try:
        return str(json.loads(data)["choices"][0]["message"]["content"] or "")
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""


def _data() -> dict[str, Any]:
    return rules()["judge"]
