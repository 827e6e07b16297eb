"""What answers say is compared, not how it is written: numbers as values, signs, units, symbols and lone letters kept."""

from __future__ import annotations

import hashlib
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from rung.metrics import METRICS, Metric, find, rule, score, tokens
from rung.metrics.amounts import amounts
from rung.types import Example, Prediction


def rate(name: str, output: str, reference: str, asked: str = "in") -> float:
    return METRICS[name].per_row(output, reference, Example(asked, reference))


def same(a: str, b: str) -> bool:
    return rate("exact_match", a, b) == 1


SAME = [
    ("2", "2.0"),
    ("2.50", "2.5"),
    (".5", "0.5"),
    ("+2", "2"),
    ("-2", "−2"),
    ("-2", "–2"),
    ("-0", "0"),
    ("05", "5"),
    ("1,234.5", "1234.5"),
    ("1.234,5", "1234.5"),
    ("1 234,5", "1234.5"),
    ("1 234,5", "1234.5"),
    ("1’234.5", "1234.5"),
    ("1,234,567", "1234567"),
    ("1.234.567", "1234567"),
    ("12,34,567", "1234567"),
    ("2,5", "2.5"),
    ("1e3", "1000"),
    ("1.5E-3", "0.0015"),
    ("3×10^8", "300000000"),
    ("3 x 10⁸", "3e8"),
    ("10**6", "1,000,000"),
    ("2%", "2 %"),
    ("2%", "2 percent"),
    ("2 per cent", "2.0%"),
    ("50%", "0.5"),
    ("5‰", "0.005"),
    ("1/2", "0.5"),
    ("½", "1/2"),
    ("1½", "1.5"),
    ("1 1/2", "1.5"),
    ("2/6", "1/3"),
    ("9:05", "09:05"),
    ("3 pm", "15:00"),
    ("3:30 p.m.", "15:30"),
    ("5kg", "5 kg"),
    ("5 KG", "5 kilograms"),
    ("20 °C", "20 degrees Celsius"),
    ("20℃", "20 °C"),
    ("5 m²", "5 m^2"),
    ("10 µm", "10 μm"),
    ("$5", "5 USD"),
    ("USD 5.00", "$5"),
    ("-$5", "$-5"),
    ("€ 1.234,50", "1,234.50 EUR"),
    ("$1.5 million", "$1,500,000"),
    ("2024-01-05", "5 January 2024"),
    ("2024-1-5", "Jan. 5, 2024"),
    ("05.01.2024", "2024/01/05"),
    ("25/12/2024", "12/25/2024"),
    ("٢٫٥", "2.5"),
    ("२५", "25"),
    ("２．５％", "2.5%"),
    ("≥ 5", ">=5"),
    ("It is 2.1.", "it is 2.10"),
    ("**Paris**", "paris"),
    ("`C++`", "c++"),
    ("C#.", "C#"),
    ("The Eiffel Tower!", "eiffel tower"),
    ("top-up", "topup"),
    ("U.S.A.", "USA"),
    ("cafe\u0301", "café"),
    ("in\u200bvisible", "invisible"),
    ("(A)", "A"),
    ("£1.2m", "£1,200,000"),
    ("$3K", "3,000 USD"),
    ("$5b", "$5 billion"),
    ("1.2M", "1,200,000"),
    ("3k", "3000"),
    ("Rs. 500", "₹500"),
    ("6.02·10²³", "6.02e23"),
    ("Jan 5", "5 January"),
    ("5th of March", "March 5"),
    ("2024-01-05", "2024-01-05 00:00:00"),
    ("x >= y", "x ≥ y"),
    ("x != y", "x ≠ y"),
    ("x!=y", "x ≠ y"),
    ("5!=120", "5! = 120"),
    ("4!=24", "4! = 24"),
    ("`--force`", "--force"),
    ('"-x"', "-x"),
    ("2*-x", "2 * -x"),
    ("x/-y", "x / -y"),
    ("100 MWH", "100 MWh"),
    ("100 mwh", "100 MWh"),
    ("50 MPA", "50 MPa"),
    ("50 mpa", "50 MPa"),
    ("5 mv", "5 mV"),
    ("20 mj", "20 MJ"),
    ("5 Millijoules", "5 mJ"),
    ("5 MB/S", "5 MB/s"),
    ("100 MBps", "100 MB/s"),
    ("5. March", "5 March"),
    ("Node.js", "NodeJS"),
    ("Ph.D.", "PhD"),
    ("Paris!", "Paris"),
    ("a", "A"),
]


@pytest.mark.parametrize(("a", "b"), SAME)
def test_one_thing_written_in_two_ways_is_right(a: str, b: str) -> None:
    assert same(a, b) and same(b, a)
    assert rate("token_f1", a, b) == rate("token_f1", b, a) == 1
    assert rate("exact_match", f"It is {a}", f"it is {b}") == 1


DIFFERENT = [
    ("21", "2.1"),
    ("2", "-2"),
    ("2", "2%"),
    ("0.2", "2%"),
    ("21", "2/1"),
    ("21", "21/1"),
    ("5", "10/2"),
    ("21", "2:1"),
    ("2:1", "4:2"),
    ("1230", "12:30"),
    ("3:00", "3 pm"),
    ("1234", "1.234"),
    ("123", "1.2.3"),
    ("12.3", "1.2.3"),
    ("1.2", "1, 2"),
    ("12", "1, 2"),
    ("102", "10²"),
    ("102", "10₂"),
    ("103", "10^3"),
    ("5 kg", "5 g"),
    ("5 mW", "5 MW"),
    ("5 MB", "5 Mb"),
    ("5 km", "5 km/h"),
    ("5m", "5M"),
    ("5", "5 kg"),
    ("$5", "5"),
    ("$5", "€5"),
    ("$5", "£5"),
    ("5°", "5"),
    ("5°C", "5°F"),
    ("<5", ">5"),
    ("<5", "5"),
    ("±5", "5"),
    ("~5", "5"),
    ("3-2", "32"),
    ("3-2", "3 2"),
    ("02139", "2139"),
    ("007", "7"),
    ("5/1/2024", "1/5/2024"),
    ("2024-01-05", "2024-05-01"),
    ("2024-01-05", "20240105"),
    ("192.168.100.200", "192168100200"),
    ("Python 3.10", "Python 3.1"),
    ("section 2.10", "section 2.1"),
    ("v1.2", "v12"),
    ("GPT-3.5", "GPT-35"),
    ("C", "C++"),
    ("C", "C#"),
    ("C++", "C#"),
    ("F#", "F"),
    (".NET", "net"),
    ("A+", "A"),
    ("A-", "A"),
    ("O-", "O+"),
    ("m/s", "ms"),
    ("x-y", "xy"),
    ("the", "A"),
    ("a", "the"),
    ("an", "a"),
    ("vitamin A", "vitamin"),
    ("A and B", "B"),
    ("+", "-"),
    ("?", "!"),
    ("6'2\"", "62"),
    ("5 million", "5"),
    ('5"', "5"),
    ("5 MB/s", "5 Mbit/s"),
    ("5 MV", "5 mV"),
    ("5 mJ", "5 MJ"),
    ("300 K", "300k"),
    ("5 m", "5M"),
    ("0.1 M", "100k"),
    ("007k", "007"),
    ("1.2.3M", "1.2.3"),
    ("1.54 pm", "13:54"),
    ("100 MBps", "100 Mbps"),
    ("!x", "x"),
    ("x != y", "x = y"),
    ("a != b", "b"),
    ("x <= y", "x >= y"),
    ("-x", "x"),
    ("-inf", "inf"),
    ("-√2", "√2"),
    ("--force", "force"),
    ("!important", "important"),
    ("file.txt", "filetxt"),
    ("Jan 5", "Jan 6"),
    ("Jan 5", "5"),
    ("2024-01-05", "2024-01-05 00:01"),
]


@pytest.mark.parametrize(("a", "b"), DIFFERENT)
def test_what_differs_in_a_sign_is_wrong(a: str, b: str) -> None:
    assert not same(a, b) and not same(b, a)
    assert rate("token_f1", a, b) < 1 and rate("token_f1", b, a) < 1
    assert rate("rouge_l", a, b) < 1


ONE_TOKEN = [("21", "2.1"), ("2", "-2"), ("2", "2%"), ("21", "2/1"), ("5 g", "5 kg"), ("C", "C++"), ("$5", "€5"), ("<5", ">5")]


@pytest.mark.parametrize(("a", "b"), ONE_TOKEN)
def test_a_number_with_its_sign_and_unit_is_one_token(a: str, b: str) -> None:
    assert rate("token_f1", a, b) == rate("rouge_l", a, b) == 0


# --- over all numbers -------------------------------------------------------------------------------------------------

plain = st.decimals(min_value=-(10**12), max_value=10**12, allow_nan=False, allow_infinity=False, places=4)


def grouped(number: Decimal, thousands: str, mark: str) -> str:
    return f"{number:,f}".replace(",", "\0").replace(".", mark).replace("\0", thousands)


def written(number: Decimal) -> list[str]:
    """One number in ways that each show their own convention."""
    full = f"{number:f}"
    out = [full, full.replace("-", "−"), full.translate(str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")), f"{number:e}", f"{number:E}"]
    out += [grouped(number, *marks) for marks in ((",", "."), (".", ","), (" ", ","), ("'", "."), ("\u202f", ","), ("’", "."))]
    out += [full.translate(str.maketrans("0123456789.", "０１２３４５６７８９．")), str(number.normalize())]
    out += [f"+{full}"] * (number >= 0)
    top, bottom = Fraction(number).as_integer_ratio()
    return out + ([f"{top}/{bottom}"] if bottom > 1 else [])


@settings(max_examples=300, deadline=None)
@given(plain, st.data())
def test_one_value_is_equal_however_it_is_written(number: Decimal, data: st.DataObject) -> None:
    forms = st.sampled_from(written(number))
    a, b = data.draw(forms), data.draw(forms)
    assert same(a, b), (a, b)


@settings(max_examples=300, deadline=None)
@given(plain, plain, st.data())
def test_different_values_are_never_equal(x: Decimal, y: Decimal, data: st.DataObject) -> None:
    assume(x != y)
    a, b = data.draw(st.sampled_from(written(x))), data.draw(st.sampled_from(written(y)))
    assert not same(a, b), (a, b)


@given(plain, st.sampled_from(["%", " kg", " m/s", " USD", "°C", " million", "‰"]))
def test_what_stands_behind_a_number_belongs_to_it(number: Decimal, sign: str) -> None:
    full = f"{number:f}"
    assert same(f"{full}{sign}", f"{full.rstrip('0').rstrip('.')}{sign}")
    assert number == 0 or not same(full, f"{full}{sign}")


@pytest.mark.parametrize(
    ("output", "reference", "asked", "right"),
    [
        ("1234", "1,234", "How many?", 1),
        ("1.234", "1,234", "How many?", 0),
        ("1234", "1.234", "Wie viele? Im Vorjahr waren es 2,5 Prozent.", 1),
        ("1.234", "1,234", "Wie viele? Im Vorjahr waren es 2,5 Prozent.", 0),
        ("1,234", "1234", "Last year it was 2.5.", 1),
        ("1.000e-1", "0,1", "in", 1),
        ("1.234 and 2,5", "1234 and 2.5", "in", 1),
    ],
)
def test_a_number_that_could_be_either_is_read_as_its_row_writes_numbers(
    output: str, reference: str, asked: str, right: float
) -> None:
    assert rate("exact_match", output, reference, asked) == right


@given(st.text(max_size=60))
def test_any_text_equals_itself(text: str) -> None:
    assert same(text, text) and rate("token_f1", text, text) == 1


@given(st.text("0123456789.,-+%/:' eEx^$€°CkgTZ()#<>", max_size=40))
@example("> ")  # the mark of a quotation in Markdown, and nothing quoted
def test_any_digits_and_signs_can_be_read_in_both_conventions(text: str) -> None:
    for mark in (".", ","):
        assert bool(tokens.tokenize(text, mark)) == bool(text.strip())  # type: ignore[arg-type]


def test_a_number_of_a_million_digits_is_read_at_once() -> None:
    long = "7" * 1_000_000
    assert same(long, f"{long}.0") and not same(long, long[1:])
    assert same(f"1e{'9' * 6}", f"10e{'9' * 5}8") and not same(f"{long}/3", f"{long}/6")


# --- the rules by name ------------------------------------------------------------------------------------------------


def test_squads_own_rule_stands_under_its_name() -> None:
    assert rate("squad_exact_match", "21", "2.1") == rate("squad_exact_match", "the", "A") == 1
    assert rate("squad_f1", "2.0", "2") == 0 and rate("squad_f1", "in Paris, France", "Paris") == 0.5
    assert rate("rouge_score_l", "2", "-2") == 1 and rate("rouge_l", "2", "-2") == 0


def test_a_changed_rule_has_another_name_in_keys() -> None:
    assert (
        rule("exact_match") == "exact_match@5" and rule("accuracy") == "accuracy" and rule("metrics.py:own") == "metrics.py:own"
    )


# --- fields -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b", "right"),
    [
        ('{"a": 2}', '{"a": 2.0}', 1),
        ('{"a": 2}', '{"a": 2e0}', 1),
        ('{"a": 2}', '{"a": "2"}', 0),  # the type is a part of the answer
        ('{"a": 1}', '{"a": true}', 0),
        ('{"a": "true"}', '{"a": true}', 0),
        ('{"a": null}', "{}", 1),
        ('{"a": ""}', '{"a": null}', 1),
        ('{"a": NaN}', '{"a": null}', 1),
        ('{"a": 0}', '{"a": null}', 0),
        ('{"a": false}', '{"a": null}', 0),
        ('{"a": "2.0"}', '{"a": "2"}', 1),
        ('{"a": "21"}', '{"a": "2.1"}', 0),
        ('{"a": "1,234.50 USD"}', '{"a": "$1234.5"}', 1),
        ('{"a": "5 kg"}', '{"a": "5kg"}', 1),
        ('{"a": "5 kg"}', '{"a": "5 g"}', 0),
        ('{"a": "2024-01-05"}', '{"a": "5 January 2024"}', 1),
        ('{"a": "2024-01-05"}', '{"a": "2024-01-06"}', 0),
        ('{"version": "2.10"}', '{"version": "2.1"}', 0),
        ('{"order_id": "1.0"}', '{"order_id": "1"}', 0),
        ('{"zip": "02139"}', '{"zip": "2139"}', 0),
        ('{"a": "C"}', '{"a": "C++"}', 0),
        ('{"a": "Ann"}', '{"a": "ann"}', 0),
        ('{"a": "A"}', '{"a": "the"}', 0),
        ('{"a.b": 1}', '{"a": {"b": 1}}', 0),
        ('{"a": 1, "a": 2}', '{"a": 2}', 0),
        ('{"a": 1e400}', '{"a": 1e500}', 0),
        ('{"a": 9007199254740993}', '{"a": 9007199254740992}', 0),
        ('{"a": [1, 2]}', '{"a": [2, 1]}', 1),
        ('{"a": [{"n": "x", "p": 1}, {"n": "y", "p": 2}]}', '{"a": [{"n": "x", "p": 2}, {"n": "y", "p": 1}]}', 0),
        ('{"a": ' + "9" * 5000 + "}", '{"a": ' + "9" * 5000 + ".0}", 1),
    ],
)
def test_fields_are_compared_as_values(a: str, b: str, right: float) -> None:
    assert rate("exact_match", a, b) == rate("exact_match", b, a) == right
    swapped = "[{" in a  # fields are counted by their path: which item of a list they stand in is not asked
    assert swapped or (rate("field_f1", a, b) == 1) == (rate("field_f1", b, a) == 1) == bool(right)


def test_deep_json_is_wrong_and_no_fault() -> None:
    for deep in ("[" * 100_000, "[" * 900 + "]" * 900, '{"a":' * 600 + "1" + "}" * 600):
        assert rate("exact_match", deep, '{"a": 1}') == 0 and rate("field_f1", deep, '{"a": 1}') == 0


# --- stored scores ----------------------------------------------------------------------------------------------------


def test_a_metric_says_the_same_of_a_split_as_of_its_rows() -> None:
    rows = [Example(f"q{i}", f"{i}.1") for i in range(30)]
    said = [Prediction(row.id, row.output.replace(".", "")) for row in rows]
    for name in ("exact_match", "token_f1", "rouge_l"):
        metric: Metric = METRICS[name]
        assert score(metric, rows, said, "dev").overall.value == 0


def test_a_numbered_list_of_months_holds_no_dates() -> None:
    assert tokens.tokenize("1. March\n2. April", ".") == tokens.tokenize("1\nMarch\n2\nApril", ".")
    assert tokens.tokenize("may 10 kg", ".") == ("may", ":1e1 kg")


@pytest.mark.parametrize(
    ("metric", "output", "reference"),
    [("within(5%)", "December 24", "24"), ("mae_score(2)", "25 Dec", "25"), ("within(5%)", "5 MV", "5000 kV")],
)
def test_a_day_without_a_year_is_measured_by_its_number(metric: str, output: str, reference: str) -> None:
    found = find(metric)
    assert found and not (found.fault and (found.fault(output) or found.fault(reference)))
    assert found.per_row(output, reference, Example("in", reference)) == 1


READ = (
    *("1,234.5", "-2", "1e3", "1.2M", "3k", "$5m", "0.1 M", "300 K", "007k", "1.2.3M", "5%", "1/2", "3 pm", "1.54 pm", "12:30"),
    *("2024-01-05 00:00", "Jan 5", "5. March", "1. March\n2. April", "5 kg", "5 MB/s", "5 mv", "100 MWH", "Rs. 500", "Node.js"),
    *("x != y", "5!=120", "-x", "`--force`", "2*-x", "!x", "file.txt", "Ph.D.", "C++", "A-", "the cat", "**H₂O** 6.02·10²³"),
)
"""Texts of every sort that the rules of metrics read."""


def test_rules_whose_reading_of_texts_changes_have_another_version() -> None:
    read = repr([(tokens.tokenize(text, "."), amounts(text)) for text in READ])
    rules = ("exact_match", "token_f1", "rouge_l", "field_f1", "quadratic_kappa", "within(1)", "mae_score(1)")
    assert {hashlib.sha256(read.encode()).hexdigest()[:16]: [rule(name) for name in rules]} == {
        "b05c5fa102b3e41a": [
            *("exact_match@5", "token_f1@5", "rouge_l@5", "field_f1@5", "quadratic_kappa@2", "within(1)@2", "mae_score(1)@2")
        ]
    }, "texts are read in another way: raise the versions of these metrics, or old scores pass for the new rule's"
