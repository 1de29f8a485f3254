//! Who may say what before and at CONNECT.

use super::*;

#[tokio::test]
async fn every_command_before_connect_is_fatal() {
    let commands = [
        create("s"),
        Command::Append(append("s", &["a"])),
        read("s", 0),
        subscribe(1, "s", Start::Now, 1),
        Command::List(List {
            prefix: "".into(),
            after: "".into(),
            limit: 0,
        }),
        Command::Credit(Credit {
            subscription: 1,
            bytes: 1,
        }),
    ];
    for command in commands {
        let mut peer = Peer::greeted(SessionOptions::default()).await;
        let failure = peer.send(1, &command).expect_err("refused");
        assert_eq!(failure.code(), ErrorCode::NotConnected);
        assert!(failure.is_fatal());
    }
}

#[tokio::test]
async fn a_peer_may_ping_before_it_connects_and_must_not_connect_twice() {
    let mut peer = Peer::greeted(SessionOptions::default()).await;
    peer.ask(5, &Command::Ping);
    let (5, Event::Pong) = peer.next().await else {
        panic!("not PONG")
    };
    let limits = Limits::default();
    assert_eq!(
        peer.session.frame_bytes_max(),
        limits.unauthenticated_frame_bytes_max
    );
    peer.ask(6, &connect(1, None));
    let (6, Event::Connected(_)) = peer.next().await else {
        panic!("not CONNECTED")
    };
    assert_eq!(peer.session.frame_bytes_max(), limits.frame_bytes_max);
    let failure = peer.send(7, &connect(1, None)).expect_err("refused");
    assert_eq!(failure.code(), ErrorCode::AlreadyConnected);
}

#[tokio::test]
async fn a_version_out_of_range_and_a_wrong_token_are_fatal() {
    let tokens = vec![Token::new("old"), Token::new("new")];
    let mut peer = Peer::greeted(SessionOptions {
        tokens,
        ..SessionOptions::default()
    })
    .await;
    let code = |failure: Result<(), Failure>| failure.expect_err("refused").code();
    assert_eq!(
        code(peer.send(1, &connect(0, Some(b"new")))),
        ErrorCode::UnsupportedVersion
    );
    assert_eq!(
        code(peer.send(1, &connect(2, Some(b"new")))),
        ErrorCode::UnsupportedVersion
    );
    assert_eq!(
        code(peer.send(1, &connect(1, None))),
        ErrorCode::Unauthorized
    );
    assert_eq!(
        code(peer.send(1, &connect(1, Some(b"no")))),
        ErrorCode::Unauthorized
    );
    assert!(!peer.session.is_connected());
    peer.ask(1, &connect(1, Some(b"old")));
    assert!(peer.session.is_connected());
}
