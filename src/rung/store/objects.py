"""Fits in a shared folder or an object store: each file once, under the SHA-256 of its content.

What a fit consists of is in its signed manifest, which is a text of the store. So files are never trusted for where they lie:
each is checked against the manifest when it is fetched. One that is not what its name says, as an upload that failed or a
bad disk leaves it, is written again.
"""

from __future__ import annotations

import hashlib
import shutil
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from rung import files
from rung.errors import RungError

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

BLOCK = 2**20


class Objects:
    """Files by their content, in a folder or an object store."""

    def __init__(self, place: str):
        """`place`: a folder, also as file:///folder, or a URL that Arrow reads, such as s3://bucket/folder."""
        self.place = place

    def put(self, source: Path, name: str) -> None:
        """Add a file under the SHA-256 of its content, unless it is there whole. RungError if the place cannot be used."""
        system, root = self._system
        path = f"{root}/{name[:2]}/{name}"
        try:
            there = system.get_file_info(path)
            if there.is_file and there.size == source.stat().st_size and self._copy(path) == name:
                return
            if self._is_folder:
                with files.whole(Path(path)) as part:
                    shutil.copyfile(source, part)
                return
            with source.open("rb") as file, system.open_output_stream(path) as out:
                shutil.copyfileobj(file, out, BLOCK)
        except OSError as error:
            raise self._error(error) from error

    def fetch(self, name: str, target: Path) -> bool:
        """Copy a file to a path; False if there is none, or if it is not what its name says."""
        system, root = self._system
        path = f"{root}/{name[:2]}/{name}"
        try:
            if not system.get_file_info(path).is_file:
                return False
            with files.whole(target) as part, part.open("wb") as out:
                return self._copy(path, out) == name
        except OSError as error:
            raise self._error(error) from error

    def _copy(self, path: str, out: BinaryIO | None = None) -> str:
        """The SHA-256 of what is at a path, which is written to `out` while it is read."""
        digest = hashlib.sha256()
        with self._system[0].open_input_stream(path) as file:
            while block := file.read(BLOCK):
                digest.update(block)
                if out:
                    out.write(block)
        return digest.hexdigest()

    @property
    def _is_folder(self) -> bool:
        from pyarrow.fs import LocalFileSystem

        return isinstance(self._system[0], LocalFileSystem)

    @cached_property
    def _system(self) -> tuple[FileSystem, str]:
        """The file system and the path in it."""
        import pyarrow
        from pyarrow import fs

        if "://" not in self.place:
            return fs.LocalFileSystem(), str(Path(self.place).expanduser().absolute())
        try:
            system, path = fs.FileSystem.from_uri(self.place)
        except (pyarrow.ArrowInvalid, OSError) as error:
            raise self._error(error) from error
        return system, path

    def _error(self, error: BaseException) -> RungError:
        why = str(error).split("\n")[0]
        return RungError(
            f"the place of fits cannot be used ({why}).",
            where=self.place,
            remedy="Is it there, and may this user write? For S3: AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY.",
        )
