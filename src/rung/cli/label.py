"""The command that labels: rows in the terminal, one at a time."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from rung.cli.common import Folder, err, out, project_of
from rung.cli.screens.console import status, styled
from rung.errors import DataError, TaskError
from rung.visible import visible

if TYPE_CHECKING:
    from rung.climbing.project import Project
    from rung.labelling.opening import Opened, Wanted
    from rung.labelling.sitting import Drawn
    from rung.labelling.typed import Action
    from rung.types import Split

ONE_KEY = 9
"""With at most this many labels, a terminal takes a single key."""
HELD_OUT = "held-out"
"""With --for: dev and test."""
BEGIN_LINE = ("/", "+", ":")
"""Keys that begin a line to be ended by Enter."""
MAX_LISTED = 30
"""Labels listed with every row; more are found by search."""


def label(
    folder: Folder,
    rows: Annotated[int, typer.Option("--rows", min=1, help="How many rows to ask.")] = 20,
    from_: Annotated[
        Path | None,
        typer.Option("--from", help="Draw from this file instead of data.unlabelled: a table, or .txt with one input a line."),
    ] = None,
    to: Annotated[Path | None, typer.Option("--to", help="CSV to write; by default labelled.csv beside your data.")] = None,
    split: Annotated[
        str, typer.Option("--for", help="Only rows for train, dev or test, or held-out for dev and test; by default for all.")
    ] = "",
    draw: Annotated[
        str,
        typer.Option(
            "--draw",
            help="With --for train: doubt (rows on which fitted rungs disagree or are unsure, with a proposal) or random.",
        ),
    ] = "doubt",
    by: Annotated[str, typer.Option("--by", help="Your name, to be kept with your labels.")] = "",
    second: Annotated[
        bool,
        typer.Option("--second", help="Label again what others labelled, without seeing their labels; shows how far you agree."),
    ] = False,
) -> None:
    """Label rows in the terminal, one at a time. Every answer is saved at once, and the same command goes on from there.

    Rows for dev and test are drawn at random and shown without a proposal: a proposal would pull their labels towards a
    model's answers, and every later score with them. Rows for train are chosen where fitted rungs disagree or are in doubt,
    because these usually teach more than random ones; they never enter dev or test.

    Without a terminal, answers are read from standard input, one a line.
    """
    from rung.labelling.opening import Wanted

    wanted = Wanted(rows, from_, to, _split(split), split == HELD_OUT, _draw(draw), by.strip(), second)
    project = project_of(folder)
    opened = _open(project, wanted)
    for note in opened.notes:
        out.print(note, style="dim")
    try:
        _Screen(opened).run()
    except (KeyboardInterrupt, EOFError):
        out.print()
    _end(project, opened)


def _split(text: str) -> Split | None:
    if text in ("train", "dev", "test"):
        return text  # type: ignore[return-value]
    if text not in ("", HELD_OUT):
        raise TaskError(f"--for is {text!r}.", where="rung label", remedy=f"Give train, dev, test or {HELD_OUT}.")
    return None


def _draw(text: str) -> Literal["doubt", "random"]:
    if text in ("doubt", "random"):
        return text  # type: ignore[return-value]
    raise TaskError(f"--draw is {text!r}.", where="rung label", remedy="Give doubt or random.")


def _open(project: Project, wanted: Wanted) -> Opened:
    from rung.labelling.opening import open_sitting

    with status("reading") as update:
        return open_sitting(project, wanted, lambda text, share: update(f"choosing rows: {text}"))


class _Screen:
    """The loop of one sitting: shows a row, reads what is typed, acts on it."""

    def __init__(self, opened: Opened):
        self.opened, self.sitting = opened, opened.sitting
        self.tty = sys.stdin.isatty() and out.is_terminal
        names = opened.answers.labels
        self.first = names if len(names) <= MAX_LISTED else ()
        self.one_key = self.tty and 0 < len(names) <= ONE_KEY and opened.answers.numbered and not opened.answers.several
        self.shown: tuple[str, ...] = ()
        """The labels that numbers refer to: all where they are listed, else those found by the last search."""
        self.found: tuple[str, ...] = ()

    def run(self) -> None:
        """Ask until the rows or the person's answers end. EOFError at the end of standard input."""
        from rung.cli.screens import label as screen

        while (drawn := self.sitting.current) is not None:
            self.shown, self.found = self.first, ()
            out.print(screen.row(drawn, self.sitting))
            if self.first:
                out.print(screen.labels(self.first, self._numbers(self.first)))
            if drawn.proposal:
                out.print(screen.proposal(drawn, self.opened.answers))
            out.print(screen.keys(self.opened.answers, not self.first))
            while True:
                action = self._read(drawn)
                if action.command == "quit":
                    return
                if self._act(action, drawn):
                    break

    def _act(self, action: Action, drawn: Drawn) -> bool:
        """Do what was typed. Whether another row is to be shown."""
        from rung.cli.screens import label as screen

        if action.answer:
            return self._saved(self.sitting.label(action.answer), action.answer)
        if action.found:
            self.found, self.shown = action.found, self.first or action.found
            out.print(screen.labels(action.found, self._numbers(action.found)))
            return False
        match action.command:
            case "unanswerable":
                return self._saved(self.sitting.unanswerable(), "cannot be answered")
            case "skip":
                self.sitting.skip()
                return self._saved(True, "skipped")
            case "undo":
                return self._undo()
            case "all":
                out.print(screen.labels(self.opened.answers.labels))
            case "edit":
                out.print("There is no proposal to edit." if not drawn.proposal else "Edit it on the line and press Enter.")
            case "help":
                out.print(screen.help_(self.opened.answers))
            case _:
                out.print(action.fault, style="yellow")
        return False

    def _saved(self, written: bool, said: str) -> bool:
        if written:
            out.print(styled("[green]✓[/] {}", said))
        else:
            out.print("Someone else has labelled this row meanwhile; it is left out.", style="yellow")
        return True

    def _undo(self) -> bool:
        try:
            drawn = self.sitting.undo()
        except DataError as error:
            out.print(str(error), style="yellow")
            return False
        out.print("There is nothing to undo in this sitting." if drawn is None else "taken back", style="yellow")
        return drawn is not None

    # --- reading ----------------------------------------------------------------------------------------------

    def _read(self, drawn: Drawn) -> Action:
        from rung.labelling.typed import read

        text = self._key() if self.one_key else None
        line = self._line(text or "") if text is None or text in BEGIN_LINE else text
        offered = self.found[0] if len(self.found) == 1 else drawn.proposal
        action = read(line, self.opened.answers, self.shown, offered)
        if action.command == "edit" and drawn.proposal:
            return read(self._line(drawn.proposal), self.opened.answers, self.shown, offered)
        return action

    def _numbers(self, labels: Sequence[str]) -> list[int]:
        """The number of each label; none if labels are numbers themselves."""
        if not self.opened.answers.numbered:
            return []
        listed = self.shown or self.first or labels
        return [listed.index(label) + 1 for label in labels]

    def _key(self) -> str:
        """One key; Enter is an empty line. EOFError for Ctrl-D."""
        sys.stdout.write("> ")
        sys.stdout.flush()
        key = typer.getchar()
        if key == "\x04":
            raise EOFError
        key = "" if key in "\r\n" else key
        sys.stdout.write("\r" if key in BEGIN_LINE else f"{key}\n" if key.isprintable() else "\n")
        return key if key.isprintable() else "?"

    def _line(self, begun: str = "") -> str:
        """A line, or several where each but the last ends in a backslash. EOFError at the end of standard input."""
        lines = [self._one_line(begun)]
        while lines[-1].endswith("\\") and self.opened.answers.kind != "classify":
            lines[-1] = lines[-1][:-1]
            lines.append(self._one_line())
        return "\n".join(lines)

    def _one_line(self, begun: str = "") -> str:
        if not self.tty:
            line = sys.stdin.readline()
            if not line:
                raise EOFError
            return line.rstrip("\r\n")
        return _edited(begun)


def _edited(begun: str) -> str:
    """A line of the terminal with editing. `begun` stands in it already, unless it has characters that must not be shown raw."""
    try:
        import readline
    except ImportError:  # Windows: no editing beyond the console's own
        return input("> ")
    shown = begun if visible(begun) == begun and "\n" not in begun else ""
    readline.set_startup_hook(lambda: readline.insert_text(shown))
    try:
        return input("> ")
    finally:
        readline.set_startup_hook(None)


def _end(project: Project, opened: Opened) -> None:
    """What was done, how rung.yaml names the file, how far people agree and how far the decision is."""
    from rung.cli.screens import label as screen
    from rung.data.agreement import agreement
    from rung.labelling.ending import naming, outlook

    sitting = opened.sitting
    out.print()
    out.print(screen.ended(sitting))
    if sitting.counts.get("skip"):
        out.print("Skipped rows are asked first next time. Without them the labelled rows are easier than the task.", style="dim")
    if sitting.sheet.path.exists() and (lines := naming(sitting.sheet, opened.have)):
        out.print("The next climb uses these rows once rung.yaml names the file:")
        out.print(styled("[cyan]{}[/]", lines))
    if found := agreement(project.task):
        out.print(screen.agreement(found, project.task.goal.at_least))
    written = Counter(drawn.split for drawn, entry in sitting.done if sitting.writes(entry))
    sizes = Counter(opened.have.sizes)
    sizes.update(written)
    for line in outlook(project, sizes, opened.have):
        out.print(line)
    if sitting.queue:
        err.print("Run the same command to go on.", style="dim")
