"""The commit checked out, read without git; and that no program which a foreign folder names is run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from rung.errors import TaskError
from rung.evaluate import provenance
from rung.evaluate.revision import revision
from rung.metrics import get, own


def git(folder: Path, *given: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *who, *given], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    (folder / "task").mkdir(parents=True)
    git(folder, "init", "-q", "-b", "main")
    (folder / "task" / "a.txt").write_text("a")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "first")
    return folder


def test_the_commit_is_told_from_any_folder_below(repository: Path) -> None:
    head = git(repository, "rev-parse", "HEAD")
    assert revision(repository) == revision(repository / "task") == head
    (repository / "task" / "a.txt").write_text("changed")
    assert revision(repository / "task") == head


def test_packed_detached_and_nested_refs(repository: Path) -> None:
    head = git(repository, "rev-parse", "HEAD")
    git(repository, "checkout", "-q", "-b", "deep/er/branch")
    assert revision(repository) == head
    git(repository, "pack-refs", "--all")
    assert not (repository / ".git" / "refs" / "heads" / "main").exists()
    assert revision(repository) == head
    git(repository, "checkout", "-q", "--detach")
    assert revision(repository) == head


def test_a_worktree_and_a_submodule(repository: Path, tmp_path: Path) -> None:
    head = git(repository, "rev-parse", "HEAD")
    git(repository, "worktree", "add", "-q", str(tmp_path / "other"), "-b", "side")
    assert revision(tmp_path / "other" / "task") == head
    outer = tmp_path / "outer"
    outer.mkdir()
    git(outer, "init", "-q")
    git(outer, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(repository), "inner")
    assert revision(outer / "inner" / "task") == head
    assert revision(outer) == ""  # nothing is committed there


def test_no_repository_has_no_revision(tmp_path: Path) -> None:
    (tmp_path / "task").mkdir()
    assert revision(tmp_path / "task") == ""


@pytest.mark.parametrize(
    "head",
    [
        "",
        "ref: refs/heads/../../../secret",
        "ref: /etc/passwd",
        "ref: refs/heads/link",
        "ref: refs/heads/folder/secret",
        "ref: refs/heads/a\nb",
        "ref: HEAD",
        "f" * 39,
        "F" * 40,
        "f" * 5000,
        "ref: refs/heads/loop",
    ],
)
def test_a_forged_head_reads_nothing_outside(tmp_path: Path, head: str) -> None:
    (tmp_path / "secret").write_text("a" * 40)
    heads = tmp_path / "task" / ".git" / "refs" / "heads"
    heads.mkdir(parents=True)
    (heads / "link").symlink_to(tmp_path / "secret")
    (heads / "folder").symlink_to(tmp_path)
    (heads / "loop").write_text("ref: refs/heads/loop")
    (tmp_path / "task" / ".git" / "HEAD").write_text(head)
    assert revision(tmp_path / "task") == ""


@pytest.mark.parametrize("target", ["../elsewhere", "{absolute}", "../elsewhere/../elsewhere"])
def test_a_git_file_that_points_to_another_repository_is_not_followed(tmp_path: Path, target: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "HEAD").write_text("a" * 40)
    task = tmp_path / "task"
    task.mkdir()
    (task / ".git").write_text("gitdir: " + target.format(absolute=elsewhere))
    assert revision(task) == ""
    (task / ".git").unlink()
    (task / ".git").symlink_to(elsewhere)
    assert revision(task) == ""


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_in_place_of_a_file_does_not_hang(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    os.mkfifo(tmp_path / ".git" / "HEAD")
    assert revision(tmp_path) == ""


SETTINGS = """
[core]
    fsmonitor = {run}
    hooksPath = {hooks}
    sshCommand = {run}
    pager = {run}
    editor = {run}
    gitProxy = {run}
    askPass = {run}
[filter "evil"]
    clean = {run}
    smudge = {run}
    process = {run}
    required = true
[diff]
    external = {run}
[diff "evil"]
    textconv = {run}
    command = {run}
[merge "evil"]
    driver = {run}
[credential]
    helper = "!{run}"
[gpg]
    program = {run}
[include]
    path = more
[alias]
    status = "!{run}"
    rev-parse = "!{run}"
"""
HOOKS = ("post-checkout", "post-index-change", "pre-commit", "reference-transaction", "fsmonitor-watchman")


def test_nothing_that_a_repository_names_is_run(repository: Path, tmp_path: Path, machine: object) -> None:
    mark, program = tmp_path / "ran", tmp_path / "evil.sh"
    program.write_text(f"#!/bin/sh\ntouch {mark}\ncat\n")
    program.chmod(0o755)
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in HOOKS:
        (hooks / name).symlink_to(program)
    head = git(repository, "rev-parse", "HEAD")
    with (repository / ".git" / "config").open("a") as file:
        file.write(SETTINGS.format(run=program, hooks=hooks))
    (repository / ".gitattributes").write_text("* filter=evil diff=evil merge=evil\n")
    (repository / "task" / "a.txt").write_text("b")
    os.utime(repository / "task" / "a.txt", (1, 1))
    found = provenance.gather(repository / "task", machine)  # type: ignore[arg-type]
    assert found.revision == head and found.uncommitted == "unknown"
    assert not mark.exists()
    subprocess.run(["git", "status"], cwd=repository, capture_output=True, check=False)
    assert mark.exists(), "the repository of this test would have git run its program"


# --- code of the task's own -------------------------------------------------------------------------------------------

CODE = "def score(output, reference, row): return 1.0\n"


@pytest.mark.parametrize("name", ["../shared.py:score", "{absolute}:score", "link.py:score", "folder/shared.py:score"])
def test_code_outside_the_task_folder_is_refused_unless_allowed(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, mark = tmp_path / "task", tmp_path / "ran"
    task.mkdir()
    outside = tmp_path / "shared.py"
    outside.write_text(f"open({str(mark)!r}, 'w')\n{CODE}")
    (task / "link.py").symlink_to(outside)
    (task / "folder").symlink_to(tmp_path)
    named = name.format(absolute=outside)
    monkeypatch.delenv(own.ALLOW_OUTSIDE, raising=False)
    for ask in (get, own.content_digests):
        with pytest.raises(TaskError, match=rf"outside the task folder.*{own.ALLOW_OUTSIDE}=1"):
            ask(named, task)
    assert not mark.exists()
    monkeypatch.setenv(own.ALLOW_OUTSIDE, "1")
    assert get(named, task).name == named and own.content_digests(named, task)
    assert mark.exists()


def test_code_inside_the_task_folder_runs_also_where_the_folder_is_a_link(tmp_path: Path) -> None:
    (tmp_path / "task" / "code").mkdir(parents=True)
    (tmp_path / "task" / "code" / "m.py").write_text(CODE)
    (tmp_path / "named").symlink_to(tmp_path / "task")
    assert get("code/m.py:score", tmp_path / "named").name == "code/m.py:score"


def test_compiled_code_beside_a_metric_is_never_run(tmp_path: Path) -> None:
    import importlib.util
    import py_compile

    mark, path = tmp_path / "ran", tmp_path / "m.py"
    path.write_text(f"open({str(mark)!r}, 'w')\n{CODE}")
    cached = importlib.util.cache_from_source(str(path))
    py_compile.compile(str(path), cached, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    path.write_text(CODE)
    get("m.py:score", tmp_path)
    assert not mark.exists()
