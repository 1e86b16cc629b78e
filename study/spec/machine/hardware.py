"""The hardware of a machine for an estimate (`study rehearse`): numbers of its data sheet and how
much of them is reached.

Never part of identity. The utilisations are guesses until they are measured; an end-of-line comment
in the file says where each value comes from.
"""

from pydantic import Field

from study.spec.base import Spec


class Utilisation(Spec):
    """Fractions of the data sheet's numbers.

    training: of matrix FLOP/s, forward and backward together; scoring: the same, forward only.
    bandwidth: of the memory's, while completions are generated. step_s: seconds that one step of
    generation (one token for each row of a batch) takes however small the model, to launch its
    kernels. train_step_s: the same for one micro-batch of training.
    """

    training: float = Field(default=0.35, gt=0, le=1)
    scoring: float = Field(default=0.45, gt=0, le=1)
    bandwidth: float = Field(default=0.5, gt=0, le=1)
    step_s: float = Field(default=0.03, ge=0)
    train_step_s: float = Field(default=0.2, ge=0)


class Hardware(Spec):
    """One machine. GB are 1e9 bytes.

    matrix_tflops: dense, of the type used in training (bfloat16 on a GPU, float32 on a CPU).
    devices: how many; memory_gb: of one. price: per device and hour, in `currency`. reserve_gb:
    device memory that the CUDA context, the allocator's fragments and NCCL take.
    """

    device: str
    devices: int = Field(ge=1)
    memory_gb: float = Field(gt=0)
    bandwidth_gb_s: float = Field(gt=0)
    matrix_tflops: float = Field(gt=0)
    disk_gb: float | None = Field(default=None, gt=0)
    reserve_gb: float = Field(default=4.0, ge=0)
    price: float | None = Field(default=None, gt=0)
    currency: str = "USD"
    utilisation: Utilisation = Utilisation()
