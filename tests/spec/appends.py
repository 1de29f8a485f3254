"""APPEND: confirms, conditions and the order they are checked in, producers, JSON mode, pipelining:
SPEC sections 10, 11 and 12."""

import wire
from harness import Wrong, equal, holds, refused, section
from skp import Refused
from wire import MEMORY


def entry(confirm):
    """A CONFIRM's entry without its correlation id, which the client has checked."""
    return confirm["flags"], confirm["tail"]


def payloads(client, stream):
    """All records of a stream, which fit one READ."""
    reply = client.read(stream)
    equal(reply.body["tail"], reply.body["next"], "one READ is enough", quiet=True)
    return [record for run in reply.body["runs"] for record in run.records]


@section
def confirms(context):
    with context.client() as client:
        name = context.stream(client)
        equal(([], 1), entry(client.append(name, [b"a"])), "CONFIRM: the tail after one record")
        equal(([], 4), entry(client.append(name, [b"b", b"", b"\0" * 9])), "CONFIRM: and after three more")
        with refused("EMPTY_BATCH", "APPEND of nothing"):
            client.append(name, [])
        large = bytes(client.limits.record_bytes + 1)
        with refused("RECORD_TOO_LARGE", "a record of one byte more than record_bytes_max"):
            client.append(name, [b"kept out too", large])
        most = client.limits.batch_records
        with refused("BATCH_TOO_LARGE", f"{most + 1} records"):
            client.append(name, [b""] * (most + 1))
        raw = bytearray(wire.encode("APPEND", {"stream": name, "records": [b"good", b"bad"]}, 1 << 31))
        raw[-1] ^= 1
        client.waiting[1 << 31] = "APPEND"
        client.raw(raw)
        with refused("CHECKSUM_MISMATCH", "one changed bit"):
            client.result(1 << 31)
        equal(([], 4 + most), entry(client.append(name, [b""] * most)), f"{most} records in one APPEND")
        equal(9 + 2, client.stat(name)["tail_byte"], "nothing of what was refused is there")
        with refused("NOT_FOUND", "streams are not created by appending"):
            client.append(context.name(), [b"x"])

        name = context.stream(client)
        equal((["CLOSED"], 2), entry(client.append(name, [b"a", b"b"], close=True)), "CLOSE_AFTER with records")
        with refused("STREAM_CLOSED", "after CLOSE_AFTER", tail=2):
            client.append(name, [b"c"])
        with refused("STREAM_CLOSED", "CLOSE_AFTER of a closed stream", tail=2):
            client.append(name, [], close=True)
        name = context.stream(client, [b"a"])
        with refused("TAIL_MISMATCH", "CLOSE_AFTER obeys conditions", tail=1):
            client.append(name, [], close=True, expected_tail=2)
        equal((["CLOSED"], 1), entry(client.append(name, [], close=True, expected_tail=1)),
              "CLOSE_AFTER without records")

        name = context.stream(client)
        quiet = [client.send_append(name, [b"quiet"], confirm=False) for _ in range(3)]
        quiet.append(client.send_append(name, [b"no"], confirm=False, expected_tail=1))
        equal(4, client.append(name, [b"loud"])["tail"], "NO_CONFIRM: stored, in order")
        with refused("TAIL_MISMATCH", "NO_CONFIRM: a refusal is answered", tail=3):
            client.result(quiet.pop())
        equal([], [one for one in quiet if one in client.replies], "NO_CONFIRM: nothing else is")


@section
def conditions(context):
    with context.client() as client:
        name = context.stream(client)
        client.append(name, [b"x"], seq=b"b")
        for seq in (b"b", b"a", b"ab", b""):
            if seq:
                with refused("SEQ_CONFLICT", f"{seq} after b'b'", last_seq=b"b"):
                    client.append(name, [b"x"], seq=seq)
        client.append(name, [b"x"])
        equal(b"b", client.stat(name)["last_seq"], "an APPEND without seq leaves the last one")
        for seq in (b"b\0", b"c", b"\x7f", b"\x80", b"\xff" * 256):
            client.append(name, [b"x"], seq=seq)
        equal(b"\xff" * 256, client.stat(name)["last_seq"], "a seq grows byte-wise, its bytes unsigned")
        for tail in (0, 6, 8, (1 << 64) - 1):
            with refused("TAIL_MISMATCH", f"expected_tail {tail}", tail=7):
                client.append(name, [b"x"], expected_tail=tail)
        equal(8, client.append(name, [b"x"], expected_tail=7)["tail"], "expected_tail that is the tail")

        large = bytes(client.limits.record_bytes + 1)
        # What is told when several things are wrong: the first of SPEC section 12's list.
        name = context.stream(client, content_type="application/json")
        client.append(name, [b"1"], seq=b"m", producer=(1, 0, "p"))
        wrong = {"seq": b"a", "expected_tail": 9}
        with refused("NOT_FOUND", "before the producer"):
            client.append(context.name(), [b"{"], producer=(1, 5, "p"), **wrong)
        with refused("PRODUCER_GAP", "before expected_tail", expected_seq=1):
            client.append(name, [b"{"], producer=(1, 5, "p"), **wrong)
        with refused("TAIL_MISMATCH", "before seq", tail=1):
            client.append(name, [b"{"], producer=(1, 1, "p"), **wrong)
        with refused("SEQ_CONFLICT", "before JSON", last_seq=b"m"):
            client.append(name, [b"{"], producer=(1, 1, "p"), seq=b"a")
        with refused("INVALID_JSON", "last"):
            client.append(name, [b"{"], producer=(1, 1, "p"))
        equal((["DUPLICATE"], 1), entry(client.append(name, [b"{"], producer=(1, 0, "p"), **wrong)),
              "a DUPLICATE is confirmed whatever the next checks would say")
        equal(([], 2), entry(client.append(name, [b"2"], producer=(1, 1, "p"))),
              "what was refused used up no sequence")
        client.close(name)
        with refused("STREAM_CLOSED", "before the producer", tail=2):
            client.append(name, [b"3"], producer=(0, 0, "p"))
        with refused("STREAM_CLOSED", "before expected_tail", tail=2):
            client.append(name, [b"3"], producer=(1, 2, "p"), **wrong)
        equal((["DUPLICATE", "CLOSED"], 2), entry(client.append(name, [b"2"], producer=(1, 1, "p"))),
              "a DUPLICATE on a closed stream")
        many = client.limits.batch_records + 1
        for code, body in (("INVALID_NAME", {"stream": "", "records": [], "seq": b""}),
                           ("EMPTY_BATCH", {"stream": "s", "records": [], "seq": b""}),
                           ("INVALID_OPTIONS", {"stream": "s", "records": [b""] * many, "seq": b""}),
                           ("BATCH_TOO_LARGE", {"stream": "s", "records": [large] + [b""] * many}),
                           ("RECORD_TOO_LARGE", {"stream": "s", "records": [large]})):
            with refused(code, "of several faults in a frame the first"):
                client.result(client.send("APPEND", **body))


@section
def producers(context):
    with context.client() as client:
        name = context.stream(client)

        def append(epoch, seq, who="p"):
            return entry(client.append(name, [b"x"], producer=(epoch, seq, who)))
        with refused("PRODUCER_GAP", "unknown id, sequence 3", expected_seq=0):
            append(7, 3)
        equal(([], 1), append(7, 0), "unknown id, sequence 0, any epoch")
        equal(([], 2), append(7, 1), "the next sequence")
        equal((["DUPLICATE"], 2), append(7, 1), "the last sequence again")
        equal((["DUPLICATE"], 2), append(7, 0), "an older sequence")
        with refused("PRODUCER_GAP", "a sequence left out", expected_seq=2):
            append(7, 3)
        with refused("PRODUCER_EPOCH_START", "a new epoch at 2", expected_seq=0):
            append(8, 2)
        equal(([], 3), append(7, 2), "which did not begin")
        equal(([], 4), append(8, 0), "a new epoch at 0")
        with refused("PRODUCER_FENCED", "the old epoch", current_epoch=8):
            append(7, 3)
        with refused("PRODUCER_FENCED", "the old epoch, a sequence it had", current_epoch=8):
            append(7, 0)
        equal(([], 5), append(0, 0, "another"), "ids are apart")
        most = (1 << 64) - 1
        equal(([], 6), append(most, 0, "\u00e9" * 128), "the largest epoch, an id of 256 bytes")
        equal((["DUPLICATE"], 6), append(8, 0), "the tail of a DUPLICATE is the tail as it is now")
        sent = [client.send_append(name, [b"%d" % n], producer=(0, n, "pipelined")) for n in (0, 1, 2, 1, 2, 3)]
        equal([[], [], [], ["DUPLICATE"], ["DUPLICATE"], []], [client.result(one)["flags"] for one in sent],
              "a producer that sends again while its appends are under way")
        equal([b"0", b"1", b"2", b"3"], payloads(client, name)[6:], "each is stored once")
        with context.client() as other:
            equal(["DUPLICATE"], other.append(name, [b"0"], producer=(0, 0, "pipelined"))["flags"],
                  "a producer is known on every connection")


@section
def many_producers(context):
    with context.client() as client:
        name, refusal, count = context.stream(client, storage=MEMORY), None, 0
        while not refusal:
            if count > 100_000:
                raise Wrong("a stream remembers 100,000 producers and more")
            sent = [client.send_append(name, [b"x"], producer=(0, 0, f"{count + n}")) for n in range(1000)]
            client.until(lambda sent=sent: all(one in client.replies for one in sent))
            replies = [client.replies.pop(one) for one in sent]
            count += sum(isinstance(reply, dict) for reply in replies)
            refusal = next((reply for reply in replies if isinstance(reply, Refused)), None)
        equal(("TOO_MANY_PRODUCERS", False), (refusal.code, refusal.fatal),
              f"TOO_MANY_PRODUCERS: {count} of a stream, and no more")
        equal(["DUPLICATE"], client.append(name, [b"x"], producer=(0, 0, "0"))["flags"], "the first is still known")
        equal(count + 1, client.append(name, [b"x"])["tail"], "and an append without a producer is welcome")
        client.delete(name)


@section
def json_mode(context):
    with context.client() as client:
        for media in ("application/json", "Application/JSON; charset=utf-8"):
            name = context.stream(client, content_type=media)
            equal(1, client.append(name, [b' {"a" : 1}\n'])["tail"], f"{media}: white space around is dropped")
            equal(4, client.append(name, [b'[1 , "two",\t[3 , 3]]'])["tail"], "an array is flattened one level")
            equal(7, client.append(name, [b"true", b"[null,1e400]"])["tail"], "the tail says how many there are")
            equal(8, client.append(name, [b'[[]]'])["tail"], "an array wrapped in another is kept")
            equal([b'{"a" : 1}', b"1", b'"two"', b"[3 , 3]", b"true", b"null", b"1e400", b"[]"],
                  payloads(client, name), "values are kept as they were written")
            for text in (b"", b" ", b"{", b"1 2", b"01", b"nul", b"'a'", b'"\xff"', b"[1,]", b"\xef\xbb\xbf1",
                         b"NaN", b'{"a":1,}', b'"\n"', b"[1] x"):
                with refused("INVALID_JSON", repr(text)):
                    client.append(name, [b"1", text])
            for batch in ([b"[]"], [b"1", b" [ ] "]):
                with refused("EMPTY_BATCH", "an empty array"):
                    client.append(name, batch)
            equal(8, client.stat(name)["tail"], "nothing of them was stored")
        name = context.stream(client, content_type="application/jsonl")
        equal(1, client.append(name, [b"["])["tail"], "other types hold any bytes")


@section
def pipelining(context):
    with context.client() as client:
        name = context.stream(client)
        sent = [client.send_append(name, [b"%d" % n, b"and"]) for n in range(1000)]
        client.until(lambda: sent[-1] in client.replies)
        equal([], [one for one in sent if one not in client.replies], "1,000 appends: confirmed in their order")
        equal([2 * n + 2 for n in range(1000)], [client.result(one)["tail"] for one in sent],
              "1,000 appends: each with its own tail")
        equal([b"%d" % n for n in range(1000)], payloads(client, name)[::2], "1,000 appends: all there")

        name = context.name()
        sent = [client.send("CREATE", stream=name), client.send_append(name, [b"a"]),
                client.send_append(name, [b"b"], expected_tail=7), client.send_append(name, [b"c"]),
                client.send("CLOSE", stream=name), client.send_append(name, [b"d"]),
                client.send("DELETE", stream=name), client.send_append(name, [b"e"]),
                client.send("CREATE", stream=name), client.send_append(name, [b"f"], producer=(0, 0, "p")),
                client.send_append(name, [b"g"], producer=(0, 2, "p")),
                client.send_append(name, [b"h"], producer=(0, 3, "p"))]
        outcome = []
        for one in sent:
            client.until(lambda one=one: one in client.replies)
            reply = client.replies.pop(one)
            outcome.append(getattr(reply, "code", None) or getattr(reply, "kind", None) or reply["tail"])
        equal(["CREATED", 1, "TAIL_MISMATCH", 2, "CLOSED", "STREAM_CLOSED", "DELETED", "NOT_FOUND", "CREATED", 1,
               "PRODUCER_GAP", "PRODUCER_GAP"], outcome, "changes of one stream, in the order they were sent")

        names = [context.name() for _ in range(50)]
        sent = [client.send("CREATE", stream=name) for name in names]
        sent += [client.send_append(name, [b"%d" % n]) for n in range(10) for name in names]
        for one in sent:
            client.result(one)
        equal([[b"%d" % n for n in range(10)]] * 50, [payloads(client, name) for name in names],
              "500 appends to 50 streams: each stream in order")
        for one in [client.send("DELETE", stream=name) for name in names]:
            client.result(one)
        holds(not client.waiting, "nothing is left unanswered")
