"""The kinds of call that people hold, each as what its caller asks for and how its caller takes a turn."""

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from clients import speech
from clients.events import INSTRUCTIONS, Event, terms
from clients.speech import Piece

# Longer than any silence that ends a turn, shorter than the other side waits.
MUTED_S = (2.0, 6.0)
QUESTION = "Please say in one short sentence that this line works."
TOOLS = ("look_up_caller", "look_up_order")


def between(least: float, most: float) -> float:
    """Calls act always a little apart, so that many of them never act in step."""
    return random.uniform(least, most)  # noqa: S311 - spreads load, guards nothing


class Talk(Protocol):
    """What a caller can do; `conversation` implements it. Each raises ConnectionResetError without a socket."""

    utterance: Sequence[Piece]

    async def say(self, pieces: Sequence[Piece]) -> None:
        """In real time, as a microphone would."""

    async def send(self, event: Event) -> None: ...

    async def pause(self, seconds: float) -> None:
        """Says nothing, and has that much longer for the turn."""

    def type(self) -> None:
        """What is sent next is typed: the caller's turn lasts until the model confirms that it has it."""

    def spoken(self) -> None:
        """The caller has finished: from here on the answer is awaited."""

    async def answer_begun(self) -> bool:
        """True at its first audio; False when the turn is over, which it may be at the same time."""

    async def answered(self) -> None:
        """Until the turn is over. What the caller has to do meanwhile, such as the output of a tool, is done here."""

    async def interrupt(self) -> None:
        """Begins to speak while the model speaks; the answer to what is said now is the one that counts."""

    async def forget_unheard(self) -> None:
        """Tells the model how much of the interrupted answer was heard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """`talks`: it takes turns. `whole_hold`: it is one call from the beginning to the end of the hold."""

    name: str
    about: str
    take_turn: Callable[[Talk], Awaitable[None]]
    terms: Event
    talks: bool = True
    whole_hold: bool = False


async def _speak(talk: Talk) -> None:
    await talk.say(talk.utterance)
    talk.spoken()
    await talk.say(speech.SILENCE)
    await talk.answered()


async def _push_to_talk(talk: Talk) -> None:
    await talk.say(talk.utterance)
    talk.spoken()
    await talk.send({"type": "input_audio_buffer.commit"})
    await talk.send({"type": "response.create"})
    await talk.answered()


async def _type(talk: Talk) -> None:
    question = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": QUESTION}]}
    talk.type()
    await talk.send({"type": "conversation.item.create", "item": question})
    await talk.send({"type": "response.create"})
    await talk.answered()


async def _barge_in(talk: Talk) -> None:
    await talk.say(talk.utterance)
    talk.spoken()
    await talk.say(speech.SILENCE)
    if not await talk.answer_begun():
        return
    await talk.interrupt()
    await talk.say(talk.utterance)
    await talk.forget_unheard()
    talk.spoken()
    await talk.say(speech.SILENCE)
    await talk.answered()


async def _mute(talk: Talk) -> None:
    """Mutes in mid-sentence and ends the sentence later: it stays one turn."""
    middle = max(1, len(talk.utterance) // 2)
    await talk.say(talk.utterance[:middle])
    await talk.pause(between(*MUTED_S))
    await talk.say(talk.utterance[middle:])
    talk.spoken()
    await talk.say(speech.SILENCE)
    await talk.answered()


async def _say_nothing(talk: Talk) -> None:
    raise AssertionError("a silent caller takes no turn")


def _tool(name: str) -> Event:
    parameters = {"type": "object", "properties": {"number": {"type": "string"}}, "required": ["number"]}
    return {"type": "function", "name": name, "description": "Looks it up by its number.", "parameters": parameters}


_WITH_TOOLS = terms(
    instructions=f"{INSTRUCTIONS} Before each answer, call {TOOLS[0]} and call {TOOLS[1]} with the number 1.",
    tools=[_tool(name) for name in TOOLS],
)


KINDS = {
    kind.name: kind
    for kind in (
        Kind(name="vad", about="speaks, and the model hears where a turn ends", take_turn=_speak, terms=terms()),
        Kind(
            name="push-to-talk",
            about="holds a button while it speaks: no turn detection, but commit and response.create",
            take_turn=_push_to_talk,
            terms=terms(detection=None),
        ),
        Kind(
            name="tools",
            about="lets the model call two functions and sends their outputs after 1 to --tool-seconds",
            take_turn=_speak,
            terms=_WITH_TOOLS,
        ),
        Kind(
            name="silent",
            about="says nothing at all, and pings",
            take_turn=_say_nothing,
            terms=terms(),
            talks=False,
        ),
        Kind(
            name="long",
            about="vad in one call for the whole hold, whatever --call-seconds says",
            take_turn=_speak,
            terms=terms(),
            whole_hold=True,
        ),
        Kind(name="text", about="types, and hears the answer", take_turn=_type, terms=terms(detection=None)),
        Kind(
            name="barge-in", about="speaks into each answer and waits for the next", take_turn=_barge_in, terms=terms()
        ),
        Kind(
            name="mute",
            about="stops sending in mid-sentence for 2 to 6 s, then ends the sentence",
            take_turn=_mute,
            terms=terms(),
        ),
    )
}
