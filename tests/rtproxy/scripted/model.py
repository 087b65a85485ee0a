"""The service's side of a script: it hears audio, notices speech, commits, and answers as the script says.

Names and order of events are those of the locked ``openai`` package and of the documented shape of a turn; what the
service does where no document says so is marked: unverified.
"""

import asyncio
import contextlib
import itertools
import random
import time
from collections.abc import Coroutine, Iterator
from typing import Any

from stage.rawpeer import Frame
from tests.rtproxy.scripted.call import Call
from tests.rtproxy.scripted.script import Answer, Mcp
from tests.rtproxy.scripted.wire import Event, Line

LOUD = "L"
"""What the base64 of an append begins with when somebody speaks in it."""
NOTICES_MS = 60
"""So much loud audio begins an utterance."""
BETA = {
    "response.output_audio.delta": "response.audio.delta",
    "response.output_text.delta": "response.text.delta",
    "response.output_audio_transcript.delta": "response.audio_transcript.delta",
    "conversation.item.added": "conversation.item.created",
}
"""The preview's names; it has no conversation.item.done."""
THROTTLED = {"type": "rate_limit_exceeded", "code": "inference_rate_limit_exceeded", "message": "too many tokens"}
BROKEN = {"type": "server_error", "code": None, "message": "The server had an error."}


def detection_of(session: dict[str, Any]) -> str:
    """The turn detection that a session has or is to have, in the shape of either api: ``none``, or its type."""
    at = session["audio"]["input"] if "audio" in session else session
    return at["turn_detection"]["type"] if at["turn_detection"] else "none"


class Speaking:
    """A response under way. ``stop`` is why it is to end, once it is."""

    def __init__(self, response: str, plan: Answer, out_of_band: bool) -> None:
        self.id, self.plan, self.out_of_band = response, plan, out_of_band
        self.stop = ""
        self._stopped = asyncio.Event()

    def cancel(self, reason: str) -> None:
        self.stop = self.stop or reason
        self._stopped.set()

    async def pause(self, ms: float) -> bool:
        """Waits; true when it is to end."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopped.wait(), ms / 1000)
        return bool(self.stop)


class ScriptedModel:
    """One session of the simulated service."""

    def __init__(self, call: Call, line: Line) -> None:
        self.call, self.line, self.script, self.ledger = call, line, call.script, call.ledger
        self.closed_with: Frame | None = None
        self.detection = self.script.detection if self.script.born_so else "server_vad"
        self._begun = self.script.born_so
        self._plans: Iterator[Answer] = itertools.cycle(self.script.answers)
        self._silence: Iterator[int] = itertools.cycle(self.script.silence_ms)
        self._noise = random.Random(self.script.noise ^ 1)
        self._speaking = False
        self._loud_ms = self._silent_ms = self._quiet_ms = 0
        self._stops_at = 0
        self._utterance = ""
        self._active: Speaking | None = None
        self._pending: list[str] = []
        self._last_committed: str | None = None
        self.said_at = 0.0
        self._tasks = asyncio.TaskGroup()

    async def run(self) -> None:
        """Plays its part until it is sent a Close."""
        try:
            async with self._tasks:
                await self._say("session.created", session=self._session())
                if any(answer.mcp for answer in self.script.answers):
                    self._begin(self._list_tools())
                while not isinstance(event := await self.line.hear(), Frame):
                    await self._heard(event)
                    self.call.changed()
                self.closed_with = event
                await self.line.answer_close(event)
                raise _Over
        except* _Over:
            pass

    # What the client says.

    async def _heard(self, event: Event) -> None:
        kind: str = event["type"]
        if kind != "input_audio_buffer.append":
            self.ledger.note(f"           -> {kind} {event.get('event_id', '')}")
        match kind:
            case "input_audio_buffer.append":
                await self._append(event["audio"][0] == LOUD)
            case "session.update" | "transcription_session.update":
                self._begun = True
                if (detection := detection_of(event["session"])) != self.detection:
                    self.detection = detection
                    self._speaking, self._loud_ms, self._silent_ms = False, 0, 0
                updated = "transcription_session.updated" if kind.startswith("transcription") else "session.updated"
                await self._say(updated, session=self._session())
            case "input_audio_buffer.commit":
                await self._committed_by_client(event)
            case "input_audio_buffer.clear":
                self.call.buffered = self._speaking = False
                self._loud_ms = self._silent_ms = 0
                await self._say("input_audio_buffer.cleared")
            case "conversation.item.create":
                await self._item(event["item"])
            case "conversation.item.truncate":
                await self._say(
                    "conversation.item.truncated", item_id=event["item_id"], content_index=0, audio_end_ms=1
                )
            case "conversation.item.retrieve":
                await self._error("item_retrieve_invalid_item_id", event)
            case "response.create":
                await self._asked(event)
            case "response.cancel":
                if self._active is None or self._active.stop:
                    await self._error("response_cancel_not_active", event)
                else:
                    self._active.cancel("client_cancelled")

    async def _append(self, loud: bool) -> None:
        self.call.buffered = True
        self.call.on_append()
        if self.detection == "none":
            return
        ms = self.script.chunk_ms
        if loud:
            self._silent_ms = self._quiet_ms = 0
            self._loud_ms += ms
            if not self._speaking and self._loud_ms >= NOTICES_MS:
                await self._speech_started()
            return
        if not self._speaking:
            self._loud_ms = 0
            await self._idle(ms)
            return
        self._silent_ms += ms
        if self._silent_ms >= self._stops_at:
            self._speaking, self._loud_ms = False, 0
            await self._say("input_audio_buffer.speech_stopped", item_id=self._utterance, audio_end_ms=1)
            await self._committed(self._utterance, by_itself=True)

    async def _speech_started(self) -> None:
        self._speaking, self._silent_ms, self._stops_at = True, 0, next(self._silence)
        self._utterance = self.call.id("item")
        active = self._active
        await self._say("input_audio_buffer.speech_started", item_id=self._utterance, audio_start_ms=1)
        if active is not None and self.script.interrupts:
            active.cancel("turn_detected")

    async def _idle(self, ms: int) -> None:
        if self._active is not None or self._pending or not self.call.buffered:
            self._quiet_ms = 0
        self._quiet_ms += ms
        if self.detection == "server_vad" and self.script.idle_ms and self._quiet_ms >= self.script.idle_ms:
            self._quiet_ms = -5 * self.script.idle_ms
            item = self.call.id("item")
            await self._say("input_audio_buffer.timeout_triggered", item_id=item, audio_start_ms=1, audio_end_ms=2)
            await self._committed(item, by_itself=True, unasked=True)

    async def _committed_by_client(self, event: Event) -> None:
        if not self.call.buffered:
            await self._error("input_audio_buffer_commit_empty", event)
            return
        item = self._utterance if self._speaking else self.call.id("item")
        self._speaking, self._loud_ms, self._silent_ms = False, 0, 0
        # A commit by hand makes no response, whatever create_response is (types of input_audio_buffer.commit).
        await self._committed(item, by_itself=False)

    async def _committed(self, item: str, *, by_itself: bool, unasked: bool = False) -> None:
        self.call.buffered = False
        await self._say("input_audio_buffer.committed", item_id=item, previous_item_id=self._last_committed)
        self._last_committed = item
        await self._added({"id": item, "type": "message", "role": "user", "content": [{"type": "input_audio"}]})
        if self.script.transcript_ms is not None:
            self._begin(self._transcribe(item, self.script.transcript_ms))
        answers = unasked or (self._creates and not self._transcription)
        if by_itself and answers:
            self._pending.append(f"answer {item}")
            if len(self._pending) > 1:  # the response that is about to begin answers this, too
                return
            plan = next(self._plans)
            if plan.outcome == "refused":  # there is nothing to refuse
                plan = plan._replace(outcome="completed")
            self._begin(self._answer(plan))

    async def _answer(self, plan: Answer) -> None:
        await asyncio.sleep(plan.before_ms / 1000)
        await self.call.until(lambda: self._active is None)
        if plan.outcome == "unborn":
            return
        causes = tuple(self._pending)
        self._pending.clear()
        await self._respond(causes, plan)

    async def _transcribe(self, item: str, ms: int) -> None:
        kind = "conversation.item.input_audio_transcription"
        await asyncio.sleep(ms / 1000)
        await self._say(f"{kind}.delta", item_id=item, content_index=0, delta="Hi")
        if self._noise.random() < 0.2:
            error = {"type": "transcription_error", "code": "audio_unintelligible"}
            await self._say(f"{kind}.failed", item_id=item, content_index=0, error=error)
            return
        usage = {"type": "duration", "seconds": 2}
        await self._say(f"{kind}.completed", item_id=item, content_index=0, transcript="Hi.", usage=usage)

    async def _item(self, item: dict[str, Any]) -> None:
        item = {"id": self.call.id("item")} | item
        match item["type"]:
            case "function_call_output":
                self.ledger.settle(f"tool {item['call_id']}")
            case "mcp_approval_response":
                if item["approve"]:
                    self.ledger.owe("model", f"mcp {item['approval_request_id']}")
                self.ledger.settle(f"approval {item['approval_request_id']}")
        await self._added(item)
        if item["type"] == "mcp_approval_response" and item["approve"]:
            mcp = self.call.mcp[item["approval_request_id"]]
            self._begin(self._call_mcp(item["approval_request_id"], mcp, self.call.id("resp")))

    async def _asked(self, event: Event) -> None:
        ask = self.call.asks.popleft()
        reply = f"reply to {ask}"
        self.ledger.owe("model", reply)
        self.ledger.settle(ask)
        out_of_band = event.get("response", {}).get("conversation") == "none"
        if out_of_band:
            plan = next(self._plans)._replace(tools=(), mcp=(), outcome="completed", retry_ms=None)
            self._begin(self._respond_after((reply,), plan, out_of_band=True))
        elif self._active is not None or self._pending:
            self.call.refused.append(ask)
            await self._error("conversation_already_has_active_response", event)
        else:
            plan = next(self._plans)
            if plan.outcome == "refused":
                self.call.refused.append(ask)
                await self._error("invalid_value", event)
                return
            self._pending.append(reply)
            self._begin(self._answer(plan))

    async def _respond_after(self, causes: tuple[str, ...], plan: Answer, *, out_of_band: bool) -> None:
        await asyncio.sleep(plan.before_ms / 1000)
        await self._respond(causes, plan, out_of_band=out_of_band)

    # A response.

    async def _respond(self, causes: tuple[str, ...], plan: Answer, *, out_of_band: bool = False) -> None:
        response = self.call.id("resp")
        speaking = Speaking(response, plan, out_of_band)
        if not out_of_band:
            self._active = speaking
            # It answers all that is in the conversation by now; nobody asks for that again.
            causes += tuple(ask for ask in self.ledger.sure if ask.startswith("ask") and ask not in self.call.unready)
        self.call.causes[response], self.call.answers[response] = causes, plan
        body: dict[str, Any] = {
            "object": "realtime.response",
            "id": response,
            "status": "in_progress",
            "output": [],
            "conversation_id": None if out_of_band else "conv_1",
            "metadata": {"topic": "x"} if out_of_band else None,
        }
        await self._say("response.created", response=body)
        if self._speaking and self.script.interrupts and not out_of_band:
            speaking.cancel("turn_detected")
        output = await self._speak(speaking)
        if plan.outcome == "endless" and not speaking.stop:
            await speaking.pause(3_600_000)
        body |= {"status": plan.outcome, "output": output, "usage": {"input_tokens": 3, "output_tokens": 5}}
        if speaking.stop:
            # What it had not said to the end is thrown away.
            body |= {"status": "cancelled", "status_details": {"type": "cancelled", "reason": speaking.stop}}
            body["output"] = []
        elif plan.outcome in ("failed", "throttled"):
            error = THROTTLED if plan.outcome == "throttled" else BROKEN
            body |= {"status": "failed", "status_details": {"type": "failed", "error": error}, "output": []}
        elif plan.outcome == "incomplete":
            body |= {"status_details": {"type": "incomplete", "reason": "content_filter"}}
        else:
            await self._tools(response, plan, output)
        if not out_of_band:
            self._active = None
        await self._say("response.done", response=body)
        self.call.changed()
        await self._say("rate_limits.updated", rate_limits=[])

    async def _speak(self, speaking: Speaking) -> list[dict[str, Any]]:
        """A message of some deltas."""
        plan, response = speaking.plan, speaking.id
        if not plan.deltas or speaking.stop:
            return []
        item: dict[str, Any] = {"id": self.call.id("item"), "type": "message", "role": "assistant", "content": []}
        place: dict[str, Any] = {"response_id": response, "output_index": 0}
        part = place | {"item_id": item["id"], "content_index": 0}
        await self._say("response.output_item.added", **place, item=item)
        if not speaking.out_of_band:
            await self._added(item, whole=False)
        for _ in range(plan.deltas):
            if await speaking.pause(plan.gap_ms):
                break
            if self.script.writes or speaking.out_of_band:
                await self._say("response.output_text.delta", **part, delta="Hello")
                continue
            await self._say("response.output_audio_transcript.delta", **part, delta="Hello")
            await self._say("response.output_audio.delta", **part, delta="A" * self._noise.choice((40, 640, 3200)))
        await self._say("response.output_item.done", **place, item=item)
        return [item]

    async def _tools(self, response: str, plan: Answer, output: list[dict[str, Any]]) -> None:
        """The calls at the end of a response, in the order of its output."""
        for tool in plan.tools:
            call_id = self.call.id("call")
            self.call.tools[call_id] = tool
            item = {"id": self.call.id("item"), "type": "function_call", "call_id": call_id, "name": "look"}
            place: dict[str, Any] = {"response_id": response, "output_index": len(output)}
            part = place | {"item_id": item["id"], "call_id": call_id}
            await self._say("response.output_item.added", **place, item=item | {"arguments": ""})
            await self._say("response.function_call_arguments.delta", **part, delta="{")
            await self._say("response.function_call_arguments.done", **part, arguments="{}")
            output.append(item | {"status": "completed", "arguments": "{}"})
            await self._say("response.output_item.done", **place, item=output[-1])
        for mcp in plan.mcp:
            if mcp.approval_ms is not None:
                request = self.call.id("mcpr")
                self.call.mcp[request] = mcp
                output.append({"id": request, "type": "mcp_approval_request", "server_label": "docs", "name": "search"})
                await self._say("conversation.item.added", previous_item_id=None, item=output[-1])
                continue
            index = len(output)
            output.append({})
            if mcp.outlives:
                started = asyncio.Event()
                self._begin(self._call_mcp("", mcp, response, index, output, started))
                await started.wait()
            else:
                await self._call_mcp("", mcp, response, index, output)

    async def _list_tools(self) -> None:
        """It concerns no turn."""
        item = {"id": self.call.id("item"), "type": "mcp_list_tools", "server_label": "docs", "tools": []}
        await self._say("mcp_list_tools.in_progress", item_id=item["id"])
        await asyncio.sleep(self._noise.random() * 5)
        await self._say("mcp_list_tools.completed", item_id=item["id"])
        await self._added(item)

    async def _call_mcp(
        self,
        approved: str,
        mcp: Mcp,
        response: str,
        index: int = 0,
        output: list[dict[str, Any]] | None = None,
        started: asyncio.Event | None = None,
    ) -> None:
        item: dict[str, Any] = {
            "id": self.call.id("item"),
            "type": "mcp_call",
            "server_label": "docs",
            "name": "search",
        }
        self.call.mcp[item["id"]] = mcp
        self.call.causes[item["id"]] = (f"mcp {approved}", response)
        place = {"response_id": response, "output_index": index}
        part = {"item_id": item["id"], "output_index": index}
        await self._say("response.output_item.added", **place, item=item | {"arguments": ""})
        await self._say("response.mcp_call_arguments.done", **place, item_id=item["id"], arguments="{}")
        await self._say("response.mcp_call.in_progress", **part)
        item |= {"arguments": "{}"}
        if output is not None:
            output[index] = item
        if started is not None:
            started.set()
        await asyncio.sleep(mcp.lasts_ms / 1000)
        await self._say("response.mcp_call.failed" if mcp.fails else "response.mcp_call.completed", **part)
        ended = {"output": None, "error": {"type": "http_error"}} if mcp.fails else {"output": "[]", "error": None}
        if output is not None and started is None:
            output[index] = item | ended
        await self._say("response.output_item.done", **place, item=item | ended)

    # What it says.

    async def _added(self, item: dict[str, Any], *, whole: bool = True) -> None:
        await self._say("conversation.item.added", previous_item_id=None, item=item)
        if whole and self.script.api == "ga":
            await self._say("conversation.item.done", previous_item_id=None, item=item)

    async def _error(self, code: str, event: Event) -> None:
        error = {"type": "invalid_request_error", "code": code, "message": code, "event_id": event.get("event_id")}
        await self._say("error", error=error)

    async def _say(self, kind: str, **fields: Any) -> None:
        if self.script.api == "beta":
            kind = BETA.get(kind, kind)
        self.said_at = time.monotonic()
        await self.line.say({"type": kind, "event_id": self.call.id("event"), **fields})

    def _session(self) -> dict[str, Any]:
        script = self.script
        detection = None if self.detection == "none" else {"type": self.detection}
        if detection is not None:
            detection |= {"create_response": self._creates, "interrupt_response": script.interrupts, "threshold": 0.5}
        heard = {"model": "whisper-1"} if script.transcript_ms is not None else None
        session = {"id": "sess_1", "object": "realtime.session", "instructions": "Be brief. " * 30}
        if script.api == "beta":
            return session | {"turn_detection": detection, "input_audio_transcription": heard, "modalities": ["audio"]}
        kind = "transcription" if self._transcription else "realtime"
        return session | {"type": kind, "audio": {"input": {"turn_detection": detection, "transcription": heard}}}

    @property
    def _creates(self) -> bool:
        return self.script.creates or not self._begun

    @property
    def _transcription(self) -> bool:
        return self.script.transcription and self._begun

    def _begin(self, part: Coroutine[Any, Any, None]) -> None:
        self._tasks.create_task(part)


class _Over(Exception):
    """The call is over: what still runs of it ends."""
