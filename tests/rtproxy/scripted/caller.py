"""The caller's side of a script: a microphone, the steps one after the other, and what it does about what it hears."""

import asyncio
import itertools
from collections.abc import Coroutine
from typing import Any

from stage.rawpeer import Frame
from tests.rtproxy.scripted.call import Call
from tests.rtproxy.scripted.model import LOUD, detection_of
from tests.rtproxy.scripted.script import Aside, Ask, Detect, Pause, Step, Talk, Type
from tests.rtproxy.scripted.wire import Event, Line


class Following:
    """What a response left to be done before its caller asks for the next one."""

    def __init__(self, ask: str, sure: bool, ask_ms: int) -> None:
        self.ask, self.sure, self.ask_ms = ask, sure, ask_ms
        self.open: set[str] = set()


class ScriptedCaller:
    """One client of the relay, which knows what it is going to do."""

    def __init__(self, call: Call, line: Line) -> None:
        self.call, self.line, self.script, self.ledger = call, line, call.script, call.ledger
        self.closed_with: Frame | None = None
        self.closed_at = 0.0
        self.greeted = asyncio.Event()
        self.detection: str | None = None
        """As the model last said; None before it said anything."""
        self._wanted = self.script.detection if self.script.born_so else "server_vad"
        self._microphone = "off"
        self._left = False
        self._holding = False
        call.on_append = self._appended
        self._commits = self._clears = self._cleared = 0
        self._answered_by_itself: set[str] = set()
        self._asks_ms: int | None = None
        self._sent: set[str] = set()
        self._mine: dict[str, str | None] = {}
        self._active: set[str] = set()
        self._asked: set[str] = set()
        self._following: dict[str, Following] = {}
        self._waiting_for: dict[str, str] = {}
        self._tasks = asyncio.TaskGroup()

    async def run(self) -> None:
        """Plays its part until it gets a Close."""
        try:
            async with self._tasks:
                self._begin(self._listen_to_microphone())
                self._begin(self._steps())
                while not isinstance(event := await self.line.hear(), Frame):
                    self._heard(event)
                    self.call.changed()
                self.closed_with, self.closed_at = event, asyncio.get_running_loop().time()
                self.ledger.note(f"<- Close {event.code}")
                await self.line.answer_close(event)
                raise _Over
        except* _Over:
            pass

    # Its steps.

    async def _steps(self) -> None:
        await self.call.until(lambda: self.detection is not None)
        if not self.script.born_so:
            await self._detect(self.script.detection)
        for step in itertools.cycle(self.script.steps):
            self.ledger.note(f"step {step}")
            await self._step(step)
            # A call of asides only must not keep the machine busy.
            await asyncio.sleep(0.03)

    async def _step(self, step: Step) -> None:
        match step:
            case Pause():
                await asyncio.sleep(step.ms / 1000)
            case Talk() if not self._left:
                await self._talk(step)
            case Type():
                ask = self.call.name("ask")
                item = self.call.id("text")
                self._mine[item] = ask if step.ask_ms is not None else None
                content = [{"type": "input_text", "text": "Hi."}]
                await self._create({"id": item, "type": "message", "role": "user", "content": content})
                if step.ask_ms is not None:
                    await asyncio.sleep(step.ask_ms / 1000)
                    await self._ask(ask)
                else:
                    await self.call.until(lambda: item not in self._mine)
            case Ask():
                await self._ask(self.call.name("ask"), out_of_band=step.out_of_band, rude=step.rude)
                if step.cancel_ms is not None:
                    await asyncio.sleep(step.cancel_ms / 1000)
                    await self._say("response.cancel")
            case Aside():
                await self._aside(step.kind)
            case Detect() if not self._left and not self.script.transcription:
                await self._at_rest()
                await self._detect(step.detection)
        if getattr(step, "waits", True):
            await self._at_rest()

    async def _at_rest(self) -> None:
        await self.call.until(lambda: not self.ledger.sure and self._sent <= self.ledger.settled)

    async def _talk(self, step: Talk) -> None:
        commits = self._commits
        self._asks_ms = step.ask_ms
        holding = self._wanted == "none"
        self._holding = holding
        if step.fresh:
            await self._clear()
        self._microphone = "loud"
        await asyncio.sleep(step.ms / 2000)
        if step.updates:
            await self._update()
        if step.takes_over and not (holding or self.script.transcription):
            holding = self._holding = True
            self._wanted = "none"
            await self._update()
        if step.rest_ms:
            self._microphone = "off"
            await asyncio.sleep(step.rest_ms / 1000)
            self._microphone = "loud"
        await asyncio.sleep(step.ms / 2000)
        if step.then == "leave":
            self._microphone, self._left, self._holding = "off", True, False
            for name in self._owed("floor", "speech"):
                self.ledger.doubt(name)
            return
        self._microphone = "off" if holding else "silent"
        self._holding = False
        if step.then == "clear":
            await self._clear()
            await self.call.until(lambda: self._cleared == self._clears)
        elif step.then == "commit" or holding:
            await self._say("input_audio_buffer.commit")
        if step.then != "clear" and step.waits:
            await self.call.until(lambda: self._commits > commits)

    async def _clear(self) -> None:
        self._clears += 1
        await self._say("input_audio_buffer.clear")

    async def _detect(self, detection: str) -> None:
        self._microphone = "off"
        self._wanted = detection
        await self._update()
        self._microphone = "off" if detection == "none" else "silent"

    async def _update(self) -> None:
        detection = self._wanted
        wanted: dict[str, Any] | None = None
        if detection != "none":
            wanted = {"type": detection, "create_response": self.script.creates}
        kind, session = "session.update", {"turn_detection": wanted}
        if self.script.api == "ga":
            of = "transcription" if self.script.transcription else "realtime"
            session = {"type": of, "audio": {"input": {"turn_detection": wanted}}}
        elif self.script.transcription:
            kind = "transcription_session.update"
        await self._say(kind, session=session)

    async def _aside(self, kind: str) -> None:
        if kind == "system":
            item = self.call.id("text")
            self._mine[item] = None
            content = [{"type": "input_text", "text": "The caller is in a car."}]
            await self._create({"id": item, "type": "message", "role": "system", "content": content})
        elif kind == "ping":
            await self.line.ping()
        elif kind == "update":
            await self._update()
        elif kind == "truncate":
            await self._say("conversation.item.truncate", item_id="item_1", content_index=0, audio_end_ms=1)
        elif kind == "retrieve":
            await self._say("conversation.item.retrieve", item_id="item_0")
        elif kind == "cancel":
            await self._say("response.cancel")
        elif not self.call.buffered and self._wanted == "none" and self._microphone == "off":
            await self._say("input_audio_buffer.commit")

    async def _listen_to_microphone(self) -> None:
        every = self.script.chunk_ms / 1000
        size = self.script.chunk_bytes * 4 // 3
        loop = asyncio.get_running_loop()
        at = loop.time()
        if self.script.born_so:
            await self.call.until(lambda: self.detection is not None)
            self._microphone = "off" if self._wanted == "none" else "silent"
        while True:
            if self._microphone != "off":
                audio = (LOUD if self._microphone == "loud" else "A") + "A" * size
                await self.line.say({"type": "input_audio_buffer.append", "audio": audio})
            at = max(at + every, loop.time())
            await asyncio.sleep(at - loop.time())

    # What the model says.

    def _heard(self, event: Event) -> None:
        kind: str = event["type"]
        if not kind.endswith(".delta"):
            self.ledger.note(f"<- {kind} {event.get('item_id', '')}{event.get('response', {}).get('id', '')}")
        match kind:
            case "session.created" | "session.updated" | "transcription_session.updated":
                self.detection = detection_of(event["session"])
                self.greeted.set()
                if self.call.buffered:
                    self._appended()
                if self.detection == "none":
                    # Where it speaks on it holds the floor now, and no event says when it falls silent.
                    self.ledger.settle(*self._owed("speech"))
            case "input_audio_buffer.speech_started":
                self.ledger.owe("caller", f"speech {event['item_id']}", sure=not self._left)
            case "input_audio_buffer.speech_stopped":
                self.ledger.owe("model", f"commit {event['item_id']}")
                self.ledger.settle(f"speech {event['item_id']}")
                if self.script.creates:
                    self._answered_by_itself.add(event["item_id"])
            case "input_audio_buffer.timeout_triggered":
                self.ledger.owe("model", f"commit {event['item_id']}")
                self._answered_by_itself.add(event["item_id"])
            case "input_audio_buffer.committed":
                self._committed(event["item_id"])
            case "input_audio_buffer.cleared":
                self._cleared += 1
                self._buffer_is_empty()
            case "conversation.item.added" | "conversation.item.created":
                self._added(event["item"])
            case "response.created":
                self._created(event["response"])
            case "response.done":
                self._done(event["response"])
            case "response.mcp_call.in_progress":
                self._mcp_runs(event["item_id"])
            case "response.mcp_call.completed" | "response.mcp_call.failed":
                self._follow(event["item_id"])
                self.ledger.settle(f"mcp {event['item_id']}")
            case _ if kind.endswith(("transcription.completed", "transcription.failed")):
                self.ledger.settle(f"transcript {event['item_id']}")
            case "error":
                self._refused(event["error"])

    def _committed(self, item: str) -> None:
        self._commits += 1
        if self.script.transcription:
            self.ledger.owe("model", f"transcript {item}")
        elif item in self._answered_by_itself:
            self.ledger.owe("model", f"answer {item}")
        else:
            ask = self.call.name("ask")
            self.ledger.owe("caller", ask, sure=self._asks_ms is not None)
            if self._asks_ms is not None:
                self._begin(self._ask_after(self._asks_ms, ask))
        if self.script.transcript_ms is not None and not self.script.transcription:
            # The turn does not hang on it, and the service sends it at any time: a relay may wait for it or not.
            self.ledger.owe("model", f"transcript {item}", sure=False)
        self.ledger.settle(f"commit {item}")
        self._buffer_is_empty()

    def _buffer_is_empty(self) -> None:
        held = self._holding and self.call.buffered  # anew: what it said since then is in the buffer already
        kinds = ("speech",) if held else ("floor", "speech")
        self.ledger.settle(*self._owed(*kinds))

    def _owed(self, *kinds: str) -> list[str]:
        return [name for name, debt in self.ledger.debts.items() if debt.kind in kinds]

    def _added(self, item: dict[str, Any]) -> None:
        if item["id"] in self._mine:
            ask = self._mine.pop(item["id"])
            self.ledger.owe("caller", ask or self.call.name("ask"), sure=ask is not None)
        if item["type"] == "mcp_approval_request":
            mcp = self.call.mcp[item["id"]]
            self.ledger.owe("caller", f"approval {item['id']}")
            self._begin(self._approve(item["id"], mcp.approval_ms or 0, mcp.approves))

    def _created(self, response: dict[str, Any]) -> None:
        self.ledger.owe("model", f"response {response['id']}")
        causes = self.call.causes[response["id"]]
        self.ledger.settle(*causes)
        self._asked -= {cause.removeprefix("reply to ") for cause in causes}
        if response["conversation_id"] is not None:
            self._active.add(response["id"])
            self.ledger.settle_doubts("ask")

    def _done(self, response: dict[str, Any]) -> None:
        plan = self.call.answers[response["id"]]
        self._active.discard(response["id"])
        if response["status"] == "failed":
            ask = self.call.name("ask")
            self.ledger.owe("caller", ask, sure=plan.retry_ms is not None)
            if plan.retry_ms is not None:
                self._begin(self._ask_after(plan.retry_ms, ask))
        tools = [item["call_id"] for item in response["output"] if item["type"] == "function_call"]
        mcp = [item["id"] for item in response["output"] if item["type"].startswith("mcp")]
        if tools or mcp:
            asks = any(self.call.tools[each].asks and self.call.tools[each].output for each in tools)
            asks = asks or any(self.call.mcp[each].asks for each in mcp)
            following = Following(self.call.name("ask"), asks, plan.ask_ms)
            if asks:
                self.ledger.owe("caller", following.ask)
                self.call.unready.add(following.ask)
            for call_id in tools:
                tool = self.call.tools[call_id]
                self.ledger.owe("caller", f"tool {call_id}", sure=tool.output)
                if tool.output:
                    self._wait_for(call_id, following)
                    self._begin(self._use(call_id, tool.wait_ms))
            for item in mcp:
                # Ended already: its end came before response.done.
                if self._waiting_for.pop(item, "") != "ended":
                    self._wait_for(item, following)
            if not following.open:
                self._all_there(following)
        self.ledger.settle(f"response {response['id']}")

    def _mcp_runs(self, item: str) -> None:
        self.ledger.owe("model", f"mcp {item}")
        started, _ = self.call.causes[item]
        self.ledger.settle(started)
        if (approval := started.removeprefix("mcp ")) in self._following:
            self._wait_for(item, self._following[approval])
            self._follow(approval)

    def _wait_for(self, what: str, following: Following) -> None:
        following.open.add(what)
        self._following[what] = following

    def _follow(self, what: str) -> None:
        """``what`` is done; where it was the last of its response, the caller asks for the answer."""
        following = self._following.get(what)
        if following is None:
            self._waiting_for[what] = "ended"
            return
        following.open.discard(what)
        if not following.open:
            self._all_there(following)

    def _all_there(self, following: Following) -> None:
        self.call.unready.discard(following.ask)
        if following.sure:
            self._begin(self._ask_after(following.ask_ms, following.ask))
        else:
            self.ledger.owe("caller", following.ask, sure=False)

    def _refused(self, error: dict[str, Any]) -> None:
        again = error["code"] == "conversation_already_has_active_response"
        if again or error["code"] == "invalid_value":
            # Asked too early, it asks again when that response is done; what it asked for wrongly it drops.
            refused, ask = self.call.refused.popleft(), self.call.name("ask")
            self._asked.discard(refused)
            self.ledger.owe("caller", ask, sure=again)
            self.ledger.settle(f"reply to {refused}")
            if again:
                self._begin(self._ask_again(ask))

    # What it does about it.

    async def _ask_after(self, ms: int, ask: str) -> None:
        await asyncio.sleep(ms / 1000)
        await self._ask(ask)

    async def _ask_again(self, ask: str) -> None:
        await self.call.until(self._may_ask)
        await self._ask_after(300, ask)

    async def _ask(self, ask: str, *, out_of_band: bool = False, rude: bool = False) -> None:
        if not (out_of_band or rude):
            await self.call.until(self._may_ask)
            if ask in self.ledger.settled:
                return
        if not out_of_band:
            self._asked.add(ask)
        self._sent.add(ask)
        body: Event = {"response": {"conversation": "none", "output_modalities": ["text"]}} if out_of_band else {}
        if self.script.wordy:
            body.setdefault("response", {})["instructions"] = "x" * self.script.wordy
        if self.script.noise % 2:
            body |= {"event_id": f"mine_{ask.split()[1]}"}
        self.call.asks.append(ask)
        await self._say("response.create", **body)

    def _may_ask(self) -> bool:
        """No response is under way or due: a careful client asks for one after the other."""
        due = any(debt.kind in ("commit", "answer") for debt in self.ledger.debts.values())
        return not (self._active or self._asked or due)

    async def _use(self, call_id: str, ms: int) -> None:
        await asyncio.sleep(ms / 1000)
        await self._create({"type": "function_call_output", "call_id": call_id, "output": "{}"})
        self._follow(call_id)

    async def _approve(self, request: str, ms: int, approves: bool) -> None:
        await asyncio.sleep(ms / 1000)
        await self.call.until(lambda: request in self._following)
        await self._create({"type": "mcp_approval_response", "approval_request_id": request, "approve": approves})
        if not approves:
            self._follow(request)

    async def _create(self, item: dict[str, Any]) -> None:
        await self._say("conversation.item.create", item=item)

    async def _say(self, kind: str, **fields: Any) -> None:
        await self.line.say({"type": kind, **fields})

    def _appended(self) -> None:
        """Its audio has arrived at the model: with turn detection off it has the floor now."""
        if self.detection == "none" and self._holding:
            floor = self._owed("floor")
            if not floor or not self.ledger.debts[floor[0]].sure:
                self.ledger.owe("caller", floor[0] if floor else self.call.name("floor"))

    def _begin(self, part: Coroutine[Any, Any, None]) -> None:
        self._tasks.create_task(part)


class _Over(Exception):
    """The call is over: what still runs of it ends."""
