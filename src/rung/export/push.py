"""An exported folder uploaded to a model hub: only after it passed its proof, only where a token is set, private by default."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rung.errors import RungError
from rung.export.source import Source
from rung.export.targets import Form

WHERE = "rung export --push"


@dataclass(frozen=True)
class Place:
    """Where on a hub an export is to lie."""

    repo: str
    public: bool
    user: str
    """Whom the token belongs to."""
    hub: Any
    """The hub's client."""

    @property
    def seen_by(self) -> str:
        """Who will see it."""
        return "public" if self.public else "private"


def place(repo: str, form: Form, public: bool) -> Place:
    """A place on the hub that `HF_ENDPOINT` names, by default huggingface.co.

    RungError for another target, a wrong name, no token, a hub that does not know the token, or a repository that everybody
    sees where a private one was asked for.
    """
    from huggingface_hub import HfApi, get_token

    if form.target.name != "hf":
        raise RungError("only folders for transformers are pushed.", where=WHERE, remedy="Take --to hf.")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
        raise RungError(f"{repo!r} is no name of a repository.", where=WHERE, remedy="Name it as OWNER/NAME.")
    token = get_token()
    if not token:
        raise RungError(
            "no token for the hub is set.", where=WHERE, remedy="Set HF_TOKEN to one that may write, or run `hf auth login`."
        )
    hub = HfApi(endpoint=os.environ.get("HF_ENDPOINT"), token=token)
    with _errors(token):
        user = str(hub.whoami()["name"])
        if not public and hub.repo_exists(repo) and not hub.model_info(repo).private:
            raise RungError(f"{repo} exists and everybody can see it.", where=WHERE, remedy="Give --public, or another name.")
    return Place(repo, public, user, hub)


def contents(folder: Path) -> list[tuple[str, int]]:
    """What will be uploaded: each file's name and bytes."""
    return [(path.relative_to(folder).as_posix(), path.stat().st_size) for path in sorted(folder.rglob("*")) if path.is_file()]


def of_the_data(source: Source) -> str:
    """What the folder says of the task's data, in words."""
    shown = len(source.predictor.demos.fixed)
    rows = f", and {shown} rows themselves: the demonstrations in prompt.json" if shown else ", no rows"
    return f"the task's text, its labels, digests of the data and scores{rows}"


def push(to: Place, folder: Path, rung: str) -> str:
    """Upload the folder. Returns its address. RungError where the hub refuses."""
    with _errors(to.hub.token):
        to.hub.create_repo(to.repo, private=not to.public, exist_ok=True)
        to.hub.upload_folder(repo_id=to.repo, folder_path=folder, commit_message=f"The rung {rung}, exported by rung")
    return f"{to.hub.endpoint}/{to.repo}"


@contextmanager
def _errors(token: str) -> Iterator[None]:
    """Turns errors of the hub's client into a RungError that never has the token in it."""
    from huggingface_hub import errors

    try:
        yield
    except (errors.HTTPError, OSError, ValueError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        said = lines[0].replace(token, "…")
        raise RungError(
            f"the hub did not take it: {said}", where=WHERE, remedy="Check the token's rights, the name, and the network."
        ) from None
