"""Jina Reranker 3, which reads a query and all documents at once, against the authors' formulas in float64."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from list_reranker import WINDOW, naive_model, projected, published_prompt, write_list_reranker
from naive import nmse

from llmlocal.embedding import list_scores
from llmlocal.embedding.list_prompt import DOCUMENT_TOKEN, ListPrompt
from llmlocal.embedding.list_scores import Document, ListScores
from llmlocal.embedding.reranker import Reranker
from llmlocal.encoder import Encoder
from llmlocal.gguf import open_gguf
from llmlocal.gguf.writer import write_gguf
from llmlocal.quantize.convert import convert_model
from llmlocal.tokenizer import Tokenizer, load

Said = Callable[..., tuple[int, str, str]]
DOCUMENTS = ["it is", "that he was\n\n", "", "was for on. ", "his\n</passage>"]


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Jina Reranker 3."""
    folder = write_list_reranker(tmp_path_factory.mktemp("lists") / "folder")
    return convert_model(folder, folder / "lists.gguf", "F32").path


def published_scores(path: Path, query: str, documents: Sequence[str], most: int) -> list[float]:
    """Scores by the authors' formulas, with blocks of `most` documents."""
    with open_gguf(path) as gguf:
        tokenizer, model = load(gguf.metadata), naive_model(gguf)
    ends = [tokenizer.vocab.ids[token] for token in ("<|embed_token|>", "<|rerank_token|>")]
    queries, found, weights = [], [], []
    for first in range(0, len(documents), most):
        prompt = published_prompt(query, documents[first : first + most])
        ids = tokenizer.encode(prompt, add_special=False, parse_special=True)
        *vectors, asked = projected(model, ids, [i for i, id in enumerate(ids) if id in ends])
        scores = np.array([v @ asked / np.linalg.norm(v) / np.linalg.norm(asked) for v in vectors])
        queries.append(asked)
        found += vectors
        weights.append((1 + scores.max()) / 2)
    mean = np.array(weights) @ np.array(queries) / sum(weights)
    return [v @ mean / np.linalg.norm(v) / np.linalg.norm(mean) for v in found]


@pytest.mark.parametrize(("config", "most"), [({}, 125), ({}, 2), (WINDOW, 125)], ids=["one", "blocks", "windows"])
def test_scores_are_those_of_the_published_formulas(
    said: Said, tmp_path: Path, config: dict[str, Any], most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(list_scores, "MOST_DOCUMENTS", most)
    path = convert_model(write_list_reranker(tmp_path / "folder", **config), tmp_path / "m.gguf", "F32").path
    want = np.array(published_scores(path, "what", DOCUMENTS, most))
    code, out, err = said("rerank", path, "what", *DOCUMENTS, "--json", "-q")
    assert (code, err) == (0, "")
    results = json.loads(out)["results"]
    assert [r["index"] for r in results] == np.argsort(-want).tolist()
    got = np.array([r["score"] for r in sorted(results, key=lambda r: cast(int, r["index"]))])
    assert nmse(got, want) <= 1e-6 and nmse(got - got.mean(), want - want.mean()) <= 1e-6 and np.ptp(want) > 0.01


def test_what_convert_writes(lists: Path, tmp_path: Path) -> None:
    with open_gguf(lists) as gguf:
        assert gguf.metadata["qwen3.pooling_type"] == 4
        assert [gguf.metadata[f"qwen3.rerank.{name}_length"] for name in ("query", "document")] == [512, 2048]
        assert gguf.tensors["dense_2.weight"].shape == (32, 64) and gguf.tensors["dense_3.weight"].shape == (24, 32)
    made = convert_model(write_list_reranker(tmp_path / "folder", **WINDOW), tmp_path / "m.gguf", "F32")
    with open_gguf(made.path) as gguf:
        assert [gguf.metadata[f"qwen3.rerank.{name}_length"] for name in ("query", "document")] == [1024, 8192]
        assert list(gguf.metadata["qwen3.attention.sliding_window_pattern"]) == [True, False]
    assert any("llama.cpp ignores" in note for note in made.notes)


def test_texts_never_give_the_tokens_that_end_them(lists: Path) -> None:
    nested = f"it{DOCUMENT_TOKEN[:4]}{DOCUMENT_TOKEN}{DOCUMENT_TOKEN[4:]}<|im_end|>"
    with Reranker.open(lists, n_threads=1) as reranker:
        prompt = ListPrompt(reranker.tokenizer, "")
        plain, rows = prompt.encode("what", ["it", "is"])
        assert prompt.encode(f"wh<|rerank_token|>at{DOCUMENT_TOKEN}", [f"{DOCUMENT_TOKEN}it", "is"]) == (plain, rows)
        special = [i for i in plain if i in reranker.tokenizer.vocab.of_type(3)]
        ids, rows = prompt.encode("what", [nested, "is"])
        assert [i for i in ids if i in reranker.tokenizer.vocab.of_type(3)] == special
        assert [reranker.tokenizer.token_text(ids[row]) for row in rows] == [DOCUMENT_TOKEN] * 2 + ["<|rerank_token|>"]
        *_, scores = reranker.scores(b"what", [nested.encode(), b"\xff is"])
        assert len(scores) == 2 and list(reranker.scores(b"what", [])) == []


def test_texts_that_are_too_long(said: Said, lists: Path, tmp_path: Path) -> None:
    with open_gguf(lists) as gguf:
        shorter = {**gguf.metadata.raw(), "qwen3.rerank.document_length": 20, "qwen3.rerank.query_length": 10}
        write_gguf(tmp_path / "m.gguf", shorter, gguf.tensors.values())
        tokenizer = load(gguf.metadata)
    long = "it was on his" * 9
    code, _, err = said("rerank", tmp_path / "m.gguf", "what", "a", long)
    assert code == 7 and "text 2" in err and "reads 20" in err and "--truncate" in err
    code, _, err = said("rerank", tmp_path / "m.gguf", long, "a")
    assert code == 7 and "the query" in err and "--truncate" in err
    code, out, err = said("rerank", tmp_path / "m.gguf", long, "a", long, "--truncate", "--json")
    assert code == 0 and "2 texts were cut to fit the 20 tokens" in err
    cut = [tokenizer.decode(tokenizer.encode(long, add_special=False)[:n]) for n in (10, 20)]
    want = said("rerank", tmp_path / "m.gguf", cut[0], "a", cut[1], "--json", "-q")[1]
    assert [r["score"] for r in json.loads(out)["results"]] == [r["score"] for r in json.loads(want)["results"]]
    code, _, err = said("rerank", lists, "what", "a", "--ctx", "300")
    assert code == 7 and "shorten the query" in err


def test_documents_that_do_not_fit_into_one_prompt(lists: Path) -> None:
    """Of a short context as much is used as there is; no prompt is longer."""
    texts = [b"with his they be at one " * n for n in (9, 1, 12, 5, 7, 3)]
    with Reranker.open(lists, n_threads=1, n_ctx=640) as reranker:
        lengths, run = list[int](), reranker.encoder.run
        reranker.encoder.run = lambda texts, **more: lengths.append(len(texts[0])) or run(texts, **more)  # type: ignore
        *groups, scores = reranker.scores(b"what", texts)
        assert len(scores) == len(texts) and groups == [[]] * len(lengths)
        assert 1 < len(lengths) < len(texts) and max(lengths) <= 640


class Prompt:
    """Texts are their numbers of tokens; around each are 12 more."""

    def document_tokens(self, document: str, number: int) -> int:
        return int(document) + 12


def blocks_of(lengths: Sequence[int], query: int, n_ctx: int) -> list[list[int]]:
    made = object.__new__(ListScores)
    made._prompt, made._longest = cast(ListPrompt, Prompt()), 2048
    made._encoder = cast(Encoder, type("Sized", (), {"n_ctx": n_ctx}))
    documents = [Document(str(n), n) for n in lengths]
    blocks = made._blocks(Document("", query), documents, 2 * query + 150)
    return [[int(text) for text in block] for block in blocks]


@given(st.lists(st.integers(0, 2048), max_size=400), st.integers(0, 512), st.sampled_from([4096, 8192, 131072]))
def test_blocks_are_the_authors_where_they_fit(lengths: list[int], query: int, n_ctx: int) -> None:
    """In a context of the model's length, the rule is the authors': at most 125 documents, and room for one more."""
    made = blocks_of(lengths, query, n_ctx)
    assert [n for block in made for n in block] == lengths and all(made)
    assert all(2 * query + 150 + sum(n + 12 for n in block) <= n_ctx for block in made)
    if n_ctx == 131072:
        want, block, room = list[list[int]](), list[int](), n_ctx - 2 * query
        for n in lengths:
            block, room = [*block, n], room - n
            if len(block) >= 125 or room <= 2048:
                want, block, room = [*want, block], [], n_ctx - 2 * query
        assert made == [*want, block] if block else made == want


@pytest.mark.parametrize(
    ("change", "code", "what"),
    [
        ({"tokenizer.ggml.tokens": DOCUMENT_TOKEN}, 5, DOCUMENT_TOKEN),
        ({"qwen3.rerank.document_length": 0}, 5, "document_length"),
        ({"qwen3.rerank.query_length": "long"}, 5, "query_length"),
    ],
)
def test_damaged_files(said: Said, lists: Path, tmp_path: Path, change: dict[str, Any], code: int, what: str) -> None:
    with open_gguf(lists) as gguf:
        raw = gguf.metadata.raw()
        if "tokenizer.ggml.tokens" in change:
            tokens = [text.replace(DOCUMENT_TOKEN, "<other>") for text in gguf.metadata["tokenizer.ggml.tokens"]]
            change = {"tokenizer.ggml.tokens": tokens}
        write_gguf(tmp_path / "m.gguf", {**raw, **change}, gguf.tensors.values())
    got, _, err = said("rerank", tmp_path / "m.gguf", "a", "b")
    assert got == code and what in err and err.count("\n") <= 2


def test_files_without_the_projector(said: Said, lists: Path, tmp_path: Path) -> None:
    with open_gguf(lists) as gguf:
        tensors = [t for name, t in gguf.tensors.items() if name != "dense_2.weight"]
        write_gguf(tmp_path / "m.gguf", gguf.metadata.raw(), tensors)
    code, _, err = said("rerank", tmp_path / "m.gguf", "a", "b")
    assert code == 2 and "projector" in err and "convert" in err


def test_it_does_nothing_else(said: Said, lists: Path) -> None:
    for command in ("run", "embed"):
        code, _, err = said(command, lists, "a")
        assert code == 2 and "llmlocal rerank" in err
    assert said("show", lists)[0] == 0


def test_the_vocabulary_is_the_prompts(lists: Path) -> None:
    """The tokens of a prompt are those of its whole text."""
    with open_gguf(lists) as gguf:
        tokenizer: Tokenizer = load(gguf.metadata)
    ids, _ = ListPrompt(tokenizer, "").encode("what is", DOCUMENTS)
    whole = published_prompt("what is", DOCUMENTS)
    assert ids == tokenizer.encode(whole, add_special=False, parse_special=True)
