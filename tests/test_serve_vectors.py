"""Vectors and scores over HTTP, and several models in one server."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Iterator
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from list_reranker import write_list_reranker
from served import Served, running, tiny  # noqa: F401  fixtures

from llmlocal.embedding.embedder import Embedder
from llmlocal.embedding.reranker import Reranker
from llmlocal.quantize.convert import convert_model
from llmlocal.serving.model_pool import Entry

if TYPE_CHECKING:
    import openai

TEXTS = ["a cat sat on the mat", "the red house", "dog"]


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reranker that reads all documents at once."""
    folder = write_list_reranker(tmp_path_factory.mktemp("lists") / "folder")
    return convert_model(folder, folder / "lists.gguf", "F32").path


@pytest.fixture(scope="module")
def server(bert: Path, reranker: Path, tiny: Path, lists: Path) -> Iterator[Served]:  # noqa: F811
    models = {"bert": bert, "ranker": reranker, "tiny": tiny, "lists": lists}
    with running(models, idle_unload=1.0) as served:
        yield served


@pytest.fixture
def client(server: Served) -> Iterator[openai.OpenAI]:
    import openai

    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as made:
        yield made


def test_vectors_are_those_of_embed(client: openai.OpenAI, bert: Path) -> None:
    with Embedder.open(bert, n_threads=1) as embedder:
        want = np.concatenate([group.rows for group in embedder.embed(TEXTS)])
        ids = embedder.tokenizer.encode(TEXTS[0], add_special=False)
    got = client.embeddings.create(model="bert", input=TEXTS, encoding_format="float")
    np.testing.assert_array_equal(np.array([item.embedding for item in got.data], np.float32), want)
    assert [item.index for item in got.data] == [0, 1, 2] and got.usage.prompt_tokens > 10
    packed = client.embeddings.create(model="bert", input=TEXTS[0])  # the client asks for base64 by itself
    np.testing.assert_array_equal(np.array(packed.data[0].embedding, np.float32), want[0])
    tokens = client.embeddings.create(model="bert", input=[ids], dimensions=4, encoding_format="float")
    assert len(tokens.data[0].embedding) == 4


@pytest.mark.parametrize("name", ["ranker", "lists"])
def test_scores_are_those_of_rerank(server: Served, reranker: Path, lists: Path, name: str) -> None:
    with Reranker.open(lists if name == "lists" else reranker, n_threads=1) as model:
        want = [s for group in model.scores(b"a cat", [text.encode() for text in TEXTS]) for s in group]
    documents = [*TEXTS[:2], {"text": TEXTS[2]}]
    body = {"model": name, "query": "a cat", "documents": documents, "return_documents": True}
    status, got = server.ask("POST", "/v1/rerank", body)
    order = sorted(range(3), key=lambda i: -want[i])
    assert status == 200 and [r["index"] for r in got["results"]] == order and got["model"] == name
    assert [r["relevance_score"] for r in got["results"]] == [want[i] for i in order]
    assert got["results"][0]["document"] == {"text": TEXTS[order[0]]}
    assert len(server.ask("POST", "/v1/rerank", body | {"top_n": 1})[1]["results"]) == 1


def test_vectors_in_ollamas_protocol(server: Served, bert: Path) -> None:
    """As its `ollama` package asks for them; a text that is too long is cut, unless the client says otherwise."""
    long = "cat " * 100
    with Embedder.open(bert, n_threads=1) as embedder:
        texts = [*TEXTS, long]
        groups = [*embedder.embed(texts, truncate=True)]
    want = np.concatenate([group.rows for group in groups])
    body = {"model": "bert:latest", "input": texts, "keep_alive": -1, "options": {"num_ctx": 64}}
    status, got = server.ask("POST", "/api/embed", body)
    assert (
        status == 200
        and got["model"] == "bert"
        and got["prompt_eval_count"] == sum(sum(group.tokens) for group in groups)
    )
    np.testing.assert_array_equal(np.array(got["embeddings"], np.float32), want)
    assert len(server.ask("POST", "/api/embed", {"input": "dog", "dimensions": 4})[1]["embeddings"][0]) == 4
    old = server.ask("POST", "/api/embeddings", {"model": "bert", "prompt": TEXTS[1]})[1]
    np.testing.assert_allclose(old["embedding"], want[1], atol=1e-6)  # alone, it is computed in another way
    assert "bert" in [model["name"] for model in server.ask("GET", "/api/ps")[1]["models"]]
    for wrong in ({"input": long, "truncate": False}, {"input": [1]}, {"input": "a", "model": "tiny"}, {}):
        status, refusal = server.ask("POST", "/api/embed", wrong)
        assert status == 400 and isinstance(refusal["error"], str)


WRONG: dict[str, tuple[str, dict[str, Any], int]] = {
    "no input": ("/v1/embeddings", {}, 400),
    "empty": ("/v1/embeddings", {"input": []}, 400),
    "numbers": ("/v1/embeddings", {"input": [1.5]}, 400),
    "ids": ("/v1/embeddings", {"input": [10**6]}, 400),
    "dimensions": ("/v1/embeddings", {"input": "a", "dimensions": 999}, 400),
    "too long": ("/v1/embeddings", {"input": "cat " * 100}, 400),
    "no vectors": ("/v1/embeddings", {"input": "a", "model": "tiny"}, 400),
    "no such model": ("/v1/embeddings", {"input": "a", "model": "other"}, 404),
    "no scores": ("/v1/rerank", {"query": "a", "documents": ["a"], "model": "bert"}, 400),
    "no documents": ("/v1/rerank", {"query": "a", "documents": []}, 400),
    "no chat": ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}], "model": "bert"}, 400),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_done_is_refused(server: Served, name: str) -> None:
    path, body, want = WRONG[name]
    status, got = server.ask("POST", path, body)
    assert status == want and got["error"]["message"], got


def entry_of(server: Served, name: str) -> Entry:
    """A model that no request uses any more."""
    entry = next(entry for entry in server.pool.entries if entry.name == name)
    while entry.users:
        sleep(0.001)
    return entry


def test_models_are_loaded_on_demand_and_closed_when_idle(server: Served) -> None:
    def loaded() -> list[str]:
        return [model["id"] for model in server.ask("GET", "/v1/models")[1]["data"] if model["loaded"]]

    assert server.ask("POST", "/v1/completions", {"prompt": "the dog", "max_tokens": 1})[1]["model"] == "tiny"
    assert "tiny" in loaded()
    entry = entry_of(server, "tiny")
    assert entry.text is not None
    engine = weakref.ref(entry.text.session.engine)
    entry.used -= 10
    asyncio.run(server.pool.unload_idle())
    assert entry.text is None and "tiny" not in loaded()
    assert engine() is None  # its memory is free, which is what the model was closed for
    assert server.ask("POST", "/v1/completions", {"prompt": "the dog", "max_tokens": 1})[0] == 200


@pytest.mark.parametrize("name", ["tiny", "bert"])
def test_models_stay_open_while_a_request_uses_them(server: Served, name: str) -> None:
    entry = entry_of(server, name)

    async def closed_meanwhile() -> bool:
        if name == "tiny":
            await server.pool.text_model(name)
        else:
            await server.pool.vector_model(name, "vectors")
        entry.used -= 10
        await server.pool.unload_idle()
        return not (entry.text or entry.vectors)

    assert not asyncio.run(closed_meanwhile())
    asyncio.run(server.pool.unload_idle())
    assert entry.text or entry.vectors  # it was used until now
    entry.used -= 10
    asyncio.run(server.pool.unload_idle())
    assert not (entry.text or entry.vectors)
