"""CPU-seconds of commands that answer one question: `rung search` on 83 passages, and `rung ask` of an encoder.

rung's files are compiled once before, as pip does when it installs them; a search that compiles them each time is printed too.
Beside them, importing what they would need otherwise: sentence-transformers. The last line is the 1.5 CPU-seconds that a search
may take over those that it takes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import common

MOST = 1.5
PASSAGES = 83


def compiled(folder: Path) -> dict[str, str]:
    """An environment in which Python keeps compiled files, in a folder that is removed with the task."""
    return {**os.environ, "PYTHONPYCACHEPREFIX": str(folder / "compiled"), "PYTHONDONTWRITEBYTECODE": ""}


def cpu(command: Sequence[str], environment: Mapping[str, str]) -> float:
    """CPU-seconds of a process and those that it waits for."""
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL, env=environment)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} ended with status {status}")
    return used.ru_utime + used.ru_stime


def tasks(folder: Path) -> tuple[Path, Path]:
    """A task with an index of documents, and the example of tickets with its encoder fitted."""
    search, ask = folder / "search", folder / "tickets"
    (search / "docs").mkdir(parents=True)
    for number in range(PASSAGES):
        text = f"# Shop {number}\n\nShop number {number} opens at nine and repairs bicycles within {number} days.\n"
        (search / "docs" / f"{number}.md").write_text(text)
    yaml = (
        "task: Answer questions about shops.\nkind: answer\ngoal: {at_least: 0.5}\n"
        "data: {examples: rows.csv, input: text, output: intent, documents: docs}\n"
    )
    common.write_task(search, yaml, {"rows": [(f"when does shop {number} open", "nine") for number in range(30)]})
    shutil.copytree(Path(__file__).parents[1] / "examples" / "tickets", ask, ignore=shutil.ignore_patterns(".rung"))
    for words in (("index", search), ("fit", ask, "encoder")):
        subprocess.run([sys.executable, "-m", "rung.cli", *map(str, words)], check=True, stdout=subprocess.DEVNULL)
    return search, ask


def main() -> None:
    args = common.arguments(__doc__)
    common.machine()
    with tempfile.TemporaryDirectory(prefix="rung-startup-") as place:
        search, ask = tasks(Path(place))
        usual = compiled(Path(place))
        search_one = ["-m", "rung.cli", "search", str(search), "when are bicycles repaired"]
        runs = {
            "rung search": (search_one, usual),
            "rung ask, encoder": (["-m", "rung.cli", "ask", str(ask), "where is my bike", "--rung", "encoder"], usual),
            "rung search, not compiled": (search_one, {**usual, "PYTHONPYCACHEPREFIX": "", "PYTHONDONTWRITEBYTECODE": "1"}),
            "import sentence_transformers": (["-c", "import sentence_transformers"], usual),
        }
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        for command, environment in runs.values():  # compiles
            cpu(command, environment)
        for _ in range(5 if args.quick else 15):
            for name, (command, environment) in runs.items():
                seconds[name].append(cpu(command, environment))
    for name, found in seconds.items():
        print(f"{name:30} {common.median(found):.2f} CPU-s, {min(found):.2f} to {max(found):.2f}, n={len(found)}")
    ratio = MOST / common.median(seconds["rung search"])
    print(f"ratio={ratio:.2f} seconds={common.median(seconds['rung search']):.2f}")


if __name__ == "__main__":
    main()
