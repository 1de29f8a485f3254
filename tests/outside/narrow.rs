//! A peer that reads next to nothing without being asked to.

use tokio::net::{TcpSocket, TcpStream};

/// A connection whose peer's socket takes next to nothing.
pub async fn narrow(address: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a socket option");
    let address = address.parse().expect("an address");
    socket.connect(address).await.expect("it listens")
}
