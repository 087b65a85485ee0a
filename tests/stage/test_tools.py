"""Tools as a client meets them: functions that it runs, MCP servers that the service asks, and who says what when."""

from typing import Any

import pytest

from stage.gpt.options import Unverified
from tests.stage.conftest import Caller, ModelFactory, silence, speech

Events = list[dict[str, Any]]


def functions(*names: str) -> list[dict[str, Any]]:
    return [{"type": "function", "name": name, "parameters": {"type": "object"}} for name in names]


def server(label: str = "docs", **fields: Any) -> dict[str, Any]:
    return {"type": "mcp", "server_label": label, "server_url": "https://docs.invalid/mcp", **fields}


def kinds(events: Events) -> list[str]:
    return [event["type"] for event in events if not event["type"].endswith(".delta")]


def output(events: Events) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = events[-1]["response"]["output"]
    return items


async def asked(caller: Caller, text: str, **response: Any) -> Events:
    """The response to a typed request."""
    await caller.say(text)
    return await answered(caller, **response)


async def answered(caller: Caller, **response: Any) -> Events:
    await caller.send("response.create", **({"response": response} if response else {}))
    return await caller.until("response.done")


async def returns(caller: Caller, item: dict[str, Any]) -> None:
    result = {"type": "function_call_output", "call_id": item["call_id"], "output": "12 degrees"}
    await caller.send("conversation.item.create", item=result)
    await caller.until("conversation.item.done")


async def listed(caller: Caller, **session: Any) -> Events:
    """What comes of naming MCP servers, up to the end of their list."""
    await caller.update(**session)
    events = await caller.until("conversation.item.done")
    assert events[-1]["item"]["type"] == "mcp_list_tools"
    return events


async def test_several_functions_are_called_in_one_response_behind_a_preamble(caller: Caller) -> None:
    await caller.update(tools=functions("order", "customer"))

    events = await asked(caller, "Please call order and customer.")

    preamble, *calls = output(events)
    assert (preamble["type"], preamble["phase"], preamble["content"][0]["type"]) == (
        "message",
        "commentary",
        "output_audio",
    )
    assert [item["name"] for item in calls] == ["order", "customer"]
    added = [event for event in events if event["type"] == "response.output_item.added"]
    assert [event["output_index"] for event in added] == [0, 1, 2]
    assert [event["item"]["id"] for event in added] == [item["id"] for item in output(events)]
    usage = events[-1]["response"]["usage"]["output_token_details"]
    assert usage["audio_tokens"] == 9  # 0.45 s at 20 a second
    for item in calls:
        await returns(caller, item)
    (answer,) = output(await answered(caller))
    assert (answer["type"], answer["phase"]) == ("message", "final_answer")


@pytest.mark.parametrize("how", ["session", "response"])
async def test_one_function_is_called_at_a_time_when_parallel_calls_are_off(caller: Caller, how: str) -> None:
    off = {"parallel_tool_calls": False}
    await caller.update(tools=functions("order", "customer"), **(off if how == "session" else {}))

    events = await asked(caller, "call order and customer", **(off if how == "response" else {}))

    assert [item["name"] for item in output(events)[1:]] == ["order"]


async def test_generation_1_calls_one_function_and_says_nothing_before(model_for: ModelFactory) -> None:
    caller = await (await model_for(generation=1)).call()
    await caller.update(tools=functions("order", "customer"))

    (item,) = output(await asked(caller, "call order and customer"))

    assert (item["type"], item["name"]) == ("function_call", "order")
    await caller.send("session.update", session={"type": "realtime", "reasoning": {"effort": "low"}})
    assert (await caller.rejection())["param"] == "session.reasoning"


async def test_every_spoken_turn_calls_when_the_instructions_say_so(caller: Caller) -> None:
    await caller.update(tools=functions("order"), instructions="Always call order before you answer.")
    for _ in range(2):
        await caller.append(speech(300), silence(200))
        _, call = output(await caller.until("response.done"))
        assert call["name"] == "order"
        await returns(caller, call)

        (answer,) = output(await answered(caller))

        assert answer["type"] == "message"


async def test_the_model_speaks_and_does_not_call_again_while_an_output_is_outstanding(caller: Caller) -> None:
    await caller.update(tools=functions("order"))
    _, call = output(await asked(caller, "call order"))

    (answer,) = output(await answered(caller))

    assert answer["type"] == "message"
    await returns(caller, call)


async def test_a_silent_tool_is_called_without_a_word_and_nothing_follows(caller: Caller) -> None:
    await caller.update(tools=functions("order", "wait_for_user"))

    events = await asked(caller, "call wait_for_user")

    (call,) = output(events)
    assert (call["type"], call["name"]) == ("function_call", "wait_for_user")
    assert not [event for event in events if event["type"].startswith("response.output_audio")]
    await returns(caller, call)
    await caller.send("input_audio_buffer.clear")
    assert kinds(await caller.until("input_audio_buffer.cleared"))[-1:] == ["input_audio_buffer.cleared"]


async def test_a_second_response_is_refused_and_an_out_of_band_one_runs_beside(model_for: ModelFactory) -> None:
    caller = await (await model_for(answer_seconds=60, pace=4)).call()
    await caller.send("response.create")
    first = (await caller.last("response.created"))["response"]["id"]

    await caller.send("response.create")
    assert (await caller.rejection())["code"] == "conversation_already_has_active_response"
    await caller.send("response.create", response={"conversation": "none", "output_modalities": ["text"]})
    beside = (await caller.last("response.created"))["response"]
    assert beside["conversation_id"] is None

    await caller.send("response.cancel", response_id=beside["id"])
    assert (await caller.last("response.done"))["response"]["id"] == beside["id"]
    await caller.send("response.cancel", response_id="resp_none")
    assert (await caller.rejection())["code"] == "response_cancel_not_active"
    await caller.append(speech(100))
    done = (await caller.last("response.done"))["response"]
    assert (done["id"], done["status_details"]["reason"]) == (first, "turn_detected")


async def test_barging_in_cancels_the_response_of_the_conversation_alone(model_for: ModelFactory) -> None:
    caller = await (await model_for(answer_seconds=3, pace=10)).call()
    await caller.send("response.create")
    spoken = (await caller.last("response.created"))["response"]["id"]
    await caller.send("response.create", response={"conversation": "none"})
    beside = (await caller.last("response.created"))["response"]["id"]

    await caller.append(speech(100))

    ends = [(await caller.last("response.done"))["response"] for _ in range(2)]
    assert [(each["id"], each["status"]) for each in ends] == [(spoken, "cancelled"), (beside, "completed")]


async def test_an_mcp_server_lists_its_tools_once_it_is_named(caller: Caller) -> None:
    tools = [server(allowed_tools=["search", "fetch"], require_approval="never")]

    events = await listed(caller, tools=tools)

    assert kinds(events) == [
        "conversation.item.added",
        "mcp_list_tools.in_progress",
        "mcp_list_tools.completed",
        "conversation.item.done",
    ]
    assert [tool["name"] for tool in events[-1]["item"]["tools"]] == ["search", "fetch"]
    await caller.update(tools=[{"type": "mcp", "server_label": "docs"}])
    await caller.send("input_audio_buffer.clear")
    assert (await caller.next())["type"] == "input_audio_buffer.cleared"


async def test_an_mcp_call_outlives_its_response_and_waits_to_be_asked_about(model_for: ModelFactory) -> None:
    model = await model_for(mcp_seconds=0.4)
    caller = await model.call()
    await listed(caller, tools=[server(require_approval="never")])

    events = await asked(caller, "call search")

    item = output(events)[-1]
    assert item.items() >= {"type": "mcp_call", "server_label": "docs", "name": "search"}.items()
    assert not {"output", "error"} & item.keys()
    assert kinds(events)[-3:] == [
        "response.mcp_call_arguments.done",
        "response.mcp_call.in_progress",
        "response.done",
    ]
    assert (await model.sessions())[0]["owed"] == ["mcp_call"]

    after = await caller.until("conversation.item.done")

    assert kinds(after) == [
        "rate_limits.updated",
        "response.mcp_call.completed",
        "response.output_item.done",
        "conversation.item.done",
    ]
    assert {event["item"]["id"] for event in after[2:]} == {item["id"]}
    assert (after[2]["response_id"], after[2]["item"]["error"]) == (events[-1]["response"]["id"], None)
    assert after[2]["item"]["output"]
    assert (await model.sessions())[0]["owed"] == []
    (answer,) = output(await answered(caller))
    assert answer["type"] == "message"


async def test_an_mcp_call_fails_when_its_tool_does(model_for: ModelFactory) -> None:
    caller = await (await model_for(mcp_seconds=0)).call()
    await listed(caller, tools=[server(allowed_tools=["fail_always"], require_approval="never")])
    await asked(caller, "call fail_always")

    failed, done = (await caller.until("response.output_item.done"))[-2:]

    assert failed["type"] == "response.mcp_call.failed"
    assert done["item"]["error"]["type"] == "http_error"


async def test_no_tool_of_a_broken_server_can_be_called(caller: Caller) -> None:
    events = await listed(caller, tools=[server("broken", require_approval="never")])

    assert "mcp_list_tools.failed" in kinds(events)
    (answer,) = output(await asked(caller, "call search"))
    assert answer["type"] == "message"


async def test_a_server_named_in_one_response_is_asked_before_that_response(caller: Caller) -> None:
    events = await asked(caller, "call search", tools=[server(require_approval="never")])

    assert kinds(events).index("mcp_list_tools.completed") < kinds(events).index("response.created")
    assert output(events)[-1]["type"] == "mcp_call"


@pytest.mark.parametrize("rule", [{}, {"require_approval": "always"}, {"require_approval": {"always": {}}}])
async def test_an_mcp_call_begins_once_it_is_approved(model_for: ModelFactory, rule: dict[str, Any]) -> None:
    caller = await (await model_for(mcp_seconds=0.1)).call()
    await listed(caller, tools=[server(**rule)])
    request = output(await asked(caller, "call search"))[-1]
    assert request["type"] == "mcp_approval_request"
    answer = {"type": "mcp_approval_response", "approval_request_id": request["id"], "approve": True}

    await caller.send("conversation.item.create", item=answer)

    events = await caller.until("response.mcp_call.completed")
    calls = [event["item"] for event in events if event["type"] == "conversation.item.added"][-1:]
    assert [(call["type"], call["approval_request_id"]) for call in calls] == [("mcp_call", request["id"])]
    assert "response.created" not in kinds(events)
    await caller.send("conversation.item.create", item=answer)
    assert (await caller.rejection())["param"] == "item.approval_request_id"
    (spoken,) = output(await answered(caller))
    assert spoken["type"] == "message"


async def test_an_approved_mcp_call_is_made_by_the_next_response_where_that_is_the_guess(
    model_for: ModelFactory,
) -> None:
    unverified = Unverified(approved_call_runs_at_once=False)
    caller = await (await model_for(mcp_seconds=0, unverified=unverified)).call()
    await listed(caller, tools=[server()])
    request = output(await asked(caller, "call search"))[-1]
    answer = {"type": "mcp_approval_response", "approval_request_id": request["id"], "approve": True}
    await caller.send("conversation.item.create", item=answer)

    (call,) = output(await answered(caller))

    assert (call["type"], call["approval_request_id"]) == ("mcp_call", request["id"])
    await caller.until("response.mcp_call.completed")


async def test_an_mcp_call_never_begins_when_it_is_not_approved(model_for: ModelFactory) -> None:
    model = await model_for(mcp_seconds=0)
    caller = await model.call()
    await listed(caller, tools=[server()])
    request = output(await asked(caller, "call search"))[-1]
    answer = {"type": "mcp_approval_response", "approval_request_id": request["id"], "approve": False}

    await caller.send("conversation.item.create", item=answer)
    events = await caller.until("conversation.item.done")
    events += await answered(caller)

    assert not [kind for kind in kinds(events) if kind.startswith("response.mcp_call")]


async def test_an_unknown_server_without_an_address_is_refused(caller: Caller) -> None:
    tools = [{"type": "mcp", "server_label": "docs"}]

    await caller.send("session.update", session={"type": "realtime", "tools": tools})

    error = await caller.rejection()
    assert (error["code"], error["param"]) == ("missing_required_parameter", "session.tools[0].server_url")
