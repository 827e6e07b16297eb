"""The index of a fit that another machine made: fits travel through a shared store, indexes do not."""

from __future__ import annotations

import re
from pathlib import Path

from rung.lm.engines import Engines
from rung.predictor import Predictor
from rung.retrieve import knowledge
from rung.store import Store
from rung.types import TrainData

SIZES = re.compile(r"-(\d+)-(\d+)$")
"""How the name of an index ends whose passages are not of the usual size and overlap."""


def index_here(predictor: Predictor, data: TrainData, store: Store, engines: Engines) -> None:
    """Bring the index of a stored fit up to date, if the fit may come from elsewhere. Little work where it is."""
    lookup = predictor.lookup
    if store.objects is None or lookup is None or "://" in lookup.index:
        return
    found = SIZES.search(Path(lookup.index).name)
    sizes = (int(found[1]), int(found[2])) if found else (0, knowledge.OVERLAP)
    how = knowledge.config_of(engines, lookup.embedder, *sizes)
    knowledge.bring_up_to_date(data.documents, lookup.index, engines, how)
