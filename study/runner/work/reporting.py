"""Report training to Weights & Biases: `report_to: wandb` in a profile, or STUDY_REPORT_TO=wandb
for one command.

transformers' own WandbCallback (set in `study.train.arguments`) sends what its trainers log. A
stage is one W&B run, named by its id; a stage that was continued has one per attempt, in a group of
that name. Never part of identity.
"""

import os
from importlib.util import find_spec
from typing import get_args

from study.errors import PrerequisiteError, SpecError
from study.spec.machine.profile import Profile, ReportTo

SWITCH = "STUDY_REPORT_TO"


def with_reports(profile: Profile) -> Profile:
    """Return the profile with the setting of the environment. The profile travels to workers and
    jobs, which may not see this environment.

    Errors: SpecError for an unknown word; PrerequisiteError, before anything starts, if the package
    is missing.
    """
    asked = os.environ.get(SWITCH) or profile.report_to
    if asked not in get_args(ReportTo):
        raise SpecError(f"{SWITCH}={asked} is not one of {', '.join(get_args(ReportTo))}")
    if asked == "wandb" and find_spec("wandb") is None:
        hint = (
            "pip install 'opd-study[wandb]', or leave `report_to` of the profile and"
            " STUDY_REPORT_TO at none"
        )
        raise PrerequisiteError(
            "reports to wandb are switched on, but the package wandb is not installed", hint=hint
        )
    return profile.model_copy(update={"report_to": asked})
