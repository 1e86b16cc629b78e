"""Pack tasks on the processor cores and GPUs of one machine or one allocation: at most one task per
GPU, and no task waits forever.

Larger tasks are tried first (`size`). A task that smaller ones have overtaken too often reserves
the machine: nothing else starts until it has started. The GPUs are those of the profile, of an
outer CUDA_VISIBLE_DEVICES (which Slurm sets in an allocation), or of `nvidia-smi -L`. Torch is not
used to count them, because a process that has initialised CUDA can no longer choose its devices.
"""

import os
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence

from study.errors import PrerequisiteError
from study.spec.machine.profile import Profile, Resources

PATIENCE = 8  # how many smaller tasks may overtake a waiting one


class Slots:
    """The free cores and GPUs out of `cpus` cores and the GPUs named in `gpus`.

    A task is any name; its resources are those of its last request.
    """

    def __init__(self, cpus: int, gpus: Sequence[str] = (), patience: int = PATIENCE) -> None:
        self._cpus, self._gpus, self._patience = cpus, tuple(gpus), patience
        self._free_cpus, self._free_gpus = cpus, list(gpus)
        self._taken: dict[str, tuple[int, list[str]]] = {}
        # Refused tasks -> how many smaller tasks have started since.
        self._passed: dict[str, int] = {}
        self._wanted: dict[str, Resources] = {}  # the resources they requested
        self._reserved: str | None = None
        # The tasks that were refused since the last request of the task that holds the reservation.
        self._asked: set[str] = set()

    def require(self, kind: str, resources: Resources) -> None:
        """Raise PrerequisiteError if a stage of this kind can never start here."""
        for what, wanted, there in (
            ("GPUs", resources.gpus, len(self._gpus)),
            ("processor cores", resources.cpus, self._cpus),
        ):
            if wanted > there:
                hint = (
                    f"correct resources.{kind} in the profile,"
                    " or choose another one: --profile NAME"
                )
                raise PrerequisiteError(
                    f"a stage of kind {kind} needs {wanted} {what}; there are {there}", hint=hint
                )

    def fits(self, task: str, resources: Resources) -> bool:
        """Whether the task may start now. A refusal is counted,
        because a reservation follows from it.
        """
        if self._reserved == task:
            self._asked.clear()
        elif self._reserved is not None and not self._given_up(task):
            return False
        if resources.cpus <= self._free_cpus and resources.gpus <= len(self._free_gpus):
            if self._reserved == task:
                self._reserved = None
            return True
        self._wanted[task] = resources
        if self._passed.setdefault(task, 0) >= self._patience and self._reserved is None:
            self._reserved = task
        return False

    def _given_up(self, task: str) -> bool:
        """Whether the task with the reservation no longer needs it.

        If it makes no request while another task makes two, it has failed or was made elsewhere.
        """
        if task not in self._asked:
            self._asked.add(task)
            return False
        self._forget(self._reserved or "")
        self._reserved = None
        self._asked.clear()
        return True

    def take(self, task: str, resources: Resources) -> Mapping[str, str]:
        """Start `task` and return the environment that shows it only its own GPUs, or none.

        The task must fit.
        """
        if (
            task in self._taken
            or resources.cpus > self._free_cpus
            or resources.gpus > len(self._free_gpus)
        ):
            raise ValueError(f"{task} does not fit")
        mine, self._free_gpus = self._free_gpus[: resources.gpus], self._free_gpus[resources.gpus :]
        self._free_cpus -= resources.cpus
        self._taken[task] = (resources.cpus, mine)
        self._forget(task)
        # Tasks of one size wait for each other in the order of the grid.
        for name, wanted in self._wanted.items():
            self._passed[name] += wanted.gpus > resources.gpus or wanted.cpus > resources.cpus
        return {"CUDA_VISIBLE_DEVICES": ",".join(mine)}

    def _forget(self, task: str) -> None:
        self._passed.pop(task, None)
        self._wanted.pop(task, None)

    def free(self, task: str) -> None:
        """Free the resources of a task that has ended.

        Its GPUs return to their original position, so that neighbours stay together.
        """
        cpus, gpus = self._taken.pop(task)
        self._free_cpus += cpus
        self._free_gpus = [gpu for gpu in self._gpus if gpu in {*self._free_gpus, *gpus}]


def size(resources: Resources) -> tuple[int, int]:
    """Sort key of a task: the most GPUs first, then the most cores."""
    return -resources.gpus, -resources.cpus


def require(slots: Slots, kinds: Iterable[str], profile: Profile) -> None:
    """Refuse, before anything starts, a grid with a stage that can never start here."""
    for kind in sorted(set(kinds)):
        slots.require(kind, profile.resources_for(kind))


def cores(environment: Mapping[str, str] = os.environ) -> int:
    """Return the number of cores that this process may use: its
    CPU affinity, limited by Slurm's allocation.
    """
    bound = len(os.sched_getaffinity(0))
    given = environment.get("SLURM_CPUS_PER_TASK") or environment.get("SLURM_CPUS_ON_NODE") or ""
    return min(bound, int(given)) if given.isdecimal() and int(given) > 0 else bound


def visible_gpus(profile: Profile, environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return the ids of the GPUs that may be used, as in CUDA_VISIBLE_DEVICES: indices, UUIDs or
    MIG names, unchanged.

    Errors: PrerequisiteError if the profile requests more GPUs than the environment shows.
    """
    outer = environment.get("CUDA_VISIBLE_DEVICES")
    if outer is None:
        return (
            [str(index) for index in range(profile.gpus)] if profile.gpus is not None else _listed()
        )
    shown = _named(outer)
    if profile.gpus is None or profile.gpus <= len(shown):
        return shown[: profile.gpus]
    hint = "correct `gpus` in the profile, or unset CUDA_VISIBLE_DEVICES"
    raise PrerequisiteError(
        f"profile {profile.profile} uses {profile.gpus} GPUs,"
        f" but CUDA_VISIBLE_DEVICES shows {len(shown)}",
        hint=hint,
    )


def _named(outer: str) -> list[str]:
    """Return the devices of the list up to the first name that is not a device (-1, or Slurm's
    NoDevFiles), as CUDA reads it.

    Each device is listed once.
    """
    names: list[str] = []
    for name in (part.strip() for part in outer.split(",")):
        if not re.fullmatch(r"\d+|(GPU|MIG)-.+", name):
            break
        names.append(name)
    return list(dict.fromkeys(names))


def _listed() -> list[str]:
    """Return the devices that `nvidia-smi -L` lists; none if the command is missing or fails.

    A GPU that is cut into MIG slices counts as its slices.
    """
    try:
        listing = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return parse_listing(listing)


def parse_listing(listing: str) -> list[str]:
    """Parse the output of `nvidia-smi -L`.

    `GPU 0: NAME (UUID: GPU-...)` is "0". Lines `MIG ... (UUID: MIG-...)` below it replace it.
    """
    gpus: dict[str, list[str]] = {}
    for line in listing.splitlines():
        if whole := re.match(r"GPU (\d+):", line):
            gpus[whole[1]] = []
        elif (part := re.search(r"\(UUID: (MIG-[^)]+)\)", line)) and gpus:
            gpus[next(reversed(gpus))].append(part[1])
    return [name for index, slices in gpus.items() for name in slices or [index]]
