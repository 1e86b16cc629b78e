"""What outcomes mean that are no training curve: of the final evaluation, of a whole run."""

from analysis.evidence.definition import SHARE, Definition

OUTCOMES: tuple[Definition, ...] = (
    Definition(
        "score",
        "Final accuracy",
        "avg@k, T = 1",
        "(1 / P) sum_p c_p / k,  c_p = samples of problem p graded correct, of k",
        "Accuracy of one sampled completion on the held-out problems after the last step: the"
        " headline of every table. An answer that cannot be parsed and a completion cut at the"
        " length limit are outcomes of their own and are not correct.",
        bounds=SHARE,
        better="higher",
    ),
    Definition(
        "score/truncated_fraction",
        "Truncated",
        "share of samples",
        "#(samples that reach the length limit) / (P k)",
        "Samples of the final evaluation that never ended by themselves.",
        bounds=SHARE,
        better="lower",
    ),
    Definition(
        "score/unparsed_fraction",
        "Unparsed",
        "share of samples",
        "#(samples without a readable boxed answer) / (P k)",
        "Samples of the final evaluation that ended but gave no answer that the grader can read.",
        bounds=SHARE,
        better="lower",
    ),
    Definition(
        "score/parsed_accuracy",
        "Accuracy among parseable",
        "correct / readable answers",
        "sum_p c_p / (P k (1 - truncated - unparsed))",
        "Of the samples of the final evaluation that end with a readable answer, the share that is"
        " right: what is left of a fall in accuracy once broken formats are taken out. Not a number"
        " where no sample is readable.",
        bounds=SHARE,
        better="higher",
    ),
    Definition(
        "score/greedy",
        "Greedy accuracy",
        "share of problems",
        "#(problems whose greedy completion is correct) / P",
        "Of the final evaluation, where it was measured.",
        bounds=SHARE,
        better="higher",
    ),
    Definition(
        "collapse_step",
        "Time to collapse",
        "optimiser steps",
        "the guard's stop, else the first step from which eval/avg@k stays below half of its"
        " highest value so far, to the end",
        "A run that does not collapse counts its last step (censored). A dip from which a run comes"
        " back is no collapse.",
        better="higher",
    ),
    Definition(
        "collapsed",
        "Collapse rate",
        "share of bases",
        "1 if the guard stopped the run or eval/avg@k stays below half of its highest value so far"
        " from some step to the end, else 0; over n bases the rate is (collapsed bases) / n",
        "The interval of a rate is exact (Clopper-Pearson, 95%): with none of five it is [0, .522]."
        " Limits: a run is judged over the steps it had, so arms of unequal length are no fair"
        " comparison; a curve with few points dates a fall late or misses it.",
        bounds=SHARE,
        better="lower",
    ),
    Definition(
        "score/pass@k",
        "pass@k",
        "share of problems",
        "(1 / P) sum_p [1 - C(n - c_p, k) / C(n, k)],  c_p of the n samples of problem p correct",
        "Outcome `pass@4`, or `pass@4:TASK`: the chance that k samples hold a correct one, unbiased"
        " for 1 - (1 - accuracy_p)^k, from the samples of the final evaluation. Limits: k = 1 is"
        " the score; k is at most n; k = n is the share of problems with any correct sample, and"
        " its variance over samples is largest there.",
        bounds=SHARE,
        better="higher",
    ),
    Definition(
        "steps_to",
        "Steps to a value",
        "optimiser steps",
        "min {step : metric(step) >= value} over the measured steps",
        "Outcome `steps_to:0.6:eval/avg@k`. A run that never gets there counts its last step, one"
        " that the guard stopped before counts all steps that were declared for it (censored: the"
        " truth is larger). Limits: no finer than the curve's steps; reaching a value and losing it"
        " again counts as reached; arms of unequal length are censored at different steps.",
    ),
    Definition(
        "auc",
        "Mean over steps",
        "as the metric",
        "area under the curve by the trapezoid rule / (last step - first step)",
        "Outcome `auc:METRIC`: how high a curve is on average, so an early rise counts. Limits: one"
        " measured step has none.",
        bounds=(None, None),
    ),
    Definition(
        "best",
        "Best step",
        "as the metric",
        "max over measured steps of the metric",
        "Outcome `best:METRIC`. Chosen by its result, so biased upwards by the noise of the curve;"
        " tables and figures say so. `nan` if the curve has one.",
        bounds=(None, None),
    ),
    Definition(
        "signal_gap",
        "Signal on wrong minus on right",
        "nats per token",
        "g(wrong) - g(correct),  g = sum_b T_b |mean of log p - log q over the tokens of bin b| /"
        " sum_b T_b,  T_b = tokens of bin b, bins without tokens left out",
        "Of the sampled tokens of wrong and of correct completions, by bins of their positions, at"
        " the first point of the record's `log_ratio`. Signs cancel inside a bin, so each g is a"
        " lower bound of the mean of |log p - log q|. Above zero the teacher disagrees more with"
        " the wrong completions of its student. Not measured where the start of training has no"
        " completion of one of the two kinds.",
        bounds=(None, None),
    ),
    Definition(
        "score/mean_tokens",
        "Length",
        "tokens",
        "(1 / (P k)) sum of sample lengths",
        "Mean completion length in the final evaluation.",
    ),
)
