"""Making, asking about and ending streams; names, configuration, LIST, retention, expiry: SPEC section 11."""

import time

import wire
from harness import Wrong, equal, holds, polled, refused, section
from skp import Refused
from wire import MEMORY

SECOND = 1_000_000


@section
def life(context):
    with context.client() as client:
        name = context.name()
        equal((0, False), client.create(name), "CREATE: a new stream has the tail 0")
        equal((0, True), client.create(name), "CREATE: once more is no error, and says EXISTS")
        client.append(name, [b"a", b"", b"ccc"])
        same = {"content_type": "application/octet-stream", "storage": 0}
        equal((3, True), client.create(name, **same), "CREATE: the defaults in words are the same; tail 3")
        with refused("ALREADY_EXISTS", "with another configuration"):
            client.create(name, max_records=5)
        status = client.stat(name)
        times = [status.pop("created_at"), status.pop("last_append_at")]
        holds(1_700_000_000 * SECOND < times[0] <= times[1], "STAT: times in microseconds, in order")
        equal({"content_type": "application/octet-stream", "flags": [], "storage": 0, "earliest": 0,
               "earliest_byte": 0, "tail": 3, "tail_byte": 4}, status, "STAT: the rest of a plain stream")
        equal(3, client.close(name), "CLOSE: gives the tail")
        equal(3, client.close(name), "CLOSE: a closed stream stays closed")
        equal(["CLOSED"], client.stat(name)["flags"], "STAT: CLOSED")
        equal((3, True), client.create(name), "CREATE: a closed stream exists")
        with refused("STREAM_CLOSED", "APPEND", tail=3):
            client.append(name, [b"x"])
        client.delete(name)
        for what, call in (("DELETE", client.delete), ("STAT", client.stat), ("CLOSE", client.close),
                           ("READ", client.read), ("SUBSCRIBE", client.subscribe),
                           ("APPEND", lambda gone: client.append(gone, [b"x"]))):
            with refused("NOT_FOUND", what):
                call(name)
        client.create(name)
        client.append(name, [b"x"], seq=b"9", producer=(5, 0, "p"))
        client.delete(name)
        equal((0, False), client.create(name), "CREATE: after DELETE a new stream begins at 0")
        holds("last_seq" not in client.stat(name), "and has no last seq")
        equal(1, client.append(name, [b"x"], seq=b"1", producer=(0, 0, "p"))["tail"],
              "and remembers no producer")
        client.delete(name)


@section
def configuration(context):
    with context.client() as client:
        name, text = context.name(), {"content_type": "Text/Plain; Charset=utf-8"}
        client.create(name, **text)
        equal(text["content_type"], client.stat(name)["content_type"], "a content type is kept as written")
        equal((0, True), client.create(name, content_type="text/PLAIN; Charset=utf-8"),
              "media types compare without regard to case")
        with refused("ALREADY_EXISTS", "their parameters as they are"):
            client.create(name, content_type="text/plain; charset=utf-8")
        client.delete(name)
        soon = (1 << 53)
        options = {"expires_at": soon, "max_age_ms": 7, "max_records": 8, "max_bytes": 9, "storage": MEMORY,
                   "content_type": "a" * 255}
        name = context.stream(client, **options)
        status = client.stat(name)
        equal(options, {option: status[option] for option in options}, "STAT: every option but ttl_seconds")
        with refused("ALREADY_EXISTS", "every option counts"):
            client.create(name, **(options | {"storage": 0}))
        client.delete(name)
        most = (1 << 64) - 1
        limits = {"ttl_seconds": most, "max_age_ms": most, "max_records": most, "max_bytes": most}
        name = context.stream(client, **limits)
        equal(limits, {option: client.stat(name)[option] for option in limits}, "the largest options")
        client.append(name, [b"x"])
        equal(0, client.stat(name)["earliest"], "which trim nothing")
        client.delete(name)
        wrong = [{"ttl_seconds": 0}, {"max_age_ms": 0}, {"max_records": 0}, {"max_bytes": 0},
                 {"expires_at": 0}, {"expires_at": status["created_at"]},
                 {"ttl_seconds": 60, "expires_at": soon}, {"content_type": "text/pl\u00e4in"},
                 {"content_type": "text/\tplain"}, {"content_type": "a" * 256}, {"content_type": ""}]
        for options in wrong:
            with refused("INVALID_OPTIONS", f"CREATE with {str(options)[:60]}"):
                client.create(context.name(), **options)


@section
def names(context):
    with context.client() as client:
        prefix = context.name()
        for name in ("/", " ", "流/ünï \U0001F600", "~" * 900, "x" * (1024 - len(prefix))):
            name = prefix + name
            client.create(name)
            client.append(name, [b"x"])
            equal([name], [entry["stream"] for entry in client.list(name)[0]], f"a name of {len(name.encode())} bytes")
            client.delete(name)
        client.create(prefix + "e\u0301")
        with refused("NOT_FOUND", "names are compared byte by byte, not as text"):
            client.stat(prefix + "\u00e9")
        client.delete(prefix + "e\u0301")
        for name in ("", "\0", "a\x1f", "\x7f", "\u0080", "a\u009fb", "\u00e4" * 513):
            with refused("INVALID_NAME", repr(name[:9])):
                client.create(name)
        equal(([], False), client.list("\n"), "LIST: a prefix is no name and may hold anything")
        for body in ({"prefix": "p" * 1025, "after": ""}, {"prefix": "", "after": "a" * 1025}):
            with refused("INVALID_NAME", "LIST with a text of 1,025 bytes"):
                client.list(**body)
        client.list("p" * 1024, "a" * 1024)


@section
def listing(context):
    with context.client() as client:
        prefix = context.name() + "/"
        made = [prefix + name for name in ("", "a", "a/b", "b", "\u00e9", "\uffff", "\U0001F600", "Z", "0")
                + tuple(f"n{n:02}" for n in range(20)) if name]
        for asked in [client.send("CREATE", stream=name) for name in made]:
            client.result(asked)
        client.append(made[0], [b"one", b"two"])
        client.close(made[0])
        made.sort(key=str.encode)
        for limit in (0, 1, 7, 1000, 0xFFFFFFFF):
            found, after, more = [], "", True
            while more:
                page, more = client.list(prefix, after, limit)
                if len(page) > (limit or 1000) or more and not page:
                    equal(limit, len(page), "LIST: a page is no longer than asked for")
                found += [entry["stream"] for entry in page]
                after = found[-1]
            equal(made, found, f"LIST: {len(made)} streams in byte-wise order by pages of {limit}")
        page, _ = client.list(prefix + "a", limit=1)
        equal([{"stream": prefix + "a", "tail": 2, "earliest": 0, "closed": 1}], page, "LIST: what an entry tells")
        equal(([], False), client.list(prefix, prefix + "\U0010FFFF"), "LIST: nothing after the last")
        exact = client.list(prefix, limit=len(made))
        equal((len(made), False), (len(exact[0]), exact[1]), "LIST: a full last page does not say MORE")
        for asked in [client.send("DELETE", stream=name) for name in made]:
            client.result(asked)


@section
def retention(context):
    with context.client() as client:
        rules = [({"max_records": 3}, 10, 7), ({"max_bytes": 25}, 10, 8), ({"max_bytes": 1}, 10, 9),
                 ({"max_age_ms": 1}, 10, 10), ({"max_records": 5, "max_bytes": 35}, 10, 7)]
        for storage in (0, MEMORY):
            for options, count, earliest in rules:
                name = context.stream(client, storage=storage, **options)
                for asked in [client.send_append(name, [b"0123456789"]) for _ in range(count)]:
                    client.result(asked)
                what = f"{options}, storage {storage}: of 10 records of 10 bytes {10 - earliest} are kept"
                status = polled(what, lambda: client.stat(name), lambda found: found["earliest"] == earliest)
                equal((10 * earliest, 10, 100), tuple(status[part] for part in ("earliest_byte", "tail", "tail_byte")),
                      "byte positions count what was trimmed", quiet=True)
                trimmed = earliest - 1
                with refused("OFFSET_TRIMMED", f"READ at {trimmed}", earliest=earliest):
                    client.read(name, ("offset", trimmed))
                with refused("OFFSET_TRIMMED", f"SUBSCRIBE at {trimmed}", earliest=earliest):
                    client.subscribe(name, ("offset", trimmed))
                reply = client.read(name)
                equal((earliest, 10 * earliest) if earliest < 10 else None,
                      next(((run.first_offset, run.first_byte) for run in reply.body["runs"]), None),
                      "BEGINNING is the earliest record kept")
                client.delete(name)
        name = context.stream(client, max_bytes=3)
        client.append(name, [b"larger than three"])
        client.append(name, [b"larger again"])
        polled("max_bytes always keeps the newest record", lambda: client.stat(name)["earliest"], lambda e: e == 1)
        client.close(name)
        name = context.stream(client, max_age_ms=300)
        client.append(name, [b"x"])
        client.close(name)
        polled("closed streams are trimmed like others", lambda: client.stat(name)["earliest"], lambda e: e == 1)
        reply = client.read(name)
        equal((["CLOSED"], 1, 1, []), (reply.flags, *(reply.body[part] for part in ("next", "tail", "runs"))),
              "READ: a closed stream without records is at its end")


@section
def expiry(context):
    with context.client() as client:
        idle, read, fixed = (context.name() for _ in range(3))
        client.create(idle, ttl_seconds=1)
        client.create(read, ttl_seconds=1)
        client.create(fixed, expires_at=client.stat(idle)["created_at"] + 1_200_000)
        ends = [client.subscribe(name, credit=0) for name in (idle, fixed)]
        waiting = client.send_read(idle, wait_ms=30_000)
        last, asking, deadline = time.monotonic(), True, time.monotonic() + 30
        while not all(end.end for end in ends) and time.monotonic() < deadline:
            last = keep_alive(client, read, last)
            asking = asking and asked_about(client, idle)
        for end, what in zip(ends, ("ttl_seconds, for all the STATs and CREATEs", "expires_at")):
            equal("EXPIRED", end.end and wire.REASONS[end.end["reason"]], f"END EXPIRED: {what}")
        with refused("NOT_FOUND", "a READ that waits on a stream that expires"):
            client.result(waiting)
        keep_alive(client, read, last)
        holds(True, "a stream that is read lives on")
        client.delete(read)
        with refused("NOT_FOUND", "an expired stream is gone"):
            client.stat(fixed)
        equal((0, False), client.create(fixed), "and its name is free")
        client.delete(fixed)


def keep_alive(client, name, last):
    """Reads a stream with a ttl of a second. That it is gone proves something only if the read before was not long
    ago; on a machine that stood still for so long it is made again."""
    try:
        client.read(name)
    except Refused as gone:
        if gone.code != "NOT_FOUND" or time.monotonic() - last < 0.9:
            raise
        client.create(name, ttl_seconds=1)
    return time.monotonic()


def asked_about(client, name):
    """STAT and a second CREATE, which are no reads; False once the stream is gone."""
    try:
        client.stat(name)
    except Refused as gone:
        equal("NOT_FOUND", gone.code, "STAT of an expired stream", quiet=True)
        return False
    return client.create(name, ttl_seconds=1)[1]


@section
def memory_is_bounded(context):
    with context.client() as client:
        name = context.stream(client, storage=MEMORY)
        equal(MEMORY, client.stat(name)["storage"], "a stream in memory")
        record = bytes(client.limits.record_bytes)
        raw = wire.encode("APPEND", {"stream": name, "records": [record]}, 3)
        for count in range(1, 130):
            client.waiting[3] = "APPEND"
            client.raw(raw)
            try:
                client.result(3)
            except Refused as refusal:
                equal(("STORE_FULL", False), (refusal.code, refusal.fatal),
                      f"STORE_FULL: memory for streams ends after {count - 1} records of {len(record)} bytes")
                holds(refusal.details.get("retry_after_ms"), "and tells when to try again")
                break
        else:
            raise Wrong(f"{count} records of {len(record)} bytes fit the memory for streams")
        equal(count - 1, client.stat(name)["tail"], "nothing of a refused append was stored")
        client.delete(name)
