"""One turn of a conversation."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Message:
    role: str
    content: str
    extra: str = ""
    """Further fields as JSON: tool calls, or the call that it answers (`rung.calls`). Usually empty."""

    @property
    def fields(self) -> dict[str, Any]:
        """The message as a dict for APIs and chat templates."""
        return {"role": self.role, "content": self.content, **(json.loads(self.extra) if self.extra else {})}

    @property
    def named(self) -> list[str]:
        """The parts that identify its content."""
        return [self.role, self.content, *([self.extra] if self.extra else [])]
