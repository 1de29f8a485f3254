"""The published Python client (durable-streams), unchanged, against the broker at STREAMKEEPER_URL.

Each step asserts what it sees and then says so; the first that fails ends the run. Of version 0.1.0 of the client:
it has no calls for producers and closing, so these go through it as headers, which it sends along; and it does not know
`Stream-Closed`, so the end of a stream shows in the headers of its responses, and as the end of an SSE session.
"""

import asyncio
import itertools
import os
import threading

from durable_streams import (
    AsyncDurableStream,
    DurableStream,
    SeqConflictError,
    StreamExistsError,
    StreamNotFoundError,
    astream,
    stream,
)

ROOT = os.environ["STREAMKEEPER_URL"] + "/v1/stream/clients-py"
JSON = "application/json"


def done(step):
    print(f"ok: {step}", flush=True)


def numbers(first, end):
    return [{"n": n} for n in range(first, end)]


def refused(error, call, *arguments, **options):
    try:
        call(*arguments, **options)
    except error:
        return
    raise AssertionError(f"{call} did not raise {error}")


def create_and_append(url):
    handle = DurableStream.create(url, content_type=JSON)
    refused(StreamExistsError, DurableStream.create, url, content_type="text/plain")
    done("create, and a conflict with another content type")

    handle.append({"n": 0}, seq="0001")
    offsets = [handle.append(item).next_offset for item in numbers(1, 10)]
    assert offsets == sorted(set(offsets)), offsets
    refused(SeqConflictError, handle.append, {"n": -1}, seq="0001")
    assert handle.head().offset == offsets[-1]
    done("append, and a seq that does not grow")
    return handle


def producer(url):
    sequence = itertools.count()
    stamp = {"Producer-Id": "writer", "Producer-Epoch": "0"}
    stamped = DurableStream(
        url, content_type=JSON, headers={**stamp, "Producer-Seq": lambda: str(next(sequence))}
    )
    for item in numbers(10, 20):
        tail = stamped.append(item).next_offset
    again = DurableStream(url, content_type=JSON, headers={**stamp, "Producer-Seq": "9"})
    assert again.append({"n": 19}).next_offset == tail, "a duplicate was stored"
    gap = DurableStream(url, content_type=JSON, headers={**stamp, "Producer-Seq": "99"})
    refused(SeqConflictError, gap.append, {"n": -1})
    done("idempotent producer: in order, a duplicate, a gap")


def catch_up(url):
    with stream(url, live=False) as session:
        assert session.read_json() == numbers(0, 20)
        tail = session.offset
        assert session.up_to_date
    with stream(url, live=False, offset=tail) as session:
        assert session.read_json() == []
        assert "stream-closed" not in session.headers
    done("catch-up from the beginning, and from the tail")


def live(url, mode):
    """Follows in `mode` what another thread appends, from a first record that was there."""
    handle = DurableStream.create(url, content_type=JSON, body=b'[{"n":0}]')
    following = threading.Event()

    def write():
        assert following.wait(30)
        for item in numbers(1, 12):
            handle.append(item)

    writer = threading.Thread(target=write)
    writer.start()
    items = []
    with stream(url, live=mode, offset="-1") as session:
        for item in session.iter_json():
            items.append(item)
            following.set()
            if len(items) == 12:
                break
    writer.join()
    assert items == numbers(0, 12), items
    done(f"{mode}: what was there, then what is appended")
    return handle


def end(url):
    """Append-and-close wakes an SSE session that waits, and ends it."""
    items = []
    closing = DurableStream(url, content_type=JSON, headers={"Stream-Closed": "true"})
    with stream(url, live="sse", offset="-1") as session:
        for item in session.iter_json():
            items.append(item)
            if len(items) == 12:
                tail = closing.append({"n": 12}).next_offset
    assert items == numbers(0, 13), items
    assert session.offset == tail
    refused(SeqConflictError, DurableStream(url, content_type=JSON).append, {"n": -1})
    with stream(url, live=False, offset=tail) as session:
        assert session.read_json() == []
        assert session.headers["stream-closed"] == "true"
    done("append-and-close: its record is delivered, sessions end, the end shows")


def other_content():
    lines = DurableStream.create(f"{ROOT}/text", content_type="text/plain")
    for text in [" one\n", "two\n\n"]:
        lines.append(text)
    DurableStream(lines.url, content_type="text/plain", headers={"Stream-Closed": "true"}).append("end")
    with stream(lines.url, live="sse", offset="-1") as session:
        assert "".join(session.iter_text()) == " one\ntwo\n\nend"
    octets = DurableStream.create(f"{ROOT}/octets", content_type="application/octet-stream")
    octets.append(bytes(range(256)))
    with stream(octets.url, live=False) as session:
        assert session.read_bytes() == bytes(range(256))
    done("text over SSE with its blanks and line ends; bytes")


async def asynchronous(url):
    handle = await AsyncDurableStream.create(url, content_type=JSON)

    async def follow():
        items = []
        async with astream(url, live="long-poll", offset="-1") as session:
            async for item in session.iter_json():
                items.append(item)
                if len(items) == 10:
                    return items

    following = asyncio.create_task(follow())
    for item in numbers(0, 10):
        await handle.append(item)
    assert await asyncio.wait_for(following, 30) == numbers(0, 10)
    await handle.delete()
    await handle.aclose()
    done("the asynchronous client: append, long-poll, delete")


def main():
    url = f"{ROOT}/first"
    handle = create_and_append(url)
    producer(url)
    catch_up(url)
    live(f"{ROOT}/long-poll", "long-poll")
    live(f"{ROOT}/sse", "sse")
    end(f"{ROOT}/sse")
    other_content()
    asyncio.run(asynchronous(f"{ROOT}/async"))
    handle.delete()
    refused(StreamNotFoundError, DurableStream.connect, url)
    done("delete")


main()
