//! Peers that send what no client should: each meets a typed error or a clean end, and nobody else notices.

use std::time::Duration;

use bytes::{BufMut, BytesMut};
use streamkeeper_protocol::limits::FRAME_BYTES_MAX;
use streamkeeper_protocol::{Command, ErrorCode, Event};
use tokio::io::AsyncWriteExt;

use crate::fixture::{Client, Fixture, append, connect, create, encoded, within};

/// A frame with any kind and body.
fn frame(kind: u8, body: &[u8]) -> BytesMut {
    let mut bytes = BytesMut::new();
    bytes.put_u32(u32::try_from(6 + body.len()).expect("small"));
    bytes.put_u8(kind);
    bytes.put_u8(0);
    bytes.put_u32(9);
    bytes.put_slice(body);
    bytes
}

#[tokio::test]
async fn each_kind_of_malformed_frame_is_named_before_the_connection_ends() {
    let fixture = Fixture::start().await;
    let mut steady = fixture.client().await;
    steady.create("s").await;
    let ping = frame(0x02, b"");
    let mut too_short = ping.clone();
    too_short[..4].copy_from_slice(&5_u32.to_be_bytes());
    let mut too_long = ping.clone();
    too_long[..4].copy_from_slice(&(FRAME_BYTES_MAX + 1).to_be_bytes());
    let mut not_utf8 = encoded(9, &create("name"));
    not_utf8[12] = 0xFF;
    let whole = encoded(9, &append("s", &[b"x"]));
    let cases = [
        (too_short, ErrorCode::MalformedFrame),
        (too_long, ErrorCode::FrameTooLarge),
        (frame(0x00, b""), ErrorCode::UnknownKind),
        (frame(0xB1, b"\0\0\0\0"), ErrorCode::UnknownKind),
        (frame(0x02, b"trailing"), ErrorCode::MalformedFrame),
        (frame(0x10, b""), ErrorCode::MalformedFrame),
        (frame(0x10, &[0xFF, 0xFF, b'x']), ErrorCode::MalformedFrame),
        (not_utf8, ErrorCode::MalformedFrame),
        (
            frame(0x20, &whole[10..whole.len() - 1]),
            ErrorCode::MalformedFrame,
        ),
    ];
    for (bytes, code) in cases {
        let mut client = fixture.client().await;
        client.send_bytes(&bytes).await;
        client.expect_fatal(code).await;
    }
    assert_eq!(steady.append("s", &[b"x"]).await, 1);
}

#[tokio::test]
async fn the_error_arrives_although_the_peer_keeps_sending() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client().await;
    let mut bytes = frame(0x7F, b"");
    for _ in 0..1000 {
        bytes.extend_from_slice(&frame(0x02, b""));
    }
    client.send_bytes(&bytes).await;
    client.expect_fatal(ErrorCode::UnknownKind).await;
}

#[tokio::test]
async fn requests_before_the_malformed_frame_are_carried_out() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client().await;
    client.create("s").await;
    let mut bytes = encoded(2, &append("s", &[b"kept"]));
    bytes.extend_from_slice(&frame(0x7F, b""));
    client.send_bytes(&bytes).await;
    while client.next_or_end().await.is_some() {}
    let mut client = fixture.client().await;
    assert_eq!(client.append("s", &[b"next"]).await, 2);
}

#[tokio::test]
async fn another_protocol_is_told_so() {
    let fixture = Fixture::start().await;
    let mut browser = fixture.raw().await;
    browser
        .send_bytes(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    browser.expect_fatal(ErrorCode::FrameTooLarge).await;
    let mut tls = fixture.raw().await;
    tls.send_bytes(&[
        0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xFC, 0x03, 0x03,
    ])
    .await;
    tls.expect_fatal(ErrorCode::FrameTooLarge).await;
}

#[tokio::test]
async fn a_peer_that_leaves_in_the_middle_of_a_frame_leaves_nothing_behind() {
    let fixture = Fixture::start().await;
    let mut steady = fixture.client().await;
    steady.create("s").await;
    let whole = encoded(2, &append("s", &[b"never whole"]));
    for cut in 1..whole.len() {
        let mut client = fixture.raw_unix().await;
        client.shake_hands().await;
        client.send_bytes(&whole[..cut]).await;
        client.stream.shutdown().await.expect("shut");
        client.expect_end().await;
    }
    assert_eq!(steady.append("s", &[b"first"]).await, 1);
    gone(&fixture, 1).await;
}

/// Waits until only `left` connections are open.
async fn gone(fixture: &Fixture, left: u64) {
    let waiting = async {
        while fixture.metric("connections") > left {
            tokio::task::yield_now().await;
        }
    };
    within(waiting).await;
}

/// A plain generator of noise: the same for every run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.next() >> 56).expect("eight bits")
    }
}

/// Whatever is answered, it is frames that are events, and the end comes.
async fn drained<S>(mut client: Client<S>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    // The broker may have closed already; then there is nothing left to say.
    client.stream.shutdown().await.ok();
    while client.next_or_end().await.is_some() {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn noise_is_met_with_errors_and_others_work_on() {
    let fixture = Fixture::start().await;
    let mut steady = fixture.client().await;
    steady.create("s").await;
    let mut noise = Noise(0x5EED_0001);
    for round in 0..200 {
        let mut bytes = BytesMut::new();
        if round % 2 == 0 {
            bytes.extend_from_slice(&encoded(1, &connect(1, None)));
        }
        for _ in 0..4 {
            let kinds = [
                0x10,
                0x11,
                0x12,
                0x13,
                0x14,
                0x20,
                0x21,
                0x30,
                0x31,
                0x32,
                noise.byte(),
            ];
            let kind = kinds[usize::from(noise.byte()) % kinds.len()];
            let length = usize::from(noise.byte());
            let body: Vec<u8> = (0..length).map(|_| noise.byte() & noise.byte()).collect();
            bytes.extend_from_slice(&frame(kind, &body));
        }
        let mut client = fixture.raw_unix().await;
        // It may close before it has taken all.
        client.stream.write_all(&bytes).await.ok();
        drained(client).await;
    }
    steady.expect_alive().await;
    gone(&fixture, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mangled_commands_are_met_with_errors_and_others_work_on() {
    let fixture = Fixture::start().await;
    let mut steady = fixture.client().await;
    steady.create("s").await;
    let mut noise = Noise(0x5EED_0002);
    let mut good = encoded(1, &connect(1, None));
    let handshake = good.len();
    good.extend_from_slice(&encoded(2, &create("mangled")));
    good.extend_from_slice(&encoded(3, &append("mangled", &[b"a", b"b"])));
    good.extend_from_slice(&encoded(4, &Command::Ping));
    for _ in 0..300 {
        let mut bytes = good.clone();
        for _ in 0..=noise.byte() % 3 {
            let span = u64::try_from(bytes.len() - handshake).expect("small");
            let at = handshake + usize::try_from(noise.next() % span).expect("small");
            bytes[at] ^= 1 << (noise.byte() % 8);
        }
        let mut client = fixture.raw_unix().await;
        client.stream.write_all(&bytes).await.ok();
        drained(client).await;
    }
    assert_eq!(steady.append("s", &[b"x"]).await, 1);
    gone(&fixture, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_connections_in_turn_leave_nothing_behind() {
    let fixture = Fixture::start().await;
    let mut steady = fixture.client().await;
    steady.create("s").await;
    for round in 0..10_000u64 {
        // Some wait for INFO, some leave at once; a Unix socket, for it leaves no port in use.
        let mut client = fixture.raw_unix().await;
        if round % 8 == 0 {
            assert!(matches!(client.next().await, (0, Event::Info(_))));
        }
        if round % 1000 == 0 {
            assert_eq!(steady.append("s", &[b"x"]).await, round / 1000 + 1);
        }
    }
    gone(&fixture, 1).await;
    assert_eq!(fixture.metric("connections_refused_total"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn announced_lengths_alone_take_no_memory() {
    let fixture = Fixture::start_with(|_, server| {
        server.connection.frame_timeout = Duration::from_secs(60);
    })
    .await;
    let mut holders = Vec::new();
    for _ in 0..200 {
        let mut client = fixture.raw_unix().await;
        client.shake_hands().await;
        client.send_bytes(&FRAME_BYTES_MAX.to_be_bytes()).await;
        client.send_bytes(&[0x20]).await;
        holders.push(client);
    }
    let mut steady = fixture.client().await;
    steady.create("s").await;
    // 200 frames of 4 MiB would be 800 MiB; the address space says whether anyone reserved them.
    let reserved = address_space_bytes();
    assert!(steady.append("s", &[b"x"]).await == 1);
    for client in &mut holders {
        client.send_bytes(&[0; 4]).await;
    }
    steady.expect_alive().await;
    let grown = address_space_bytes().saturating_sub(reserved);
    assert!(grown < 256 << 20, "{grown} bytes");
}

/// Bytes of address space of this process.
fn address_space_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("readable");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmData:"))
        .expect("a line");
    let kilobytes = line.split_whitespace().nth(1).expect("a number");
    kilobytes.parse::<u64>().expect("a number") * 1024
}
