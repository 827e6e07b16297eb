"""Where LanceDB or its object store cannot be used, as errors that say how to mend it."""

from __future__ import annotations

import platform
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

from rung.errors import DataError, RungError

M = TypeVar("M", bound=Callable[..., Any])

OF_THE_STORE = re.compile(r"store: |LanceError\(IO\)|necessary privileges")
"""In a message about the object store."""
REASONS = (
    ("NoSuchBucket", "there is no such bucket"),
    ("BadScheme", "its address is not encrypted, which AWS_ALLOW_HTTP=true allows"),
    ("kind: Connect", "nothing answers at its address"),
    ("credentials", "there are no keys for it"),
    ("InvalidAccessKeyId|SignatureDoesNotMatch|status: 401", "it does not accept these keys"),
    ("AccessDenied|necessary privileges|status: 403", "it does not allow this with these keys"),
)
"""Part of the message, and what it means; the first counts."""
LONGEST = 300
"""Characters of a message that none of these is in."""


def unusable(error: Exception, url: str) -> RungError | None:
    """The error for a store at a URL that cannot be used; None where the error is about something else."""
    text = " ".join(str(error).split())
    if "://" not in url or not OF_THE_STORE.search(text):
        return None
    why = next((words for mark, words in REASONS if re.search(mark, text)), text[:LONGEST])
    return RungError(
        f"the object store with the index cannot be used: {why}.",
        where=url,
        remedy="Check the URL; for S3 also AWS_ENDPOINT, AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
    )


@contextmanager
def usable(url: str) -> Iterator[None]:
    """RungError if the store at the URL cannot be used within the block."""
    try:
        yield
    except (ValueError, RuntimeError, OSError) as error:
        if found := unusable(error, url):
            raise found from error
        raise


def needs_store(method: M) -> M:
    """A method of a store during which its `url` is `usable`."""

    @wraps(method)
    def found(self: Any, *args: Any, **named: Any) -> Any:
        with usable(self.url):
            return method(self, *args, **named)

    return cast(M, found)


def check_cpu() -> None:
    """lancedb's wheels crash with SIGILL on an x86 CPU without AVX2."""
    cpuinfo = Path("/proc/cpuinfo")
    if platform.machine() == "x86_64" and cpuinfo.exists() and " avx2" not in cpuinfo.read_text():
        raise DataError("LanceDB needs a CPU with AVX2, which this one lacks.", remedy="Keep the index in SQLite.")
