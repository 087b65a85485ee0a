"""The table: each bad release with the check that must find it, each good one that must pass.

Times are small: a smoke test holds calls for some 7 s, so that what happens at 40 s in life happens at 4 s here.
"""

import signal

from stage.platform import Gateway, Unverified
from stage.sabotage.row import Row
from stage.sabotage.switches import (
    FirstOnly,
    Lingering,
    Skewed,
    cut_off,
    skewed,
    without_a_log,
    without_acts,
    without_events,
    without_one_log,
    without_the_models_record,
)

TURNS = ("quality.turns", "quality.kinds")
"""Turns that are not completed, or not as many as it takes to say anything."""

HEARING = (
    Row(
        name="mute",
        about="every second piece of a caller's audio is lost, so that green never answers",
        green="lose-appends",
        must=TURNS,
        whole=True,
    ),
    Row(name="never-done", about="response.done is never sent", green="no-done", must=TURNS),
    Row(name="no-answer", about="no event of any response is sent", green="no-answer", must=TURNS),
    Row(
        name="neighbours-answer",
        about="callers hear the answers of another call in place of their own",
        green="to-neighbour",
        must=("hearing.cross_talk",),
    ),
    Row(
        name="neighbour-too",
        about="each piece of an answer also goes to another call",
        green="to-neighbour-too",
        must=("hearing.cross_talk",),
    ),
    Row(
        name="neighbours-words",
        about="one transcript delta in four also goes to another call",
        green="words-to-neighbour",
        must=("hearing.cross_talk",),
    ),
    Row(
        name="neighbours-speech",
        about="the model of another call also hears a quarter of what a caller says",
        green="speech-to-neighbour",
        must=("hearing.audio",),
        by="verdict",
    ),
    Row(
        name="update-swallowed",
        about="session.update never reaches the model",
        green="swallow",
        must=("hearing.session",),
    ),
    Row(
        name="update-unanswered",
        about="session.updated never reaches the caller",
        green="no-updated",
        must=("hearing.session",),
    ),
    Row(
        name="update-refused",
        about="each session.update is answered with an error",
        green="update-error",
        must=("hearing.session", "hearing.events"),
    ),
    Row(
        name="other-session",
        about="session.updated has other instructions than were asked for",
        green="other-session",
        must=("hearing.session",),
    ),
    Row(
        name="silence",
        about="every answer is silence of the right length",
        green="silence",
        must=("hearing.audio",),
    ),
    Row(
        name="hiss",
        about="every answer is a hiss that nobody hears",
        green="quiet-noise",
        must=("hearing.audio",),
    ),
    Row(
        name="three-deltas",
        about="of each answer only the first three deltas arrive",
        green="first-three",
        must=("hearing.audio",),
    ),
    Row(
        name="end-missing",
        about="the last delta of each answer is missing",
        green="lose-last",
        must=("hearing.audio",),
    ),
    Row(
        name="deltas-lost",
        about="one delta in ten is lost",
        green="lose=10",
        must=("hearing.audio",),
    ),
    Row(
        name="deltas-twice",
        about="one delta in ten arrives twice",
        green="twice=10",
        must=("hearing.audio", "hearing.events"),
    ),
    Row(
        name="deltas-swapped",
        about="one delta in five changes places with the next",
        green="swap=5",
        must=("hearing.audio", "hearing.events"),
        by="verdict",
    ),
    Row(
        name="done-first",
        about="the last delta of each answer comes behind its response.done",
        green="done-first",
        must=("hearing.events", "hearing.audio"),
    ),
    Row(
        name="words-lost",
        about="one piece in four of what an answer says in words is lost",
        green="lose-words",
        must=("hearing.events",),
    ),
    Row(
        name="half-frames",
        about="one delta in ten is cut to half and is no JSON any more",
        green="half=10",
        must=("hearing.events",),
    ),
    Row(
        name="speech-lost",
        about="half of what a caller says is lost, and none of the silence",
        green="lose-speech",
        must=("hearing.audio",),
        by="verdict",
    ),
    Row(
        name="speech-changed",
        about="in each piece of a caller's speech one byte is another",
        green="other-speech",
        must=("hearing.audio",),
        by="verdict",
    ),
    Row(
        name="neighbours-audio",
        about="the sound of another call under the ids of this one",
        green="neighbours-audio",
        must=("hearing.audio",),
        by="verdict",
    ),
    Row(
        name="same-id",
        about="every event of a call has the same event_id",
        green="same-event-id",
        must=("hearing.events",),
    ),
    Row(name="done-twice", about="each response.done arrives twice", green="done-twice", must=("hearing.events",)),
    Row(
        name="no-created",
        about="response.created is never sent",
        green="no-created",
        must=(*TURNS, "hearing.events"),
    ),
    Row(
        name="stray-errors",
        about="an error comes before each answer",
        green="stray-error",
        must=("hearing.events",),
    ),
    Row(
        name="all-at-once",
        about="swallowed updates, lost and doubled deltas, broken frames and lost speech at once",
        green="swallow lose=10 twice=9 half=10 lose-speech",
        must=("hearing.session", "hearing.audio", "hearing.events"),
    ),
    Row(
        name="tool-output-lost",
        about="what a tool found never reaches the model",
        green="swallow-tool-output",
        must=("hearing.events",),
    ),
    Row(
        name="typed-words-lost",
        about="what a caller types never reaches the model, which answers all the same",
        green="swallow-text",
        must=(*TURNS, "hearing.events"),
    ),
    Row(
        name="tool-call-lost",
        about="no caller ever hears of a function call",
        green="no-tool-call",
        must=TURNS,
    ),
    Row(
        name="commit-lost",
        about="nobody who pushes to talk gets an answer",
        green="swallow-commit",
        must=TURNS,
    ),
    Row(
        name="failed-turns",
        about="every second response says that it failed",
        green="failed=2",
        must=TURNS,
    ),
)

SLOW = (
    Row(
        name="stalls",
        about="each answer stops in the middle for 1.5 s",
        green="stall=1.5",
        must=("hearing.gaps",),
    ),
    Row(
        name="late-answers",
        about="each answer begins 1.5 s late",
        green="late=1.5",
        must=("quality.first_audio",),
    ),
    Row(
        name="late-pongs",
        about="each pong is late by 0.8 s",
        green="late-pong=0.8",
        must=("quality.rtt",),
    ),
    Row(
        name="deaf-to-pings",
        about="no ping is ever answered",
        green="no-pong",
        must=("quality.rtt", "survival.cut"),
    ),
    Row(
        name="slow-to-connect",
        about="the 101 comes 1.5 s late",
        green="slow-connect=1.5",
        must=("quality.connect", *TURNS),
    ),
    Row(
        name="standing-still",
        about="the event loop stands still for 0.8 s every 2 s, and 20 MB more are in use each time",
        green="spin=0.8",
        must=("quality.rtt", "hearing.gaps", "quality.first_audio"),
    ),
)

SURVIVAL = (
    Row(name="resets", about="each call is reset at 4 s", green="reset-at=4", must=("survival.cut",)),
    Row(name="hangs-up", about="each call ends at 4 s with no Close", green="drop-at=4", must=("survival.cut",)),
    Row(name="says-goodbye", about="each call is closed with 1000 at 4 s", green="1000-at=4", must=("survival.cut",)),
    Row(
        name="resets-late",
        about="each call is reset at 11 s, which only long calls live to see",
        green="reset-at=11",
        must=("survival.cut",),
    ),
    Row(
        name="silent-calls-reset",
        about="calls in which nothing was said for 3 s are reset, whatever they ping",
        green="reset-when-silent=3",
        must=("survival.cut",),
    ),
    Row(
        name="goes-deaf",
        about="from 3 s on nothing passes, neither way, and the socket stays",
        green="deaf-at=3",
        must=(*TURNS, "survival.cut", "quality.rtt"),
    ),
    Row(
        name="every-fifth", about="every third call of a replica is reset", green="drop-every=3", must=("survival.cut",)
    ),
    Row(
        name="come-back",
        about="every call older than 4 s gets 1012, again and again, with no SIGTERM anywhere",
        green="1012-at=4",
        must=("survival.cut", "survival.moved"),
    ),
    Row(
        name="refuses-every-fifth",
        about="every third dial of a replica is refused",
        green="refuse-every=3",
        must=("survival.refused", "knock"),
    ),
    Row(
        name="no-upgrade",
        about="green is ready and refuses every upgrade",
        green="refuse-upgrades",
        must=("survival.refused", "hold", "knock"),
    ),
    Row(
        name="no-heartbeat",
        about="green pings a call once an hour, and not within any idle timeout on the way",
        green_env={"RTPROXY_HEARTBEAT_SECONDS": "3600"},
        must=("quality.heartbeat",),
        by="verdict",
    ),
    Row(
        name="short-gateway",
        about="the gateway ends calls in which nothing passes for 2 s",
        gateway=Gateway(request_timeout_s=2),
        hold=("--ping-interval", "0", "--talk-every", "0"),
        must=("survival.cut",),
        by="verdict",
    ),
)

WHO = (
    Row(name="anybody", about="green lets anybody in", green="anybody", must=("knock",), whole=True),
    Row(
        name="anonymous",
        about="green is set to let in who shows no key",
        green_env={"RTPROXY_ALLOW_ANONYMOUS": "true", "RTPROXY_CLIENT_KEYS": ""},
        must=("knock",),
    ),
    Row(
        name="any-key",
        about="green lets in whoever shows a key, be it wrong",
        green="anybody-with-a-key",
        must=("knock",),
    ),
    Row(
        name="no-key",
        about="green refuses a wrong key and lets in who shows none",
        green="anybody-without-a-key",
        must=("knock",),
    ),
    Row(
        name="no-revision",
        about="the 101 does not say which revision answers",
        green="no-revision",
        must=("routing", "placement", "survival"),
    ),
    Row(
        name="other-revision",
        about="the 101 names a revision that does not exist",
        green="other-revision",
        must=("routing", "placement", "survival"),
    ),
    Row(
        name="says-blue",
        about="the 101 of green says that it is blue",
        green="says-blue",
        must=("routing", "placement", "evidence"),
    ),
    Row(
        name="other-replica",
        about="the 101 names a replica that does not exist",
        green="other-replica",
        must=("placement", "evidence"),
        by="verdict",
    ),
    Row(
        name="weights-skewed",
        about="where green is to get half of the calls it gets one in eleven",
        ingress=Skewed,
        must=("settle", "routing"),
    ),
    Row(
        name="weights-ignored",
        about="the ingress sends every call to blue until blue has no weight",
        ingress=FirstOnly,
        must=("settle", "routing"),
    ),
    Row(
        name="still-called",
        about="the ingress goes on sending calls to a revision whose weight is 0",
        ingress=Lingering,
        must=("settle", "routing", "cooldown.no_new_calls"),
    ),
)

DRAIN = ("termination", "survival.cut", "survival.moved", "smoke-drain")
BUSY = ("--call-seconds", "0", "--talk-every", "1", "--kinds", "vad")
"""Calls that outlast blue's drain timeout and hardly pause, so that some are in a turn when blue stops."""
DRAINS = (
    Row(
        name="ignores-sigterm",
        about="green does not hear SIGTERM",
        green="ignore-sigterm",
        must=DRAIN,
        whole=True,
    ),
    Row(
        name="long-drain",
        about="green drains for longer than its grace period",
        green_env={"RTPROXY_DRAIN_SECONDS": "60"},
        must=DRAIN,
    ),
    Row(
        name="short-grace",
        about="the platform gives a replica 2 s, and a drain takes 8",
        grace_s=2,
        must=DRAIN,
    ),
    Row(name="green-exits", about="green exits at SIGTERM, with all its calls", green="exit-at-sigterm", must=DRAIN),
    Row(
        name="green-stays",
        about="green drains well and its process does not end",
        green="stays=60",
        must=("termination",),
        by="verdict",
    ),
    Row(
        name="green-cuts-turns",
        about="green sends 1012 to every call at SIGTERM, in the middle of a turn as well",
        green="close-at-sigterm=1012",
        must=DRAIN,
    ),
    Row(
        name="green-goes-away",
        about="green closes every call with 1001 at SIGTERM",
        green="close-at-sigterm=1001",
        must=DRAIN,
    ),
    Row(
        name="deaf-blue",
        about="calls on blue go deaf at 3 s",
        blue="deaf-at=3",
        must=(*TURNS, "survival.cut", "quality.rtt"),
    ),
    Row(
        name="blue-exits",
        about="blue exits at SIGTERM, with all its calls",
        blue="exit-at-sigterm",
        must=DRAIN,
        hold=BUSY,
        unproven=("quality.kinds",),
        by="verdict",
    ),
    Row(
        name="blue-stays",
        about="blue does not hear SIGTERM",
        blue="ignore-sigterm",
        must=("termination",),
        hold=BUSY,
        unproven=("quality.kinds",),
        by="verdict",
    ),
    Row(
        name="blue-cuts-turns",
        about="blue sends 1012 to every call at SIGTERM, in the middle of a turn as well",
        blue="close-at-sigterm=1012",
        must=DRAIN,
        hold=BUSY,
        unproven=("quality.kinds",),
        by="verdict",
    ),
)

EVIDENCE = (
    Row(
        name="hold-interrupted",
        about="the hold ends before green has a call",
        hold_ends=signal.SIGINT,
        must=("evidence.hold",),
        by="verdict",
    ),
    Row(
        name="hold-killed",
        about="the hold is killed before green has a call",
        hold_ends=signal.SIGKILL,
        must=("evidence.hold",),
        by="verdict",
    ),
    Row(
        name="hold-cut-off",
        about="the second half of the hold's record is missing",
        record=cut_off("hold.jsonl"),
        must=("evidence.hold",),
        by="verdict",
    ),
    Row(
        name="log-cut-off",
        about="the second half of each log is missing",
        record=cut_off("replicas/*.jsonl"),
        must=("evidence.log",),
        by="verdict",
    ),
    Row(
        name="no-exits",
        about="the platform tells of SIGTERM and of no exit ever",
        record=without_acts("replica.exited"),
        must=("evidence.exits", "termination"),
        by="verdict",
    ),
    Row(
        name="killed-untold",
        about="blue does not hear SIGTERM and is killed, and the platform tells of no kill and no exit",
        blue="ignore-sigterm",
        hold=BUSY,
        record=without_acts("replica.sigkill", "replica.exited"),
        must=("termination.no_sigkill",),
        by="verdict",
    ),
    Row(
        name="log-lacks-calls",
        about="the log of one replica is missing",
        record=without_one_log,
        must=("evidence.log",),
        by="verdict",
    ),
    Row(
        name="log-lacks-ends",
        about="the logs have no end of any call",
        record=without_events("connection.closed"),
        must=("evidence.log",),
        by="verdict",
    ),
)

GOOD = (
    Row(
        name="weights-late",
        about="one part of the ingress takes new weights 4 s late",
        unverified=Unverified(weights_late_s=4),
        by="nobody",
    ),
    Row(
        name="slow-to-settle",
        about="one part of the ingress takes new weights 12 s late",
        unverified=Unverified(weights_late_s=12),
        by="nobody",
    ),
    Row(
        name="noisy-model",
        about="a model that begins its answers 0.6 s later on average, by chance, and now and then 2 s",
        model=("--noise-seconds", "0.6"),
        by="nobody",
    ),
    Row(name="good", about="a release like the one before", by="nobody"),
    Row(
        name="good-through-a-middle",
        about="men in the middle who pass everything on",
        green="nothing",
        blue="nothing",
        by="nobody",
    ),
    Row(
        name="one-call",
        about="one call",
        connections=1,
        hold=("--kinds", "long"),
        unproven=("hearing.cross_talk", "quality.kinds"),
        by="nobody",
    ),
    Row(
        name="no-log",
        about="a cloud that keeps no logs of the relays",
        record=without_a_log,
        unproven=("evidence.log", "evidence.clock"),
        by="nobody",
    ),
    Row(
        name="no-record-of-the-model",
        about="a model that keeps no record, as on Azure",
        record=without_the_models_record,
        by="nobody",
    ),
    Row(name="many-calls", about="150 calls", connections=150, by="nobody"),
    Row(name="two-replicas", about="two replicas of each revision", replicas=2, by="nobody"),
    Row(
        name="slow-machine",
        about="each replica stands still for two thirds of the time, 40 ms at once",
        stutter_s=0.04,
        by="nobody",
    ),
    Row(
        name="platform-clock-behind",
        about="the platform's clock is 5 s behind",
        record=skewed(-5, "timeline.jsonl"),
        by="nobody",
    ),
    Row(
        name="platform-clock-ahead",
        about="the platform's clock is 5 s ahead",
        record=skewed(5, "timeline.jsonl"),
        by="nobody",
    ),
    Row(
        name="logs-clock-behind",
        about="the relays' clock is 5 s behind",
        record=skewed(-5, "replicas/*.jsonl"),
        by="nobody",
    ),
    Row(
        name="slow-model",
        about="a model that takes its time over every answer",
        model=("--answer-seconds", "3", "--pace", "2"),
        by="nobody",
    ),
    Row(
        name="every-clock-but-the-holds",
        about="the clock of the hold is 5 s behind all others",
        record=skewed(5, "timeline.jsonl", "replicas/*.jsonl", "model.jsonl"),
        by="nobody",
    ),
    Row(
        name="throttled-model",
        about="a model that fails one response in ten for want of tokens",
        model=("--throttle", "0.1"),
        by="nobody",
    ),
    Row(name="second-generation", about="a model of the second generation", model=("--generation", "2"), by="nobody"),
    Row(name="slow-tools", about="tools that take up to 3 s", hold=("--tool-seconds", "3"), by="nobody"),
    Row(
        name="plain-calls",
        about="calls of one kind, as holds were before",
        hold=("--kinds", "vad,long"),
        unproven=("quality.kinds",),
        by="nobody",
    ),
    Row(name="short-calls", about="calls of 5 s", hold=("--call-seconds", "5"), by="nobody"),
    Row(
        name="long-calls",
        about="calls that outlast blue's drain timeout and are moved",
        hold=("--call-seconds", "0"),
        by="nobody",
    ),
    Row(
        name="late-endpoints",
        about="the ingress goes on for 1 s with a replica that was asked to stop",
        unverified=Unverified(endpoint_removal_delay_s=1.0, weights_late_s=0),
        by="nobody",
    ),
)

ROWS = {row.name: row for row in (*HEARING, *SLOW, *SURVIVAL, *WHO, *DRAINS, *EVIDENCE, *GOOD)}
