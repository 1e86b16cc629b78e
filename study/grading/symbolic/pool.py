"""Compare formulas with math-verify in processes that can be killed: SymbolicPool.equal(pairs) ->
[True, False, or None where no verdict came within the limits].

The limits hold whatever a formula does. The kernel enforces `deadline_s` of processor time, so that
a verdict does not depend on how busy the machine is. After PATIENCE times as much wall time the
pool kills a worker that does not run (SIGKILL). The next pair gets a new one. math-verify's own
timeout cannot do that: it needs the main thread and a signal, which a power of large integers never
lets through.

An inquiry is a list of pairs that share one deadline: those of one completion. Its pairs are
compared one after another; a pair that is left when the deadline is spent has no verdict. A pair
that several inquiries need is compared once.

Workers start in the background with the first pair, are kept, and end with the process that owns
them, however that dies (`study.grading.symbolic.server`). A pool may be used from any thread (one
at a time) and survives a fork: the child starts workers of its own. A worker that dies by itself (a
crash in C code) gives no verdict on its pair: None.
"""

import os
import selectors
import threading
import time
import weakref
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf

from study.errors import PrerequisiteError
from study.grading.symbolic.inquiry import EQUAL, Finding, Inquiry, Pair
from study.grading.symbolic.server import Worker, fork_server

DEADLINE_S = 5.0
PATIENCE = 3.0
MEMORY_BYTES = 2 * 1024**3
START_S = 120.0  # the import of math-verify on a busy machine
REMEMBERED = 100_000


@dataclass
class _Job:
    """A pair in the queue or at a worker, and the inquiries that wait for it."""

    kind: str
    pair: Pair
    seconds: float
    waiting: list[Inquiry]


@dataclass
class _Post:
    """A worker and its job. due: when the pool gives up on it."""

    worker: Worker
    due: float
    job: _Job | None = None
    serial: int = 0


class SymbolicPool:
    """A pool of `workers` processes; `deadline_s` of processor time for each inquiry and
    `memory_bytes` of address space for each worker.
    """

    def __init__(
        self, workers: int = 1, *, deadline_s: float = DEADLINE_S, memory_bytes: int = MEMORY_BYTES
    ) -> None:
        if workers < 1 or deadline_s <= 0:
            raise ValueError(f"a pool needs workers and a deadline, not {workers} and {deadline_s}")
        self.workers, self.deadline_s, self._memory = workers, deadline_s, memory_bytes
        self._reset()

    def _reset(self) -> None:
        self._posts: list[_Post] = []
        self._queue: deque[_Job] = deque()
        self._jobs: dict[tuple[str, Pair], _Job] = {}
        self._known: OrderedDict[Pair, Finding] = OrderedDict()
        self._failed_starts = self._serial = 0
        self._lock, self._pid = threading.RLock(), os.getpid()
        self._end = weakref.finalize(self, _kill_all, self._posts, self._pid)

    def __getstate__(self) -> tuple[int, float, int]:
        return self.workers, self.deadline_s, self._memory

    def __setstate__(self, state: tuple[int, float, int]) -> None:
        self.workers, self.deadline_s, self._memory = state
        self._reset()

    def __enter__(self) -> "SymbolicPool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def worker_pids(self) -> list[int]:
        """Return the process ids of the workers that are ready."""
        return [post.worker.pid for post in self._posts if post.worker.pid is not None]

    def close(self) -> None:
        """End the workers. The pool can be used again."""
        _kill_all(self._posts, self._pid)

    def equal(self, pairs: Iterable[Pair]) -> list[bool | None]:
        """Compare in the order of `pairs`, each with a deadline of its own."""
        wanted = list(pairs)
        inquiries = {pair: self.submit([pair]) for pair in dict.fromkeys(wanted)}
        self.wait_all(list(inquiries.values()))
        return [inquiries[pair].findings[0].verdict for pair in wanted]

    def submit(self, pairs: Sequence[Pair], kind: str = EQUAL) -> Inquiry:
        """Begin on pairs that share one deadline; returns at once. See `wait_all` and `poll`."""
        if self._pid != os.getpid():
            self._reset()
        inquiry = Inquiry(kind, list(dict.fromkeys(pairs)), self.deadline_s)
        with self._lock:
            self._advance(inquiry)
            self._assign()
        return inquiry

    def wait_all(self, inquiries: Sequence[Inquiry]) -> None:
        """Wait until these inquiries are done. Others go on meanwhile."""
        try:
            with self._lock:
                for inquiry in inquiries:
                    while not inquiry.done:
                        self._step(inf)
        except BaseException:  # the caller no longer waits
            self.cancel(inquiries)
            raise

    def poll(self) -> None:
        """Collect what the workers have found, without waiting."""
        with self._lock:
            if self._posts:
                self._step(0.0)

    def cancel(self, inquiries: Iterable[Inquiry]) -> None:
        """Drop inquiries that are no longer needed: pairs that are still in the queue leave it."""
        gone = {id(inquiry) for inquiry in inquiries}
        with self._lock:
            for job in list(self._queue):
                job.waiting = [inquiry for inquiry in job.waiting if id(inquiry) not in gone]
                if not job.waiting:
                    self._queue.remove(job)
                    del self._jobs[job.kind, job.pair]

    def _advance(self, inquiry: Inquiry) -> None:
        """Note what is known of its pairs; the first unknown pair becomes a job."""
        while not inquiry.done:
            pair = inquiry.pairs[len(inquiry.findings)]
            if inquiry.left <= 0:
                inquiry.findings.append(Finding(None, "", 0.0))
                continue
            known = self._known.get(pair) if inquiry.kind == EQUAL else None
            if known is not None and (known.verdict is not None or known.seconds >= inquiry.left):
                self._note(inquiry, known)
                continue
            job = self._jobs.get((inquiry.kind, pair))
            if job is None:
                job = _Job(inquiry.kind, pair, inquiry.left, [])
                self._jobs[inquiry.kind, pair] = job
                self._queue.append(job)
            job.waiting.append(inquiry)
            return

    def _note(self, inquiry: Inquiry, finding: Finding) -> None:
        inquiry.findings.append(finding)
        inquiry.left = max(inquiry.left - finding.seconds, 0.0)

    def _finish(self, job: _Job, finding: Finding) -> None:
        del self._jobs[job.kind, job.pair]
        if job.kind == EQUAL:
            self._known[job.pair] = finding
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        for inquiry in job.waiting:
            if finding.verdict is not None or finding.seconds >= inquiry.left:
                self._note(inquiry, finding)
            self._advance(inquiry)

    def _step(self, wait_s: float) -> None:
        """Wait for the workers once, until one has an answer or is late, at most `wait_s`."""
        try:
            self._assign()
            self._listen(wait_s)
            self._assign()
        except BaseException:  # an answer may be half read: none of these workers is used again
            self._abandon()
            raise

    def _assign(self) -> None:
        """Give jobs to idle workers; start more workers while there are more jobs than workers."""
        for post in list(self._posts):
            if self._queue and post.worker.ready and post.job is None:
                post.worker.receive()
                if post.worker.gone:  # it died while it was idle
                    self._lose(post)
                else:
                    self._give(post, self._queue.popleft())
        starting = sum(not post.worker.ready for post in self._posts)
        while len(self._posts) < self.workers and starting < len(self._queue):
            worker = fork_server().fork(self._memory)
            self._posts.append(_Post(worker, time.monotonic() + START_S))
            starting += 1

    def _give(self, post: _Post, job: _Job) -> None:
        self._serial += 1
        post.job, post.serial = job, self._serial
        post.due = time.monotonic() + PATIENCE * job.seconds + 0.5
        post.worker.send([self._serial, job.kind, *job.pair, job.seconds])

    def _listen(self, wait_s: float) -> None:
        busy = [post for post in self._posts if post.job is not None or not post.worker.ready]
        if not busy:
            return
        with selectors.DefaultSelector() as selector:
            for post in busy:
                selector.register(post.worker.socket, selectors.EVENT_READ, post)
            earliest = min(post.due for post in busy)
            selector.select(max(0.0, min(earliest - time.monotonic(), wait_s)))
        for post in busy:
            self._hear(post)

    def _hear(self, post: _Post) -> None:
        for serial, verdict, reading, seconds in post.worker.receive():
            if post.job is not None and serial == post.serial:
                job, post.job = post.job, None
                given = seconds if verdict is not None else max(seconds, job.seconds)
                self._finish(job, Finding(verdict, reading, given))
        if post.worker.ready:
            self._failed_starts = 0
        if post.worker.gone or self._late(post):
            self._lose(post)

    def _late(self, post: _Post) -> bool:
        """Whether its time is up and the cause is not only that other processes use the
        processor.
        """
        if (post.job is None and post.worker.ready) or time.monotonic() < post.due:
            return False
        if post.job is None or not post.worker.waits_for_a_processor:
            return True
        post.due = time.monotonic() + PATIENCE * post.job.seconds
        return False

    def _lose(self, post: _Post) -> None:
        """Drop a killed or dead worker: no verdict on its pair. Two that never started mean that
        math-verify cannot be used here.
        """
        post.worker.kill()
        self._posts.remove(post)
        if not post.worker.ready:
            self._failed_starts += 1
        if self._failed_starts > 1:
            raise PrerequisiteError(
                "the symbolic grader does not start", hint="try: python -c 'import math_verify'"
            )
        if post.job is not None:
            self._finish(post.job, Finding(None, "", post.job.seconds))

    def _abandon(self) -> None:
        """Kill the workers; their jobs go back to the queue."""
        for post in self._posts:
            if post.job is not None:
                self._queue.appendleft(post.job)
        _kill_all(self._posts, self._pid)


_shared: dict[tuple[float, int], SymbolicPool] = {}


def shared_pool(workers: int = 1, *, deadline_s: float = DEADLINE_S) -> SymbolicPool:
    """Return the pool of this process for a deadline, with at least so many workers; kept until
    exit.
    """
    key = deadline_s, os.getpid()
    pool = _shared.setdefault(key, SymbolicPool(workers, deadline_s=deadline_s))
    pool.workers = max(pool.workers, workers)
    return pool


def _kill_all(posts: list[_Post], pid: int) -> None:
    if os.getpid() == pid:  # after a fork the workers are still the parent's
        while posts:
            posts.pop().worker.kill()
