"""Task files made to hang or to crash: each is an error with its place, within a second of CPU and 200 MB over the start."""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rung.cli import main

GOOD = "task: t\nkind: classify\ndata: {examples: rows.csv}\nbase: fake\nrungs: [majority]\ngoal: {at_least: 0.5}\n"
SECONDS, BYTES = 2.0, 200 * 2**20


def data(what: str) -> str:
    return GOOD.replace("{examples: rows.csv}", "{examples: rows.csv, " + what + "}")


def examples(what: str) -> str:
    return GOOD.replace("examples: rows.csv", f"examples: {what}")


def with_(key: str, value: str) -> str:
    return "".join(line for line in GOOD.splitlines(True) if not line.startswith(f"{key}:")) + f"{key}: {value}\n"


def bomb(width: int, levels: int, shape: str = "[{}]") -> str:
    lines = [f"a0: &a0 {shape.format(','.join(['x'] * width))}"] if shape == "[{}]" else ["a0: &a0 {k: v}"]
    for i in range(1, levels):
        lines.append(f"a{i}: &a{i} {shape.format(','.join([f'*a{i - 1}'] * width))}")
    return "\n".join(lines) + "\n"


LOREM = "x" * 100_000

FILES: dict[str, str | bytes] = {
    # more than a file may hold
    "aliases across known keys": GOOD + "labels: &a [" + ",".join(f"l{i}" for i in range(2000)) + "]\n"
    "bases: [" + ",".join(["*a"] * 2000) + "]\n",
    "a long text behind many aliases": f"task: &t {LOREM}\nkind: classify\nlabels: [" + ",".join(["*t"] * 5000) + "]\n",
    "a billion laughs": bomb(10, 12) + GOOD,
    "a billion laughs in a known key": bomb(10, 12).replace("a11:", "rungs:") + GOOD.replace("rungs: [majority]\n", ""),
    "merges of merges": bomb(9, 12, "{{<<: [{}]}}") + GOOD,
    "a merge of itself": GOOD + "api: &a {<<: *a}\n",
    "a list within itself": GOOD + "labels: &a [b, *a]\n",
    "mappings within each other by alias": GOOD + "methods: &a {lora: {x: *a}}\n",
    "an alias of nothing": GOOD + "labels: *none\n",
    "an anchor twice": GOOD + "labels: [&a x, &a y, *a]\nvolume: *a\n",
    "20,000 brackets": GOOD + "labels: " + "[" * 20_000,
    "20,000 braces": GOOD + "labels: " + "{a: " * 20_000,
    "20,000 dashes": "- " * 20_000,
    "20,000 question marks": "? " * 20_000,
    "whole brackets": GOOD + "labels: " + "[" * 5000 + "]" * 5000,
    "maps 1,500 deep": GOOD + "methods:\n" + "".join(" " * (i + 1) + "a:\n" for i in range(600)),
    "options 100 deep": GOOD + "methods: {lora: " + "{a: " * 100 + "1" + "}" * 101 + "\n",
    "60,000 labels": GOOD + "labels: [" + "a," * 60_000 + "]\n",
    "20,000 unknown keys": GOOD + "".join(f"k{i}: 1\n" for i in range(20_000)),
    "12,000 unknown keys": GOOD + "".join(f"k{i}: 1\n" for i in range(12_000)),
    "20,000 bases": GOOD + "bases: [" + ",".join(f"b{i}" for i in range(20_000)) + "]\n",
    "20,000 rungs": with_("rungs", "[" + ",".join(f"r{i}" for i in range(20_000)) + "]"),
    "20,000 files": examples("[" + ",".join(f"f{i}.csv" for i in range(20_000)) + "]"),
    "20,000 patterns": data("documents: [" + ",".join(f"d{i}/**" for i in range(20_000)) + "]"),
    "20,000 access rules": data("documents: [a.md], access: {" + ",".join(f"d{i}: x" for i in range(20_000)) + "}"),
    "a key of 400 kB": GOOD + "? " + "k" * 400_000 + "\n: 1\n",
    "a value of 400 kB": GOOD + "volume: " + "v" * 400_000 + "\n",
    "a file of 2 MB": GOOD + "#" * 2**21,
    "2 MB of line ends": "\n" * 2**21,
    "200 kB of tabs": "\t" * 200_000,
    "200 kB of colons": ":" * 200_000,
    "200 kB of exclamation marks": "!" * 200_000,
    "200 kB of ampersands": "&" * 200_000,
    "200 kB of stars": GOOD + "labels: " + "*" * 200_000,
    "200 kB of percent signs": "%" * 200_000,
    "200 kB of quotes": GOOD + "labels: " + "'" * 200_001,
    "a text without an end": GOOD + 'task2: "' + "a\n" * 100_000,
    # numbers
    "a number of 5,000 digits": with_("volume", "9" * 5000),
    "a number of 100,000 digits": with_("seed", "-" + "1" * 100_000),
    "a number of 30 digits": with_("volume", "9" * 30),
    "a goal of 5,000 digits": with_("goal", "{at_least: " + "1" * 5000 + "}"),
    "1e400": with_("goal", "{at_least: 1e400}"),
    "-1e400": with_("goal", "{at_least: -1e400}"),
    "1e999 dollars": with_("machine_usd_per_hour", "1e999"),
    "1e300 dollars": with_("machine_usd_per_hour", "1e300"),
    "1e999 among options": GOOD + "methods: {lora: {rate: 1e999}}\n",
    "nan": with_("goal", "{at_least: .nan}"),
    "NaN": with_("goal", "{at_least: NaN}"),
    "inf": with_("budget", "{minutes: .inf}"),
    "-inf": with_("budget", "{usd: -.inf}"),
    "!!float nan": with_("budget", "{minutes: !!float nan}"),
    "!!float .inf": with_("budget", "{minutes: !!float .inf}"),
    "!!int abc": with_("volume", "!!int abc"),
    "!!int nothing": with_("volume", "!!int"),
    "!!bool maybe": with_("race", "!!bool maybe"),
    "!!null something": with_("volume", "!!null x"),
    "a negative budget": with_("budget", "{minutes: -1}"),
    "no budget": with_("budget", "{minutes: 0}"),
    "a negative volume": with_("volume", "-5"),
    "an octal volume": with_("volume", "0o17"),
    "an old octal volume": with_("volume", "017"),
    "a hexadecimal volume": with_("volume", "0xff"),
    "a sexagesimal volume": with_("volume", "1:30:00"),
    "underscores": with_("volume", "1_000"),
    "a volume of yes": with_("volume", "true"),
    "a date": with_("volume", "2026-02-31"),
    "a time stamp": with_("seed", "2026-01-01T00:00:00Z"),
    "split shares of nan": data("split: {dev: .nan, test: 0.1}"),
    # tags
    "!!timestamp": with_("task", "!!timestamp 2026-99-99"),
    "!!binary": with_("task", "!!binary =====a"),
    "!!set": GOOD + "labels: !!set {a, b}\n",
    "!!omap": GOOD + "labels: !!omap [a: b]\n",
    "!!pairs": GOOD + "labels: !!pairs [a: b]\n",
    "!!python/object": GOOD + "volume: !!python/object/apply:os.system ['true']\n",
    "!!python/name": GOOD + "volume: !!python/name:os.system\n",
    "a tag of one's own": GOOD + "volume: !mine 3\n",
    "a tag by address": GOOD + "volume: !<tag:example.org,2026:x> 3\n",
    "a tag directive": "%TAG ! tag:example.org,2026:\n---\n" + GOOD + "volume: !x 3\n",
    "!!seq of a mapping": GOOD + "labels: !!seq {a: b}\n",
    "!!map of a list": GOOD + "labels: !!map [a, b]\n",
    "!!str of a list": with_("task", "!!str [a]"),
    # keys
    "a key twice": GOOD + "volume: 1\nvolume: 2\n",
    "a key twice by spelling": GOOD + 'volume: 1\n"volume": 2\n',
    "a list as a key": GOOD + "? [a, b]\n: 1\n",
    "a mapping as a key": GOOD + "? {a: b}\n: 1\n",
    "an alias as a key": GOOD + "labels: &a [x, y]\n*a : 1\n",
    "a number as a key": GOOD + "5: 1\n",
    "null as a key": GOOD + "~: 1\n",
    "no key": GOOD + ": 1\n",
    "a merge of text": GOOD + "<<: text\n",
    "a merge of a list of text": GOOD + "api: {<<: [a, b]}\n",
    "a merge of null": GOOD + "<<:\n",
    # text
    "a NUL": GOOD.replace("task: t", "task: a\0b"),
    "a NUL as an escape in a path": examples('"a\\0b.csv"'),
    "a terminal's escape": GOOD.replace("task: t", "task: \x1b[2J"),
    "UTF-16": GOOD.encode("utf-16"),
    "UTF-16 without a mark": GOOD.encode("utf-16-le"),
    "UTF-32": GOOD.encode("utf-32"),
    "Latin-1": GOOD.replace("task: t", "task: é").encode("latin-1"),
    "half a pair": GOOD.encode().replace(b"task: t", b"task: \xed\xa0\x80"),
    "half a pair as an escape": with_("task", '"\\ud800"'),
    "a zip": b"PK\x03\x04" + bytes(1000),
    "random bytes": bytes(range(256)) * 100,
    "nothing": "",
    "blanks": "  \n \n",
    "a comment": "# hello\n",
    "a word": "hello\n",
    "a list": "- a\n- b\n",
    "null": "~\n",
    "two documents": GOOD + "---\n" + GOOD,
    "JSON cut off": '{"task": "t", "kind":',
    "a tab for indentation": "data:\n\texamples: a\n",
    "a directive of another version": "%YAML 9.9\n---\n" + GOOD,
    # addresses and names
    "an address with an open bracket": with_("base", '"http://[::1/v1#m"'),
    "an address with a port of words": with_("base", '"http://host:abc/v1#m"'),
    "an address with a port too high": with_("base", '"http://host:99999/v1#m"'),
    "an address of an encoder": GOOD + 'encoder: "http://[::1/v1#m"\n',
    "an address among bases": with_("base", "fake").replace("base: fake", 'bases: [fake, "https://[/v1#m"]'),
    "a judge at no address": with_("goal", "{metric: judge, at_least: 0.5}").replace("classify", "answer")
    + 'judge: {model: "http://]/v1#m", rubric: r}\n',
    "a base with a NUL": with_("base", '"a\\0b"'),
    "a base of 100 kB": with_("base", "b" * 100_000),
    "a base that is a device": with_("base", "/dev/zero"),
    # paths and patterns
    "the whole disk": data("documents: /"),
    "the whole disk by pattern": data('documents: "/**/**/**/*.md"'),
    "the whole disk by one star": data('documents: "/*"'),
    "the whole disk by dots": data('documents: "/usr/../**/*.md"'),
    "all above the folder": data('documents: "../../../**/*.md"'),
    "all above the folder, once": data('documents: "../**"'),
    "processes": data("documents: /proc"),
    "devices by pattern": data('documents: "/dev/*"'),
    "a device": examples("/dev/zero"),
    "a terminal": examples("/dev/stdin"),
    "a process's memory": examples("/proc/self/mem"),
    "stars": data('documents: "' + "*a" * 500 + '"'),
    "stars in folders": data('documents: "' + "**/*/" * 100 + '*.md"'),
    "a pipe": examples("pipe"),
    "a pipe as csv": examples("pipe.csv"),
    "a socket": examples("socket.csv"),
    "a circle of links": examples("circle.csv"),
    "a pipe as documents": data("documents: pipe.md"),
    "a pipe as raw text": data("corpus: pipe.txt"),
    "a pipe as general text": data("general: pipe.txt"),
    "a pipe as pairs": data("preferences: pipe.csv"),
    "a pipe without answers": data("unlabelled: pipe.csv"),
    "a pipe as a rubric": with_("goal", "{metric: judge, at_least: 0.5}").replace("classify", "answer")
    + "judge: {model: fake, rubric_file: pipe}\n",
    "a link to a pipe": examples("link.csv"),
    "a path of 100 kB": examples("p" * 100_000),
    "a name of 5,000 letters": examples("n" * 4000 + ".csv"),
}

PLACES: dict[str, Callable[[Path], object]] = {
    "rung.yaml is a pipe": os.mkfifo,
    "rung.yaml is a folder": Path.mkdir,
    "rung.yaml is a circle of links": lambda path: path.symlink_to(path.name),
    "rung.yaml is a device": lambda path: path.symlink_to("/dev/zero"),
    "rung.yaml is a broken link": lambda path: path.symlink_to("nowhere"),
    "rung.yaml is a socket": lambda path: _socket(path),
}


def _socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # a socket's path is short
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(here)


def _folder(folder: Path) -> Path:
    (folder / "rows.csv").write_text("input,output\n" + "".join(f"text {i},{'ab'[i % 2]}\n" for i in range(100)))
    for name in ("pipe", "pipe.csv", "pipe.md", "pipe.txt"):
        os.mkfifo(folder / name)
    _socket(folder / "socket.csv")
    (folder / "circle.csv").symlink_to("circle.csv")
    (folder / "link.csv").symlink_to("pipe")
    return folder


def _checked(folder: Path, most_seconds: float = SECONDS) -> tuple[int, str]:
    """`rung check` in a process of its own, which ends where it takes too much: exit code and what it said."""
    said, report = folder / "said", folder / "used"
    child = os.fork()
    if child == 0:
        status = 99
        try:
            signal.alarm(60)
            with said.open("w") as file:
                os.dup2(file.fileno(), 1), os.dup2(file.fileno(), 2)
            sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
            sys.argv = ["rung", "check", str(folder)]
            before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
            try:
                main()
                status = 0
            except SystemExit as stop:
                status = int(stop.code or 0)
            used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            report.write_text(f"{time.process_time() - start} {used * 1024}")
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(status)
    _, status = os.waitpid(child, 0)
    text = said.read_text(errors="replace")
    assert os.WIFEXITED(status), f"ended by signal {status}: {text[-500:]}"
    assert "Traceback" not in text, text[-3000:]
    seconds, used = map(float, report.read_text().split())
    assert seconds < most_seconds, f"{seconds:.2f} s of CPU"
    assert used < BYTES, f"{used / 2**20:.0f} MB"
    return os.WEXITSTATUS(status), text


@pytest.fixture(scope="module", autouse=True)
def _imported() -> None:
    """What every command imports is not counted."""
    import rung.climbing.preflight
    import rung.task  # noqa: F401


@pytest.mark.parametrize("name", FILES)
def test_a_hostile_file_is_an_error_with_its_line(tmp_path: Path, home: Path, name: str) -> None:
    content = FILES[name]
    (_folder(tmp_path) / "rung.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    code, said = _checked(tmp_path)
    assert code == 2, said
    assert "rung.yaml line " in said, said[:500]
    assert len(said) < 20_000


@pytest.mark.parametrize("name", PLACES)
def test_what_is_no_file_is_not_waited_for(tmp_path: Path, home: Path, name: str) -> None:
    PLACES[name](tmp_path / "rung.yaml")
    code, said = _checked(tmp_path)
    assert code == 2 and "rung.yaml: " in said.replace("\n", "")


def test_the_good_file_is_good(tmp_path: Path, home: Path) -> None:
    (_folder(tmp_path) / "rung.yaml").write_text(GOOD)
    code, said = _checked(tmp_path, most_seconds=30)
    assert code == 0, said


def test_at_least_a_hundred() -> None:
    assert len(FILES) + len(PLACES) >= 100
