"""Row forms: what in a raw row is the input, the output and the history; told from its columns."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from rung import calls
from rung.data.rows import Row, quoted
from rung.data.turns import listed
from rung.errors import DataError
from rung.task import Data
from rung.types import UNKNOWN, Example, Message

ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "tool": "tool",
    "function": "tool",
}
Turns = tuple[tuple[Message, ...], str, str, tuple[Message, ...]]
"""History, input, output; calls of tools between these two."""


@dataclass(frozen=True, slots=True)
class Form:
    """One way to write a row."""

    needs: tuple[str, ...]
    """Columns that must be there."""
    uses: frozenset[str]
    """Columns that go into the Example; the others become its `extra`."""
    read: Callable[[Row, str], Turns]
    output: str = ""
    """The one column that holds the right answer, or several; empty where it is a message."""


def form_of(columns: Collection[str], data: Data, where: str) -> Form:
    """The form of rows with these columns. `data.input` and `data.output`, where named in rung.yaml, rule."""
    if data.model_fields_set & {"input", "output"}:
        form = _columns(data.input, data.output)
        for column in form.needs:
            if column not in columns:
                raise DataError(f"there is no column {column!r}.", where=where, remedy=_known(column, columns))
        return form
    for form in FORMS:
        if set(form.needs) <= set(columns):
            return form
    raise DataError(
        f"the columns {_some(columns)} do not say what is input and what is output.",
        where=where,
        remedy="Name the columns under data.input and data.output in rung.yaml.",
    )


def _some(columns: Collection[str], most: int = 20) -> str:
    """The columns as messages list them: the first ones, each cut where it is long."""
    named = ", ".join(quoted(column) for column in list(columns)[:most])
    return named + (f" and {len(columns) - most} more" if len(columns) > most else "")


def example(
    row: Row, where: str, form: Form, group: str | None, source: str | None = None, answers: tuple[str, ...] | None = None
) -> Example:
    """One row as an Example; DataError where its input or output is empty.

    `answers`: all right ones where the output is no single text, none where the question cannot be answered.
    """
    history, given, wanted, after = form.read(row, where)
    if answers is not None:
        wanted = answers[0] if answers else UNKNOWN
    for name, text in (("input", given), ("output", wanted)):
        if not text.strip():
            raise DataError(f"the {name} is empty.", where=where, remedy="Fill the cell, or delete the row.")
        refuse_half_characters(text, where)
    for text in answers or ():
        refuse_half_characters(text, where)
    for message in (*history, *after):
        refuse_half_characters(message.content + message.extra, where)
    for key, column in (("group", group), ("source", source)):
        if column is not None and column not in row:
            raise DataError(f"there is no column {column!r} (data.{key}).", where=where, remedy=_known(column, row))
    extra = {column: value for column, value in row.items() if column not in form.uses and column not in (group, source)}
    return Example(
        input=given,
        output=wanted,
        history=history,
        group=text_of(row[group], where) if group is not None else "",
        where=where,
        extra=extra,
        source=text_of(row[source], where).strip() if source is not None else "",
        after=after,
        references=answers if answers and len(answers) > 1 else (),
    )


def refuse_half_characters(text: str, where: str) -> None:
    """DataError where a text cannot be written down again."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"character {error.start + 1} of {quoted(text)} is half a character (a lone surrogate).",
            where=where,
            remedy="Write the whole character; a JSON escape such as \\ud83d needs its second half.",
        ) from None


def column_of(row: Mapping[str, Any], column: str, where: str) -> str:
    """One cell of a row as text; DataError where there is no such column."""
    if column not in row:
        raise DataError(
            f"there is no column {column!r}.", where=where, remedy=f"Name it like data.input; here are {', '.join(row)}."
        )
    return text_of(row[column], where)


def text_of(value: Any, where: str) -> str:
    """A cell as text: objects, lists and booleans as compact JSON, numbers as they print, nothing and NaN as ''."""
    if isinstance(value, str):
        return value
    if value is None or (isinstance(value, float | Decimal) and value != value):
        return ""
    if isinstance(value, bytes):
        raise DataError(f"{quoted(value)} is bytes, not text.", where=where, remedy="Store the column as text.")
    if isinstance(value, bool | dict | list):
        return json.dumps(_without_nan(value), ensure_ascii=False, separators=(",", ":"), default=str)
    return str(value)


def _without_nan(value: Any) -> Any:
    """NaN, which JSON does not know, as null."""
    if isinstance(value, dict):
        return {name: _without_nan(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_without_nan(part) for part in value]
    return None if isinstance(value, float) and value != value else value


def _known(column: str, columns: Collection[str]) -> str:
    from rapidfuzz import fuzz, process

    near = process.extractOne(column, list(columns), scorer=fuzz.ratio, score_cutoff=60)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    return f"{hint}The columns are {', '.join(map(repr, columns))}."


def _columns(given: str, wanted: str) -> Form:
    def read(row: Row, where: str) -> Turns:
        return (), text_of(row.get(given), where), text_of(row.get(wanted), where), ()

    return Form((given, wanted), frozenset({given, wanted}), read, wanted)


def _alpaca(row: Row, where: str) -> Turns:
    parts = (text_of(row.get("instruction"), where), text_of(row.get("input"), where))
    return (), "\n\n".join(part for part in parts if part.strip()), text_of(row.get("output"), where), ()


def _chat(column: str) -> Callable[[Row, str], Turns]:
    def read(row: Row, where: str) -> Turns:
        value = listed(row.get(column), where)
        if not isinstance(value, list):
            raise DataError(
                f"{column} is {quoted(value)}, which is no list of messages.",
                where=where,
                remedy='Write [{"role": "user", "content": …}, {"role": "assistant", "content": …}].',
            )
        return last_exchange(messages(value, "user", where), where)

    return read


def _prompt_completion(row: Row, where: str) -> Turns:
    prompt, completion = listed(row.get("prompt"), where), listed(row.get("completion"), where)
    if not isinstance(prompt, list) and not isinstance(completion, list):
        return (), text_of(prompt, where), text_of(completion, where), ()
    asked = messages(prompt, "user", where)
    return last_exchange(asked + messages(completion, "assistant", where), where)


def messages(value: Any, role: str, where: str) -> tuple[Message, ...]:
    """A list of OpenAI or ShareGPT messages, also as JSON text or an object of lists; else one message of `role`."""
    value = listed(value, where)
    if not isinstance(value, list):
        return (Message(role, text_of(value, where)),)
    return tuple(_message(item, where) for item in value)


def _message(item: Any, where: str) -> Message:
    """An OpenAI message (role, content) or a ShareGPT one (from, value)."""
    known = isinstance(item, dict) and (item.get("role") or item.get("from"))
    if not isinstance(known, str) or known not in ROLES:
        raise DataError(
            f"{quoted(item)} is no message with a role.",
            where=where,
            remedy=f"Write messages as role and content, or from and value; roles are {', '.join(ROLES)}.",
        )
    content = item.get("content", item.get("value"))
    if isinstance(content, list):
        content = "".join(_part(part, where) for part in content)
    _check_calls(item, where)
    return Message(ROLES[known], text_of(content, where), calls.kept(item))


def _check_calls(item: dict[str, Any], where: str) -> None:
    """DataError where a message's calls of tools are none."""
    try:
        calls.as_output(item.get(calls.KEY) or [])
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(
            f"{quoted(item[calls.KEY])} are no calls of tools ({error}).",
            where=where,
            remedy='Write each as {"type": "function", "function": {"name": …, "arguments": {…}}}.',
        ) from error


def _part(part: Any, where: str) -> str:
    if isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str):
        return part["text"]
    raise DataError(f"{quoted(part)} is no text.", where=where, remedy="Only text parts can be used; delete the row.")


def last_exchange(messages: tuple[Message, ...], where: str) -> Turns:
    """The last answer, the question it answers, what stands before them, and calls of tools between them."""
    roles = [message.role for message in messages]
    last = len(roles) - 1 - roles[::-1].index("assistant") if "assistant" in roles else -1
    asked = last - 1
    while asked > 0 and _of_tools(messages[asked]):
        asked -= 1
    if last < 1 or roles[asked] != "user":
        raise DataError(
            f"the roles are {quoted(roles)}: the last answer does not stand straight after a user's message.",
            where=where,
            remedy="End the row with a user message and the assistant's answer to it.",
        )
    return messages[:asked], messages[asked].content, _output(messages[last], where), messages[asked + 1 : last]


def _of_tools(message: Message) -> bool:
    """Whether a turn calls a tool, or is what one gave back."""
    return message.role == "tool" or (message.role == "assistant" and calls.KEY in message.fields)


def _output(message: Message, where: str) -> str:
    """What an assistant's turn teaches: its text, or its calls of tools where they are the answer."""
    called = message.fields.get(calls.KEY)
    if called and message.content.strip():
        raise DataError(
            "the last answer holds both a text and calls of tools, and only one of them can be learnt.",
            where=where,
            remedy="Take out the text, or move the calls into a turn of their own before it.",
        )
    return calls.as_output(called) if called else message.content


FORMS = (
    Form(("instruction", "output"), frozenset({"instruction", "input", "output"}), _alpaca, "output"),
    _columns("input", "output"),
    Form(("messages",), frozenset({"messages"}), _chat("messages")),
    Form(("conversations",), frozenset({"conversations"}), _chat("conversations")),
    Form(("prompt", "completion"), frozenset({"prompt", "completion"}), _prompt_completion),
)
