"""A shutdown as clients see it: SPEC section 9, Draining. Ends the broker."""

import os
import signal

import wire
from harness import Wrong, equal, holds, refused, section
from skp import Client, Ended, Late, Refused


@section
def draining(context):
    with context.client() as client, context.client() as idle:
        stream = context.stream(client, [b"old"])
        name = context.name()
        subscriptions = [client.subscribe(stream, credit=credit) for credit in (1 << 20, 0, 0)]
        idle_wait = idle.send_read(stream, "now", wait_ms=60_000)
        wait = client.send_read(stream, "now", wait_ms=60_000, max_records=1)
        other = client.send_read(context.stream(client), wait_ms=60_000)
        idle.ping()
        client.ping()
        sent = [client.send_append(stream, [b"%d" % n]) for n in range(200)]
        os.kill(context.process, signal.SIGTERM)
        client.until(lambda: client.draining)
        holds(client.draining["grace_ms"] > 0, f"DRAINING: {client.draining}")
        for what, ask in (("CREATE", lambda: client.create(name)), ("APPEND", lambda: client.append(stream, [b"x"])),
                          ("READ", lambda: client.read(stream)), ("SUBSCRIBE", lambda: client.subscribe(stream)),
                          ("STAT", lambda: client.stat(stream)), ("LIST", client.list),
                          ("CLOSE", lambda: client.close(stream)), ("DELETE", lambda: client.delete(stream))):
            with refused("DRAINING", what):
                ask()
        with refused("DRAINING", "a READ that waits"):
            client.result(other)
        client.ping()
        subscriptions[1].grant(1 << 20)
        equal(b"old", subscriptions[1].deliver()[0].records[0], "PING and CREDIT are served")
        equal("UNSUBSCRIBED", wire.REASONS[subscriptions[2].unsubscribe()["reason"]], "UNSUBSCRIBE is served")
        client.until(lambda: all(one in client.replies for one in sent))
        replies = [client.replies[one] for one in sent]
        stored = [reply["tail"] for reply in replies if isinstance(reply, dict)]
        equal(list(range(2, 2 + len(stored))), stored, "what was begun is confirmed, in order")
        equal({"DRAINING"} if len(stored) < 200 else set(),
              {reply.code for reply in replies if isinstance(reply, Refused)}, "and the rest is told")
        client.until(lambda: subscriptions[0].next == 1 + len(stored))
        holds(True, "and delivered")
        reply = client.replies.pop(wait, None)
        holds(reply is not None, "a READ that waits is answered")
        equal(True, getattr(reply, "code", "DRAINING") == "DRAINING", "with records or with DRAINING", quiet=True)
        for one in (client, idle):
            try:
                one.until(lambda: False, timeout=client.draining["grace_ms"] / 1000 + 5)
            except Ended:
                holds(True, "then the connection is closed")
            except Late as late:
                raise Wrong("the connection outlives its grace") from late
        holds(idle.draining and idle_wait in idle.replies, "those that were idle were told too")
    try:
        with Client(context.address, timeout=2):
            raise Wrong("the broker takes connections after its end")
    except (OSError, Ended, Refused) as ended:
        holds(True, f"and nobody is let in any more ({type(ended).__name__})")
