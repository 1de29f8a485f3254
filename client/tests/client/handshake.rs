//! The first exchange: what the client says, and which servers it refuses.

use std::time::Duration;

use streamkeeper_client::{Advice, Client, Error, ErrorCode};
use streamkeeper_protocol::event::{Connected, ErrorEvent};
use streamkeeper_protocol::{Command, Event};

use crate::support::{Server, connected, info, pipes, soon};

#[tokio::test]
async fn the_client_introduces_itself_and_learns_the_limits() {
    let server = Server::start().await;
    let address = server.address();
    let connecting = Client::builder()
        .name("orders")
        .token("secret")
        .connect(&address);
    let script = async {
        let mut peer = server.accept_silent().await;
        let mut hello = info();
        hello.auth_required = true;
        hello.limits.record_bytes_max = 77;
        hello.features = Some("a,b".into());
        peer.send(0, &Event::Info(hello)).await;
        let (_, command) = peer.command().await;
        peer.send(
            0,
            &Event::Connected(Connected {
                session: 9,
                version: 1,
            }),
        )
        .await;
        (command, peer)
    };
    let (client, (command, _peer)) = tokio::join!(connecting, script);
    let Command::Connect(connect) = command else {
        panic!("{command:?}")
    };
    assert_eq!(
        (&*connect.name, connect.token.as_deref()),
        ("orders", Some(&b"secret"[..]))
    );
    assert_eq!(&*connect.library, "streamkeeper-client");
    let info = client.unwrap().server().await.unwrap();
    assert_eq!((info.session, info.record_bytes_max), (9, 77));
    assert!(info.features.contains("a") && info.features.contains("b"));
}

#[tokio::test]
async fn a_server_of_another_version_is_refused() {
    let server = Server::start().await;
    let address = server.address();
    let script = async {
        let mut peer = server.accept_silent().await;
        let mut hello = info();
        (hello.version_min, hello.version_max) = (7, 9);
        peer.send(0, &Event::Info(hello)).await;
        peer
    };
    let (client, _peer) = tokio::join!(Client::connect(&address), script);
    let error = client.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Version {
                server_min: 7,
                server_max: 9,
                client: 1
            }
        ),
        "{error:?}"
    );
    assert_eq!(error.advice(), Advice::GiveUp);
}

#[tokio::test]
async fn a_missing_token_is_noticed_before_it_is_asked_for() {
    let server = Server::start().await;
    let address = server.address();
    let script = async {
        let mut peer = server.accept_silent().await;
        let mut hello = info();
        hello.auth_required = true;
        peer.send(0, &Event::Info(hello)).await;
        assert!(
            soon(peer.try_command()).await.is_none(),
            "the client hangs up"
        );
    };
    let (client, ()) = tokio::join!(Client::connect(&address), script);
    assert!(matches!(client.unwrap_err(), Error::TokenMissing));
}

#[tokio::test]
async fn a_refused_token_is_the_servers_error() {
    let server = Server::start().await;
    let address = server.address();
    let script = async {
        let mut peer = server.accept_silent().await;
        peer.send(0, &Event::Info(info())).await;
        peer.command().await;
        let error = ErrorEvent::new(ErrorCode::Unauthorized, "wrong token");
        peer.send(0, &Event::Err(error)).await;
        peer
    };
    let (client, _peer) = tokio::join!(Client::connect(&address), script);
    assert_eq!(client.unwrap_err().code(), Some(ErrorCode::Unauthorized));
}

#[tokio::test]
async fn nobody_listening_is_a_connect_error() {
    let server = Server::start().await;
    let address = server.address();
    drop(server);
    let error = Client::connect(&address).await.unwrap_err();
    assert!(matches!(&error, Error::Connect { address: tried, .. } if *tried == address));
    assert_eq!(error.advice(), Advice::Retry);
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_runs_into_the_connect_timeout() {
    let (dial, ends) = pipes(1024);
    let connecting = Client::builder()
        .connect_timeout(Duration::from_secs(2))
        .connect_with(dial);
    let (client, _peer) = tokio::join!(connecting, ends.accept_silent());
    match client.unwrap_err() {
        Error::Connect { source, .. } => assert_eq!(source.kind(), std::io::ErrorKind::TimedOut),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_handshake_in_single_bytes_works() {
    let server = Server::start().await;
    let address = server.address();
    let script = async {
        let mut peer = server.accept_silent().await;
        for event in [
            Event::Info(info()),
            Event::Connected(Connected {
                session: 1,
                version: 1,
            }),
        ] {
            let mut bytes = bytes::BytesMut::new();
            event.encode(0, &mut bytes);
            for byte in bytes {
                peer.send_bytes(&[byte]).await;
                tokio::task::yield_now().await;
            }
        }
        peer
    };
    let (client, _peer) = tokio::join!(Client::connect(&address), script);
    client.unwrap();
}

#[tokio::test]
async fn dropping_the_last_handle_hangs_up() {
    let (_server, client, mut peer) = connected().await;
    let other = client.clone();
    drop(client);
    drop(other);
    assert!(soon(peer.try_command()).await.is_none());
}

#[cfg(unix)]
#[tokio::test]
async fn a_unix_socket_serves_as_well() {
    use crate::support::Peer;

    let path =
        std::env::temp_dir().join(format!("streamkeeper-client-{}.sock", std::process::id()));
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let address = format!("unix:{}", path.display());
    let script = async {
        let mut peer = Peer::new(listener.accept().await.unwrap().0);
        peer.shake_hands().await;
        let (correlation, command) = peer.command().await;
        assert!(matches!(command, Command::Delete(_)));
        peer.send(correlation, &Event::Deleted).await;
        peer
    };
    let work = async {
        let client = Client::connect(&address).await.unwrap();
        client.delete("orders").await.unwrap();
        client
    };
    tokio::join!(work, script);
    std::fs::remove_file(&path).unwrap();
}

#[tokio::test]
async fn a_heartbeat_within_the_handshake_is_answered() {
    let server = Server::start().await;
    let address = server.address();
    let script = async {
        let mut peer = server.accept_silent().await;
        peer.send(5, &Event::Ping).await;
        peer.send(0, &Event::Info(info())).await;
        assert!(matches!(peer.command().await, (5, Command::Pong)));
        assert!(matches!(peer.command().await, (_, Command::Connect(_))));
        peer.send(0, &Event::Pong).await;
        peer.send(
            0,
            &Event::Connected(Connected {
                session: 1,
                version: 1,
            }),
        )
        .await;
        peer
    };
    let (client, _peer) = tokio::join!(Client::connect(&address), script);
    client.unwrap();
}

#[test]
fn a_client_whose_runtime_is_gone_is_closed() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let first = runtime();
    let (_server, client, _peer) = first.block_on(connected());
    drop(first);
    let append = runtime().block_on(async { soon(client.append("orders", "x")).await });
    assert!(matches!(append, Err(Error::Closed)), "{append:?}");
}
