"""Three writers on one LanceDB index, each as on a machine of its own, killed at random: is every file found by its own word?

    python benchmarks/three_writers.py --quick

Each writer commits several of its files at a time, as `rung index` does, and resumes where it was killed. Measured on a local
folder and, where moto (the package `moto[server,s3]`) is installed, on an S3 server at this machine. Nothing needs a model or a
network. Last line: files that are not found by their own word, of all; it must be 0.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np

from rung.retrieve.lance import Lance
from rung.retrieve.passage import Passage
from rung.retrieve.store import Allow, Change, IndexConfig, text_digest

CONFIG = IndexConfig("toy", "toy-digest")
NAMES = ("red", "green", "blue")
WIDTH = 8
FILES = 20
"""Committed at a time; `rung index` commits some five hundred passages."""
KEYS = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_REGION": "us-east-1", "AWS_ALLOW_HTTP": "true"}


def word(name: str, number: int) -> str:
    """A word of letters that no other file has, and that no stemmer shortens to another's."""
    return name + "".join("bcdfghjklm"[int(digit)] for digit in f"{number:03d}") + "x"


def passages(name: str, number: int) -> list[Passage]:
    path, own = f"{name}-{number}.md", word(name, number)
    texts = (f"the first about {own}", f"the second about {own}")
    return [Passage(f"{path}:{i}", path, ("Top",), text, i, i, 0, "", {}) for i, text in enumerate(texts)]


def write(url: str, derived: Path, name: str, count: int) -> None:
    """Add the files that the index does not have yet."""
    store = Lance(url, derived)
    there = store.documents()
    missing = [number for number in range(count) if f"{name}-{number}.md" not in there]
    for start in range(0, len(missing), FILES):
        files = [passages(name, number) for number in missing[start : start + FILES]]
        new = [one for file in files for one in file]
        vectors = np.random.default_rng(start).standard_normal((len(new), WIDTH)).astype(np.float32)
        store.keep_vectors(CONFIG.embedder_digest, [text_digest(one) for one in new], vectors)
        store.apply([Change(file[0].path, "digest", tuple(file)) for file in files], CONFIG)


def disturbed(url: str, folder: Path, count: int, kills: int, seed: int) -> int:
    """Run the writers until each has ended by itself; kill one of them at random moments. How many were killed."""
    rng, killed = random.Random(seed), 0

    def start(name: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, __file__, "--write", url, str(folder / name), name, str(count)], env=os.environ)

    running = {name: start(name) for name in NAMES}
    while running:
        time.sleep(rng.uniform(1.0, 4.0))
        for name, process in list(running.items()):
            if process.poll() is not None:
                if process.returncode:
                    raise SystemExit(f"{name} failed with exit code {process.returncode}")
                del running[name]
        if running and killed < kills:
            name = rng.choice(sorted(running))
            running[name].kill()
            running[name].wait()
            killed, running[name] = killed + 1, start(name)
    return killed


def unfound(url: str, folder: Path, count: int) -> list[str]:
    """Files that a search for their own word, in the words or in the table, does not give whole."""
    store, missing = Lance(url, folder / "reader"), []
    everyone = Allow(access=None)
    store.settle()  # as `rung index` ends
    for name in NAMES:
        for number in range(count):
            ids = {one.id for one in passages(name, number)}
            hits = {one for one, _ in store.lexical(word(name, number), 10, everyone)}
            if not ids <= hits or len(store.passages(sorted(ids))) != len(ids):
                missing.append(f"{name}-{number}.md")
    health = store.health()
    print(f"  {health.documents} files, {health.passages} passages, {health.lexical} in the lexical index", flush=True)
    return missing


@contextmanager
def s3() -> Iterator[str | None]:
    """The URL of a folder on an S3 server of our own; None without moto."""
    try:
        from moto.server import ThreadedMotoServer
    except ImportError:
        yield None
        return
    import boto3

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it prints every request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    os.environ |= {**KEYS, "AWS_ENDPOINT": f"http://{host}:{port}", "NO_PROXY": "127.0.0.1"}
    boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT"]).create_bucket(Bucket="bucket")
    try:
        yield "s3://bucket/knowledge"
    finally:
        server.stop()


def measure(name: str, url: str, folder: Path, count: int, kills: int, seed: int) -> int:
    folder.mkdir()
    begun = time.monotonic()
    killed = disturbed(url, folder, count, kills, seed)
    seconds = time.monotonic() - begun
    print(f"{name}: 3 writers, {count} files each, {killed} kills, {seconds:.0f} s", flush=True)
    missing = unfound(url, folder, count)
    print(f"  not found by their own word: {len(missing)} of {3 * count} {missing[:5] or ''}", flush=True)
    return len(missing)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="15 files a writer instead of 200")
    parser.add_argument("--only", choices=("local", "s3"), help="one place instead of both")
    parser.add_argument("--kills", type=int, default=12, help="in each place")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", nargs=4, metavar=("URL", "DERIVED", "NAME", "COUNT"), help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    if given.write:
        url, derived, name, count = given.write
        write(url, Path(derived), name, int(count))
        return
    count, missing, asked = 15 if given.quick else 200, 0, 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if given.only != "s3":
            missing += measure("local folder", f"{folder}/store", folder / "local", count, given.kills, given.seed)
            asked += 3 * count
        with s3() if given.only != "local" else nullcontext() as url:
            if url:
                missing += measure("S3", url, folder / "s3", count, given.kills, given.seed)
                asked += 3 * count
            elif given.only != "local":
                print("S3: not measured, moto is not installed")
    if not asked:
        raise SystemExit(1)
    print(f"ratio={missing / asked:.4f} of {asked} files not found by their own word")
    raise SystemExit(1 if missing else 0)


if __name__ == "__main__":
    main()
