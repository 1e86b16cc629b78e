"""Write the description of a grid for MLflow, in Markdown:
its question, its runs, where to read on.
"""

_HOW_TO_READ = (
    "Each nested run is one run of the grid. Tags `label.*` say which arm it is; parameters are its"
    " settings; `eval/<task>/...` is the final score, the other curves are those of the training;"
    " `cost/*` is what its stages took. A run in progress shows what its worker has reported;"
    " its record replaces that."
)


def grid_note(
    grid: str, scale: str, question: str, runs: int, *, committed: bool = False, state: str = ""
) -> str:
    """Return the description. question: from the grid's file. committed: these are the committed
    records, and the artifacts their tables and figures. state: one more paragraph, for instance
    what is known so far.
    """
    origin = (
        "the committed records of this repository"
        if committed
        else "the runs of this results folder"
    )
    parts = [
        question.strip(),
        f"Grid {grid} at scale {scale}: {runs} runs are planned. Shown here: {origin}.",
        state,
        _HOW_TO_READ,
        f"Settings of every run: `study plan --grid {grid}`; tables, figures and verdicts:"
        f" `study analyze --grid {grid}{' --committed' if committed else ''}`. Records are the"
        " source, MLflow is a mirror of them (docs/mlflow.md).",
    ]
    return "\n\n".join(part for part in parts if part)
