"""`rung.Predictor`: a fitted rung that answers texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rung import calls
from rung.api import tables
from rung.data.rows import quoted
from rung.errors import DataError
from rung.lm.engines import Engines
from rung.predictor import Predictor as Frozen
from rung.task import Task as Settings
from rung.types import Example, Prediction, Source

if TYPE_CHECKING:
    from rung.climbing.project import Project


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer.

    Attributes:
        text: What the model answers; of a classify task the label. Empty where there is no answer.
        confidence: Probability of the label among the task's labels, from 0 to 1; None where the task has none.
        sources: The passages that were looked up, best first; `cited` says which of them the answer rests on.
        abstained: Why no answer was given; empty where one was.
        error: Why the model could not be asked; empty where it was.
        seconds: Wall clock of this row in its batch.
        guess: The likeliest answer where the rung is not sure enough to give one (`goal.coverage`); `text` is then empty.

    ```python
    [answer] = rung.load("support").predict(["my card has not come"])
    answer.label, answer.confidence
    ```
    """

    text: str
    confidence: float | None = None
    sources: tuple[Source, ...] = ()
    abstained: str = ""
    error: str = ""
    seconds: float = 0.0
    guess: str = ""

    @property
    def label(self) -> str:
        """The same as `text`, as one says of a classify task."""
        return self.text

    @property
    def calls(self) -> list[dict[str, Any]]:
        """Where the task has tools: the calls of them, each with its `name` and `arguments`; empty where none is called."""
        return calls.parse_output(self.text)

    def __str__(self) -> str:
        if self.guess:
            return f"Not sure. Best guess: {self.guess}"
        return self.text or f"No answer: {self.abstained or self.error}"


@dataclass(frozen=True, eq=False)
class Predictor:
    """A fitted rung that answers.

    Attributes:
        rung: Its name, such as `few-shot+lora`.
        settings: The task's, as rung.yaml says them.
        frozen: How a row is answered: model, instruction, demonstrations, labels, decoding.

    ```python
    predictor = rung.load("support")
    predictor.predict(["my card has not come", {"text": "the motor hums"}])
    ```
    """

    rung: str
    settings: Settings = field(repr=False)
    frozen: Frozen = field(repr=False)
    _engines: Engines = field(repr=False)

    @property
    def model(self) -> str:
        """The model that is asked."""
        return self.frozen.model.name

    def predict(self, rows: Iterable[str | Mapping[str, Any]] | Any, *, access: Sequence[str] = ()) -> list[Answer]:
        """Answer rows, in order. One that cannot be asked has its `error`, and the others are answered.

        Args:
            rows: Texts, or rows with the task's input column: a list, a Series, a DataFrame, a `datasets.Dataset`.
            access: Labels of documents that the asker may see (`data.access`); without them, open documents alone.

        Raises:
            DataError: A row is not text and has no input column.
            TaskError: No document carries a label of `access`.
        """
        from rung.evaluate.predict import chunk_rows
        from rung.retrieve.asker import allowed

        examples = self._examples(rows)
        allow = allowed(self.settings, access, where="access")
        size = chunk_rows(self.frozen, self._engines)
        parts = (examples[start : start + size] for start in range(0, len(examples), size))
        return [_answer(one) for part in parts for one in self.frozen.predict(part, self._engines, allow=allow)]

    def _examples(self, rows: Any) -> list[Example]:
        from rung.data.formats import column_of

        if isinstance(rows, str | Mapping):
            raise DataError("`rows` is a single row.", where="predict", remedy="Put it into a list: predict([row]).")
        column, found = self.settings.data.input, []
        read = tables.column(rows, column, "rows") if tables.is_frame(rows) else rows
        for number, row in enumerate(read, 1):
            where = f"rows, item {number}"
            text = column_of(row, column, where) if isinstance(row, Mapping) else row
            if not isinstance(text, str):
                raise DataError(f"{quoted(text)} is not text.", where=where, remedy="Give texts, or rows with the input column.")
            found.append(Example(str(text), "", where=where))
        return found


def fitted(project: Project, rung: str = "") -> Predictor:
    """The Predictor of a rung, by default of the one that the last climb chose.

    RungError where it is not fitted; TaskError where its model lies outside and the data may not leave.
    """
    from rung.climbing.climb import chosen
    from rung.climbing.selecting import with_threshold
    from rung.lm.data_policy import require_data_policy

    found = with_threshold(project, chosen(project, rung))
    for one in filter(None, (found, found.then)):
        require_data_policy(project.task, one.model.name, "the model to be asked is", "rung.yaml needs.data_may_leave")
    name = rung or project.store.read("decision.json")["decision"]["chosen"]
    return Predictor(name, project.task, found, project.engines)


def _answer(found: Prediction) -> Answer:
    return Answer(found.output, found.confidence, found.sources, found.abstained, found.error, found.seconds, found.guess)
