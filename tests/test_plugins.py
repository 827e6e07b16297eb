"""Packages that are not ours add methods, metrics, document formats, engines and model sources."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import plugged
import pytest

from rung import methods, metrics, plugins
from rung.cli.screens.progress import Board
from rung.climbing.climb import Climb, climb
from rung.climbing.fit import fit_context, fit_keys
from rung.climbing.project import Project
from rung.errors import PluginError, TaskError
from rung.lm import engine_kinds
from rung.lm.base import Decoding, ModelRef, Prompt
from rung.lm.engine_kinds import can, kind_of, leaves
from rung.lm.engines import Engines
from rung.lm.models import resolve
from rung.machine import Machine
from rung.predictor import Predictor
from rung.retrieve.formats import readers
from rung.retrieve.index import index_config
from rung.retrieve.knowledge import documents
from rung.retrieve.parse import listing, parse
from rung.retrieve.passage import Document, Refused
from rung.task import load_task
from rung.types import Example

Install = Callable[..., None]
ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "plugin"


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> Iterator[Install]:
    site = tmp_path / "site"
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PYTHONPATH", f"{site}:{Path(plugins.__file__).parents[1]}")

    def write(
        package: str = "rung-loud",
        version: str = "1.0",
        code: str = plugged.LOUD,
        entries: Mapping[str, str] = plugged.LOUD_ENTRIES,
    ) -> None:
        plugged.write(site, package, version, code, entries)
        sys.modules.pop(package.replace("-", "_"), None)
        plugins.forget()

    yield write
    sys.modules.pop("rung_loud", None)
    plugins.forget()


@pytest.fixture
def task(tmp_path: Path) -> Path:
    folder = tmp_path / "task"
    folder.mkdir()
    rows = [f"the answer is w{i},W{i}" for i in range(60)]
    (folder / "rows.csv").write_text("\n".join(["input,output", *rows]))
    (folder / "rung.yaml").write_text(
        "task: Give the last word.\nkind: answer\ndata: {examples: rows.csv}\nbase: fake\nencoder: fake\n"
        "goal: {metric: any_case, at_least: 0.9}\nrungs: [zero-shot, loud]\nmethods: {loud: {marks: 2}}\n"
    )
    return folder


def climbed(folder: Path, machine: Machine) -> tuple[Project, Climb]:
    from rich.console import Console

    project = Project(load_task(folder), Engines(machine, lambda text: None), estimate_for=machine)
    with Board(Console(quiet=True), project.task.goal) as board:
        return project, climb(project, board, everything=True)


def test_a_method_is_climbed_and_a_metric_is_the_goal(install: Install, task: Path, machine: Machine) -> None:
    install()
    project, found = climbed(task, machine)
    done = {record.rung: record for record in found.records}
    assert [record.status for record in found.records] == ["done", "done"], [record.reason for record in found.records]
    assert done["loud"].scores and done["loud"].scores.overall.value == 1.0, "answers and right answers differ in case alone"
    assert done["loud"].provenance.options == ({"method": "loud", "marks": 2},)
    assert done["loud"].provenance.plugins == ("rung-loud 1.0",)
    assert project.scoring.key == "any_case rung-loud 1.0"


def test_what_was_fitted_and_scored_with_an_older_version_is_not_served(install: Install, task: Path, machine: Machine) -> None:
    install()
    project, found = climbed(task, machine)
    keys = fit_keys(fit_context(project), methods.rung("loud", {}))
    again = [record.predictor for record in climbed(task, machine)[1].records]
    assert again == [record.predictor for record in found.records]
    install(version="1.1")
    later, _ = climbed(task, machine)
    assert fit_keys(fit_context(later), methods.rung("loud", {})) != keys and later.scoring.key == "any_case rung-loud 1.1"
    assert len(later.store.records()) == 4, "both rungs are measured again"


def test_rungs_own_keys_are_what_they_were(install: Install, task: Path, machine: Machine) -> None:
    (task / "rung.yaml").write_text((task / "rung.yaml").read_text().replace("any_case", "exact_match").split("rungs:")[0])
    project = Project(load_task(task), Engines(machine), estimate_for=machine)
    before = fit_keys(fit_context(project), methods.rung("few-shot", {})), project.scoring.key, index_config(None)
    install(entries={"methods loud": "Loud"})
    after = Project(load_task(task), Engines(machine), estimate_for=machine)
    assert (fit_keys(fit_context(after), methods.rung("few-shot", {})), after.scoring.key, index_config(None)) == before


def test_a_document_format_is_read(install: Install, tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "a.loud").write_text("be quiet")
    (folder / "b.md").write_text("# B\n\nText.\n")
    assert listing(folder).ignored == ("a.loud",)
    plain = index_config(None)
    install()
    found = parse(folder / "a.loud", folder)
    assert isinstance(found, Document), found
    assert [(block.text, block.heading) for block in found.blocks] == [("BE QUIET", ("Loud",))]
    assert index_config(None) != plain, "an index made without the reader is made again"
    before = documents(folder, (".",))
    install(version="1.1")
    after = documents(folder, (".",))
    assert before.digest != after.digest and before.contents == after.contents


def test_a_reader_that_cannot_be_imported_refuses_its_files_alone(install: Install, tmp_path: Path) -> None:
    install(code="import nothing_of_this_name", entries={"formats loud": "read"})
    (tmp_path / "a.loud").write_text("x")
    (tmp_path / "b.md").write_text("Text.")
    found = parse(tmp_path / "a.loud", tmp_path)
    assert isinstance(found, Refused) and "rung-loud 1.0" in found.reason and "pip uninstall rung-loud" in found.remedy
    assert isinstance(parse(tmp_path / "b.md", tmp_path), Document)


def test_an_engine_kind_is_opened(install: Install, machine: Machine) -> None:
    install()
    engines = Engines(machine)
    ref = engines.reference("loud:large")
    assert (ref.kind, ref.name) == ("loud", "loud:large") and ref.digest != engines.reference("loud:small").digest
    assert engines.open(ref).generate([Prompt((), "quiet")], Decoding())[0].text == "QUIET"
    assert can(ref).writes and not can(ref).chat_template and not leaves("loud:large")
    before = Predictor(kind="answer", model=ref, instruction="?").digest
    install(version="1.1")
    assert Predictor(kind="answer", model=ref, instruction="?").digest != before


def test_an_engine_that_sends_rows_away_is_held_to_the_data_policy(install: Install, task: Path, machine: Machine) -> None:
    install()
    text = (task / "rung.yaml").read_text().replace("base: fake", "base: sending:x\nneeds: {data_may_leave: 'no'}")
    (task / "rung.yaml").write_text(text)
    with pytest.raises(TaskError, match="data_may_leave"):
        _ = Project(load_task(task), Engines(machine), estimate_for=machine).starts


@pytest.mark.parametrize("name", ["openai", "http", "https"])
def test_no_engine_takes_over_the_names_of_endpoints(install: Install, name: str) -> None:
    install(entries={f"engines {name}": "kind"})
    assert kind_of(f"{name}://host/v1#m" if name != "openai" else "openai:m") is engine_kinds.KINDS["remote"]


def test_a_model_source_is_resolved(install: Install) -> None:
    install()
    found = resolve.find("shop:tiny", say=lambda text: None)
    assert sorted(path.name for path in found.folder.iterdir()) == ["config.json", "model.safetensors", "rung.json"]
    assert found.source == "shop:tiny@7" and '"tiny"' in (found.folder / "config.json").read_text()
    assert resolve.find("shop:tiny", say=pytest.fail) == found, "fetched once"
    assert resolve.find("shop:other", say=lambda text: None).digest != found.digest


@pytest.mark.parametrize(
    ("entries", "ask"),
    [
        ({"methods lora": "Loud"}, lambda: methods.rung("lora", {})),
        ({"metrics accuracy": "metric"}, lambda: metrics.get("accuracy", Path())),
        ({"engines fake": "kind"}, lambda: engine_kinds.kind("fake")),
        ({"formats md": "read"}, lambda: readers.read(".md", b"x")),
    ],
)
def test_a_name_that_rung_has_is_refused(install: Install, entries: dict[str, str], ask: Callable[[], object]) -> None:
    install(entries=entries)
    with pytest.raises(PluginError, match=r"claimed by rung and by rung-loud 1\.0.*pip uninstall rung-loud"):
        ask()
    assert methods.rung("few-shot", {}) and metrics.get("exact_match", Path()), "what is not claimed twice works"


def test_a_name_of_two_packages_is_refused(install: Install) -> None:
    install()
    install("rung-other", "2.0", entries={"methods loud": "Loud"})
    with pytest.raises(PluginError, match=r"rung-loud 1\.0 and by rung-other 2\.0"):
        methods.rung("loud", {})


@pytest.mark.parametrize("code", ["raise RuntimeError('no GPU here')", "import nothing_of_this_name", "def f(:", "x = 1"])
def test_a_plug_in_that_cannot_be_imported_is_named(install: Install, code: str, task: Path, machine: Machine) -> None:
    install(code=code)
    with pytest.raises(PluginError, match=r"'loud' comes from rung-loud 1\.0.*pip install --upgrade rung-loud"):
        methods.rung("loud", {})
    (task / "rung.yaml").write_text((task / "rung.yaml").read_text().replace("any_case", "exact_match").split("rungs:")[0])
    assert Project(load_task(task), Engines(machine), estimate_for=machine).plan.steps, "what does not need it works"


@pytest.mark.parametrize("group", ["methods", "metrics", "engines", "formats"])
def test_what_does_not_fit_is_refused(install: Install, group: str) -> None:
    install(code="thing = 7", entries={f"{group} thing": "thing"})
    table = {"methods": methods.TABLE, "metrics": metrics.TABLE, "engines": engine_kinds.TABLE, "formats": readers.TABLE}[group]
    with pytest.raises(PluginError, match=r"rung-loud 1\.0 adds 'thing' \(rung_loud:thing\), which is no"):
        table.get("thing")  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["a+b", "a@b", "A", "x"])
def test_a_name_that_means_something_else_is_refused(install: Install, name: str) -> None:
    install(entries={f"methods {name}": "Loud"})
    with pytest.raises(PluginError, match="lower-case"):
        methods.TABLE.get(name)


def test_a_name_that_is_nowhere_is_told_with_those_of_plug_ins(install: Install) -> None:
    install()
    with pytest.raises(TaskError, match=r"Did you mean loud\?"):
        methods.rung("luod", {})
    with pytest.raises(TaskError, match="any_case"):
        metrics.get("any_cas", Path())


def test_a_task_file_imports_nothing(install: Install, tmp_path: Path) -> None:
    """A module that lies beside the task, or anywhere on the path, is no plug-in unless an installed package says so."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "evil.py").write_text("raise SystemExit('imported')")
    for name in ("evil", "evil:Loud", "../site/evil.py"):
        with pytest.raises(TaskError):
            methods.rung(name, {})


@pytest.mark.parametrize("how", ["", "."])
def test_a_package_in_the_working_directory_is_no_plug_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, install: Install, how: str
) -> None:
    """`python -m rung.cli` and `PYTHONPATH=.` put the working directory on the path, and a task folder may be sent by anyone."""
    install(code="raise SystemExit('imported')", entries={"methods loud": "Loud"})
    monkeypatch.chdir(tmp_path / "site")
    monkeypatch.syspath_prepend(how)
    plugins.forget()
    with pytest.raises(TaskError, match="no method 'loud'"):
        methods.rung("loud", {})


def test_importing_reads_no_entry_points() -> None:
    code = "import rung.cli, rung.methods, rung.metrics; from rung import plugins; print(plugins._all.cache_info().currsize)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "0"


def test_an_unknown_kind_says_to_install_what_adds_it(machine: Machine) -> None:
    with pytest.raises(Exception, match="Install the package"):
        Engines(machine).open(ModelRef("loud", "m", "d"))


# --- the example in docs/plugins.md ------------------------------------------------------------------------------------


def test_the_page_shows_the_files_of_the_example() -> None:
    page = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    for language, name in (("toml", "pyproject.toml"), ("python", "rung_extras.py")):
        assert f"```{language}\n{(EXAMPLE / name).read_text(encoding='utf-8')}```" in page


def test_the_example_adds_to_every_table(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base: Callable[[str], Path]
) -> None:
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    entries = {
        f"{group.removeprefix('rung.')} {name}": value.partition(":")[2]
        for group, given in project["entry-points"].items()
        for name, value in given.items()
    }
    install(project["name"], project["version"], (EXAMPLE / "rung_extras.py").read_text(encoding="utf-8"), entries)
    assert set(project["entry-points"]) == {
        table.group for table in (methods.TABLE, metrics.TABLE, readers.TABLE, engine_kinds.TABLE, resolve.SOURCES)
    }
    [method] = methods.rung("terse", {"terse": {"words": 3}})
    start = Predictor(kind="answer", model=ModelRef("fake", "fake", "fake"), instruction="Say.")
    assert method.fit(start, None, None).instruction == "Say. Use at most 3 words."  # type: ignore[arg-type]
    rate = metrics.get("within_5_percent", tmp_path).rate
    assert [rate(said, Example("", "100")) for said in ("104", "106", "many")] == [1.0, 0.0, 0.0]
    (tmp_path / "a.srt").write_text("1\n00:00:01 --> 00:00:02\nHello there.\n")
    found = parse(tmp_path / "a.srt", tmp_path)
    assert isinstance(found, Document) and [block.text for block in found.blocks] == ["Hello there."]
    assert kind_of("echo:x").name == "echo"
    monkeypatch.setenv("MODEL_SHARE", str(base("gpt2-short").parent))
    assert resolve.find(f"share:{base('gpt2-short').name}", say=lambda text: None).source.startswith("share:")


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("class Thing: pass", "inherits from"),
        ("from rung.methods.base import Method as Thing", "abstract"),
        ("class Thing:\n    def __init__(self, x): pass", "argument"),
    ],
)
def test_what_is_no_method_is_refused(install: Install, code: str, why: str) -> None:
    install(code=code, entries={"methods thing": "Thing"})
    with pytest.raises(PluginError, match=why):
        methods.rung("thing", {})
