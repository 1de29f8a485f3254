//! A Durable Streams SSE session for tests: events as a standard parser of server-sent events finds them.

use tokio::io::AsyncWriteExt as _;
use tokio::net::tcp::OwnedWriteHalf;

use crate::http::Incoming;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub kind: String,
    /// Its lines of data, with a line feed between them.
    pub data: String,
}

/// A session.
#[derive(Debug)]
pub struct Events {
    incoming: Incoming,
    _outgoing: OwnedWriteHalf,
    text: String,
}

impl Events {
    /// Follows a stream from an offset, on a connection of its own.
    pub async fn follow(address: &str, stream: &str, offset: &str) -> Self {
        let connected = Incoming::connect(address).await;
        let (mut incoming, mut outgoing) = connected.expect("the broker listens");
        let request = format!(
            "GET /v1/stream/{stream}?offset={offset}&live=sse HTTP/1.1\r\nHost: {address}\r\n\r\n"
        );
        let sent = outgoing.write_all(request.as_bytes()).await;
        sent.expect("the broker reads requests");
        let answer = incoming.head().await.expect("the request is answered");
        let content_type = answer.header("content-type");
        let expected = (200, Some("text/event-stream"));
        assert_eq!((answer.status, content_type), expected, "{answer:?}");
        Self {
            incoming,
            _outgoing: outgoing,
            text: String::new(),
        }
    }

    /// The next event; nothing at the end of the session.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            // Lines may end in a carriage return too, but Streamkeeper sends none.
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (parse(event), rest.to_owned());
                self.text = rest;
                if event.is_some() {
                    return event;
                }
                continue;
            }
            let chunk = self.incoming.chunk().await.expect("the session goes on")?;
            self.text
                .push_str(&String::from_utf8(chunk).expect("events are UTF-8"));
        }
    }
}

/// An event without data is none.
fn parse(text: &str) -> Option<Event> {
    let (mut kind, mut data) = (String::new(), Vec::new());
    for line in text.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut kind),
            "data" => data.push(value),
            _ => {}
        }
    }
    let data = (!data.is_empty()).then(|| data.join("\n"))?;
    Some(Event { kind, data })
}
