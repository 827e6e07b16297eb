"""The report in a browser: scripts in rows, labels and names do not run, its own does; nothing hidden or turning stays."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rung.cli import app

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MARK = "document.documentElement.dataset.ran=1"
PAYLOADS = [
    f"<script>{MARK}</script>",
    f"</script><script>{MARK}</script>",
    f"<img src=x onerror={MARK}>",
    f"<svg onload={MARK}>",
    f"<svg><script>{MARK}</script></svg>",
    f'"><script>{MARK}</script>',
    f"'><img src=x onerror={MARK}>",
    f'" autofocus onfocus="{MARK}" x="',
    f"<iframe srcdoc='<script>parent.{MARK}</script>'></iframe>",
    f"<iframe src='javascript:parent.{MARK}'></iframe>",
    f"<a href='javascript:{MARK}'>x</a>",
    f"<body onload={MARK}>",
    f"<details open ontoggle={MARK}>",
    f"<math><mtext><style><img src=x onerror={MARK}></style></mtext></math>",
    f"--></style><script>{MARK}</script><style><!--",
    f"<object data='data:text/html,<script>{MARK}</script>'></object>",
    f"<meta http-equiv=refresh content='0;url=javascript:{MARK}'>",
    "<base href='https://evil.example/'><link rel=stylesheet href=x.css>",
    f"<form action=javascript:{MARK}><input type=submit autofocus>",
    f"\u2028{MARK}\u2029//<!--<script>",
    "{{ 7*7 }}{% raw %}",
]


def quoted(text: str) -> str:
    """A text in YAML's double quotes, escaped as that wants it."""
    return '"' + "".join(c if c.isascii() and c.isalnum() else f"\\U{ord(c):08x}" for c in text) + '"'


def task(folder: Path, turn: str = "") -> Path:
    folder.mkdir(parents=True)
    labels = [f"<img src=x onerror={MARK}> {turn}", f"</option><script>{MARK}</script>"]
    rows = [{"input": f"{PAYLOADS[i % len(PAYLOADS)]} row {i} {turn}", "output": labels[i % 2]} for i in range(240)]
    name = f"rows <svg onload={MARK}>{turn}.jsonl"
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "rung.yaml").write_text(
        f"task: {quoted(PAYLOADS[1])}\nkind: classify\ndata: {{examples: {quoted(name)}}}\nbase: fake\n"
        "rungs: [majority, zero-shot]\ngoal: {at_least: 0.9}\n"
    )
    return folder


@pytest.fixture
def report(tmp_path: Path, home: Path) -> Path:
    folder = task(tmp_path / f"<script>{MARK}<", "\u202eturned\u2069\U000e0041")
    CliRunner().invoke(app, ["climb", str(folder), "--all"])
    done = CliRunner().invoke(app, ["report", str(folder)])
    assert done.exit_code == 0, done.output
    return folder / "report.html"


def test_the_policy_names_all_that_runs_or_styles(report: Path) -> None:
    text = report.read_text(encoding="utf-8")
    [policy] = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert policy.count("sha256-") == 2
    assert not re.search(r"<[^>]*\sstyle=", text), "an attribute of style is what the policy forbids"
    assert not re.search(r"<[a-z]+(\s[a-z-]+(=\"[^\"]*\")?)*\son[a-z]+=", text)


def test_what_turns_or_hides_is_written_out(report: Path) -> None:
    text = report.read_text(encoding="utf-8")
    assert not re.search("[\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f\x80-\x9f\x1b]", text)
    assert "\\u202eturned\\u2069" in text


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium")
def test_no_payload_runs_and_the_report_works(report: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_bytes(report.read_bytes())
    arguments = [
        "--headless=new",
        "--dump-dom",
        "--no-sandbox",
        "--disable-gpu",
        "--virtual-time-budget=3000",
        f"--user-data-dir={tmp_path / 'profile'}",
    ]
    done = subprocess.run([CHROMIUM, *arguments, page.as_uri()], capture_output=True, timeout=120)  # type: ignore[list-item]
    text = done.stdout.decode(errors="replace")
    assert "data-ran" not in text
    assert '<html lang="en" class="scripted"' in text, "its own script ran"
    filled = text.partition('id="pair"')[2]
    assert "<td" in filled and "\\u202eturned\\u2069" in filled and "\u202e" not in text, "and filled the table of rows"
    broken = page.read_text(encoding="utf-8").replace("<body>", f"<body><script>{MARK}</script>")
    page.write_text(broken.replace("Content-Security-Policy", "X"), encoding="utf-8")
    done = subprocess.run([CHROMIUM, *arguments, page.as_uri()], capture_output=True, timeout=120)  # type: ignore[list-item]
    assert 'data-ran="1"' in done.stdout.decode(errors="replace"), "without the policy a script would have run"
