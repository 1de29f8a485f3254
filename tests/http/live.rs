//! Readers that wait: long-poll and server-sent events.

use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Broker, CLOSE, DEADLINE, JSON, Open, TEXT, poll};

/// Waits until the broker has this many waiting readers.
fn readers(broker: &Broker, count: usize) {
    let line = format!("\nstreamkeeper_http_live_readers {count}\n");
    poll(|| broker.get("/metrics").text().contains(&line).then_some(()));
}

fn events(broker: &Broker, path: &str, offset: &str) -> Open {
    let url = format!("{path}?offset={offset}&live=sse");
    let open = broker.open("GET", &url, &[], b"");
    assert_eq!(open.answer.status, 200, "{:?}", open.answer);
    assert_eq!(
        open.answer.header("content-type"),
        Some("text/event-stream")
    );
    open
}

/// The lines that parsing the `data` events gives, joined as a parser joins them.
fn data_of(events: &str) -> Vec<String> {
    let data = events
        .split("\n\n")
        .filter_map(|event| event.strip_prefix("event: data\n"));
    let lines = |event: &str| -> Vec<String> {
        let lines = event.lines().map(|line| {
            let value = line.strip_prefix("data:").expect("a data line");
            value.strip_prefix(' ').unwrap_or(value).to_owned()
        });
        lines.collect()
    };
    data.map(|event| lines(event).join("\n")).collect()
}

#[test]
fn a_waiting_long_poll_gets_the_last_record_of_an_append_and_close_and_then_the_end() {
    let broker = Broker::start();
    let path = broker.create("a", "text/plain");
    let url = format!("{path}?offset=now&live=long-poll");
    thread::scope(|scope| {
        let waiting = scope.spawn(|| broker.get(&url));
        readers(&broker, 1);
        assert_eq!(broker.post(&path, &[TEXT, CLOSE], b"last").status, 204);
        let last = waiting.join().expect("answered");
        assert_eq!((last.status, last.text()), (200, "last"));
        assert_eq!(last.header("stream-closed"), Some("true"));
        assert!(last.header("stream-cursor").is_some());
        let end = broker.get(&format!("{path}?offset={}&live=long-poll", last.next()));
        assert_eq!(
            (end.status, end.header("stream-closed")),
            (204, Some("true"))
        );
        assert_eq!(end.header("stream-up-to-date"), Some("true"));
    });
}

#[test]
fn a_waiting_long_poll_sees_a_close_and_a_delete() {
    let broker = Broker::start();
    for (name, method, headers, status) in [
        ("closed", "POST", &[CLOSE][..], 204),
        ("deleted", "DELETE", &[], 404),
    ] {
        let path = broker.create(name, "text/plain");
        let url = format!("{path}?offset=-1&live=long-poll");
        thread::scope(|scope| {
            let waiting = scope.spawn(|| broker.get(&url));
            readers(&broker, 1);
            assert_eq!(broker.send(method, &path, headers, b"").status, 204);
            assert_eq!(waiting.join().expect("answered").status, status, "{name}");
        });
        readers(&broker, 0);
    }
}

#[test]
fn a_long_poll_without_news_ends_in_time_and_says_where_it_stands() {
    let broker = Broker::start_with(&["--long-poll-timeout", "100ms"]);
    let path = broker.create("a", "text/plain");
    let tail = broker.text(&path, b"x").next().to_owned();
    let empty = broker.get(&format!("{path}?offset={tail}&live=long-poll"));
    assert_eq!((empty.status, empty.next()), (204, tail.as_str()));
    assert_eq!(empty.header("stream-up-to-date"), Some("true"));
    assert_eq!(empty.header("cache-control"), Some("no-store"));
    let cursor: u64 = empty
        .header("stream-cursor")
        .expect("a cursor")
        .parse()
        .expect("a number");
    let url = format!("{path}?offset={tail}&live=long-poll&cursor={cursor}");
    let next: u64 = broker
        .get(&url)
        .header("stream-cursor")
        .expect("a cursor")
        .parse()
        .expect("a number");
    assert!(next > cursor);
}

#[test]
fn a_waiting_event_reader_gets_the_last_record_of_an_append_and_close_and_then_the_end() {
    let broker = Broker::start();
    let path = broker.create("a", "application/json");
    let mut open = events(&broker, &path, "now");
    open.until("\"upToDate\":true");
    assert_eq!(
        broker.post(&path, &[JSON, CLOSE], b"{\"last\":1}").status,
        204
    );
    let answer = open.rest();
    let text = answer.text();
    assert_eq!(data_of(text), ["[{\"last\":1}]"]);
    let last = text.trim_end().rsplit("\n\n").next().expect("a last event");
    assert!(last.starts_with("event: control\ndata:{"), "{text}");
    assert!(
        last.contains("\"streamClosed\":true") && !last.contains("streamCursor"),
        "{text}"
    );
}

#[test]
fn events_follow_the_stream_and_go_on_where_the_last_one_said() {
    let broker = Broker::start();
    let path = broker.create("a", "text/plain");
    broker.text(&path, b"one");
    let mut open = events(&broker, &path, "-1");
    open.until("data:one");
    let second = broker.text(&path, b"two");
    open.until(second.next());
    drop(open);
    broker.text(&path, b"three");
    let mut open = events(&broker, &path, second.next());
    let text = open.until("\"upToDate\":true");
    assert_eq!(data_of(&text), ["three"]);
}

#[test]
fn text_survives_a_parser_of_events_whatever_it_is() {
    let broker = Broker::start();
    let path = broker.create("a", "text/plain; charset=utf-8");
    let lines = " one space\n  two\n\nevent: control\ndata: {}\n: comment\nend";
    broker.text(&path, lines.as_bytes());
    assert_eq!(broker.post(&path, &[CLOSE], b"").status, 204);
    let answer = events(&broker, &path, "-1").rest();
    assert_eq!(data_of(answer.text()), [lines]);
}

#[test]
fn a_character_cut_by_an_append_comes_whole_with_its_rest() {
    let broker = Broker::start();
    let path = broker.create("a", "text/plain");
    let euro = "€".as_bytes();
    let mut open = events(&broker, &path, "-1");
    open.until("\"upToDate\":true");
    let cut = broker.text(&path, &[b"1 ", &euro[..1]].concat());
    open.until(cut.next());
    broker.text(&path, &euro[1..2]);
    let rest = broker.text(&path, &[&euro[2..], b"!"].concat());
    let text = open.until(rest.next());
    assert_eq!(data_of(&text).concat(), "1 €!");
    drop(open);
    // One who comes back in the middle of it gets it whole as well.
    let text = events(&broker, &path, cut.next()).until(rest.next());
    assert_eq!(data_of(&text).concat(), "€!");
    // What never gets its rest is marked as broken.
    broker.text(&path, &euro[..2]);
    assert_eq!(broker.post(&path, &[CLOSE], b"").status, 204);
    let answer = events(&broker, &path, rest.next()).rest();
    assert_eq!(data_of(answer.text()).concat(), "\u{FFFD}");
}

#[test]
fn a_reader_comes_back_within_a_character_of_records_large_and_trimmed() {
    let broker = Broker::start();
    let path = broker.create("large", "text/plain");
    broker.text(&path, "€".repeat(3 << 19).as_bytes());
    // The body was cut into records of 1 MiB; four of them hold one byte more than whole characters.
    let offset = format!("{:016}_{:016}", 4, 4 << 20);
    let text = events(&broker, &path, &offset).until("event: control");
    let data = data_of(&text);
    assert!(data.concat().starts_with('€'), "{:?}", &data.concat()[..9]);
    let path = "/v1/stream/trimmed";
    let retention = ("Stream-Retention-Max-Records", "2");
    let created = broker.send("PUT", path, &[TEXT, retention], b"");
    assert_eq!(created.status, 201);
    broker.text(path, b"a");
    broker.text(path, b"b");
    let cut = broker.text(path, b"c\xe2");
    let last = broker.text(path, b"\x82\xacd");
    let text = events(&broker, path, cut.next()).until(last.next());
    assert_eq!(data_of(&text).concat(), "€d");
}

#[test]
fn a_line_end_cut_by_an_append_is_one() {
    let broker = Broker::start();
    let path = broker.create("a", "text/plain");
    let mut open = events(&broker, &path, "-1");
    open.until("\"upToDate\":true");
    let cut = broker.text(&path, b"a\r");
    open.until(cut.next());
    let end = broker.text(&path, b"\nb");
    let text = open.until(end.next());
    assert_eq!(data_of(&text).concat(), "a\nb");
    let text = events(&broker, &path, cut.next()).until(end.next());
    assert_eq!(data_of(&text).concat(), "b");
}

#[test]
fn readers_at_the_same_place_get_the_same_but_for_what_was_held_back() {
    let broker = Broker::start();
    let path = broker.create("a", "text/plain");
    let mut all = events(&broker, &path, "-1");
    let cut = broker.text(&path, b"1 \xe2");
    all.until(cut.next());
    let (mut late, mut later) = (events(&broker, &path, "now"), events(&broker, &path, "now"));
    late.until("\"upToDate\":true");
    later.until("\"upToDate\":true");
    let rest = broker.text(&path, b"\x82\xac!");
    let [all_data, late_data, last_data] =
        [&mut all, &mut late, &mut later].map(|open| data_of(&open.until(rest.next())).concat());
    assert_eq!(all_data, "1 €!");
    assert_eq!(late_data, "\u{FFFD}\u{FFFD}!");
    assert_eq!(last_data, late_data);
    let next = broker.text(&path, b"next");
    for open in [&mut all, &mut late, &mut later] {
        assert!(
            data_of(&open.until(next.next()))
                .concat()
                .ends_with("!next")
        );
    }
}

#[test]
fn a_stream_does_not_expire_under_its_readers() {
    // Nothing before the readers takes as long as the ttl.
    let broker = Broker::start_with(&["--long-poll-timeout", "11s"]);
    let ttl = ("Stream-TTL", "5");
    for name in ["polled", "followed"] {
        let path = format!("/v1/stream/{name}");
        assert_eq!(broker.send("PUT", &path, &[TEXT, ttl], b"").status, 201);
    }
    thread::scope(|scope| {
        let mut open = events(&broker, "/v1/stream/followed", "-1");
        let url = "/v1/stream/polled?offset=-1&live=long-poll";
        let polled = scope.spawn(|| broker.get(url));
        // The time that the long-poll takes is more than twice the ttl.
        assert_eq!(polled.join().expect("answered").status, 204);
        let appended = broker.text("/v1/stream/followed", b"still here");
        open.until(appended.next());
    });
}

#[test]
fn a_waiting_long_poll_on_a_stream_deleted_under_its_forks_gets_410() {
    let broker = Broker::start();
    let path = broker.create("a", "text/plain");
    broker.text(&path, b"x");
    let fork = ("Stream-Forked-From", path.as_str());
    assert_eq!(
        broker
            .send("PUT", "/v1/stream/b", &[TEXT, fork], b"")
            .status,
        201
    );
    let url = format!("{path}?offset=now&live=long-poll");
    thread::scope(|scope| {
        let waiting = scope.spawn(|| broker.get(&url));
        readers(&broker, 1);
        assert_eq!(broker.send("DELETE", &path, &[], b"").status, 204);
        assert_eq!(waiting.join().expect("answered").status, 410);
    });
}

#[test]
fn bytes_are_base64_and_said_to_be() {
    let broker = Broker::start();
    let path = broker.create("a", "application/octet-stream");
    let octets = ("Content-Type", "application/octet-stream");
    assert_eq!(
        broker.post(&path, &[octets, CLOSE], &[0, 1, 2, 255]).status,
        204
    );
    let answer = events(&broker, &path, "-1").rest();
    assert_eq!(answer.header("stream-sse-data-encoding"), Some("base64"));
    assert_eq!(data_of(answer.text()), ["AAEC/w=="]);
    assert_eq!(answer.header("cache-control"), Some("no-cache"));
}

#[test]
fn many_readers_of_a_busy_stream_miss_nothing() {
    let broker = Broker::start();
    let path = broker.create("a", "application/json");
    let (readers, appends) = (100, 100);
    thread::scope(|scope| {
        let followers: Vec<_> = (0..readers)
            .map(|_| {
                let open = events(&broker, &path, "-1");
                scope.spawn(|| open.rest())
            })
            .collect();
        for number in 0..appends {
            let value = number.to_string();
            assert_eq!(broker.post(&path, &[JSON], value.as_bytes()).status, 204);
        }
        assert_eq!(broker.post(&path, &[CLOSE], b"").status, 204);
        for follower in followers {
            let answer = follower.join().expect("followed to the end");
            let seen = data_of(answer.text());
            let seen = seen
                .iter()
                .flat_map(|event| -> Vec<u32> { serde_json::from_str(event).expect("an array") });
            assert!(seen.eq(0..appends));
        }
    });
}

#[test]
fn a_deleted_stream_ends_its_event_readers() {
    let broker = Broker::start();
    let path = broker.create("a", "text/plain");
    let mut open = events(&broker, &path, "-1");
    open.until("\"upToDate\":true");
    assert_eq!(broker.send("DELETE", &path, &[], b"").status, 204);
    let answer = open.rest();
    assert!(!answer.text().contains("streamClosed"), "{}", answer.text());
}

#[test]
fn a_shutdown_ends_every_wait_at_once() {
    let broker = Broker::start();
    let path = broker.create("a", "text/plain");
    let mut open = events(&broker, &path, "-1");
    open.until("\"upToDate\":true");
    let url = format!("{path}?offset=-1&live=long-poll");
    thread::scope(|scope| {
        let waiting = scope.spawn(|| broker.get(&url));
        readers(&broker, 2);
        let began = Instant::now();
        broker.terminate();
        assert_eq!(waiting.join().expect("answered").status, 204);
        open.rest();
        // Far less than a long-poll or an event reader would wait.
        assert!(began.elapsed() < DEADLINE / 2 + Duration::from_secs(5));
    });
}
