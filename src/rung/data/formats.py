"""Row formats: finds input, output and history of a raw row from its columns."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from rung import calls
from rung.data.rows import Row, quoted
from rung.data.turns import as_messages
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
"""History, input, output, and tool calls between input and output."""


@dataclass(frozen=True, slots=True)
class Form:
    """A row format."""

    needs: tuple[str, ...]
    """Required columns."""
    uses: frozenset[str]
    """Columns used for the Example; others go to `extra`."""
    read: Callable[[Row, str], Turns]
    output: str = ""
    """Column with the right answers; empty if the answer is a message."""


def form_of(columns: Collection[str], data: Data, where: str) -> Form:
    """The format for these columns. `data.input` and `data.output` in rung.yaml take precedence."""
    if data.model_fields_set & {"input", "output"}:
        form = _columns(data.input, data.output)
        for column in form.needs:
            if column not in columns:
                key = "input" if column == data.input else "output"
                raise DataError(
                    f"there is no column {column!r} (data.{key}).", where=where, remedy=_known(column, columns, form.needs)
                )
        return form
    for form in FORMS:
        if set(form.needs) <= set(columns):
            return form
    raise DataError(
        f"the columns {_listed(columns)} do not identify input and output.",
        where=where,
        remedy="Name the columns under data.input and data.output in rung.yaml.",
    )


def _listed(columns: Collection[str], most: int = 20) -> str:
    """The first columns, shortened, for messages."""
    named = ", ".join(quoted(column) for column in list(columns)[:most])
    return named + (f" and {len(columns) - most} more" if len(columns) > most else "")


def example(
    row: Row, where: str, form: Form, group: str | None, source: str | None = None, answers: tuple[str, ...] | None = None
) -> Example:
    """One row as an Example; DataError if input or output is empty.

    `answers`: all right answers if the output is not a single text; empty if unanswerable.
    """
    history, given, wanted, after = form.read(row, where)
    if answers is not None:
        wanted = answers[0] if answers else UNKNOWN
    for name, text in (("input", given), ("output", wanted)):
        if not text.strip():
            raise DataError(f"the {name} is empty.", where=where, remedy="Fill the cell, or delete the row.")
        refuse_surrogates(text, where)
    for text in answers or ():
        refuse_surrogates(text, where)
    for message in (*history, *after):
        refuse_surrogates(message.content + message.extra, where)
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


def refuse_surrogates(text: str, where: str) -> None:
    """DataError for a text with a lone surrogate, which cannot be encoded."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"character {error.start + 1} of {quoted(text)} is a lone surrogate.",
            where=where,
            remedy="Write the whole character; a JSON escape such as \\ud83d needs its second half.",
        ) from None


def column_of(row: Mapping[str, Any], column: str, where: str) -> str:
    """One cell of a row as text; DataError for a missing column."""
    if column not in row:
        raise DataError(
            f"there is no column {column!r}.", where=where, remedy=f"Name it as in data.input; the columns are {', '.join(row)}."
        )
    return text_of(row[column], where)


def text_of(value: Any, where: str) -> str:
    """A cell as text: objects, lists and booleans as compact JSON, None and NaN as ''."""
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
    """Replace NaN, which JSON lacks, by None."""
    if isinstance(value, dict):
        return {name: _without_nan(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_without_nan(part) for part in value]
    return None if isinstance(value, float) and value != value else value


def _known(column: str, columns: Collection[str], named: Collection[str] = ()) -> str:
    """The columns that there are, with a guess at the one that was meant; not one that is named for something else."""
    from rapidfuzz import fuzz, process

    free = [one for one in columns if one not in named]
    near = process.extractOne(column, free, scorer=fuzz.ratio, score_cutoff=60)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    return f"{hint}The columns are {', '.join(map(repr, columns))}."


def _columns(given: str, wanted: str) -> Form:
    def read(row: Row, where: str) -> Turns:
        answer, asked = text_of(row.get(wanted), where), row.get(given)
        asked = as_messages(asked, where) if isinstance(asked, dict) and "messages" in asked else asked
        if _is_dialogue(asked):
            return last_exchange((*messages(asked, "user", where), Message("assistant", answer)), where)
        return (), text_of(asked, where), answer, ()

    return Form((given, wanted), frozenset({given, wanted}), read, wanted)


def _is_dialogue(value: Any) -> bool:
    """Whether a cell is a list of messages that ends with the user's: its answer comes next. Other lists are text to read."""
    named = isinstance(value, list) and bool(value) and all(isinstance(one, dict) for one in value)
    roles = [ROLES.get(str(one.get("role") or one.get("from"))) for one in value] if named else []
    return bool(roles) and None not in roles and roles[-1] in ("user", "tool")


def _alpaca(row: Row, where: str) -> Turns:
    parts = (text_of(row.get("instruction"), where), text_of(row.get("input"), where))
    asked = "\n\n".join(part for part in parts if part.strip())
    return (*_system(row, where), *_pairs(row.get("history"), where)), asked, text_of(row.get("output"), where), ()


def _system(row: Row, where: str) -> tuple[Message, ...]:
    """The system message in a column beside the turns, as Anthropic's and LLaMA-Factory's rows have it."""
    given = row.get("system")
    return (Message("system", given),) if isinstance(given, str) and given.strip() else ()


def _pairs(given: Any, where: str) -> tuple[Message, ...]:
    """Earlier questions and answers, as LLaMA-Factory's column `history` has them: [["question", "answer"], ...].

    Anything else under that name is another column, which is not read.
    """
    try:
        pairs = json.loads(given) if isinstance(given, str) else given
    except ValueError:
        return ()
    if not isinstance(pairs, list) or any(not isinstance(pair, list) or len(pair) != 2 for pair in pairs):
        return ()
    return tuple(Message(role, text_of(text, where)) for pair in pairs for role, text in zip(("user", "assistant"), pair))


def _chat(column: str) -> Callable[[Row, str], Turns]:
    def read(row: Row, where: str) -> Turns:
        value = as_messages(row.get(column), where)
        if not isinstance(value, list):
            raise DataError(
                f"{column} is {quoted(value)}, which is not a list of messages.",
                where=where,
                remedy='Write [{"role": "user", "content": …}, {"role": "assistant", "content": …}].',
            )
        turns = messages(value, "user", where)
        before = _system(row, where) if all(turn.role != "system" for turn in turns) else ()
        return last_exchange((*before, *turns), where)

    return read


def _prompt_completion(row: Row, where: str) -> Turns:
    prompt, completion = as_messages(row.get("prompt"), where), as_messages(row.get("completion"), where)
    if not isinstance(prompt, list) and not isinstance(completion, list):
        return (), text_of(prompt, where), text_of(completion, where), ()
    asked = messages(prompt, "user", where)
    return last_exchange(asked + messages(completion, "assistant", where), where)


def messages(value: Any, role: str, where: str) -> tuple[Message, ...]:
    """OpenAI or ShareGPT messages, also as JSON text or an object of lists; otherwise one message of `role`."""
    value = as_messages(value, where)
    if not isinstance(value, list):
        return (Message(role, text_of(value, where)),)
    return tuple(_message(item, where) for item in value)


def _message(item: Any, where: str) -> Message:
    """An OpenAI message (role, content) or a ShareGPT one (from, value)."""
    known = isinstance(item, dict) and (item.get("role") or item.get("from"))
    if not isinstance(known, str) or known not in ROLES:
        raise DataError(
            f"{quoted(item)} is not a message with a role.",
            where=where,
            remedy=f"Write messages as role and content, or from and value; roles are {', '.join(ROLES)}.",
        )
    content = item.get("content", item.get("value"))
    if isinstance(content, list):
        content = "".join(_part(part, where) for part in content)
    _check_calls(item, where)
    return Message(ROLES[known], text_of(content, where), calls.extra_fields(item))


def _check_calls(item: dict[str, Any], where: str) -> None:
    """DataError for invalid tool calls in a message."""
    try:
        calls.as_output(item.get(calls.KEY) or [])
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(
            f"{quoted(item[calls.KEY])} are not valid tool calls ({error}).",
            where=where,
            remedy='Write each as {"type": "function", "function": {"name": …, "arguments": {…}}}.',
        ) from error


def _part(part: Any, where: str) -> str:
    if isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str):
        return part["text"]
    raise DataError(f"{quoted(part)} is not text.", where=where, remedy="Only text parts are supported; delete the row.")


def last_exchange(messages: tuple[Message, ...], where: str) -> Turns:
    """The last answer, its question, the turns before, and tool calls between question and answer."""
    roles = [message.role for message in messages]
    last = len(roles) - 1 - roles[::-1].index("assistant") if "assistant" in roles else -1
    asked = last - 1
    while asked > 0 and _of_tools(messages[asked]):
        asked -= 1
    if last < 1 or roles[asked] != "user":
        raise DataError(
            f"the roles are {quoted(roles)}: the last answer does not directly follow a user message.",
            where=where,
            remedy="End the row with a user message and the assistant's answer to it.",
        )
    return messages[:asked], messages[asked].content, _output(messages[last], where), messages[asked + 1 : last]


def _of_tools(message: Message) -> bool:
    """Whether a turn is a tool call or its result."""
    return message.role == "tool" or (message.role == "assistant" and calls.KEY in message.fields)


def _output(message: Message, where: str) -> str:
    """The training target of an assistant turn: its text or its tool calls."""
    if not message.is_taught:
        raise DataError(
            "the last answer has weight 0: it is not to be learnt, so it is no right answer.",
            where=where,
            remedy="End the row with the answer to learn, or delete it.",
        )
    called = message.fields.get(calls.KEY)
    if called and message.content.strip():
        raise DataError(
            "the last answer has both text and tool calls, but only one can be the training target.",
            where=where,
            remedy="Remove the text, or move the calls into a turn before it.",
        )
    return calls.as_output(called) if called else message.content


FORMS = (
    Form(("instruction", "output"), frozenset({"instruction", "input", "output", "system", "history"}), _alpaca, "output"),
    _columns("input", "output"),
    Form(("messages",), frozenset({"messages", "system"}), _chat("messages")),
    Form(("conversations",), frozenset({"conversations", "system"}), _chat("conversations")),
    Form(("prompt", "completion"), frozenset({"prompt", "completion"}), _prompt_completion),
)
