"""The built-in guide: what it says can be typed, it says it to people's questions, and it is what it claims to be."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any

import pytest
import typer
from command_lines import parsed, typed

from llmlocal import guide
from llmlocal.chat_format.prompt import PromptRequest
from llmlocal.cli.main import app
from llmlocal.generation.events import Token
from llmlocal.generation.sampling_params import SamplingParams
from llmlocal.generation.session import Session
from llmlocal.gguf import open_gguf
from llmlocal.gguf.writer import GGUFWriter, TensorInfo
from llmlocal.quant.format import BY_NAME
from llmlocal.quant.formats import load_all

TOOLS = Path(__file__).parents[1] / "tools/guide"
sys.path.append(str(TOOLS))
corpus, evaluate, export, stories, unpack = map(import_module, ("corpus", "evaluate", "export", "stories", "unpack"))
MEGABYTES = 4
PEER_PYTHON = os.environ.get("LLMLOCAL_PEER_PYTHON", sys.executable)  # where llama-cpp-python is installed
PEER = """
import json, sys
from llama_cpp import Llama
model = Llama(sys.argv[1], n_ctx=512, n_threads=1, n_threads_batch=1, verbose=False)
for line in sys.stdin:
    model.reset()
    made = []
    for token in model.generate(json.loads(line), temp=0.0, repeat_penalty=1.0):
        if token == model.token_eos() or len(made) == 160:
            break
        made.append(token)
    print(json.dumps(made))
"""


def typed_in(answer: str) -> Iterator[list[str]]:
    """The words after `llmlocal` of every command in an answer."""
    for code in corpus.commands(answer):
        yield from typed(code)


def options(command: Any) -> set[str]:
    """Every option of a command, and of those below it."""
    below = getattr(command, "commands", {})
    context = typer.Context(command)
    found = {name for parameter in command.params for name in parameter.opts + parameter.secondary_opts}
    return found.union(*(options(command.get_command(context, name)) for name in below))


def test_every_command_of_every_answer_can_be_typed() -> None:
    wrong = []
    for words in (words for answer in corpus.answers() for words in typed_in(answer)):
        try:
            parsed(words)
        except AssertionError as error:
            wrong.append(str(error))
    assert not wrong, "\n".join(dict.fromkeys(wrong))


def test_parsing_is_strict() -> None:
    parsed(["run", "m.gguf", "Hello", "-n", "3"])
    for wrong in (["fly"], ["run", "m.gguf", "Hello", "--no-such"], ["run", "m.gguf", "Hello", "more"]):
        with pytest.raises(AssertionError):
            parsed(wrong)


def test_bare_options_of_answers_exist() -> None:
    """Such as `-f` in "`-f` may be repeated"."""
    known = options(typer.main.get_command(app)) | {"--upgrade"}
    bare = {code.split()[0] for answer in corpus.answers() for code in corpus.commands(answer) if code.startswith("-")}
    assert bare and not bare - known, bare - known


def test_right_answers_have_their_command() -> None:
    for topic in corpus.topics():
        for case in topic.cases or [{}]:
            assert topic.filled(topic.command, case) in topic.filled(topic.answer, case), topic.name
    assert len({topic.name for topic in corpus.topics()}) == len(corpus.topics())


def test_answers_are_short() -> None:
    for answer in corpus.answers():
        assert len(answer) <= 320 and len(re.findall(r"[.!?](?: |$)", answer)) <= 4, answer


def plain(text: str) -> str:
    """`text` without signs and casing."""
    return re.sub(r"[^a-z0-9 ]", "", text.lower()).strip()


def wordings(pattern: str) -> re.Pattern[str]:
    """What matches every `plain` text that a pattern of the corpus stands for."""
    words = corpus.frames()["words"]
    pattern = re.sub(r"\{(\w+)\}", lambda found: f"({'|'.join(words[found[1]])})", pattern)
    pattern = re.sub(r"<\w+>", "\0", pattern).lower()  # a slot
    signs = {"(": "(?:", ")": ")", "|": "|", " ": " *", "\0": "[a-z0-9]+"}
    return re.compile("".join(signs.get(sign, sign if sign.isalnum() else "") for sign in pattern))


def test_no_pattern_says_what_is_held_out() -> None:
    held = [plain(case.ask) for case in evaluate.cases() if case.kind != "development"]
    assert len(held) >= 260
    for topic in corpus.topics():
        for pattern in topic.ask:
            matches = wordings(pattern).fullmatch
            assert not [text for text in held if matches(text)], (topic.name, pattern)


def test_generator_never_says_what_is_held_out() -> None:
    held = {plain(case.ask) for case in evaluate.cases() if case.kind != "development"}
    rng = Random(5)
    drawn = {plain(question) for _ in range(4000) for question, _ in corpus.conversation(rng)}
    assert not drawn & held, drawn & held


def test_generator_repeats_itself_from_a_seed() -> None:
    first, second = ([corpus.conversation(rng) for _ in range(200)] for rng in (Random(3), Random(3)))
    assert first == second
    assert len({question for turns in first for question, _ in turns}) > 200


def test_slots_are_all_filled() -> None:
    rng = Random(9)
    for topic in corpus.topics():
        for _ in range(20):
            assert not re.search(
                r"[<{](type|gb|model|named|new_model)[>}]|\bX\b|[(]\w+[|]", " ".join(corpus.question(topic, rng))
            )


def test_file_says_what_it_is() -> None:
    assert guide.path().stat().st_size <= MEGABYTES * 1_000_000
    with open_gguf(guide.path()) as file:
        metadata = file.metadata
        assert metadata["general.license"] == "mit" and "llmlocal" in metadata["general.author"]
        assert "tools/guide" in metadata["general.description"]
        assert metadata["llama.context_length"] >= 512
        assert all(tensor.k % 256 == 0 for tensor in file.tensors.values())


def test_training_can_go_on_from_the_file(tmp_path: Path) -> None:
    """What is unpacked and exported again is the same file, so nothing is lost on the way."""
    unpack.unpack(guide.path(), tmp_path)
    export.export(tmp_path, tmp_path / "again.gguf", "Q8_0")
    assert (tmp_path / "again.gguf").read_bytes() == guide.path().read_bytes()


@cache
def session() -> Session:
    return Session.open(guide.path())


def said(question: str, **options: Any) -> str:
    """The guide's greedy answer."""
    ready = session().prompt(PromptRequest(question.encode(), **options))
    events = session().answer(ready, max_tokens=200, sampling=SamplingParams(temperature=0.0))
    return "".join(event.text for event in events if isinstance(event, Token))


def test_guide_answers() -> None:
    assert "`llmlocal quantize model.gguf Q4_K_M`" in said("how do I quantize a model?")
    assert "`llmlocal pull" in said("What is the capital of France?")
    assert said("tell me a story") == stories.story(stories.data()["unasked"])
    assert "`llmlocal list`" in said("which models do I have?", system="Be brief.")


@pytest.mark.parametrize(
    ("question", "right"),
    [
        ("How can I compute embeddings?", "`llmlocal embed"),
        ("How do I get JSON by a schema?", "--schema"),
        ("How do I use it from Python?", "llmlocal.load"),
        ("Can it fine-tune a model?", "does not train"),
        ("Does it use the GPU?", "CPU only"),
    ],
)
def test_guide_does_not_answer_with_what_sounds_alike(question: str, right: str) -> None:
    assert right in said(question)


@pytest.mark.parametrize(("kind", "share"), [("by hand", 0.88), ("added", 0.55)])
def test_most_questions_by_hand_are_answered_rightly(kind: str, share: float) -> None:
    assert evaluate.evaluate(guide.path(), verbose=True, only=kind)[kind] >= share


@pytest.mark.slow
def test_most_questions_are_answered_rightly() -> None:
    """Held-out wordings, too."""
    shares = evaluate.evaluate(guide.path(), verbose=True)
    least = {"by hand": 0.88, "added": 0.55, "development": 0.9, "held out": 0.8}
    assert shares.keys() == least.keys()
    assert not {kind: share for kind, share in shares.items() if share < least[kind]}


@pytest.fixture
def in_f32(tmp_path: Path) -> Path:
    """The shipped guide with every tensor in F32."""
    load_all()
    path, f32 = tmp_path / "guide-F32.gguf", BY_NAME["F32"]
    with open_gguf(guide.path()) as file:
        tensors = {name: tensor.dequantize() for name, tensor in file.tensors.items()}
        infos = [TensorInfo(name, f32, tensor.shape) for name, tensor in tensors.items()]
        with GGUFWriter(path, file.metadata.raw() | {"general.file_type": 0}, infos) as writer:
            for name, tensor in tensors.items():
                writer.write(name, f32.quantize(tensor))
    return path


@pytest.mark.slow
def test_greedy_tokens_equal_llama_cpp(in_f32: Path) -> None:
    asked = [case.ask for case in evaluate.cases() if case.kind == "by hand"]
    greedy = SamplingParams(temperature=0.0)
    with Session.open(in_f32, n_ctx=512) as ours:
        prompts = [ours.prompt(PromptRequest(question.encode())) for question in asked]
        answers = [
            [e.id for e in ours.answer(p, max_tokens=160, sampling=greedy) if isinstance(e, Token)] for p in prompts
        ]
        ends = ours.tokenizer.stop_ids
    lines = "".join(json.dumps(prompt.ids) + "\n" for prompt in prompts)
    peer = subprocess.run([PEER_PYTHON, "-c", PEER, in_f32], input=lines, capture_output=True, text=True)
    if "No module named 'llama_cpp'" in peer.stderr:
        pytest.skip("needs llama-cpp-python: set LLMLOCAL_PEER_PYTHON")
    assert not peer.returncode, peer.stderr
    theirs = [json.loads(line) for line in peer.stdout.splitlines()]
    assert [[id for id in answer if id not in ends] for answer in answers] == theirs
