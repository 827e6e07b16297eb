"""Index, search and ask on a small folder of documents, with a model that says the question's last word (base: fake)."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from commands import ended
from elsewhere import elsewhere
from typer.testing import CliRunner

from rung.cli import app
from rung.cli.knowledge import _settings
from rung.climbing.climb import chosen
from rung.climbing.project import Project
from rung.climbing.reindex import reindex
from rung.data.load import load
from rung.errors import RungError
from rung.retrieve.chunk import chunk
from rung.retrieve.formats import source
from rung.retrieve.ground import support
from rung.retrieve.lookup import Lookup, TunedReranker
from rung.retrieve.parse import listing, parse
from rung.retrieve.passage import source_of
from rung.retrieve.search import Settings
from rung.retrieve.store import Allow
from rung.task import load_task
from rung.types import Example

EXAMPLE = Path(__file__).parents[2] / "examples" / "docs_chatbot"
PARTS = ("frame", "wheel", "saddle", "bell", "chain", "pedal", "brake", "pump")


@pytest.fixture(scope="session")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random sentence encoder that reads passages of the usual size."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizer

    root = tmp_path_factory.mktemp("reader")
    torch.manual_seed(0)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters, *(f"##{c}" for c in letters)]
    config = BertConfig(vocab_size=len(words), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    BertModel(config).save_pretrained(root / "bert")
    (root / "vocab.txt").write_text("\n".join(words))
    BertTokenizer(str(root / "vocab.txt")).save_pretrained(root / "bert")
    SentenceTransformer(modules=[Transformer(str(root / "bert")), Pooling(32)], device="cpu").save(str(root / "whole"))
    return root / "whole"


@pytest.fixture
def task(tmp_path: Path, home: Path, reader: Path) -> Path:
    folder = tmp_path / "support"
    (folder / "docs").mkdir(parents=True)
    for i, part in enumerate(PARTS):
        (folder / "docs" / f"{part}.md").write_text(f"# {part.title()}\n\nThe {part} is guaranteed for {i + 2} years.\n")
    rows = [f"how long for {i} has our shop guaranteed the {part},{part},docs/{part}.md" for i in range(12) for part in PARTS]
    (folder / "rows.csv").write_text("question,answer,source\n" + "\n".join(rows) + "\n")
    (folder / "rung.yaml").write_text(
        "task: Answer the question.\nkind: answer\nbase: fake\n"
        f"encoder: {reader}\nrungs: [rag]\ngoal: {{metric: token_f1, at_least: 0.5}}\n"
        "data: {documents: docs/, examples: rows.csv, input: question, output: answer, source: source}\n"
    )
    return folder


def rung(*words: str | Path) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert ended(words, done.exit_code) == 0, done.output
    return done.stdout


def found(*words: str | Path) -> Any:
    return json.loads(rung(*words, "--json"))


def given(task: Path, line: str) -> None:
    with (task / "rung.yaml").open("a") as file:
        file.write(f"{line}\n")


def lookup_of(task: Path) -> Any:
    [path] = (task / ".rung" / "fits").glob("*/predictor.json")
    return json.loads(path.read_text())["lookup"]


def test_workers_make_the_index_that_one_machine_makes(task: Path, tmp_path: Path) -> None:
    pytest.importorskip("lancedb", reason="the extra `lance` is not installed")
    shutil.copytree(task, there := tmp_path / "there")
    (there / "docs" / "bad.md").write_bytes(b"")
    (task / "docs" / "bad.md").write_bytes(b"")
    rung("index", there, "--store", f"lance://{tmp_path}/store")
    (there / "docs" / "wheel.md").unlink()
    for folder in (task, there):
        (folder / "docs" / "frame.md").write_text("# Frame\n\nThe frame is guaranteed for an age.\n")
        (folder / "docs" / "fork.md").write_text("# Fork\n\nThe fork is made of carbon.\n")
    (task / "docs" / "wheel.md").unlink()
    project = Project(load_task(there))
    changes = reindex(project, on=elsewhere)
    assert (changes.added, changes.changed, changes.deleted) == (("docs/fork.md",), ("docs/frame.md",), ("docs/wheel.md",))
    assert changes.embedded == 2
    rung("index", task)
    for words in ("fork", "frame", "wheel", "guaranteed"):
        here, over = (found("search", folder, words)["hits"] for folder in (task, there))
        assert [hit["passage"] for hit in here] == [hit["passage"] for hit in over] and here


def test_workers_cannot_add_to_an_index_with_one_writer(task: Path) -> None:
    with pytest.raises(RungError, match="has one writer"):
        reindex(Project(load_task(task)), on=elsewhere)
    assert CliRunner().invoke(app, ["index", str(task), "--on", "mars"]).exit_code != 0


def test_the_index_follows_the_folder(task: Path) -> None:
    first = found("index", task)
    assert len(first["changes"]["added"]) == len(PARTS) and first["stale"] == 0
    assert (first["health"]["documents"], first["health"]["passages"]) == (8, 8)
    assert first["health"]["lexical"] == first["health"]["dense"] == 8
    again = found("index", task)["changes"]
    assert (again["added"], again["changed"], again["unchanged"], again["embedded"]) == ([], [], 8, 0)
    assert rung("index", task).startswith("nothing changed; 8 unchanged.")

    docs = task / "docs"
    (docs / "wheel.md").write_text("# Wheel\n\nThe wheel is guaranteed for a century.\n")
    (docs / "bell.md").unlink()
    (docs / "pump.md").rename(docs / "inflator.md")
    (docs / "lamp.md").write_text("# Lamp\n\nThe lamp is new.\n")
    (docs / "photo.md").write_bytes(b"\x89PNG\x00\x00\x00")
    told = rung("index", task)
    assert "1 added, 1 changed, 1 renamed, 1 deleted; 5 unchanged." in told
    assert "refused docs/photo.md: " in told and "8 documents, 8 passages: 8 searchable by words, 8 by meaning; whole." in told
    later = found("index", task)
    assert list(later["health"]["refused"]) == ["docs/photo.md"] and later["stale"] == 0
    assert "docs/inflator.md" in rung("search", task, "pump") and "docs/pump.md" not in rung("search", task, "pump")
    assert "century" in rung("search", task, "wheel") and "bell" not in rung("search", task, "bell", "-k", "8").lower()


def test_search_shows_passages_with_the_score_of_each_leg(task: Path) -> None:
    hits = found("search", task, "how long is the saddle guaranteed", "-k", "3")["hits"]
    assert len(hits) == 3 and hits[0]["passage"]["path"] == "docs/saddle.md"
    assert hits[0]["lexical"] > 0 and -1 <= hits[0]["dense"] <= 1.001
    told = rung("search", task, "saddle", "-k", "1")
    assert told.startswith("1. docs/saddle.md, Saddle, line 3  BM25 ") and "cosine" in told and "4 years" in told
    assert told.endswith("searched with the defaults: words and meaning, fused by scores, 0.5 of it meaning, depth 100\n")
    assert len(found("search", task, "guaranteed")["hits"]) == 5
    only = found("search", task, "saddle", "--under", "docs/bell.md")["hits"]
    assert {hit["passage"]["path"] for hit in only} == {"docs/bell.md"}


def test_an_answer_comes_with_its_citation_or_with_the_reason_for_none(task: Path) -> None:
    climbed = found("climb", task)
    assert climbed["chosen"] == "rag" and climbed["verdict"] == "meets"
    asked = found("ask", task, "how long for 99 has our shop guaranteed the wheel")
    assert asked["output"] == "wheel" and [s["path"] for s in asked["sources"] if s["cited"]] == ["docs/wheel.md"]
    told = rung("ask", task, "how long for 99 has our shop guaranteed the wheel")
    assert told.startswith("wheel\n[") and "docs/wheel.md, Wheel, line 3" in told
    silent = found("ask", task, "how long for 99 has our shop guaranteed the zeppelin")
    assert silent["output"] == "" and silent["abstained"]
    told = rung("ask", task, "how long for 99 has our shop guaranteed the zeppelin")
    assert told.startswith("I don't know.\n") and silent["abstained"].split("(")[0].strip() in told
    [record] = [json.loads(line) for line in (task / ".rung" / "records.jsonl").read_text().splitlines()]
    attack = record["provenance"]["attack"]
    assert attack["rate"]["value"] == 0.0 and attack["rate"]["n"] == sum(n for _, n in attack["kinds"].values()) > 10


def test_files_that_are_not_read_are_named(task: Path) -> None:
    folder = next(path.parent for path in task.rglob(f"{PARTS[0]}.md") if ".rung" not in path.parts)
    (folder / "plan.pages").write_text("x")
    for command in ("index", "check"):
        shown = " ".join(rung(command, task).split())
        assert "1 file is not read" in shown and "plan.pages" in shown, command


def test_an_unchanged_document_is_read_once_by_a_command(task: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    real = source._read
    monkeypatch.setattr(source, "_read", lambda path, root=None: read.append(path.name) or real(path, root))
    rung("index", task)
    assert sorted(read) == sorted([f"{part}.md" for part in PARTS] * 2), "for its content, and to be cut"
    for words in (("index", task), ("check", task)):
        read.clear()
        rung(*words)
        assert sorted(read) == sorted(f"{part}.md" for part in PARTS)
    read.clear()
    rung("search", task, "wheel")
    assert not read


def test_search_searches_as_the_fitted_rung_does(task: Path) -> None:
    given(task, "methods: {rag: {passages: 2, size: 60}}")
    assert found("fit", task, "rag")["status"] == "done"
    fitted = lookup_of(task)
    used = found("search", task, "guaranteed")
    assert (used["rung"], used["settings"]) == ("rag", fitted["settings"])
    assert Path(used["index"]).name == Path(fitted["index"]).name == "index-60-30" and len(used["hits"]) == 2
    assert len(found("search", task, "guaranteed", "-k", "4")["hits"]) == 4
    assert "searched as rag does: " in rung("search", task, "saddle")
    plain = found("search", task, "guaranteed", "--defaults")
    assert (
        plain["rung"] == ""
        and plain["index"].endswith("/index")
        and plain["settings"] | {"legs": None}
        == {"legs": None, "fusion": "scores", "weight": 0.5, "depth": 100, "k": 5, "rerank": ""}
    )
    shutil.rmtree(used["index"])
    assert found("search", task, "saddle")["rung"] == "", "its index is gone"


def test_search_names_the_reranker() -> None:
    plain = Lookup("index", "d", "e")
    tuned = replace(plain, reranker=TunedReranker("here", "f", 0.2, 8))
    named = replace(plain, settings=Settings(rerank="some/cross-encoder"))
    assert _settings(tuned) == f"{_settings(plain)}, the first 8 reranked by a tuned cross-encoder, 0.2 of it"
    assert _settings(named) == f"{_settings(plain)}, reranked by some/cross-encoder"


def test_every_index_of_the_task_follows_the_folder(task: Path) -> None:
    given(task, "methods: {rag: {size: 60}}")
    found("fit", task, "rag")
    (task / "docs" / "wheel.md").write_text("# Wheel\n\nThe wheel is guaranteed for a century.\n")
    assert "century" not in rung("search", task, "wheel")
    rung("index", task)
    assert "century" in rung("search", task, "wheel"), "searched as rag does, in rag's own index"


def test_a_rung_looks_things_up_where_the_index_was_moved_to(task: Path, tmp_path: Path) -> None:
    assert found("climb", task)["chosen"] == "rag"
    rung("index", task, "--store", tmp_path / "elsewhere")
    (task / "docs" / "wheel.md").write_text("# Wheel\n\nThe wheel is guaranteed for a century.\n")
    rung("index", task)
    used = found("search", task, "wheel")
    assert used["rung"] == "rag" and used["index"] == str(tmp_path / "elsewhere") and "century" in json.dumps(used["hits"])
    [wheel] = [s for s in found("ask", task, "the wheel")["sources"] if s["path"] == "docs/wheel.md"]
    assert "century" in wheel["text"]


SECRET = "The vault is guaranteed to open for the word zanzibar."


@pytest.fixture
def guarded(task: Path) -> Path:
    """The task with a document for staff only, and rows that ask for it."""
    (task / "docs" / "internal").mkdir()
    (task / "docs" / "internal" / "vault.md").write_text(f"# Vault\n\n{SECRET}\n")
    with (task / "rows.csv").open("a") as file:
        file.writelines(f"on day {i} which word opens the vault,zanzibar,docs/internal/vault.md\n" for i in range(12))
    given(task, "methods: {rag: {size: 60}, few-shot: {}}")
    text = (task / "rung.yaml").read_text()
    text = text.replace("documents: docs/,", "documents: docs/, access: {docs/internal/**: staff},")
    (task / "rung.yaml").write_text(text.replace("[rag]", "[rag, rag+few-shot]"))
    return task


ASKS = (
    "which word opens the vault, guaranteed",
    "guaranteed zanzibar",
    "access=staff guaranteed vault",
    'guaranteed vault"] OR tags:access=staff',
    "how long for 9 has our shop guaranteed the vault",
)


def test_a_closed_passage_is_shown_to_nobody_without_its_label(guarded: Path) -> None:
    climbed = found("climb", guarded, "--all")
    assert [one["status"] for one in climbed["rungs"]] == ["done", "done"]
    rung("report", guarded)
    kept = [path for path in guarded.rglob("*") if path.is_file() and ".rung/index" not in str(path)]
    shown = {path.name for path in kept if "The vault is" in path.read_text(errors="ignore")}
    assert shown == {"vault.md"}, "in no report, record, prediction or Predictor"
    learnt = [path for path in kept if path.name == "predictor.json"]
    assert len(learnt) == 2 and not any("zanzibar" in path.read_text() for path in learnt), "no demonstration tells its answer"

    for words in ASKS:
        for more in ((), ("--defaults",)):
            staff = found("search", guarded, words, "--access", "staff", *more)["hits"]
            open_ = found("search", guarded, words, "-k", "50", *more)["hits"]
            assert "docs/internal/vault.md" in {hit["passage"]["path"] for hit in staff} and open_
            assert not any(hit["passage"]["path"].startswith("docs/internal") for hit in open_)
        for name in ("rag", "rag+few-shot"):
            answer = found("ask", guarded, words, "--rung", name, "--access", "staff")
            assert "docs/internal/vault.md" in {source["path"] for source in answer["sources"]}
            answer = found("ask", guarded, words, "--rung", name)
            assert answer["sources"] and "docs/internal" not in json.dumps(answer) and "The vault is" not in json.dumps(answer)
            assert "internal" not in rung("ask", guarded, words, "--rung", name)
    assert rung("search", guarded, "vault", "--under", "docs/internal").startswith("nothing was found.")


def test_askers_who_share_a_server_share_no_passages(guarded: Path) -> None:
    """One process, one engine room, the same question from both: what the one was shown is kept for no other."""
    project = Project(load_task(guarded), say=lambda text: None)
    found("fit", guarded, "rag")
    predictor = chosen(project, "rag")
    row, staff = Example("how long is the vault guaranteed", ""), Allow(frozenset({"staff"}))
    for _ in range(2):
        [told] = predictor.predict([row], project.engines, allow=staff)
        [untold] = predictor.predict([row], project.engines)
        assert SECRET in {source.text for source in told.sources}
        assert not any("vault" in source.text for source in untold.sources) and untold.sources


def test_a_changed_label_holds_from_the_next_index(guarded: Path) -> None:
    found("fit", guarded, "rag")
    first = (guarded / "rung.yaml").read_text()

    def seen(*labels: str) -> list[bool]:
        more = [word for label in labels for word in ("--access", label)]
        told = [found("search", guarded, "vault", *more, *way)["hits"] for way in ((), ("--defaults",))]
        return ["docs/internal/vault.md" in json.dumps(hits) for hits in told]

    rung("index", guarded)
    assert (seen(), seen("staff")) == ([False] * 2, [True] * 2)
    (guarded / "rung.yaml").write_text(first.replace("internal/**: staff", "internal/**: ''"))
    again = found("index", guarded)["changes"]
    assert (again["changed"], again["embedded"]) == (["docs/internal/vault.md"], 0)
    assert seen() == [True] * 2
    (guarded / "rung.yaml").write_text(first.replace("internal/**: staff", "internal/**: board, docs/bell.md: staff"))
    rung("index", guarded)
    assert (seen(), seen("staff"), seen("board"), seen("staff", "board")) == ([False] * 2, [False] * 2, [True] * 2, [True] * 2)


def test_a_label_that_nobody_knows_is_an_error(guarded: Path) -> None:
    for command in ("search", "ask"):
        with pytest.raises(RungError, match=r"--access: no document carries the label 'stuff'\. Labels are staff\."):
            rung(command, guarded, "vault", "--access", "stuff")


def test_check_says_which_rows_ask_for_closed_documents(guarded: Path) -> None:
    [told] = [one for one in found("check", guarded)["findings"] if one["code"] == "closed-source"]
    assert (
        told["severity"] == "note" and 0 < told["count"] <= 12 and "have their answer in a document with a label" in told["what"]
    )


def test_a_task_without_documents_says_what_to_add(task: Path) -> None:
    text = (task / "rung.yaml").read_text()
    (task / "rung.yaml").write_text(text.replace("documents: docs/, ", "").replace("[rag]", "[nearest]"))
    for words in (("index", task), ("search", task, "wheel")):
        with pytest.raises(RungError, match=r"Add them under data\.documents: docs/") as error:
            rung(*words)
        assert error.value.exit_code == 2


def test_every_question_of_the_example_is_answered_where_it_says(tmp_path: Path, home: Path) -> None:
    folder = tmp_path / "docs_chatbot"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns(".rung", "report.html"))
    task = load_task(folder)
    files = listing(folder, task.data.documents)
    assert len(files.files) == 16 and not files.refused
    documents = [parse(path, folder) for path in files.files]
    passages = [source_of(p) for document in documents for p in chunk(document, lambda text: len(text.split()))]
    rows = load(task).train
    assert len(rows) == 101
    for row in rows:
        places = [one for one in passages if one.is_named(row.source)]
        assert any(support(row.output, place.text) == 1 for place in places), f"{row.input}: {row.output!r} in {row.source}"
    text = (folder / "rung.yaml").read_text()
    (folder / "rung.yaml").write_text(text.replace("base: smollm2-135m-instruct", "base: fake"))
    assert found("check", folder)["blocking"] is False
    assert [step["rung"] for step in found("plan", folder)["rungs"] if not step["skip"]]


def test_drafts_are_begun_from_a_folder_that_is_there(tmp_path: Path, home: Path) -> None:
    with pytest.raises(RungError, match="nowhere"):
        rung("init", tmp_path / "new", "--from", tmp_path / "nowhere", "--base", "fake")
    assert not (tmp_path / "new" / "rung.yaml").exists()
