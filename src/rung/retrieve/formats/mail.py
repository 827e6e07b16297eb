"""Mails (.eml): subject, sender, date and text; attachments by their names. https://docs.python.org/3/library/email.html"""

from __future__ import annotations

from email import message_from_bytes, policy
from email.errors import HeaderParseError
from email.message import EmailMessage, MIMEPart

from rung.errors import DataError
from rung.retrieve.formats.blocks import Blocks
from rung.retrieve.formats.html import read_html
from rung.retrieve.formats.plain import read_text_file

_HEAD = ("From", "To", "Cc", "Date")
_MALFORMED = (AttributeError, ValueError, TypeError, IndexError, LookupError, AssertionError, HeaderParseError)
"""What Python's parser of mails throws at odd heads."""


def read_mail(data: bytes) -> Blocks:
    """Plain text before HTML, where a mail holds both. Raises DataError for a file without the head of a mail."""
    mail = message_from_bytes(data, _class=EmailMessage, policy=policy.default)
    heads = {name.title(): value for name, value in reversed(list(mail.raw_items()))}
    if not any(name in heads for name in (*_HEAD, "Subject")):
        raise DataError("it is no mail: it has none of From, To, Date and Subject.", remedy="Give it its own ending.")
    blocks = Blocks()
    blocks.heading(0, _said(mail, "Subject", heads))
    blocks.add("\n".join(f"{name}: {_said(mail, name, heads)}" for name in _HEAD if name in heads))
    try:
        _body(blocks, mail)
    except _MALFORMED as error:
        raise DataError(f"its parts are malformed: {type(error).__name__}: {error}.", remedy="Save it anew.") from None
    return blocks


def _said(mail: EmailMessage, name: str, heads: dict[str, str]) -> str:
    """A line of the head, decoded; as it stands where Python's parser fails at it."""
    try:
        return str(mail.get(name, ""))
    except _MALFORMED:
        return " ".join(str(heads.get(name, "")).split())


def _body(blocks: Blocks, mail: EmailMessage) -> None:
    body = mail.get_body(("plain", "html"))
    if body is not None:
        text = _text(body)
        inner = read_html(text) if body.get_content_subtype() == "html" else read_text_file(text.replace("\r\n", "\n"))
        blocks.extend(inner.done())
    for part in mail.iter_attachments():
        blocks.add(f"Attachment, not read: {part.get_filename() or part.get_content_type()}")


def _text(part: MIMEPart) -> str:
    payload = part.get_payload(decode=True)
    data = payload if isinstance(payload, bytes) else b""
    try:
        return data.decode(part.get_content_charset("utf-8"))
    except (LookupError, UnicodeDecodeError):
        return data.decode("utf-8", "replace")
