"""Zip archives as document formats use them: checked for bombs before anything is unpacked, members read by name."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib

from rung.errors import DataError

MOST_UNPACKED = 200_000_000
"""Bytes of all members together."""
MOST_MEMBERS = 10_000
STEEPEST = 200
"""Unpacked over packed bytes, for members above MEMBER_CHECKED. Word's own XML shrinks twenty- to sixtyfold."""
MEMBER_CHECKED = 5_000_000

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
"""How files of Office before 2007 begin, and newer ones that are encrypted."""


_DAMAGED = (zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError, EOFError, OSError, zlib.error, struct.error)
"""What zipfile raises; a member with a password is a RuntimeError."""


def open_zip(data: bytes) -> zipfile.ZipFile:
    """The archive, once its sizes are checked. Raises DataError for a bomb, for an old or a locked Office file."""
    if data.startswith(_OLE):
        raise DataError(
            "it is locked with a password, or has the format of Office before 2007.",
            remedy="Save it without a password, in the current format.",
        )
    check_zip(data)
    return zipfile.ZipFile(io.BytesIO(data))


def check_zip(data: bytes) -> None:
    """DataError for what is damaged, locked or a bomb."""
    try:
        _check(data)
    except (
        zipfile.BadZipFile,
        ValueError,
        NotImplementedError,
        RuntimeError,
        EOFError,
        OSError,
        zlib.error,
        struct.error,
    ) as error:
        message = " ".join(str(error).split())[:200]
        raise DataError(f"it is damaged or locked: {type(error).__name__}: {message}.", remedy="Save it anew.") from None


def _check(data: bytes) -> None:
    """Sizes as the archive declares them, then as they come out: the declared ones may be lies."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
        if len(members) > MOST_MEMBERS or sum(member.file_size for member in members) > MOST_UNPACKED:
            raise _bomb(f"{len(members):,} members of {sum(member.file_size for member in members):,} bytes")
        total = 0
        for member in members:
            size = 0
            with archive.open(member) as file:
                while piece := file.read(1 << 20):
                    size += len(piece)
                    if total + size > MOST_UNPACKED or size > max(MEMBER_CHECKED, STEEPEST * member.compress_size):
                        raise _bomb(f"{member.filename!r} alone swells from {member.compress_size:,} to over {size:,} bytes")
            total += size


def _bomb(what: str) -> DataError:
    return DataError(f"it is a zip bomb: {what}.", remedy="Leave it out.")
