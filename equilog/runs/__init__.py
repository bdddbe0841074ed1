"""What a run was asked for, and the folder that holds all it made."""

from equilog.runs.config import RunConfig, VerifyConfig
from equilog.runs.folder import RunFolder

__all__ = ["RunConfig", "RunFolder", "VerifyConfig"]
