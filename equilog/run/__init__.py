"""One run from data set to verified circuit, and the folder that holds it."""

from equilog.run.config import RunConfig, VerifyConfig
from equilog.run.folder import RunFolder
from equilog.run.pipeline import compile_run, run, verify_run

__all__ = ["RunConfig", "RunFolder", "VerifyConfig", "compile_run", "run", "verify_run"]
