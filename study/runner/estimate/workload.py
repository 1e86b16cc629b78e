"""Describe the computation of a stage, an evaluation or a probe as a list of passes over tokens and
of generations: only sizes, no machine.

A length that is not known before the run is an assumption (`Lengths`);
with `filled` = 1 every completion runs to its limit, which makes times
upper bounds. Memory is always computed at the limit.
"""

from dataclasses import dataclass

from study.runner.estimate.sizes import Sizes
from study.runner.graph.stages import Staged
from study.spec.machine.shape import Shape
from study.spec.recipe.corpus import TeacherSamples
from study.spec.recipe.data import BenchmarkData, Data
from study.spec.recipe.evaluation import Evaluation
from study.spec.recipe.model import DistilledModel, GrpoModel, Model, PretrainedLab, SftModel
from study.spec.recipe.privileged import PrivilegedInformation
from study.spec.recipe.probe import Likelihood, PiOptimum, Probe
from study.spec.recipe.training import Curve, Sampling

# Problems of the evaluation tasks, as their data sets publish them.
PROBLEMS = {"math500": 500, "aime24": 30, "aime25": 30, "gpqa_diamond": 198, "mmlu_pro": 12_032}
UNKNOWN_PROBLEMS = 512  # of a held-out split whose size only the data give


@dataclass(frozen=True)
class Lengths:
    """Assumed lengths.

    prompt, solution: tokens of a problem and of a worked solution. filled: mean tokens of a
    completion / its limit.
    """

    prompt: int = 256
    solution: int = 1024
    filled: float = 1.0

    def completion(self, sampling: Sampling) -> float:
        return self.filled * sampling.max_completion_length

    def longest(self, sampling: Sampling) -> float:
        """Return the longest completion of a batch, which runs until its longest row ends: twice
        the mean, at most the limit.
        """
        return min(1.0, 2 * self.filled) * sampling.max_completion_length

    def seeing(self, privileged: PrivilegedInformation | None) -> int:
        """Return the tokens of a prompt with privileged information."""
        return self.prompt + (
            self.solution if privileged and "{solution" in privileged.template else 0
        )


@dataclass(frozen=True)
class Generation:
    """`batches` batches of `rows` completions.

    training: drawn by the model in training (its weights and type), all rows at once.
    """

    shape: Shape
    rows: int
    batches: float
    prompt: float
    tokens: float
    longest: float
    limit: int
    training: bool


@dataclass(frozen=True)
class Pass:
    """`rows` sequences of `length` tokens, of which `scored` go through the head, in `steps` steps.

    trained: with a backward pass.
    """

    shape: Shape
    rows: float
    length: float
    scored: float
    trained: bool
    steps: int
    limit: int


@dataclass(frozen=True)
class Workload:
    generations: tuple[Generation, ...]
    passes: tuple[Pass, ...]


def of_stage(recipe: Staged, sizes: Sizes, lengths: Lengths) -> Workload:
    match recipe:
        case DistilledModel():
            return _distill(recipe, sizes, lengths)
        case GrpoModel():
            return _grpo(recipe, sizes, lengths)
        case SftModel() | PretrainedLab():
            return _supervised(recipe, sizes, lengths)


def _distill(recipe: DistilledModel, sizes: Sizes, lengths: Lengths) -> Workload:
    training, sampling = recipe.training, recipe.training.sampling
    student, teacher = sizes.of(recipe.student).shape, sizes.of(recipe.teacher).shape
    rows, steps, tokens = training.prompts_per_step, training.steps, lengths.completion(sampling)
    seen, limit = lengths.seeing(recipe.privileged), sampling.max_completion_length
    rollouts = _rollouts(student, rows, steps, lengths.prompt, sampling, lengths)
    scored = Pass(teacher, rows * steps, seen + tokens, tokens, False, steps, seen + limit)
    trained = Pass(
        student, rows * steps, lengths.prompt + tokens, tokens, True, steps, lengths.prompt + limit
    )
    return Workload(
        (rollouts, *_curve(student, training.curve, steps, sampling, lengths)), (scored, trained)
    )


def _grpo(recipe: GrpoModel, sizes: Sizes, lengths: Lengths) -> Workload:
    training, sampling = recipe.training, recipe.training.sampling
    shape, tokens = sizes.of(recipe).shape, lengths.completion(sampling)
    rows, seen = (
        training.prompts_per_step * training.rollouts_per_prompt,
        lengths.seeing(recipe.privileged),
    )
    limit = seen + sampling.max_completion_length
    rollouts = _rollouts(shape, rows, training.steps, seen, sampling, lengths)
    trained = Pass(shape, rows * training.steps, seen + tokens, tokens, True, training.steps, limit)
    reference = (
        [Pass(shape, rows * training.steps, seen + tokens, tokens, False, training.steps, limit)]
        if training.kl_coefficient
        else []
    )
    return Workload(
        (rollouts, *_curve(shape, training.curve, training.steps, sampling, lengths)),
        (trained, *reference),
    )


def _supervised(recipe: SftModel | PretrainedLab, sizes: Sizes, lengths: Lengths) -> Workload:
    training, shape = recipe.training, sizes.of(recipe).shape
    documents, drawn = training.steps * training.documents_per_step, list[Generation]()
    length = min(training.max_length, lengths.prompt + lengths.solution)
    if (
        isinstance(recipe, SftModel)
        and isinstance(recipe.corpus, TeacherSamples)
        and recipe.teacher is not None
    ):
        sampling, teacher = recipe.corpus.sampling, sizes.of(recipe.teacher).shape
        length = min(training.max_length, lengths.prompt + lengths.completion(sampling))
        drawn.append(
            _generation(
                teacher,
                documents * (2 if recipe.corpus.correct_only else 1),
                lengths.prompt,
                sampling,
                lengths,
            )
        )
    return Workload(
        tuple(drawn),
        (Pass(shape, documents, length, length, True, training.steps, training.max_length),),
    )


def of_evaluation(spec: Evaluation, model: Model, sizes: Sizes, lengths: Lengths) -> Workload:
    """Return k samples and, if the model sees the plain problem, one greedy answer."""
    shape, problems = sizes.of(model).shape, problems_of(spec.data, spec.problems)
    plain, prompt = spec.privileged is None and spec.prefix is None, lengths.seeing(spec.privileged)
    drawn = [_generation(shape, problems * (spec.k + plain), prompt, spec.sampling, lengths)]
    if spec.prefix is not None:
        drawn.append(
            _generation(
                sizes.of(spec.prefix.source).shape, problems, lengths.prompt, spec.sampling, lengths
            )
        )
    return Workload(tuple(drawn), ())


def of_probe(probe: Probe, model: Model, sizes: Sizes, lengths: Lengths) -> Workload:
    own, teacher = sizes.of(model).shape, sizes.of(probe.teacher).shape
    tokens, limit = (
        lengths.completion(probe.sampling),
        lengths.prompt + probe.sampling.max_completion_length,
    )
    scored = Pass(
        own, probe.problems, lengths.prompt + tokens, tokens, False, probe.problems, limit
    )
    match probe:
        case Likelihood():
            return Workload(
                (_generation(teacher, probe.problems, lengths.prompt, probe.sampling, lengths),),
                (scored,),
            )
        case PiOptimum():
            views = [
                Pass(
                    teacher,
                    probe.problems,
                    lengths.seeing(pi) + tokens,
                    tokens,
                    False,
                    probe.problems,
                    limit + lengths.solution,
                )
                for pi in probe.privileged
            ]
            return Workload(
                (_generation(own, probe.problems, lengths.prompt, probe.sampling, lengths),),
                (scored, *views),
            )


def problems_of(data: Data, wanted: int | None) -> int:
    """Return the number of held-out problems that are evaluated; a guess (`UNKNOWN_PROBLEMS`) if
    only the data give it.
    """
    task = data.task if isinstance(data, BenchmarkData) else getattr(data, "held_out_task", None)
    known = PROBLEMS.get(task) if task else getattr(data, "held_out_size", None)
    return min(known or UNKNOWN_PROBLEMS, wanted or known or UNKNOWN_PROBLEMS)


def _rollouts(
    shape: Shape, rows: int, steps: float, prompt: float, sampling: Sampling, lengths: Lengths
) -> Generation:
    limit = int(prompt) + sampling.max_completion_length
    return Generation(
        shape,
        rows,
        steps,
        prompt,
        lengths.completion(sampling),
        lengths.longest(sampling),
        limit,
        training=True,
    )


def _curve(
    shape: Shape, curve: Curve, steps: int, sampling: Sampling, lengths: Lengths
) -> tuple[Generation, ...]:
    """Return the evaluations of a training curve: at the start, every `every` steps and at the end,
    each with one greedy answer and k samples per problem.
    """
    rows = (1 + curve.k) * curve.problems * (1 + -(-steps // curve.every))
    return (_generation(shape, rows, lengths.prompt, sampling, lengths),)


def _generation(
    shape: Shape, rows: int, prompt: float, sampling: Sampling, lengths: Lengths
) -> Generation:
    """Return completions drawn outside of a training step, in
    batches of as many rows as fit in memory.
    """
    limit = int(prompt) + sampling.max_completion_length
    return Generation(
        shape,
        rows,
        1,
        prompt,
        lengths.completion(sampling),
        lengths.longest(sampling),
        limit,
        training=False,
    )
