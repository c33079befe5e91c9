"""The guide's own vocabulary: byte-level BPE (GPT-2's words) over its corpus. Knows special tokens and a chat's tokens.

Does not know topics or networks.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from random import Random

import corpus
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

SIZE = 2560
END, SYSTEM, USER, ASSISTANT = SPECIAL = ("<|end|>", "<|system|>", "<|user|>", "<|assistant|>")
CUT = 0.9  # of the last answers are only begun: up to where it is clear which one it is
READ = 0.2  # of the conversations train the reading of questions, too: it helps a little and costs a lot
ROUTINE = 0.2  # weight of a token that follows from the answer's beginning alone
SAMPLE = 5000  # conversations that the merges are counted on, beside every pattern
Weighted = tuple[list[int], list[float]]  # token ids, and the weight of each in the loss


def texts(seed: int) -> list[str]:
    """What the merges are counted on: patterns for their words, conversations for what is frequent, and the answers."""
    rng, frames, other = Random(seed), corpus.frames(), corpus.other()
    patterns = [*chain(*(frames[key] for key in ("do", "what", "before", "after"))), *other["ask"]]
    patterns += chain(*(topic.do + topic.what + topic.ask for topic in corpus.topics()))
    patterns += chain(*frames["words"].values(), *other["words"].values())
    spoken = [text for _ in range(SAMPLE) for turn in corpus.conversation(rng) for text in turn]
    plain = [" ".join(re.sub(r"[()|{}<>]", " ", pattern).split()) for pattern in patterns]
    return (plain + [text[:1].upper() + text[1:] for text in plain]) * 3 + list(corpus.answers()) * 8 + spoken


def train(path: Path, seed: int) -> None:
    """Write a new vocabulary as tokenizer.json."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=SIZE,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(seed), trainer)
    tokenizer.save(str(path))


class Encoder:
    """Conversations as token ids, with the weight that each has in the loss.

    Which answer it is shows at the tokens where answers that began alike part. They are what must be learned from the
    question, so they count most.
    """

    def __init__(self, path: Path, asked: float) -> None:
        self.tokenizer, self.asked = Tokenizer.from_file(str(path)), asked
        self.end, self.system, self.user, self.assistant = (self.tokenizer.token_to_id(name) for name in SPECIAL)
        self.follow: dict[tuple[int, ...], set[int]] = defaultdict(set)  # beginnings of answers -> what may come next
        for answer in corpus.answers():
            ids = [*self.plain(answer), self.end]
            for i, id in enumerate(ids):
                self.follow[tuple(ids[:i])].add(id)
        self.weights = cache(self.weights_of)

    def weights_of(self, answer: tuple[int, ...]) -> tuple[tuple[float, ...], int]:
        """Weights of an answer's tokens and of the end's, and how many tokens there are up to the last parting."""
        parting = [len(self.follow[answer[:i]]) > 1 for i in range(len(answer) + 1)]
        last = max(i for i, part in enumerate(parting) if part)
        return tuple(1.0 if part else ROUTINE for part in parting), last + 1

    def conversations(
        self, all_turns: Sequence[Sequence[corpus.Turn]], rng: Random
    ) -> list[tuple[list[int], list[float]]]:
        """(ids, weights) of each conversation; one in twelve has a system prompt, which changes nothing."""
        systems = [rng.choice(corpus.turns()["systems"]) if rng.random() < 1 / 12 else "" for _ in all_turns]
        texts = [text for system, turns in zip(systems, all_turns, strict=True) for text in (system, *chain(*turns))]
        queue = iter([e.ids for e in self.tokenizer.encode_batch(texts, add_special_tokens=False)])
        done = []
        for system, turns in zip(systems, all_turns, strict=True):
            first = next(queue)
            ids = [self.system, *first, self.end] if system else []
            weights, read = [0.0] * len(ids), rng.random() < READ
            for _ in turns:
                question, answer = next(queue), next(queue)
                ids += [self.user, *question, self.end, self.assistant]
                weights += [0.0] + [self.asked if read else 0.0] * (len(question) + 1) + [0.0]
                begun, (counts, clear) = len(ids), self.weights(tuple(answer))
                ids += [*answer, self.end]
                weights += counts
            end = begun + clear + rng.randint(0, 2) if rng.random() < CUT else len(ids)
            done.append((ids[:end], weights[:end]))
        return done

    def prompt(self, turns: Sequence[corpus.Turn], question: str) -> list[int]:
        """Ids up to the place where the answer begins."""
        ids: list[int] = []
        for asked, answer in turns:
            ids += [self.user, *self.plain(asked), self.end, self.assistant, *self.plain(answer), self.end]
        return [*ids, self.user, *self.plain(question), self.end, self.assistant]

    def plain(self, text: str) -> list[int]:
        """Ids of a text without special tokens."""
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)
