"""A shutdown as clients see it: SPEC section 9, Draining. Ends the broker.

The broker closes a connection as soon as nothing is due on it, so on a machine that stands still some requests may
come too late to be answered at all. What is answered must be right.
"""

import os
import signal

from harness import Wrong, equal, holds, section
from skp import Client, Ended, Late, Refused


def until_closed(client, done):
    """Waits for `done`, or for the end of the connection."""
    try:
        client.until(done)
    except Ended:
        pass


def told(client, asked):
    """The codes of those of the requests that were refused; a reply of success shows as its kind."""
    replies = [client.replies.pop(one) for one in asked if one in client.replies]
    return {getattr(reply, "code", None) or getattr(reply, "kind", "CONFIRM") for reply in replies}


@section
def draining(context):
    with context.client() as client, context.client() as idle:
        stream = context.stream(client, [b"old"])
        subscriptions = [client.subscribe(stream, credit=credit) for credit in (1 << 20, 0, 0)]
        waits = [client.send_read(context.stream(client), wait_ms=60_000)]
        idle_waits = [idle.send_read(stream, "now", wait_ms=60_000)]
        idle.ping()
        client.ping()
        sent = [client.send_append(stream, [b"%d" % n]) for n in range(200)]
        os.kill(context.process, signal.SIGTERM)
        client.until(lambda: client.draining)
        asked = [client.send("CREATE", stream=context.name()), client.send("STAT", stream=stream),
                 client.send("LIST", prefix="", after="", limit=0), client.send_append(stream, [b"x"]),
                 client.send_read(stream), client.send("CLOSE", stream=stream), client.send("DELETE", stream=stream)]
        subscriptions[1].grant(1 << 20)
        served = [client.send("PING"), client.send("UNSUBSCRIBE", subscription=subscriptions[2].number)]
        holds(client.draining["grace_ms"] > 0, f"DRAINING: {client.draining}")
        everything = asked + served + waits + sent
        until_closed(client, lambda: all(one in client.replies for one in everything))
        equal(set(), told(client, asked) - {"DRAINING"}, "DRAINING refuses whatever comes after it")
        equal(set(), told(client, served) - {"PONG", "END"}, "but PING and UNSUBSCRIBE")
        equal({"DRAINING"}, told(client, waits), "a READ that waits is refused")
        replies = [client.replies[one] for one in sent if one in client.replies]
        stored = [reply["tail"] for reply in replies if isinstance(reply, dict)]
        equal(list(range(2, 2 + len(stored))), stored, f"{len(stored)} appends that were begun are confirmed")
        refusals = {reply.code for reply in replies[len(stored):]}
        equal(set(), refusals - {"DRAINING"}, f"and {len(replies) - len(stored)} more are refused")
        until_closed(client, lambda: subscriptions[0].next == 1 + len(stored))
        equal(1 + len(stored), subscriptions[0].next, "what was confirmed is delivered before the end")
        for one in (client, idle):
            try:
                one.until(lambda: False, timeout=client.draining["grace_ms"] / 1000 + 5)
            except Ended:
                holds(True, "the connection is closed")
            except Late as late:
                raise Wrong("the connection outlives its grace") from late
        holds(idle.draining, "one that was idle was told too")
        equal({"DRAINING"}, told(idle, idle_waits) - {"RECORDS"} or {"DRAINING"}, "and its READ answered")
        equal([], list(idle.waiting), "nothing that was begun is left unanswered", quiet=True)
    try:
        with Client(context.address, timeout=2):
            raise Wrong("the broker takes connections after its end")
    except (OSError, Ended, Refused) as ended:
        holds(True, f"nobody is let in any more ({type(ended).__name__})")
