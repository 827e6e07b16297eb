"""What a task file may take to be read: refused by its events, before a parser that calls itself has built anything."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import yaml

from rung.errors import TaskError

LONGEST_FILE = 512 * 1024
"""Bytes of a task file. Hundreds of labels with descriptions fill a tenth of it."""

DEEPEST = 40
"""Lists and mappings within each other. A JSON schema among a method's options may take a dozen."""

MOST_VALUES = 25_000
"""Values in the file, each alias counted as all that it stands for, and a long text as one for each 100 characters."""

Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's where the wheel of PyYAML has it: some ten times as fast."""


class TooMuch(yaml.MarkedYAMLError):
    """YAML that may be whole, and is refused for what it would take to build it."""


def bounded(text: str) -> None:
    """Go through the text without building it. yaml's own error, with its line, where it is broken, too deep or too much."""
    sizes: dict[str, int] = {}
    opened: list[tuple[str, int]] = []
    count = 0

    def fault(what: str) -> TooMuch:
        return TooMuch(problem=what, problem_mark=event.start_mark)  # type: ignore[arg-type]  # libyaml's mark is alike

    for event in yaml.parse(text, Loader=Loader):
        anchor: str = getattr(event, "anchor", None) or ""
        if isinstance(event, yaml.AliasEvent):
            if any(anchor == one for one, _ in opened):
                raise fault(f"the alias *{shortened(anchor)} stands within what it names")
            count += sizes.get(anchor, 1)
        elif isinstance(event, yaml.CollectionStartEvent):
            count += 1
            opened.append((anchor, count))
            if len(opened) > DEEPEST:
                raise fault(f"more than {DEEPEST} lists and mappings stand within each other")
        elif isinstance(event, yaml.CollectionEndEvent):
            name, before = opened.pop()
            if name:
                sizes[name] = count - before + 1
        elif isinstance(event, yaml.ScalarEvent):
            count += (size := 1 + len(event.value) // 100)
            if anchor:
                sizes[anchor] = size
        if count > MOST_VALUES:
            raise fault(f"there are more than {MOST_VALUES} values, each alias counted as what it stands for")


def read_whole(path: Path, most: int) -> bytes:
    """A regular file's bytes. TaskError for a device, a pipe, a folder, what is not there, and what is longer than `most`.

    A pipe is not waited for: it is opened without blocking and looked at before it is read.
    """
    try:
        number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (FileNotFoundError, NotADirectoryError):
        raise TaskError(
            "there is no such file.",
            where=str(path),
            remedy="Give the folder that holds rung.yaml, or write one with the keys task, kind, data and goal.",
        ) from None
    except OSError as error:  # a circle of links, no permission, a socket
        raise TaskError(f"it cannot be opened: {error.strerror}.", where=str(path), remedy="Put a plain file there.") from None
    try:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise TaskError("it is no plain file.", where=str(path), remedy="A folder, pipe or device cannot be read.")
        with os.fdopen(number, "rb", closefd=False) as file:
            content = file.read(most + 1)
    finally:
        os.close(number)
    if len(content) > most:
        remedy = "Keep rows and documents in files of their own."
        raise TaskError(f"it is longer than {most // 1024} KiB.", where=f"{path.name} line 1", remedy=remedy)
    return content


def shortened(text: str, most: int = 60) -> str:
    """A text as messages quote it."""
    return text if len(text) <= most else f"{text[:most]}…"
