"""What rung keeps of its own work is signed with a key of the user's, and believed only while the signature holds.

A task folder may come from somebody else, with fits, answers and decisions in its `.rung` folder that nobody computed. A
digest beside a file would be changed with the file, so it is keyed: HMAC-SHA256 (RFC 2104) over the name under which the
file is kept and over its bytes. The key lies in the user's own configuration folder and is never in the task folder.

A signed text is a JSON object whose last key is `signature`.
"""

from __future__ import annotations

import hmac
import json
import os
import re
import secrets
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from rung import files
from rung.errors import RungError

KEY_FILE = "RUNG_KEY_FILE"
"""Environment variable: the file with the key, for machines that share a folder or lose their home."""
FIELD, MANIFEST = "signature", "manifest.json"
SIZE = 32
"""Hexadecimal digits of a signature: 128 bits."""
TAIL = re.compile(rf',? "{FIELD}": "([0-9a-f]{{{SIZE}}})"\}}\s*\Z')

DAMAGED = "is damaged: it is no JSON object"
UNSIGNED = "carries no signature: an older rung wrote it, or somebody else"
FOREIGN = "has a signature that does not hold: it was changed, or written by another user or on another machine"


TRUST = "If you know where the folder comes from, `rung trust` takes it as it is."


def key_path() -> Path:
    """Where this user's key lies: RUNG_KEY_FILE, or `rung/key` in the user's configuration folder."""
    if given := os.environ.get(KEY_FILE):
        return Path(given).expanduser()
    if sys.platform == "win32":
        config = os.environ.get("APPDATA") or "~/AppData/Roaming"
    else:
        config = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(config).expanduser() / "rung" / "key"


def seal(name: str, text: str) -> str:
    """A JSON object's text with its signature. `name`: under which it is kept, so that it holds at no other place."""
    body = text.rstrip().removesuffix("}").rstrip()
    comma = "" if body == "{" else ","
    return f'{body}{comma} "{FIELD}": "{_mac(name, body)}"}}'


def dumps(value: Any, indent: int | None = None) -> str:
    """JSON as it is kept: characters as they are, but escaped where a text holds half a surrogate pair."""
    text = json.dumps(value, ensure_ascii=False, default=str, indent=indent)
    if any("\ud800" <= char <= "\udfff" for char in text):
        return json.dumps(value, default=str, indent=indent)
    return text


def opened(name: str, text: str) -> tuple[dict[str, Any] | None, str]:
    """A signed text's object without its signature, and what is wrong with it: empty where it is to be believed."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None, DAMAGED
    if not isinstance(value, dict):
        return None, DAMAGED
    if value.pop(FIELD, None) is None:
        return value, UNSIGNED
    tail = TAIL.search(text, max(0, len(text) - 2 * SIZE - 80))
    holds = tail is not None and hmac.compare_digest(tail[1], _mac(name, text[: tail.start()]))
    return value, "" if holds else FOREIGN


def checker(name: str) -> Callable[[bytes], bool]:
    """Tells of lines kept under one name whether the signature holds, without reading their JSON."""
    key, prefix = _key(key_path()), name.encode() + b"\0"
    head, end = f', "{FIELD}": "'.encode(), b'"}'
    start, close = -len(end) - SIZE, -len(end)
    begin = start - len(head)

    def holds(line: bytes) -> bool:
        """False too for a signed line that is spaced otherwise: `opened` says what is wrong with a line, if anything is."""
        if line[begin:start] != head or line[close:] != end:
            return False
        return hmac.compare_digest(line[start:close], hmac.digest(key, prefix + line[:begin], "sha256").hex()[:SIZE].encode())

    return holds


def seal_folder(name: str, folder: Path) -> None:
    """Write the signed manifest of a folder's files into it."""
    text = json.dumps({"files": files.contents(folder, MANIFEST)}, indent=1)
    files.write_text(folder / MANIFEST, seal(name, text))


def fault(name: str, folder: Path) -> str:
    """What is wrong with a folder that was sealed under this name; empty where each file is as it was and none was added."""
    manifest = folder / MANIFEST
    if not manifest.is_file() or manifest.is_symlink():
        return UNSIGNED
    value, why = opened(name, manifest.read_text(encoding="utf-8", errors="replace"))
    if why or value is None:
        return why
    if strange := files.links(folder):
        return f"holds a link or a special file: {strange[0].name!r}"
    now, then = files.contents(folder, MANIFEST), value["files"]
    differ = sorted(path for path in now.keys() | then.keys() if now.get(path) != then.get(path))
    return f"was changed: {differ[0]} is not as it was written" if differ else ""


def _mac(name: str, body: str) -> str:
    content = name.encode() + b"\0" + body.encode("utf-8", "surrogatepass")
    return hmac.digest(_key(key_path()), content, "sha256").hex()[:SIZE]


@cache
def _key(path: Path) -> bytes:
    """The key, made when it is first needed. RungError where others may read it, or where it can be neither read nor made."""
    try:
        if not path.exists():
            files.write_private(path, secrets.token_hex(32) + "\n")
        if os.name == "posix" and path.stat().st_mode & 0o077:
            raise RungError("others may read the key that rung signs with.", where=str(path), remedy=f"Run: chmod 600 {path}")
        key = path.read_bytes().strip()
    except OSError as error:
        remedy = f"Make it readable, or name another file by {KEY_FILE}."
        raise RungError(
            f"the key that rung signs with cannot be used ({error.strerror}).", where=str(path), remedy=remedy
        ) from error
    if len(key) < SIZE:
        raise RungError("the key that rung signs with is too short.", where=str(path), remedy="Delete it; a new one is made.")
    return key
