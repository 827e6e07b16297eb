"""Ollama's Modelfile: the chat template in Go's language, the system message, demonstrations, stop tokens, decoding.

https://docs.ollama.com/modelfile. Ollama reads no Jinja, so the template is made of what the model's own puts around the turns
of each role, and is refused where that is not all that it does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rung.errors import RungError
from rung.export import asking
from rung.export.source import Source

if TYPE_CHECKING:
    from rung.lm.export.reader import Tokens, Written

ROLES = ("system", "user", "assistant")
Turns = Sequence[dict[str, Any]]
_MARK = "TURNMARK"


def text(source: Source, file: str, adapter: str = "") -> str:
    """The Modelfile for a GGUF file and an adapter of these names. RungError for a chat template that Ollama cannot be given."""
    asked = asking.content(source)
    around, opening = parts(source)
    added = [f"ADAPTER ./{adapter}"] if adapter else []
    lines = [f"FROM ./{file}", *added, f'TEMPLATE """{template(around, opening)}"""']
    lines += [f"PARAMETER stop {_quoted(stop)}" for stop in asked["stop"]]
    lines += [f"PARAMETER temperature {asked['temperature']:g}", f"PARAMETER num_predict {asked['max_new_tokens']}"]
    if asked["temperature"]:
        lines.append(f"PARAMETER top_p {asked['top_p']:g}")
    turns = asked["messages"][:-1]
    if turns and turns[0]["role"] == "system":
        lines.append(f"SYSTEM {_quoted(turns[0]['content'])}")
        turns = turns[1:]
    lines += [f"MESSAGE {turn['role']} {_quoted(turn['content'])}" for turn in turns]
    return "\n".join(lines) + "\n"


def check_tools(source: Source) -> None:
    """RungError for a rung whose tools its chat template shows."""
    known = source.predictor.tools
    if known and not known.in_text:
        raise RungError(
            f"{source.rung} is shown its tools by the chat template, which a Modelfile does not hold here.",
            where="rung export --to ollama",
            remedy="Export it --to gguf, hf or vllm.",
        )


def parts(source: Source) -> tuple[dict[str, tuple[str, str]], str]:
    """What the chat template puts before and behind a turn of each role, and before the answer. RungError where that varies."""
    chat = source.chat

    def shown(turns: Turns, **how: Any) -> str:
        given = chat.tokenizer.apply_chat_template(list(turns), chat_template=chat.template, tokenize=False, **how)
        return given.removeprefix(chat.begin)  # Ollama sets the begin token itself

    turns = [{"role": role, "content": f"{_MARK}{place}"} for place, role in enumerate((*ROLES, "user"))]
    whole, done = shown(turns, add_generation_prompt=False), ""
    around: dict[str, tuple[str, str]] = {}
    for place, turn in enumerate(turns):
        now = shown(turns[: place + 1], add_generation_prompt=False)
        before, _, behind = now.removeprefix(done).partition(turn["content"])
        if not now.startswith(done) or around.get(turn["role"], (before, behind)) != (before, behind):
            raise _varies()
        around[turn["role"]], done = (before, behind), now
    prompt = shown(turns, add_generation_prompt=True)
    if done != whole or not prompt.startswith(whole) or "{{" in str(around):
        raise _varies()
    return around, prompt.removeprefix(whole)


def template(around: dict[str, tuple[str, str]], opening: str) -> str:
    """The same in Go's template language."""
    turns = [f'if eq .Role "{role}" }}}}{before}{{{{ .Content }}}}{behind}{{{{ ' for role, (before, behind) in around.items()]
    return "{{- range .Messages }}{{ " + "else ".join(turns) + "end }}{{ end }}" + opening


def _quoted(value: str) -> str:
    """A value between quotation marks of three, which a Modelfile takes over several lines."""
    if '"""' in value:
        raise RungError('a text with """ in it cannot stand in a Modelfile.', remedy="Export it --to gguf.")
    return f'"""{value}"""' if '"' in value or "\n" in value else f'"{value}"'


def _varies() -> RungError:
    return RungError(
        "its chat template does more than put marks around each turn, which cannot be said in a Modelfile here.",
        where="rung export --to ollama",
        remedy="Export it --to gguf: the file has the template, and Ollama knows those of common models.",
    )


class Rendering:
    """Another reader, with prompts rendered as the Modelfile's template does it; Ollama itself is not run."""

    def __init__(self, reader: Any, source: Source):
        self._reader = reader
        self._around, self._opening = parts(source)
        self._begin = source.chat.begin
        self.engine = f"{reader.engine}, the Modelfile's template filled in by rung"

    def render(self, turns: Turns, tools: Turns) -> str:
        written = [f"{before}{turn['content']}{behind}" for turn in turns for before, behind in [self._around[turn["role"]]]]
        return "".join([self._begin, *written, self._opening])

    def cut(self, text: str) -> Tokens:
        return self._reader.cut(text)

    def write(self, prompt: Tokens, most: int) -> Written:
        return self._reader.write(prompt, most)

    def likeliest(self, prompt: Tokens, answer: Tokens) -> list[int]:
        return self._reader.likeliest(prompt, answer)

    def close(self) -> None:
        self._reader.close()
