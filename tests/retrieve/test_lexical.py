"""Analysis by script and the lexical leg: what must be found, in which language, and what must not raise."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rung.retrieve import analyse, lexical
from rung.retrieve.passage import Passage
from rung.retrieve.store import Allow

TEXTS = {
    "returns.md": "Customers may return parcels within thirty days of delivery. Shipping is refunded.",
    "agb.md": "Die Bedingungen der Rückgabe stehen in diesem Vertrag. Der Brief der Liebe liegt bei.",
    "karte.md": "Ihre Kreditkartennummer finden Sie auf der Vorderseite der Karte.",
    "zh.md": "退货政策：客户可以在三十天内退回商品。运费不予退还。",
    "ja.md": "返品ポリシー：お客様は三十日以内に商品を返品できます。",
    "ko.md": "반품 정책은 고객센터에서 확인할 수 있습니다.",
    "th.md": "นโยบายการคืนสินค้า ลูกค้าสามารถคืนสินค้าได้ภายในสามสิบวัน",
    "ru.md": "Покупатели могут вернуть товары в течение тридцати дней.",
    "hi.md": "ग्राहक तीस दिनों के भीतर सामान वापस कर सकते हैं।",
    "ar.md": "يمكن للعملاء إرجاع البضائع خلال ثلاثين يوماً.",
    "mixed.md": "要使用 `per_device_train_batch_size`，请设置 flash-attn 与 getUserName。Siehe auch v0.8.1 und --load-in-4bit.",
    "config.md": "Set gradient_checkpointing: true, call torch.nn.functional, and mind HTTPError E1101.",
}


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> lexical.Lexical:
    folder = tmp_path_factory.mktemp("words") / "lexical"
    rows = [(i, i, Passage(name, name, (), text)) for i, (name, text) in enumerate(TEXTS.items())]
    lexical.catch_up(folder, "s", 1, range(len(rows)), lambda new: [rows[i] for i in new])
    return lexical.load(folder)


def best(words: lexical.Lexical, question: str) -> str:
    found = words.search(question, 3, ())
    return list(TEXTS)[found[0][0]] if found else ""


@pytest.mark.parametrize(
    ("question", "path"),
    [
        ("returned parcel", "returns.md"),
        ("Was sind die Rückgabebedingungen?", "agb.md"),
        ("Rueckgabe", "agb.md"),
        ("ruckgabe", "agb.md"),
        ("Liebesbrief", "agb.md"),
        ("Kreditkart", "karte.md"),
        ("运费退还吗", "zh.md"),
        ("费", "zh.md"),
        ("返品できますか", "ja.md"),
        ("ﾎﾟﾘｼｰ", "ja.md"),
        ("고객센터", "ko.md"),
        ("คืนสินค้า", "th.md"),
        ("товар вернули", "ru.md"),
        ("सामान वापस", "hi.md"),
        ("البضائع يوما", "ar.md"),
        ("per_device_train_batch_size", "mixed.md"),
        ("PER_DEVICE_TRAIN_BATCH_SIZE?", "mixed.md"),
        ("batch size", "mixed.md"),
        ("user name", "mixed.md"),
        ("getusername", "mixed.md"),
        ("flash-attn", "mixed.md"),
        ("flash attn 怎么设置", "mixed.md"),
        ("0.8.1", "mixed.md"),
        ("version v0.8.1", "mixed.md"),
        ("load-in-4bit", "mixed.md"),
        ("load_in_4bit 4bit", "mixed.md"),
        ("nn.functional", "config.md"),
        ("torch.nn.functional", "config.md"),
        ("http error", "config.md"),
        ("e1101", "config.md"),
        ("gradient checkpoint", "config.md"),
    ],
)
def test_found_in_every_script(words: lexical.Lexical, question: str, path: str) -> None:
    assert best(words, question) == path


@pytest.mark.parametrize(
    "question", ["", "   ", "the of and", "?!", "\x00", "🙂", 'a:b AND (c OR "d" -e) [f TO g] ~2 ^3 \\ /x/ *', "'\"); --"]
)
def test_no_sign_in_a_question_means_anything(words: lexical.Lexical, question: str) -> None:
    words.search(question, 5, Allow(access=frozenset()).clauses())


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=80))
def test_any_text_can_be_asked_and_finds_itself(words: lexical.Lexical, text: str) -> None:
    words.search(text, 5, ())
    terms = analyse.terms(text)
    assert all(term and not any(c.isspace() for c in term) for term in terms), "a term would fall apart in tantivy"


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.characters(categories=["L", "N"]), min_size=1, max_size=20))
def test_a_word_of_a_document_is_found_by_the_same_word(word: str) -> None:
    assert set(analyse.terms(word)) & set(analyse.question_terms(word)) or not analyse.terms(word)


def test_a_vowel_sign_does_not_cut_a_word() -> None:
    assert len(analyse.terms("हिन्दी")) == 1
    assert analyse.terms("cafe\u0301") == analyse.terms("café")


def test_small_words_are_left_out_of_questions_unless_there_are_no_others() -> None:
    assert "the" not in analyse.question_terms("Where is the parcel?")
    assert analyse.question_terms("to be or not to be")


def test_a_language_is_told_by_its_small_words() -> None:
    assert analyse.detect("Wann wird die Lieferung bei mir sein?") == "german"
    assert analyse.detect("Pourquoi la livraison est en retard ?") == "french"
    assert analyse.detect("kubernetes") == "english"
    assert analyse.detect("IL-2 receptor") == "french"
    assert analyse.detect("IL-2 receptor", {"english"}) == "english"
    assert analyse.detect("Che cosa è il recettore?", {"english"}) == "italian"
    assert analyse.detect("recettore", {"italian"}) == "italian"


def test_taking_out_and_filing_again_changes_nothing_twice(tmp_path: Path) -> None:
    folder = tmp_path / "lexical"
    rows = {1: (1, 1, Passage("a", "a.md", (), "about parcels")), 2: (2, 2, Passage("b", "a.md", (), "about letters"))}

    def read(new: Sequence[int]) -> list[tuple[int, int, Passage]]:
        return [rows[i] for i in new]

    lexical.catch_up(folder, "s", 1, [1], read)
    stamp = (folder / "stamp.json").read_text()
    for _ in range(2):
        lexical.catch_up(folder, "s", 2, [2], read)
        found = lexical.load(folder)
        assert found.count() == 1
        assert found.search("parcels", 5, ()) == []
        assert [row for row, _ in found.search("letters", 5, ())] == [2]
        (folder / "stamp.json").write_text(stamp)  # as after a kill between commit and stamp
    lexical.catch_up(folder, "other", 1, [], read)
    assert lexical.load(folder).count() == 0, "the index of another store is not added to"


def test_files_that_a_killed_commit_left_do_not_stop_the_next(tmp_path: Path) -> None:
    rows = {i: (i, i, Passage(str(i), "a.md", (), f"number{i}")) for i in range(6)}

    def read(new: Sequence[int]) -> list[tuple[int, int, Passage]]:
        return [rows[i] for i in new]

    folder = tmp_path / "lexical"
    lexical.catch_up(folder, "s", 1, range(5), read)
    shutil.copytree(folder, tmp_path / "lexical.part")  # what a kill leaves: written, and not yet put in place
    (tmp_path / "lexical.part" / "half.store").write_bytes(b"half a file")
    lexical.catch_up(folder, "s", 2, [1, 2, 3, 4, 5], read)
    assert lexical.load(folder).count() == 5


def test_what_was_filed_is_not_analysed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {i: (i, i, Passage(str(i), f"{i}.md", (), f"number{i} parcel")) for i in range(6)}
    asked: list[Sequence[int]] = []

    def read(new: Sequence[int]) -> list[tuple[int, int, Passage]]:
        asked.append(list(new))
        return [rows[i] for i in new]

    folder = tmp_path / "lexical"
    lexical.catch_up(folder, "s", 1, range(5), read)
    lexical.catch_up(folder, "s", 2, [0, 2, 5, 3], read)
    lexical.catch_up(folder, "s", 3, [0, 2, 5, 3], read)  # a generation without a change, as where a store tidies up
    assert asked == [[0, 1, 2, 3, 4], [5]]
    found = lexical.load(folder)
    assert [row for row, _ in found.search("parcel", 4, ())] == [0, 2, 3, 5]
    monkeypatch.setattr(lexical, "FORMAT", -1)
    lexical.catch_up(folder, "s", 3, [0, 2], read)
    assert asked[-1] == [0, 2], "what another version filed is filed again"


def test_all_that_are_as_good_as_the_last_are_found(tmp_path: Path) -> None:
    rows = {i: (i, i, Passage(str(i), "a.md", (), "parcel" if i else "parcel parcel")) for i in range(40)}
    lexical.catch_up(tmp_path / "lexical", "s", 1, range(40), lambda new: [rows[i] for i in new])
    found = lexical.load(tmp_path / "lexical")
    assert [row for row, _ in found.search("parcel", 1, ())] == [0]
    assert [row for row, _ in found.search("parcel", 2, ())] == list(range(40))


@pytest.mark.parametrize(("raised", "plain", "other"), [("10⁶", "10^6", "106"), ("m²", "m^2", "m2"), ("x⁻¹", "x^-1", "x1")])
def test_a_raised_number_stays_apart_from_its_base(raised: str, plain: str, other: str) -> None:
    assert (
        analyse.terms(f"about {raised} of it") == analyse.terms(f"about {plain} of it") != analyse.terms(f"about {other} of it")
    )
    assert analyse.question_terms(raised) == analyse.question_terms(plain)


def test_a_word_is_stemmed_in_the_languages_of_the_index_alone(tmp_path: Path) -> None:
    texts = ["The CAS of the registry is a number that was given to it.", "The case is with the court, and it was closed."]
    rows = [(i, i, Passage(f"{i}.md", f"{i}.md", (), text)) for i, text in enumerate(texts)]
    lexical.catch_up(tmp_path / "lexical", "s", 1, range(2), lambda new: [rows[i] for i in new])
    found = lexical.load(tmp_path / "lexical")
    assert found.languages == {"english"}
    assert [row for row, _ in found.search("cases", 5, ())] == [1], "the German stem of cases is CAS"


def test_the_terms_of_one_word_share_its_weight() -> None:
    assert analyse.question_terms("IL-2 binding", {"english"}) == {"il-2": 0.7, "il": 0.7, "2": 0.7, "bind": 1.0}
