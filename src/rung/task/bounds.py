"""Limits on task files, checked on parser events before a recursive parser builds anything."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import yaml

from rung.errors import TaskError

MAX_FILE_BYTES = 512 * 1024
"""Maximum size in bytes. Hundreds of labels with descriptions fill a tenth of it."""

MAX_DEPTH = 40
"""Maximum nesting of lists and mappings. A JSON schema in a method's options may take a dozen levels."""

MAX_VALUES = 25_000
"""Maximum number of values. An alias counts as all that it stands for, a long text as one per 100 characters."""

Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's loader if PyYAML has it: about ten times faster."""


class TooLarge(yaml.MarkedYAMLError):
    """YAML that is refused because building it would take too much."""


def check_size(text: str) -> None:
    """Scan the text without building it. YAMLError with the line if it is broken, too deep or too large."""
    sizes: dict[str, int] = {}
    opened: list[tuple[str, int]] = []
    count = 0

    def fault(what: str) -> TooLarge:
        return TooLarge(problem=what, problem_mark=event.start_mark)  # type: ignore[arg-type]  # libyaml's mark is alike

    for event in yaml.parse(text, Loader=Loader):
        anchor: str = getattr(event, "anchor", None) or ""
        if isinstance(event, yaml.AliasEvent):
            if any(anchor == one for one, _ in opened):
                raise fault(f"the alias *{shorten(anchor)} is inside the value it names")
            count += sizes.get(anchor, 1)
        elif isinstance(event, yaml.CollectionStartEvent):
            count += 1
            opened.append((anchor, count))
            if len(opened) > MAX_DEPTH:
                raise fault(f"more than {MAX_DEPTH} levels of lists and mappings")
        elif isinstance(event, yaml.CollectionEndEvent):
            name, before = opened.pop()
            if name:
                sizes[name] = count - before + 1
        elif isinstance(event, yaml.ScalarEvent):
            count += (size := 1 + len(event.value) // 100)
            if anchor:
                sizes[anchor] = size
        if count > MAX_VALUES:
            raise fault(f"there are more than {MAX_VALUES} values, counting each alias as what it stands for")


def read_file(path: Path, most: int) -> bytes:
    """A regular file's bytes. TaskError for a missing file, a device, a pipe, a folder, or more than `most` bytes.

    Opened without blocking, so a pipe does not hang.
    """
    try:
        number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (FileNotFoundError, NotADirectoryError):
        raise TaskError(
            "the file does not exist.",
            where=str(path),
            remedy="Name a folder that has a rung.yaml, or make one: rung init FOLDER.",
        ) from None
    except OSError as error:  # a circle of links, no permission, a socket
        raise TaskError(f"it cannot be opened: {error.strerror}.", where=str(path), remedy="Put a regular file there.") from None
    try:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise TaskError("it is not a regular file.", where=str(path), remedy="A folder, pipe or device cannot be read.")
        with os.fdopen(number, "rb", closefd=False) as file:
            content = file.read(most + 1)
    finally:
        os.close(number)
    if len(content) > most:
        remedy = "Keep rows and documents in separate files."
        raise TaskError(f"it is longer than {most // 1024} KiB.", where=f"{path.name} line 1", remedy=remedy)
    return content


def shorten(text: str, most: int = 60) -> str:
    """A text cut for use in messages."""
    return text if len(text) <= most else f"{text[:most]}…"
