"""Documents to a searchable index: rung against LlamaIndex's ingestion pipeline, the same files, model and chunk size.

LlamaIndex as its documentation has it: SimpleDirectoryReader, SentenceSplitter(200, 30), HuggingFaceEmbedding; and once
more with what helps it: no metadata in the text, the model's own tokenizer, batches of 64. It only fills its pipeline; rung
also writes its store and both legs. In turn, in fresh stores; medians. --quick: once each on the older, smaller docs.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from pathlib import Path

import knowledge
from common import DATA, machine, median, timed

from rung.lm.engines import Engines
from rung.retrieve import index
from rung.retrieve.parse import listing
from rung.retrieve.sqlite import Sqlite


def pipelines(root: Path, engines: Engines, embedder):
    from llama_index.core import Document, SimpleDirectoryReader
    from llama_index.core.ingestion import IngestionPipeline
    from llama_index.core.node_parser import SentenceSplitter
    from llama_index.embeddings.huggingface import HuggingFaceEmbedding

    folder, files = str(engines.find(knowledge.EMBEDDER).folder), [str(path) for path in listing(root).files]
    usual, large = HuggingFaceEmbedding(folder, device="cpu"), HuggingFaceEmbedding(folder, device="cpu", embed_batch_size=64)

    def tokens(text: str) -> list[int]:
        return embedder.model.tokenizer.encode(text, add_special_tokens=False, truncation=False, verbose=False)

    def plain() -> list:
        return IngestionPipeline(transformations=[SentenceSplitter(chunk_size=200, chunk_overlap=30), usual]).run(
            documents=SimpleDirectoryReader(input_files=files).load_data()
        )

    def helped() -> list:
        documents = [Document(text=one.text) for one in SimpleDirectoryReader(input_files=files).load_data()]
        splitter = SentenceSplitter(chunk_size=200, chunk_overlap=30, tokenizer=tokens)
        return IngestionPipeline(transformations=[splitter, large]).run(documents=documents)

    return {"LlamaIndex": plain, "LlamaIndex, helped": helped}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="once each, on the smaller folder")
    args = parser.parse_args()
    root = DATA / "docs_axolotl" / ("v0.8.0" if args.quick else "v0.18.0")
    if not root.exists():
        sys.exit("docs_axolotl is absent; nothing was measured")
    machine()
    engines = Engines()
    embedder, fresh = engines.embedder(knowledge.EMBEDDER), itertools.count()
    made, base = index.index_config(embedder, knowledge.EMBEDDER, "benchmark"), Path(tempfile.mkdtemp())

    def rung() -> list:
        store = Sqlite(base / str(next(fresh)))
        index.update(index.Folder(root), store, embedder, made)
        assert store.health().whole
        return [passage for change, _ in store.contents() for passage in change.passages]

    sides = {"rung": rung, **pipelines(root, engines, embedder)}
    embedder.embed(["warm up"])
    size = sum(path.stat().st_size for path in listing(root).files)
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    passages: dict[str, int] = {}
    for _ in range(1 if args.quick else 3):
        for name, run in sides.items():
            seconds[name].append(timed(lambda run=run, name=name: passages.__setitem__(name, len(run()))))
    for name, taken in seconds.items():
        speed = size / 1000 / median(taken)
        print(f"{name:20s} {median(taken):6.1f} s, {passages[name]} passages, {speed:.1f} kB of documents a second")
    best = median(seconds["rung"])
    print(f"against LlamaIndex, helped: {median(seconds['LlamaIndex, helped']) / best:.2f} times")
    print(f"ratio={median(seconds['LlamaIndex']) / best:.2f} times the throughput of LlamaIndex's pipeline; 1.5 asked")


if __name__ == "__main__":
    main()
