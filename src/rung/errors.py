"""Errors that state place, problem, value and remedy; the command line prints them without a traceback."""

from __future__ import annotations

from rung.visible import one_line, visible


class RungError(Exception):
    """An error that the user can fix.

    `where` names the file, line or key; `what` states the problem and quotes the value; `remedy` says what to do. Programming
    errors are never a RungError: they stay assertions with a traceback. The text is safe to show: quoted content passes
    `visible`.
    """

    exit_code = 2

    def __init__(self, what: str, *, where: str = "", remedy: str = ""):
        self.what, self.where, self.remedy = what, where, remedy
        super().__init__(str(self))

    def __str__(self) -> str:
        place = f"{one_line(self.where)}: " if self.where else ""
        remedy = f" {self.remedy}" if self.remedy else ""
        return visible(f"{place}{self.what}{remedy}")

    def _render_traceback_(self) -> list[str]:
        """What notebooks show in place of a traceback: IPython asks for it by this name."""
        lines = [f"{type(self).__name__}: {one_line(self.where) or 'rung'}", self.what, *([self.remedy] if self.remedy else [])]
        return [visible(line) for line in lines]


class DiskFullError(RungError):
    """There is no space left. Nothing is lost: the same command resumes."""


def disk_full(folder: object, error: BaseException) -> DiskFullError:
    """The error for a full disk; an error that says so already stays as it is."""
    if isinstance(error, DiskFullError):
        return error
    return DiskFullError(f"the disk is full ({error}).", where=str(folder), remedy="Make room and run it again; it resumes.")


class TaskError(RungError):
    """rung.yaml is missing or invalid."""


class DataError(RungError):
    """A data file is missing, unreadable, or has an unusable row."""


class ModelError(RungError):
    """A model cannot be found, fetched or trusted."""


class TemplateError(ModelError):
    """A model's chat template cannot render the prompts; rungs that do not use the model continue."""


class PluginError(RungError):
    """A package that adds to rung's tables cannot be imported, adds what does not fit, or claims a name that is taken."""


class BudgetError(RungError):
    """The next step would exceed the budget."""


class BusyError(RungError):
    """Another process is working in the same folder."""
