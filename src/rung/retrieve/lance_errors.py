"""Where LanceDB or its object store cannot be used, as errors that say how to mend it."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rung.errors import DataError, RungError

REASONS = (
    ("NoSuchBucket", "there is no such bucket"),
    ("BadScheme", "its address is not encrypted, which AWS_ALLOW_HTTP=true allows"),
    ("kind: Connect", "nothing answers at its address"),
    ("credentials", "there are no keys for it"),
    ("AccessDenied|InvalidAccessKeyId|SignatureDoesNotMatch|status: 40[13]", "it does not accept these keys"),
)
"""Part of the message, and what it means; the first counts."""
LONGEST = 300
"""Characters of a message that none of these is in."""


def unusable(error: Exception, url: str) -> RungError | None:
    """The error for a store at a URL that cannot be used; None where the error is about something else."""
    text = " ".join(str(error).split())
    if "://" not in url or "store: " not in text:
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
    except ValueError as error:
        if found := unusable(error, url):
            raise found from error
        raise


def check_cpu() -> None:
    """lancedb's wheels crash with SIGILL on an x86 CPU without AVX2."""
    cpuinfo = Path("/proc/cpuinfo")
    if platform.machine() == "x86_64" and cpuinfo.exists() and " avx2" not in cpuinfo.read_text():
        raise DataError("LanceDB needs a CPU with AVX2, which this one lacks.", remedy="Keep the index in SQLite.")
