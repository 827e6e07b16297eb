"""The only consoles: text is never interpreted as markup, and styles come only from literals.

`out` and `err` read no markup, so forgotten text is at worst shown plainly. All output passes `visible`. Use `styled` for
styles: its template is a literal, and its values are never read as markup.
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

from rung.visible import escape_controls, replacements, visible


class Terminal(Console):
    """A rich console for untrusted text: no markup, emoji codes, highlighting or control characters."""

    drawing: Console | None = None
    """A console with a live display on the same terminal, which must print in place of this one, or lines run into it."""

    def __init__(self, **options: Any):
        super().__init__(**options, markup=False, emoji=False, highlight=False)

    def print(self, *objects: Any, **options: Any) -> None:
        if self.drawing:
            self.drawing.print(*objects, **options)
        else:
            super().print(*objects, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(visible(text), **{**options, "markup": False, "emoji": False})

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render with every text made visible, including cells and bars."""
        for segment in super().render(_visible_text(renderable) if isinstance(renderable, Text) else renderable, options):
            text, style, control = segment
            yield segment if control else Segment(escape_controls(text), style)


out, err = Terminal(), Terminal(stderr=True)


def styled(template: LiteralString, *values: object) -> Text:
    """Text with styles, such as `styled("[dim]{}[/]", name)`; each {} takes a value that is never read as markup.

    Text values keep their own styles beneath those of the template.
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


def join_texts(between: LiteralString, parts: Iterable[object]) -> Text:
    """Texts joined by a separator."""
    return Text(between).join(part if isinstance(part, Text) else Text(visible(str(part))) for part in parts)


@contextmanager
def above(drawing: Console) -> Iterator[None]:
    """Lines of the other console stand above the live display of this one, where both are terminals."""
    others = [one for one in (out, err) if one is not drawing and one.is_terminal]
    for one in others:
        one.drawing = drawing
    try:
        yield
    finally:
        for one in others:
            one.drawing = None


@contextmanager
def status(text: str) -> Iterator[Callable[[str], None]]:
    """A status line on standard error; yields a function that changes its text."""
    with Status(Text(visible(text)), console=err) as shown:
        yield lambda now: shown.update(Text(visible(now)))


def make_output_safe() -> None:
    """Escape tracebacks and warnings, which bypass the consoles, and characters missing in the encoding."""
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


def _visible_text(text: Text) -> Text:
    """The text with `visible` applied, keeping its styles."""
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
