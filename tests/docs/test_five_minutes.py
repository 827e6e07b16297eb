"""The page "from CSV to a running endpoint in five minutes" is followed to the letter, with the default models."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "five_minutes.md"
MINUTES = 5


@pytest.mark.slow
@pytest.mark.model
def test_the_page_is_followed(tmp_path: Path) -> None:
    """Its commands run as they stand, but for the installation and the port."""
    blocks = re.findall(r"^```(bash|yaml)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert [kind for kind, _ in blocks] == ["bash", "yaml", "bash", "bash", "bash", "bash"]
    begin, task, climb, serve, ask, feedback = (text for _, text in blocks)
    shutil.copy(ROOT / "examples" / "tickets" / "data" / "tickets.csv", tmp_path / "tickets.csv")
    started = time.monotonic()
    run(re.sub(r"^pip install .*\n", "", begin, flags=re.MULTILINE), tmp_path)
    (tmp_path / "support" / "rung.yaml").write_text(task, encoding="utf-8")
    assert "meets" in run(climb, tmp_path)
    with_port = serve.replace("--port 8000", "--port 0").replace("rung ", f"exec {sys.executable} -u -m rung.cli ", 1)
    process = subprocess.Popen(with_port, shell=True, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    watch = threading.Timer(120, process.kill)
    watch.start()
    try:
        assert process.stdout
        url = process.stdout.readline().split()[0].removesuffix("/v1")
        answer = json.loads(run(ask.replace("http://127.0.0.1:8000", url), tmp_path))
        assert time.monotonic() - started < 60 * MINUTES
        assert answer["choices"][0]["message"]["content"] == "order_status"
        assert "Leaderboard" in httpx.get(f"{url}/").text
        said = {"id": answer["id"], "rating": "up"}
        assert httpx.post(f"{url}/v1/feedback", json=said).status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        watch.cancel()
        process.kill()
        process.communicate()
    assert "added 1 examples" in run(feedback, tmp_path)


def run(commands: str, folder: Path) -> str:
    script = re.sub(r"^rung ", f"{sys.executable} -m rung.cli ", commands, flags=re.MULTILINE)
    found = subprocess.run(["bash", "-euc", script], cwd=folder, capture_output=True, text=True, timeout=60 * MINUTES)
    assert found.returncode == 0, found.stderr
    return found.stdout
