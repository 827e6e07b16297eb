"""Which store a task has: the folder beside it, or a database that several machines share.

The address of a database is a URL, `postgresql://user@host/name?files=s3://bucket/rung&task=support` or `sqlite:////path/file`.
`files`: where fits are; by default in the `.rung` folder. `task`: the name under which the database has this task, by default
that of its folder. A password stands in RUNG_STORE, PGPASSWORD or ~/.pgpass, and is never written down or shown.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from rung.errors import RungError

VARIABLE = "RUNG_STORE"
"""Environment variable: the address of the store of every task."""
FOLDER = "folder"
"""The address of the folder beside the task."""
SCHEMES = ("postgresql", "sqlite")
SECRET = re.compile(r"\w+://([^/]*:.*@|.*[?&][^=&]*(key|password|secret|token)[^=&]*=)", re.IGNORECASE)
"""A URL with a key: before its host, or as an option."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a task's records, answers and leases are, and where its fits are."""

    database: str
    """URL without a password and without `files` and `task`."""
    task: str
    """Name of the task in the database."""
    files: str = ""
    """Folder or URL of an object store for fits; empty for the `.rung` folder."""
    password: str = ""

    def __repr__(self) -> str:
        return f"Address({str(self)!r})"

    def __str__(self) -> str:
        """As a user writes it, without the password."""
        given = {"task": self.task, **({"files": self.files} if self.files else {})}
        mark = "&" if "?" in self.database else "?"
        return f"{self.database}{mark}{urlencode(given, quote_via=quote, safe='/:')}"


def parse(text: str, task: str) -> Address | None:
    """An address from its text; None for the folder beside the task. RungError for any other text.

    `task`: the name of the task where the text has none.
    """
    if text == FOLDER:
        return None
    if (parts := _parts(text)) is None:
        raise RungError(
            f"{_shown(text)!r} is no address of a store.",
            where="--store",
            remedy=f"Write postgresql://USER@HOST/NAME, sqlite:////ABSOLUTE/PATH or {FOLDER}. "
            "In a password, write the characters / ? # @ : % as %2F %3F %23 %40 %3A %25.",
        )
    given = dict(parse_qsl(parts.query, keep_blank_values=True))
    name, files, option = given.pop("task", "") or task, given.pop("files", ""), given.pop("password", "")
    if other := next((key for key in given if "password" in key.lower()), ""):
        raise RungError(f"{other} must not be in the address.", where="--store", remedy="Use a client key that is not encrypted.")
    if SECRET.match(files):
        raise RungError(
            "the place of fits must not hold a key.", where="--store", remedy="Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        )
    login, at, host = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    query = urlencode(given, quote_via=quote, safe="/:")
    # urlunsplit drops one of the slashes of sqlite:////path
    bare = f"{parts.scheme}://{user}{at}{host}{parts.path}" + (f"?{query}" if query else "")
    return Address(bare, name, files, unquote(password) or option)


def _parts(text: str) -> SplitResult | None:
    """A URL's parts; None if it is no address, or if a sign in its password ends the host early."""
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return None
    scheme = parts.scheme.partition("+")[0]
    if scheme not in SCHEMES or parts.fragment:
        return None
    if scheme == "sqlite":
        return parts if parts.path.startswith("//") else None
    cut_short = "@" in parts.path or any("@" in key for key, _ in parse_qsl(parts.query, keep_blank_values=True))
    return None if cut_short else parts


def of_environment() -> str:
    """The address that the environment names; empty if none."""
    return os.environ.get(VARIABLE, "")


def _shown(text: str) -> str:
    """A text that is no address; only its scheme if there may be a password in it."""
    if not {"@", "?", "#"} & set(text):
        return text
    scheme, found, _ = text.partition("://")
    return f"{scheme}://..." if found else "..."


def task_name(folder: Path) -> str:
    """The name of a task in a database: that of its folder."""
    return folder.resolve().name
