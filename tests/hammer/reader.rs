//! Readers: reads with long-poll, notifications and metadata, under the same load.

use std::time::Duration;

use streamkeeper::storage::{Changes, Notification, ReadLimits, Storage};
use streamkeeper::types::{Error, Messages, Offset, Refusal, Start};
use tokio::time::timeout;

use crate::follower::check_refusal;
use crate::model::{Mark, Sighting, Slot};
use crate::random::Random;
use crate::run::{PATIENCE, Run};

/// Reads streams page by page.
pub async fn read(run: Run, mut random: Random) {
    while !run.settled.is_cancelled() {
        let slot = run.slot(&mut random);
        let from = if random.chance(70) {
            Start::Beginning
        } else {
            Start::Now
        };
        read_one(&run, &slot, from, &mut random).await;
        run.pause(3, &mut random).await;
    }
}

/// Reads one stream until it ends, changes, or enough was read.
async fn read_one(run: &Run, slot: &Slot, mut from: Start, random: &mut Random) {
    let mut seen: Option<Sighting> = None;
    let mut before = slot.mark();
    loop {
        let mark = slot.mark();
        let limits = ReadLimits {
            max_bytes: usize::try_from(random.between(1, 100_000)).unwrap_or(1),
            max_records: u32::try_from(random.between(1, 1000)).unwrap_or(1),
            wait: Duration::from_millis(random.below(40)),
        };
        let answer = timeout(PATIENCE, run.broker.read_messages(&slot.name, from, limits)).await;
        let mut now = slot.since(mark);
        let page = match answer.expect("a read is answered in time") {
            Ok(page) => page,
            Err(error) => {
                // The offset asked for may be one of the life that was read last.
                check_refusal(slot, slot.since(before), from, &error);
                run.counts.end("read refused");
                return;
            }
        };
        check_page(slot, &mut now, from, &page);
        if seen.is_some_and(|seen| !seen.overlaps(now)) {
            run.counts.end("read another life");
        }
        seen = Some(now);
        run.count_read(page.messages.len());
        if page.closed {
            let at = page.next.offset.0;
            let just = slot.any(now, |life| life.closed && life.records.len() as u64 == at);
            assert!(just, "{}: not closed at {at}", slot.name);
            run.counts.end("read to the end");
            return;
        }
        if (run.settled.is_cancelled() && !page.has_more) || random.chance(2) {
            return;
        }
        from = Start::At(page.next.offset);
        before = mark;
    }
}

/// Checks one page: consecutive records, all of one life, and a `next` that fits them.
fn check_page(slot: &Slot, seen: &mut Sighting, from: Start, page: &Messages) {
    let name = &slot.name;
    let first = page
        .messages
        .first()
        .map_or(page.next.offset.0, |m| m.position.offset.0);
    if let Start::At(asked) = from {
        assert_eq!(asked.0, first, "{name}: read elsewhere");
    }
    let mut next = first;
    for message in &page.messages {
        assert_eq!(
            message.position.offset.0, next,
            "{name}: a gap or a duplicate"
        );
        slot.check(seen, message.position, &message.payload);
        next = message.next().0;
    }
    assert_eq!(page.next.offset.0, next, "{name}: a wrong place to read on");
    let position = slot.any(*seen, |life| life.position(next) == page.next);
    assert!(
        position || page.messages.is_empty(),
        "{name}: a wrong byte position at {next}"
    );
    assert!(
        !(page.has_more && page.messages.is_empty()),
        "{name}: nothing at {next}, and yet more"
    );
}

/// Follows the notifications of streams.
pub async fn watch(run: Run, mut random: Random) {
    while !run.settled.is_cancelled() {
        let slot = run.slot(&mut random);
        let mark = slot.mark();
        match run.broker.subscribe(&slot.name).await {
            Ok(changes) => watch_one(&run, &slot, mark, changes).await,
            Err(error) => {
                check_refusal(&slot, slot.since(mark), Start::Now, &error);
                run.pause(5, &mut random).await;
            }
        }
    }
}

async fn watch_one(run: &Run, slot: &Slot, mark: Mark, mut changes: impl Changes) {
    let mut tail = Offset(0);
    let mut closed = false;
    // Only changes from now on are told: of a stream that is closed already, nothing but its deletion.
    let closed_before = slot.any(slot.since(mark), |life| life.closed);
    loop {
        let waited = tokio::select! {
            () = run.settled.cancelled(), if closed || closed_before => return,
            waited = timeout(PATIENCE, changes.next()) => waited,
        };
        let change = waited.expect("every stream changes");
        let seen = slot.since(mark);
        let name = &slot.name;
        match change {
            Notification::Appended(to) => {
                assert!(!closed, "{name}: an append after the close");
                assert!(
                    to.offset > tail,
                    "{name}: told of {} after {tail}",
                    to.offset
                );
                let just = slot.any(seen, |life| life.may_be_tail(to.offset.0));
                assert!(just, "{name}: told of {}, which nobody appended", to.offset);
                tail = to.offset;
            }
            Notification::Closed(at) => {
                assert!(!closed, "{name}: closed twice");
                closed = true;
                let just = slot.any(seen, |life| life.closed && life.tail() == at);
                assert!(just, "{name}: not closed at {at}");
            }
            Notification::Deleted => {
                assert!(slot.any(seen, |life| life.deleted), "{name}: not deleted");
                run.counts.end("told of the deletion");
                return;
            }
        }
    }
}

/// Looks at tails, metadata and the listing.
pub async fn inspect(run: Run, mut random: Random) {
    while !run.settled.is_cancelled() {
        let slot = run.slot(&mut random);
        let mark = slot.mark();
        let confirmed = slot.lives.lock().last().map_or(0, |life| life.confirmed);
        let answer = run.broker.get_metadata(&slot.name).await;
        let seen = slot.since(mark);
        match answer {
            Ok(known) => {
                let (earliest, tail) = (known.earliest.offset.0, known.tail.offset.0);
                let just = slot.any(seen, |life| {
                    life.position(tail) == known.tail
                        && life.may_be_tail(tail)
                        && life.may_have_trimmed_to(earliest)
                        && (life.closed || !known.closed)
                        && (tail >= confirmed || !seen.is_certain())
                        && life.options == known.options
                });
                let (name, lives) = (&slot.name, slot.describe(seen));
                assert!(
                    just,
                    "{name}: {known:?} while {confirmed} are confirmed; {lives}"
                );
            }
            Err(error) => {
                let absent = error == Error::Refused(Refusal::NotFound) && seen.absent;
                assert!(absent, "{}: {error:?}", slot.name);
            }
        }
        if random.chance(10) {
            let listing = run
                .broker
                .list("", None, 5)
                .await
                .expect("the listing is answered");
            let names = listing.streams.iter().map(|listed| listed.name.as_str());
            assert!(names.is_sorted(), "a listing out of order");
        }
        run.pause(10, &mut random).await;
    }
}
