"""READ: where it begins, how much it gives, how it waits: SPEC sections 7, 8 and 13.

That runs follow each other and checksums are right is checked by wire.py in every answer.
"""

import time

from harness import Wrong, equal, holds, refused, section

RECORDS = [b"%03d" % n for n in range(20)]


def shown(reply):
    """Payloads, next and tail, flags."""
    records = [record for run in reply.body["runs"] for record in run.records]
    return records, reply.body["next"], reply.body["tail"], reply.flags


@section
def starts(context):
    with context.client() as client:
        name = context.stream(client)
        equal(([], 0, 0, []), shown(client.read(name)), "READ of an empty stream")
        for asked in [client.send_append(name, [record]) for record in RECORDS]:
            client.result(asked)
        equal((RECORDS, 20, 20, []), shown(client.read(name)), "BEGINNING: all records")
        equal(([], 20, 20, []), shown(client.read(name, "now")), "NOW: none")
        equal((RECORDS[7:], 20, 20, []), shown(client.read(name, ("offset", 7))), "OFFSET 7: the record at 7")
        equal(([], 20, 20, []), shown(client.read(name, ("offset", 20))), "OFFSET tail: none")
        for offset in (21, (1 << 64) - 1):
            with refused("OFFSET_PAST_TAIL", f"OFFSET {offset}", tail=20):
                client.read(name, ("offset", offset))
        body = client.read(name, ("offset", 7)).body
        run = body["runs"][0]
        equal((7, 21, 60), (run.first_offset, run.first_byte, body["next_byte"]), "byte positions count payloads")
        equal(60, client.read(name, "now").body["next_byte"], "also where there are no records")
        client.append(name, [b"later"])
        times = [run.committed_at for run in client.read(name).body["runs"] for _ in run.records]
        equal(sorted(times), times, "commit times never go back")
        equal(times[-1], client.stat(name)["last_append_at"], "and the last is STAT's last_append_at")
        for n in (0, 10, 20):
            first = times.index(times[n])
            equal(first, client.read(name, ("time", times[n])).body["runs"][0].first_offset,
                  f"TIME: the first record of record {n}'s time")
        equal(0, client.read(name, ("time", 0)).body["runs"][0].first_offset, "TIME 0: the first record")
        for late in (times[-1] + 1, (1 << 64) - 1):
            equal(([], 21, 21, []), shown(client.read(name, ("time", late))), "TIME after the last record: the tail")


@section
def amounts(context):
    with context.client() as client:
        name = context.stream(client)
        client.append(name, RECORDS)
        equal((RECORDS[:5], 5, 20, ["MORE"]), shown(client.read(name, max_records=5)), "max_records 5")
        equal((RECORDS, 20, 20, []), shown(client.read(name, max_records=20)), "max_records that is just enough")
        for size in (1, 42, 43, 53, 54, 100, 1 << 32 - 1):
            runs = client.read(name, max_bytes=size).body["runs"]
            cost, count = sum(run.cost for run in runs), sum(len(run.records) for run in runs)
            if cost > size and count > 1:
                raise Wrong(f"max_bytes {size}: {count} records in {cost} bytes")
            if cost + 11 <= size and count < 20:
                raise Wrong(f"max_bytes {size}: only {count} records in {cost} bytes")
        holds(True, "max_bytes bounds runs with their headers, but one record always comes")
        equal((RECORDS[19:], 20, 20, []), shown(client.read(name, ("offset", 19), max_bytes=1)), "the last of them")
        client.close(name)
        equal((RECORDS, 20, 20, ["CLOSED"]), shown(client.read(name)), "CLOSED with the last records")
        equal((RECORDS[:19], 19, 20, ["MORE"]), shown(client.read(name, max_records=19)), "but not before them")
        equal(([], 20, 20, ["CLOSED"]), shown(client.read(name, "now", wait_ms=60_000)),
              "READ at the end of a closed stream does not wait")
        read, start, flags = [], "beginning", []
        while "CLOSED" not in flags:
            records, following, _, flags = shown(client.read(name, start, max_records=3))
            read, start = read + records, ("offset", following)
        equal(RECORDS, read, "READ with `next` again and again, until CLOSED")


@section
def waits(context):
    with context.client() as client, context.client() as other:
        name = context.stream(client, [b"old"])
        began = time.monotonic()
        equal(([], 1, 1, []), shown(client.read(name, "now", wait_ms=100)), "a wait that is over: no records")
        holds(0.09 < time.monotonic() - began < 5, "and not before its time")
        woken = [client.send_read(name, start, wait_ms=60_000) for start in ("now", ("offset", 1))]
        client.ping()
        equal((b"old", 1), (client.read(name).body["runs"][0].records[0], 1), "a READ that waits holds up no other")
        other.append(name, [b"new"])
        for one in woken:
            equal(([b"new"], 2, 2, []), shown(client.result(one)), "an append from elsewhere ends the wait")
        waiting = client.send_read(name, "now", wait_ms=0xFFFFFFFF)
        client.ping()
        other.close(name)
        equal(([], 2, 2, ["CLOSED"]), shown(client.result(waiting)), "CLOSE ends the wait")
        name = context.stream(client)
        waiting = client.send_read(name, wait_ms=60_000)
        client.ping()
        other.delete(name)
        with refused("NOT_FOUND", "DELETE ends the wait"):
            client.result(waiting)
        name = context.stream(client)
        waiting = []
        while "TOO_MANY_REQUESTS" not in [getattr(reply, "code", None) for reply in client.replies.values()]:
            waiting.append(client.send_read(name, wait_ms=60_000))
            client.ping()
            if len(waiting) > 100_000:
                raise Wrong("100,000 READs wait, and none was refused")
        refusal = next(reply for reply in client.replies.values() if reply.code == "TOO_MANY_REQUESTS")
        holds(refusal.details.get("retry_after_ms", 0) > 0 and not refusal.fatal,
              f"TOO_MANY_REQUESTS: {len(waiting) - 1} READs may wait, and when to try again")
        client.replies.clear()
        other.append(name, [b"for all"])
        for one in waiting[:-1]:
            equal(([b"for all"], 1, 1, []), shown(client.result(one)), "one of many", quiet=True)
        holds(True, "one append answers all that wait")
