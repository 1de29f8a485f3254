"""SUBSCRIBE: credit to the byte, the way from old records to new ones, every END: SPEC section 14."""

import wire
from harness import Wrong, equal, holds, polled, refused, section

RECORD = b"x" * 100
ONE = 32 + 8 + len(RECORD)


def cost(runs):
    return sum(run.cost for run in runs)


def taken(subscription):
    """All payloads up to END, and how it ended: the reason, `next` and the fields."""
    records = [record for _, record in subscription]
    end = dict(subscription.end)
    del end["subscription"]
    return records, (wire.REASONS[end.pop("reason")], end.pop("next"), end)


def ended(subscription):
    return taken(subscription)[1][:2]


@section
def beginnings(context):
    with context.client() as client:
        name = context.stream(client)
        for n in range(10):
            client.append(name, [b"%d" % n])
        times = [run.committed_at for run in client.read(name).body["runs"] for _ in run.records]
        third = times.index(times[3])
        opened = [(start, following, client.subscribe(name, start))
                  for start, following in (("beginning", 0), ("now", 10), (("offset", 4), 4), (("offset", 10), 10),
                                           (("time", times[3]), third), (("time", 1 << 62), 10))]
        for start, following, subscription in opened:
            equal((following, 10), (subscription.first, subscription.tail), f"SUBSCRIBED at {start}")
        client.append(name, [b"new"])
        for start, following, subscription in opened:
            equal(following, subscription.deliver()[0].first_offset, f"its first DELIVER from {start}", quiet=True)
            equal("UNSUBSCRIBED", wire.REASONS[subscription.unsubscribe()["reason"]], "END", quiet=True)
        with refused("OFFSET_PAST_TAIL", "SUBSCRIBE past the tail", tail=11):
            client.subscribe(name, ("offset", 12))
        with refused("NOT_FOUND", "SUBSCRIBE to no stream"):
            client.subscribe(context.name(), number=5)
        subscription = client.subscribe(name, number=5)
        holds(True, "a refused SUBSCRIBE leaves its number free")
        with refused("SUBSCRIPTION_IN_USE", "its number again"):
            client.subscribe(name, number=5)
        equal(b"0", subscription.deliver()[0].records[0], "and the open one goes on")
        subscription.unsubscribe()
        with refused("UNKNOWN_SUBSCRIPTION", "UNSUBSCRIBE after END"):
            client.ask("UNSUBSCRIBE", subscription=5)
        client.send("CREDIT", subscription=5, bytes=1)
        client.ping()
        holds(True, "CREDIT for a subscription that is not open does nothing")
        for number in (0, 0xFFFFFFFF, 5):
            client.subscribe(name, number=number).unsubscribe()
        holds(True, "any number may be chosen, and again after END")
        most = client.info["subscriptions_max"]
        opened = [client.subscribe(name, "now") for _ in range(most)]
        with refused("TOO_MANY_SUBSCRIPTIONS", f"{most} are open"):
            client.subscribe(name)
        opened.pop().unsubscribe()
        opened.append(client.subscribe(name, "now"))
        client.append(name, [b"to all"])
        for subscription in opened:
            equal([b"to all"], subscription.deliver()[0].records, "one of many", quiet=True)
        holds(opened, f"one append reaches all {most} subscriptions")


@section
def credit_is_exact(context):
    with context.client() as client:
        name = context.stream(client)
        client.append(name, [RECORD] * 50)
        for _ in range(50):
            client.append(name, [RECORD])
        for live in (False, True):
            stream = context.stream(client) if live else name
            for granted in (1, ONE - 1, ONE, ONE + 1, 1000, 1001, 5000):
                subscription = client.subscribe(stream, "now" if live else "beginning", credit=granted)
                if live:
                    for asked in [client.send_append(stream, [RECORD] * 5) for _ in range(20)]:
                        client.result(asked)
                spends(client, subscription, granted)
                subscription.grant(777)
                spent = spends(client, subscription, granted + 777)
                what = "new" if live else "old"
                holds(spent, f"{what} records: {granted} bytes of credit and 777 more are used for {spent}")
                subscription.unsubscribe()
                equal(spent, sum(map(cost, subscription.delivered)), "nothing came behind", quiet=True)
        subscription = client.subscribe(name, credit=0)
        spends(client, subscription, 0)
        holds(True, "nothing is delivered without credit")
        subscription.grant(ONE)
        equal(ONE, spends(client, subscription, ONE), "one record for its exact cost, and not one more")
        subscription.grant((1 << 64) - 1)
        subscription.grant((1 << 64) - 1)
        client.until(lambda: subscription.next == 100)
        client.append(name, [RECORD])
        client.until(lambda: subscription.next == 101)
        holds(True, "credit stops at its maximum instead of wrapping around")


def spends(client, subscription, granted):
    """Waits until all the credit so far is used, and then for what is on its way behind it: the cost must stay below
    a run header and a record more. Gives the cost."""
    client.until(lambda: sum(map(cost, subscription.delivered)) >= granted)
    for _ in range(5):
        client.ping()
    spent = sum(map(cost, subscription.delivered))
    if spent >= granted + ONE or not granted and spent:
        raise Wrong(f"{spent} bytes for a credit of {granted}, with records that cost {ONE} at most")
    return spent


@section
def from_old_to_new(context):
    with context.client() as reader, context.client() as writer:
        name = context.stream(writer)
        count = 4000
        for asked in [writer.send_append(name, [b"%d" % n]) for n in range(count // 2)]:
            writer.result(asked)
        subscriptions = [reader.subscribe(name, start, credit=credit)
                         for start, credit in (("beginning", 1 << 20), ("beginning", 3000), (("offset", 7), 1 << 16),
                                               ("now", 2000))]
        firsts = [subscription.first for subscription in subscriptions]
        sent = []
        found = [[] for _ in subscriptions]
        for n in range(count // 2, count):
            sent.append(writer.send_append(name, [b"%d" % n], close=n == count - 1))
            if n % 20 == 0:
                reader.pump(0)
                consume(subscriptions, found)
        for asked in sent:
            writer.result(asked)
        while not all(subscription.end for subscription in subscriptions):
            reader.until(lambda: any(one.delivered for one in subscriptions) or all(one.end for one in subscriptions))
            consume(subscriptions, found)
        consume(subscriptions, found)
        for first, records, subscription in zip(firsts, found, subscriptions):
            equal([b"%d" % n for n in range(first, count)], records,
                  f"{count - first} records from old to new, in order, without gap or duplicate")
            equal(("CLOSED", count), (wire.REASONS[subscription.end["reason"]], subscription.end["next"]),
                  "END CLOSED after the last", quiet=True)


def consume(subscriptions, found):
    for subscription, records in zip(subscriptions, found):
        while subscription.delivered:
            runs = subscription.delivered.popleft()
            records += [record for run in runs for record in run.records]
            if not subscription.end:
                subscription.grant(cost(runs))


@section
def ends(context):
    with context.client() as client, context.client() as other:
        name = context.stream(client, [b"a", b"b"])
        subscription = client.subscribe(name)
        other.close(name)
        equal(([b"a", b"b"], ("CLOSED", 2, {})), taken(subscription), "END CLOSED: after everything was delivered")
        equal(([], ("CLOSED", 2, {})), taken(client.subscribe(name, "now", credit=0)),
              "END CLOSED: nothing was left at SUBSCRIBE")
        equal(([b"b"], ("CLOSED", 2, {})), taken(client.subscribe(name, ("offset", 1), credit=1)),
              "END CLOSED: needs no credit of its own")
        name = context.stream(client, [b"a"])
        subscription = client.subscribe(name)
        subscription.deliver()
        other.delete(name)
        equal(("DELETED", 1), ended(subscription), "END DELETED")
        name = context.stream(client, [b"a"])
        subscription = client.subscribe(name, number=9)
        subscription.deliver()
        asked = client.send("UNSUBSCRIBE", subscription=9)
        reply = client.result(asked)
        equal((asked, {"subscription": 9, "reason": 5, "next": 1}), (reply.correlation, reply.body),
              "END UNSUBSCRIBED answers UNSUBSCRIBE")
        other.append(name, [b"b"])
        client.ping()
        equal(0, len(subscription.delivered), "and no DELIVER comes after it")
        name = context.stream(client, max_records=2)
        client.append(name, [RECORD])
        subscription = client.subscribe(name, credit=1)
        subscription.deliver()
        for _ in range(5):
            other.append(name, [RECORD])
        records, (reason, following, fields) = taken(subscription)
        equal(([], "TRIMMED_PAST", 1), (records, reason, following), "END TRIMMED_PAST: what waited for credit is gone")
        holds(1 < fields["earliest"] <= 4, "and where to go on")
        polled("retention goes on", lambda: other.stat(name)["earliest"], lambda earliest: earliest == 4)
        subscription = client.subscribe(name)
        client.until(lambda: subscription.next == 6)
        equal(4, subscription.first, "BEGINNING is the earliest record kept, and the rest is delivered")


@section
def ends_without_credit(context):
    with context.client() as client, context.client() as other:
        for credit, following in ((0, 0), (1, 1), (32 + 8 + 1, 1)):
            for reason, end in (("CLOSED", other.close), ("DELETED", other.delete)):
                name = context.stream(client)
                subscription = client.subscribe(name, credit=credit)
                if following:
                    other.append(name, [b"a"])
                    subscription.deliver()
                end(name)
                equal((reason, following), ended(subscription), f"END {reason} when {credit} bytes of credit are used")
        name = context.stream(client, [b"a"])
        subscription = client.subscribe(name, credit=0)
        client.close(name)
        client.ping()
        equal(None, subscription.end, "no END CLOSED before the last record was delivered")
        subscription.grant(1)
        equal(([b"a"], ("CLOSED", 1, {})), taken(subscription), "but right after it")
