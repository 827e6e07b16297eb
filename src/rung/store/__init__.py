"""The `.rung` folder beside a task: fits, predictions and records, append-only and keyed by content.

lock                       one climb at a time
leases/<name>.json         who works on a fit, a rung or a Predictor's answers just now
records.jsonl              one Record a line
fits/<key>/                a saved Predictor and fit.json (seconds, notes)
work/<key>/                an unfinished fit; its checkpoints survive a killed process
work/<key>.json            its attempts without progress
trackers/<key>/            what experiment trackers wrote
predictions/<digest>.jsonl answers of one Predictor, one row a line
latency/<digest>.json      its latency
marks/<digest>.jsonl       replies of a judge that runs here, one question a line
ability/<digest>.json      general ability of one model, untouched or fitted
jobs/<digest>.json         a climb as the machines of a cluster take it up
tune/<key>.json            a race of settings
test.json                  each look at the sealed rows, with its score
claims.json                the error that climbs have spent on their held-out rows
decision.json              the last decision
samples.json               lengths of answers to four train rows, which correct estimates
precision.json             the type in which fits store frozen weights, where the task leaves it open

Files are signed (`rung.signed`) under their name in the folder. One with an invalid signature counts as absent: it is
reported once and made again. `rung trust` signs what is there.
"""

from __future__ import annotations

from rung.store.codec import decision, forgetting, prediction, record, scores
from rung.store.fits import OWN
from rung.store.leases import LeasedError, LeaseLostError
from rung.store.opening import opened, remember
from rung.store.store import NAME, Store

__all__ = [
    "NAME",
    "OWN",
    "LeaseLostError",
    "LeasedError",
    "Store",
    "decision",
    "forgetting",
    "opened",
    "prediction",
    "record",
    "remember",
    "scores",
]
