"""Clients that others wrote: OpenAI's for JavaScript, LangChain, LlamaIndex, and schemathesis with made-up requests.

They are not among rung's dependencies. Where one is absent, its test is skipped and says so. FOREIGN_NODE names a folder with
node_modules/openai, FOREIGN_PYTHON a Python interpreter that has langchain-openai, llama-index-llms-openai-like and schemathesis.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import running, task_of_labels, task_of_texts

from rung.serve.endpoints import chat, completions, embeddings, responses

pytestmark = pytest.mark.slow

NODE = """
import OpenAI from 'openai';
const client = new OpenAI({baseURL: process.argv[2], apiKey: 'none', maxRetries: 0});
const messages = [{role: 'user', content: 'where is my order'}];
const names = (await client.models.list()).data.map((one) => one.id);
const whole = await client.chat.completions.create({model: 'letters', messages, max_tokens: 8});
let streamed = '', usage = null;
const stream = await client.chat.completions.create(
  {model: 'letters', messages, max_tokens: 8, stream: true, stream_options: {include_usage: true}});
for await (const chunk of stream) { streamed += chunk.choices[0]?.delta?.content ?? ''; usage = chunk.usage ?? usage; }
const label = await client.chat.completions.create({model: 'support', messages: [{role: 'user', content: 'my parcel delivery'}]});
const response = await client.responses.create({model: 'letters', input: 'where is my order', max_output_tokens: 8});
const text = await client.completions.create({model: 'letters', prompt: 'where is my order', max_tokens: 8});
const vectors = await client.embeddings.create({model: 'support', input: ['a b', 'c']});
let refused = '';
try { await client.chat.completions.create({model: 'nobody', messages}); } catch (error) { refused = error.constructor.name; }
console.log(JSON.stringify({names, whole: whole.choices[0].message.content, streamed, usage: usage.total_tokens,
  total: whole.usage.total_tokens, label: label.choices[0].message.content, confidence: label.choices[0].rung.confidence,
  response: response.output_text, text: text.choices[0].text, width: vectors.data[0].embedding.length,
  count: vectors.data.length, refused}));
"""

LANGCHAIN = """
import json, sys
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings
from pydantic import BaseModel
url = dict(base_url=sys.argv[1], api_key='none', max_retries=0)
class Found(BaseModel):
    late: bool
chat = ChatOpenAI(model='letters', max_tokens=8, temperature=0, **url)
asked = [('user', 'where is my order')]
said = chat.invoke(asked)
streamed = ''.join(part.content for part in chat.stream(asked))
texts = OpenAI(model='letters', max_tokens=8, temperature=0, **url).batch(['where is my order', 'refund'])
shape = ChatOpenAI(model='letters', max_tokens=40, **url).with_structured_output(Found, method='json_schema').invoke(asked)
response = ChatOpenAI(model='letters', max_tokens=8, temperature=0, use_responses_api=True, **url).invoke(asked)
vectors = OpenAIEmbeddings(model='support', check_embedding_ctx_length=False, **url).embed_documents(['a b', 'c'])
print(json.dumps({'whole': said.content, 'streamed': streamed, 'usage': said.usage_metadata['total_tokens'], 'texts': texts,
  'late': shape.late, 'response': response.text, 'count': len(vectors)}))
"""

LLAMAINDEX = """
import json, sys
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike
model = OpenAILike(model='letters', api_base=sys.argv[1], api_key='none', is_chat_model=True, max_tokens=8,
  temperature=0, max_retries=0)
asked = [ChatMessage(role='user', content='where is my order')]
print(json.dumps({'whole': model.chat(asked).message.content, 'complete': model.complete('where is my order').text,
  'streamed': ''.join(part.delta or '' for part in model.stream_chat(asked))}))
"""


@pytest.fixture
def url(tmp_path: Path, home: Path, base: Callable[[str], Path], encoder: Path) -> Iterator[str]:
    labels = task_of_labels(tmp_path / "support", encoder=str(encoder))
    texts = task_of_texts(tmp_path / "letters", base("llama"), rungs="[zero-shot]", encoder=str(encoder))
    with running(labels, texts) as (_, url):
        yield url


def python(package: str) -> str:
    """An interpreter that has this package."""
    found = os.environ.get("FOREIGN_PYTHON", "")
    if not found or subprocess.run([found, "-c", f"import {package}"], capture_output=True).returncode:
        pytest.skip(f"no FOREIGN_PYTHON with {package}")
    return found


def said(line: list[str], code: str = "", folder: Path | None = None) -> dict:
    found = subprocess.run(line, input=code or None, capture_output=True, text=True, timeout=300, cwd=folder)
    assert found.returncode == 0, found.stderr[-3000:]
    return json.loads(found.stdout.strip().split("\n")[-1])


def test_the_npm_client(url: str, tmp_path: Path) -> None:
    folder = Path(os.environ.get("FOREIGN_NODE", "/nowhere"))
    if not shutil.which("node") or not (folder / "node_modules" / "openai").is_dir():
        pytest.skip("no node, or no FOREIGN_NODE with the package openai")
    program = folder / "rung_test.mjs"
    program.write_text(NODE)
    found = said(["node", str(program), url], folder=folder)
    assert {"letters", "support"} <= set(found["names"])
    assert found["whole"] == found["streamed"] == found["response"] == found["text"] != ""
    assert found["usage"] == found["total"] and found["label"] == "delivery" and 0 < found["confidence"] <= 1
    assert found["count"] == 2 and found["width"] > 1 and found["refused"] == "NotFoundError"


def test_langchain(url: str) -> None:
    found = said([python("langchain_openai"), "-", url], LANGCHAIN)
    assert found["whole"] == found["streamed"] == found["response"] == found["texts"][0] != found["texts"][1]
    assert found["usage"] > 8 and isinstance(found["late"], bool) and found["count"] == 2


def test_llamaindex(url: str) -> None:
    found = said([python("llama_index.llms.openai_like"), "-", url], LLAMAINDEX)
    assert found["whole"] == found["streamed"] == found["complete"] != ""


def described() -> dict[str, Any]:
    """The endpoints in OpenAPI's form, from the shapes that their bodies are read into; models are named so that some exist."""
    shapes = {
        "/v1/chat/completions": chat._Body,
        "/v1/completions": completions._Body,
        "/v1/responses": responses._Body,
        "/v1/embeddings": embeddings._Body,
    }
    paths: dict[str, Any] = {"/v1/models": {"get": {"responses": {"200": {"description": "models"}}}}}
    parts: dict[str, Any] = {}
    for path, shape in shapes.items():
        schema = shape.model_json_schema(ref_template="#/components/schemas/{model}")
        parts |= schema.pop("$defs", {})
        schema["properties"]["model"] = {"enum": ["support", "letters", "fake", "nobody"]}
        for name in ("max_tokens", "max_completion_tokens", "max_output_tokens"):
            if name in schema["properties"]:
                schema["properties"][name] = {"type": "integer", "maximum": 8}
        body = {"required": True, "content": {"application/json": {"schema": schema}}}
        paths[path] = {"post": {"requestBody": body, "responses": {"200": {"description": "an answer"}}}}
    for path in ("/mcp", "/v1/feedback"):
        body = {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}
        paths[path] = {"post": {"requestBody": body, "responses": {"200": {"description": "an answer"}}}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "rung", "version": "0"},
        "paths": paths,
        "components": {"schemas": parts},
    }


def test_schemathesis_finds_no_5xx(url: str, tmp_path: Path) -> None:
    program = Path(python("schemathesis")).parent / "schemathesis"
    schema = tmp_path / "openapi.json"
    schema.write_text(json.dumps(described()))
    line = [str(program), "run", str(schema), "--url", url.removesuffix("/v1"), "--checks", "not_a_server_error"]
    line += ["--max-examples", "60", "--phases", "examples,coverage,fuzzing", "--seed", "1", "--suppress-health-check", "all"]
    found = subprocess.run(line, capture_output=True, text=True, timeout=600, cwd=tmp_path)
    assert found.returncode == 0, found.stdout[-4000:]
    tried = re.search(r"(\d+) generated, (\d+) passed", found.stdout)
    assert tried and int(tried[1]) == int(tried[2]) > 500, found.stdout[-4000:]
