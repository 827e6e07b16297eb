"""The command line given names, rows, settings and documents that would steer a terminal: shown, and without effect."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from test_cli_knowledge import reader

from rung.cli import main

__all__ = ["reader"]

TITLE, CLEAR, CLIPBOARD, C1 = "\x1b]0;owned\x07", "\x1b[2J\x1b[H", "\x1b]52;c;aGk=\x07", "\x9b2J"
TURN, TAG = "\u202egnp.exe\u2069", "".join(chr(0xE0000 + ord(c)) for c in "obey")
NASTY = f"[red]x[ [/] {CLIPBOARD}{C1}{TURN}{TAG}"
STEERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f\ud800-\udfff]")


def quoted(text: str) -> str:
    """A text in YAML's double quotes, escaped as that wants it."""
    return '"' + "".join(c if c.isascii() and c.isalnum() else f"\\U{ord(c):08x}" for c in text) + '"'


@pytest.fixture
def rung(home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Output and errors of a command as `rung` runs it; nothing in them steers."""

    def run(*arguments: str, code: int | None = None) -> str:
        monkeypatch.setattr(sys, "argv", ["rung", *arguments])
        monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # put back afterwards
        monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
        try:
            main()
            ended = 0
        except SystemExit as stop:
            ended = int(stop.code or 0)
        done = capsys.readouterr()
        assert not STEERS.search(done.out + done.err), ascii(done.out + done.err)
        assert code is None or ended == code, done.out + done.err
        return done.out if ended == 0 else done.out + done.err

    return run


def task(folder: Path, more: str = "", rows: str | None = None, kind: str = "classify", name: str = "rows.jsonl") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rung.yaml").write_text(
        f"task: t\nkind: {kind}\ndata:\n  examples: {quoted(name)}\nbase: fake\nencoder: fake\nrungs: [majority, zero-shot]\n"
        f"goal: {{at_least: 0.5}}\n{more}",
        encoding="utf-8",
    )
    if rows is None:
        rows = "".join(
            json.dumps({"input": f"{hashlib.sha256(str(i).encode()).hexdigest()} {NASTY}", "output": f"{NASTY} {i % 2}"}) + "\n"
            for i in range(200)
        )
    (folder / name).write_text(rows, encoding="utf-8")
    return folder


@pytest.fixture
def documents(tmp_path: Path, reader: Path) -> Path:
    folder = task(tmp_path / "[red]x[", "", kind="answer")
    text = (
        (folder / "rung.yaml")
        .read_text()
        .replace("data:\n", "data:\n  documents: docs\n")
        .replace("encoder: fake", f"encoder: {reader}")
    )
    (folder / "rung.yaml").write_text(text)
    docs = folder / "docs"
    docs.mkdir()
    (docs / "[blue]y[.md").write_text(f"# Refunds {NASTY}\n\nRefunds take 30 days. {NASTY}\n")
    (docs / "[bold]z[[.docx").write_bytes(b"no zip")
    (docs / f"{CLIPBOARD}.md").write_text("a name that steers\n")
    (docs / "two\nlines [green]whole[].docx").write_bytes(b"no zip")
    (docs / f"turned{TURN}.md").write_text("b\n")
    return folder


def test_documents_whose_names_are_markup_or_codes(documents: Path, rung: Callable[..., str]) -> None:
    said = rung("index", str(documents), code=0)
    assert "[bold]z[[.docx" in said
    assert not re.search(r"^lines", said, re.MULTILINE), "a name begins no line of its own"
    said = rung("search", str(documents), "refunds", code=0)
    assert "[blue]y[.md" in said and "[red]x[ [/]" in said and "\\x1b]52" in said
    assert json.loads(rung("search", str(documents), "refunds", "--json", code=0))["hits"]


def test_rows_labels_check_climb_show_report_ask(tmp_path: Path, rung: Callable[..., str]) -> None:
    folder = task(tmp_path / "[red]x[")
    assert "[red]x[" in rung("check", str(folder))
    json.loads(rung("check", str(folder), "--json"))
    for command in ("plan", "climb"):
        rung(command, str(folder))
    json.loads(rung("show", str(folder), "--json", code=4))
    rung("report", str(folder), code=0)
    assert not STEERS.search((folder / "report.html").read_text(encoding="utf-8"))
    assert "[red]x[" in rung("ask", str(folder), NASTY)


@pytest.mark.parametrize(
    "more",
    [
        f'"key {NASTY}": 1\n',
        f"labels: [{quoted(NASTY)}, b]\n",
        f"rungs2: {quoted(NASTY)}\n",
        f"volume: {quoted(NASTY)}\n",
        f"methods: {{lora: {{{quoted(NASTY)}: 1}}}}\n",
        f"methods: {{{quoted(NASTY)}: {{}}}}\n",
        f"judge: {{model: {quoted(NASTY)}}}\n",
        f"needs: {{{quoted(NASTY)}: yes}}\n",
    ],
    ids=ascii,
)
def test_settings(tmp_path: Path, rung: Callable[..., str], more: str) -> None:
    rung("check", str(task(tmp_path / "t", more)), code=2)


@pytest.mark.parametrize("key", ["base", "encoder"])
def test_names_of_models(tmp_path: Path, rung: Callable[..., str], key: str) -> None:
    folder = task(tmp_path / "t")
    text = (folder / "rung.yaml").read_text().replace(f"{key}: fake", f"{key}: {quoted(NASTY)}").replace("majority", "zero-shot")
    (folder / "rung.yaml").write_text(text)
    rung("plan", str(folder))


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("rows.jsonl", f'{{"input": "{NASTY}'.encode()),
        ("rows.csv", f"in{NASTY},output\na\n".encode()),
        ("rows.csv", f"{NASTY},b\na,b\n".encode()),
        (f"{NASTY.replace('/', '')}.csv", b"input,output\na\n"),
        ("rows.parquet", NASTY.encode("utf-8", "surrogatepass")),
    ],
    ids=ascii,
)
def test_files_of_rows(tmp_path: Path, rung: Callable[..., str], name: str, rows: bytes) -> None:
    folder = task(tmp_path / "t", rows="", name=name)
    (folder / name).write_bytes(rows)
    rung("check", str(folder), code=2)


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", f"no folder {NASTY}"),
        (f"command {NASTY}",),
        ("check", f"--{NASTY}"),
        ("models", NASTY),
        ("fit", NASTY, "."),
        ("plan", ".", "--machine", NASTY),
        ("tune", NASTY, ".", "--trials", NASTY),
        ("init", NASTY, "--kind", NASTY),
        ("ask", ".", "a", "--access", NASTY),
    ],
    ids=ascii,
)
def test_what_is_typed(
    tmp_path: Path, rung: Callable[..., str], monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.chdir(task(tmp_path / "t"))
    rung(*arguments, code=2)


def test_names_of_no_encoding_and_screens_of_another(
    tmp_path: Path, home: Path, reader: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = task(tmp_path / "t", kind="answer")
    text = (
        (folder / "rung.yaml")
        .read_text()
        .replace("data:\n", "data:\n  documents: docs\n")
        .replace("encoder: fake", f"encoder: {reader}")
    )
    (folder / "rung.yaml").write_text(text)
    (folder / "docs").mkdir()
    (folder / "docs" / "ü.md").write_text("ü\n")
    Path(os.fsdecode(bytes(folder / "docs") + b"/\xff\xfe.md")).write_text("a\n")
    screen = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(sys, "argv", ["rung", "index", str(folder)])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # put back afterwards
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    with pytest.raises(SystemExit) as stop:
        main()
    screen.flush()
    said = screen.buffer.getvalue()  # type: ignore[attr-defined]
    assert not stop.value.code, said
    assert b"Traceback" not in said and b"refused docs/\\xff\\xfe.md" in said


def test_tracebacks_and_warnings_steer_nothing() -> None:
    program = (
        "import warnings\nfrom rung.cli.screens.console import make_output_safe\nmake_output_safe()\n"
        "warnings.warn('\\x1b[2J\\x9b\\u202e')\nraise AssertionError('\\x1b]52;c;a\\x07\\u2066\\ud800')"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, env=environment, timeout=60)
    text = done.stderr.decode()
    assert "AssertionError: \\x1b]52;c;a" in text and "UserWarning: \\x1b[2J" in text
    assert not STEERS.search(text.replace("\n", ""))
