"""Embedding vectors stored in a fit's folder."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rung import files

FILE = "pool.safetensors"


def save_vectors(folder: Path, vectors: NDArray[np.float32]) -> None:
    from safetensors.numpy import save_file

    with files.whole(folder / FILE) as part:
        save_file({"vectors": np.ascontiguousarray(vectors, np.float32)}, part)


@lru_cache(maxsize=4)
def load_vectors(folder: Path) -> NDArray[np.float32]:
    from safetensors.numpy import load_file

    return load_file(folder / FILE)["vectors"]
