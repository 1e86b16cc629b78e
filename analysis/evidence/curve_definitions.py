"""What the metrics of training curves mean."""

from analysis.evidence.definition import SHARE, Definition

CURVES: tuple[Definition, ...] = (
    Definition(
        "eval/avg@k",
        "Sampled accuracy",
        "avg@k, T = 1",
        "(1 / P) sum_p c_p / k",
        "The same estimator while training, on the curve's held-out problems with the k of the"
        " column's name (`eval/avg@2`: two samples a problem). Greedy decoding can stay high while"
        " this one collapses, so this one is drawn.",
        bounds=SHARE,
        shown=(0.0, 1.0),
        better="higher",
    ),
    Definition(
        "eval/greedy",
        "Greedy accuracy",
        "share of problems",
        "#(problems whose greedy completion is correct) / P",
        "Temperature zero, one completion a problem, the same problems as eval/avg@k.",
        bounds=SHARE,
        shown=(0.0, 1.0),
        better="higher",
    ),
    Definition(
        "eval/mean_tokens",
        "Completion length",
        "tokens",
        "(1 / (P S)) sum of lengths",
        "Mean length of the sampled held-out completions, end token included.",
        shown=(10.0, 30.0),
    ),
    Definition(
        "eval/truncated_fraction",
        "Truncated",
        "share of samples",
        "#(samples that reach the length limit) / (P S)",
        "Sampled held-out completions cut at the length limit.",
        bounds=SHARE,
        shown=(0.0, 0.2),
        better="lower",
    ),
    Definition(
        "eval/repetition_3gram",
        "3-gram repetition",
        "share of tokens",
        "mean over responses of #{t : (y_{t-2}, y_{t-1}, y_t) ended earlier in the same"
        " response} / T",
        "The statistic of the paper's Fig. 4, by the definition in the authors' code, on sampled"
        " held-out completions.",
        bounds=SHARE,
        shown=(0.0, 0.2),
        better="lower",
    ),
    Definition(
        "train/loss",
        "Loss",
        "nats per token",
        "the objective as declared, reduced as declared",
        "What the optimiser descends. Biased forms can go far below zero while the model breaks: no"
        " measure of success.",
        bounds=(None, None),
    ),
    Definition(
        "train/reverse_kl",
        "Exact reverse KL",
        "nats per token",
        "mean over tokens of sum_v p_v (log p_v - log q_v), over the whole vocabulary",
        "KL(student || teacher) on the student's own rollouts, unclamped, whatever the objective"
        " was. Drawn on a logarithmic axis.",
        axis="log",
    ),
    Definition(
        "train/student_entropy",
        "Student entropy",
        "nats per token",
        "mean over tokens of -sum_v p_v log p_v",
        "Of the student's next-token distribution on its own rollouts.",
        shown=(0.0, 1.0),
    ),
    Definition(
        "train/teacher_entropy",
        "Teacher entropy",
        "nats per token",
        "mean over tokens of -sum_v q_v log q_v",
        "Of the teacher's next-token distribution on the student's rollouts.",
    ),
    Definition(
        "train/student_topk_mass",
        "Student TopK mass",
        "probability",
        "mean over tokens of sum_{v in top} p_v",
        "How much of the student's own probability the K likeliest tokens hold; the biased loss"
        " drains it.",
        bounds=SHARE,
        shown=(0.8, 1.0),
    ),
    Definition(
        "train/teacher_topk_mass",
        "Teacher TopK mass",
        "probability",
        "mean over tokens of sum_{v in top} q_v",
        "The teacher's probability on the student's K likeliest tokens.",
        bounds=SHARE,
        shown=(0.8, 1.0),
    ),
    Definition(
        "train/student_tail_mass",
        "Student tail mass",
        "probability",
        "1 - train/student_topk_mass",
        "What the student keeps outside its K likeliest tokens: the tail into which the biased loss"
        " drains. Not a column of records; computed from the one that is. It starts near zero, so"
        " its ratio tells more than its difference. Limits: as many digits as the record keeps of"
        " the mass.",
        bounds=SHARE,
    ),
    Definition(
        "train/topk_overlap",
        "TopK overlap",
        "share of K",
        "mean over tokens of |top_K(p) and top_K(q) in common| / K",
        "How far both sides agree on the likeliest tokens.",
        bounds=SHARE,
    ),
    Definition(
        "train/grad_norm",
        "Gradient norm",
        "L2",
        "|| gradient of the reduced loss over all parameters ||_2, before clipping",
        "Of the optimiser step.",
    ),
    Definition(
        "train/teacher_cut_mass",
        "Teacher mass cut off",
        "probability",
        "mean over tokens of sum of q_v over ids v that the student does not have",
        "Zero where both heads have the same width; above it the teacher's probability on the"
        " padding of a wider head is lost.",
        bounds=SHARE,
        better="lower",
    ),
    Definition(
        "train/teacher_coverage",
        "Returned by the server",
        "share of K",
        "mean over tokens of |top_K(p) and returned in common| / K",
        "Where a server scores for the teacher: which share of the student's K likeliest tokens it"
        " returned. What the objective does with the others is its missing-token policy. Columns"
        " that need the teacher's whole distribution are absent from such a run.",
        bounds=SHARE,
        better="higher",
    ),
    Definition(
        "train/teacher_coverage_mass",
        "Student mass returned",
        "probability",
        "mean over tokens of sum of p_v over v in top_K(p) that the server returned",
        "The student's probability on those tokens; next to train/student_topk_mass it says how"
        " much of the support had no score.",
        bounds=SHARE,
        better="higher",
    ),
    Definition(
        "rollout/accuracy",
        "Rollout accuracy",
        "share of rollouts",
        "#(training rollouts graded correct) / B",
        "On the training problems, while the student changes; never the accuracy that is reported.",
        bounds=SHARE,
        better="higher",
    ),
    Definition(
        "rollout/mean_tokens",
        "Rollout length",
        "tokens",
        "(1 / B) sum of lengths",
        "Mean length of the training rollouts of the step.",
    ),
    Definition(
        "rollout/truncated_fraction",
        "Truncated rollouts",
        "share of rollouts",
        "#(rollouts that reach the length limit) / B",
        "Training rollouts cut at the length limit.",
        bounds=SHARE,
        better="lower",
    ),
    Definition(
        "rollout/repetition_3gram",
        "Rollout repetition",
        "share of tokens",
        "as eval/repetition_3gram, on the training rollouts",
        "3-gram repetition of the training rollouts of the step.",
        bounds=SHARE,
        better="lower",
    ),
)
