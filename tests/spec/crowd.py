"""More connections than the broker takes, and one that does not read: TOO_MANY_CONNECTIONS, SLOW_CONSUMER.

Wants a broker with a write timeout of less than a second and room for at most some tens of connections. The
connection that is ended cannot see it, since it does not read; that there is room for another one shows it.
"""

import wire
from harness import Wrong, asked_raw, equal, polled, section
from skp import Client, Ended, Refused


@section
def too_many(context):
    def one_more():
        try:
            return context.client()
        except Refused as refusal:
            return refusal

    slow = context.client()
    stream = context.stream(slow)
    slow.subscribe(stream, credit=1 << 40)
    crowd = []
    while not isinstance(crowd[-1:] and crowd[-1], Refused):
        crowd.append(one_more())
        if len(crowd) > 100:
            raise Wrong("a hundred connections, and none was refused; start the broker with less")
    refusal = crowd.pop()
    equal(("TOO_MANY_CONNECTIONS", True), (refusal.code, refusal.fatal),
          f"TOO_MANY_CONNECTIONS: in place of INFO, with {len(crowd) + 1} open")
    crowd.pop().close_connection()
    crowd.append(polled("one that leaves makes room", one_more, lambda came: isinstance(came, Client)))
    writer = crowd[0]
    append = wire.encode("APPEND", {"stream": stream, "records": [bytes(writer.limits.record_bytes)]}, 3)
    for _ in range(12):
        asked_raw(writer, append, "APPEND", 3)

    def alive():
        for client in crowd:
            client.pump(0)
        return one_more()
    crowd.append(polled("one that does not read what comes is ended", alive, lambda came: isinstance(came, Client)))
    try:
        slow.until(lambda: False)
    except (Refused, Ended) as end:
        equal(True, getattr(end, "code", "SLOW_CONSUMER") == "SLOW_CONSUMER", f"and finds: {end}")
    for client in crowd:
        client.close_connection()
