"""The one way to a terminal: consoles that take every text as it is, and styles that only the program's own literals set.

`out` and `err` read no markup, so a text that somebody forgot about is at worst shown plainly. Whatever they print goes through
`visible` on its way. Styles are written with `styled`: its template is a literal, and its values are never read as markup.
"""

from __future__ import annotations

import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from types import TracebackType
from typing import Any, LiteralString

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.status import Status
from rich.text import Text

from rung.visible import replacements, steered_by_none, visible


class Terminal(Console):
    """A rich console for text from anywhere: no markup, no emoji codes, no highlighting, nothing that steers a terminal."""

    def __init__(self, **options: Any):
        super().__init__(**options, markup=False, emoji=False, highlight=False)

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(visible(text), **{**options, "markup": False, "emoji": False})

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """What rich draws, with every text made visible: cells and bars come through here too."""
        for segment in super().render(_shown(renderable) if isinstance(renderable, Text) else renderable, options):
            text, style, control = segment
            yield segment if control else Segment(steered_by_none(text), style)


out, err = Terminal(), Terminal(stderr=True)


def styled(template: LiteralString, *values: object) -> Text:
    """A text with the template's styles, as `styled("[dim]{}[/]", name)`; each {} takes a value, which is never read as markup.

    A value that is a Text keeps its styles under those of the template.
    """
    outline = Text.from_markup(template, emoji=False)
    made, done = Text(), 0
    for value in values:
        at = outline.plain.index("{}", done)
        piece = value.copy() if isinstance(value, Text) else Text(visible(str(value)))
        for span in outline.spans:
            if span.start <= at < span.end:
                piece.stylize_before(span.style)
        made.append_text(outline[done:at]).append_text(piece)
        done = at + 2
    return made.append_text(outline[done:])


def joined(between: LiteralString, parts: Iterable[object]) -> Text:
    """Texts one behind another."""
    return Text(between).join(part if isinstance(part, Text) else Text(visible(str(part))) for part in parts)


@contextmanager
def status(text: str) -> Iterator[Callable[[str], None]]:
    """A line on standard error that says what is being done, with a function that changes it."""
    with Status(Text(visible(text)), console=err) as shown:
        yield lambda now: shown.update(Text(visible(now)))


def guard() -> None:
    """Make visible what reaches standard error beside the consoles (tracebacks, warnings); print what an encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.excepthook = _traceback
    warnings.showwarning = _warning


def _traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    sys.stderr.write(visible("".join(traceback.format_exception(kind, error, trace))))


def _warning(
    message: Any, category: type[Warning], filename: str, lineno: int, file: Any = None, line: str | None = None
) -> None:
    (file or sys.stderr).write(visible(warnings.formatwarning(message, category, filename, lineno, line)))


def _shown(text: Text) -> Text:
    """The same text with `visible` applied; its styles stay."""
    places = replacements(text.plain)
    if not places:
        return text
    made = text.blank_copy()
    done = 0
    for at, instead in places:
        made.append_text(text[done:at])
        piece = Text(instead)
        for span in text.spans:
            if span.start <= at < span.end:
                piece.stylize(span.style)
        made.append_text(piece)
        done = at + 1
    return made.append_text(text[done:])
