"""Compute seconds from sizes: the roofline behind `study rehearse`.

The result is an estimate for a machine that may never have been measured.

    a pass        FLOPs / (peak x utilisation) + micro-batches x launch time; forward 2N per token,
                  with backward 6N, recomputed 8N, plus attention's share and the head's (which is
                  computed again in the backward pass, as in `study.models.logprobs`)
    a generation  the prompt as a forward pass; then for every token of the longest row
                  launch time + max(bytes of weights and cache / bandwidth,
                                    FLOPs of one token per row / peak)
Bytes of weights: all of them each time. Float32 weights on a GPU are read, written as bfloat16 and
read again (autocast): 8 bytes. Cache: `generate` joins the new token to it and so reads and writes
it once more than attention needs (3 x).
"""

from study.runner.estimate.memory import CACHE_BYTES, GB, ROWS, Settings, rows_in
from study.runner.estimate.workload import Generation, Pass, Workload
from study.spec.machine.hardware import Hardware

CACHE_TRAFFIC = 3.0
TERA = 1e12


def seconds(work: Workload, hardware: Hardware, settings: Settings, dtype: str) -> dict[str, float]:
    """Return wall seconds by part: generation, scoring (forward only), training (with backward).

    dtype: of the weights that are trained.
    """
    found = {
        "generation": sum(_generation(one, hardware, settings, dtype) for one in work.generations)
    }
    for name, trained in (("scoring", False), ("training", True)):
        found[name] = sum(
            pass_seconds(one, hardware, settings) for one in work.passes if one.trained is trained
        )
    return found


def pass_seconds(one: Pass, hardware: Hardware, settings: Settings) -> float:
    used = hardware.utilisation
    factor = (4.0 if settings.recompute else 3.0) if one.trained else 1.0
    body = one.rows * one.length * one.shape.forward_flops(one.length) * factor
    head = one.rows * one.scored * 2.0 * one.shape.head * (4.0 if one.trained else 2.0)
    peak = hardware.matrix_tflops * TERA * (used.training if one.trained else used.scoring)
    share = max(1.0, one.rows / max(1, one.steps) / settings.processes)
    launches = one.steps * max(1.0, share / (settings.micro_batch or share))
    return (body + head) / settings.processes / peak + launches * used.train_step_s * (
        1.0 if one.trained else 0.3
    )


def _generation(one: Generation, hardware: Hardware, settings: Settings, dtype: str) -> float:
    if one.training:
        share = -(-one.rows // settings.processes)
        rows = rows_in(settings.room, one, dtype, share)
        return one.batches * -(-share // rows) * batch_seconds(one, rows, hardware, dtype)
    rows = rows_at_once(one, hardware)
    return (
        one.batches
        * -(-one.rows // rows)
        * batch_seconds(one, min(rows, one.rows), hardware, _outside(hardware))
    )


def _outside(hardware: Hardware) -> str:
    """Return the type of weights that only sample: bfloat16 on a GPU (`load_for_inference`)."""
    return "float32" if is_cpu(hardware) else "bfloat16"


def is_cpu(hardware: Hardware) -> bool:
    return "cpu" in hardware.device.lower()


def batch_seconds(one: Generation, rows: int, hardware: Hardware, dtype: str) -> float:
    used, shape = hardware.utilisation, one.shape
    peak, bandwidth = (
        hardware.matrix_tflops * TERA * used.scoring,
        hardware.bandwidth_gb_s * GB * used.bandwidth,
    )
    prompt = rows * one.prompt * shape.forward_flops(one.prompt) / peak
    context = one.prompt + one.longest / 2
    weight_bytes = {"float32": 4.0 if is_cpu(hardware) else 8.0, "bfloat16": 2.0}[dtype]
    cache = (
        rows
        * context
        * shape.cache_bytes(CACHE_BYTES[dtype] if not is_cpu(hardware) else 4.0)
        * CACHE_TRAFFIC
    )
    moved = (shape.parameters * weight_bytes + cache) / bandwidth
    computed = rows * (shape.forward_flops(context) + 2.0 * shape.head) / peak
    return prompt + one.longest * (used.step_s + max(moved, computed))


def rows_at_once(one: Generation, hardware: Hardware) -> int:
    """Return the rows per batch outside of training, next to weights in bfloat16."""
    if is_cpu(hardware):
        return min(ROWS, one.rows)
    return rows_in(
        (hardware.memory_gb - hardware.reserve_gb) * GB - 2.0 * one.shape.parameters,
        one,
        "bfloat16",
        one.rows,
    )
