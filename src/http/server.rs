//! Sockets to requests: binding, accepting, and one hyper connection per peer.
//!
//! HTTP/1.1 with keep-alive and pipelining, or HTTP/2 if the peer begins with its preface. A peer has
//! [`HttpOptions::head_timeout`] for the head of each request, idle time before it included, and
//! [`HttpOptions::write_timeout`] to take what was written to it. Over the most connections, a peer is told 503 and closed.
//!
//! What a request means is not known here: see [`super::Routes`].

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Routes;
use super::reply::Never;
use super::unread::UnreadLimit;
use crate::metrics::Metrics;
use crate::server::{concerns_one_peer, socket};

/// What the listener allows.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// Most connections at a time.
    pub connections_max: usize,
    /// Time a peer has for the head of a request, idle time before it included.
    pub head_timeout: Duration,
    /// Time a peer may leave what is written to it unread.
    pub write_timeout: Duration,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            head_timeout: Duration::from_secs(75),
            write_timeout: Duration::from_secs(30),
        }
    }
}

/// What is buffered of one connection in each direction; also the longest head of a request.
const BUFFER_BYTES_MAX: usize = 64 << 10;
/// Requests of one HTTP/2 connection at a time.
const STREAMS_MAX: u32 = 64;
/// Silence after which an HTTP/2 peer is probed.
const PROBE_EVERY: Duration = Duration::from_secs(20);
/// How long a connection on which nothing was asked yet is still waited for when a drain begins.
const FIRST_REQUEST_GRACE: Duration = Duration::from_secs(1);
/// The first pause after a failed accept; it doubles up to [`ACCEPT_PAUSE_MAX`].
const ACCEPT_PAUSE: Duration = Duration::from_millis(5);
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);
/// Peers over the limit that are told so at a time, and how long that may take.
const TURNED_AWAY_MAX: usize = 64;
const TURN_AWAY_TIME: Duration = Duration::from_secs(1);
const TURNED_AWAY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n\
    Content-Length: 0\r\nConnection: close\r\n\r\n";

/// A bound HTTP listener.
#[derive(Debug)]
pub struct HttpServer {
    listener: TcpListener,
    address: SocketAddr,
    connections: TaskTracker,
}

impl HttpServer {
    /// Binds `address`, a `HOST:PORT`; port 0 takes any free one.
    pub async fn bind(address: &str) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let connections = TaskTracker::new();
        Ok(Self {
            listener,
            address,
            connections,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The connections there are, without those that come while draining.
    pub fn connections(&self) -> TaskTracker {
        self.connections.clone()
    }

    /// Serves `routes` until `stop` is cancelled, then finishes the requests under way. From when `draining` is cancelled, a
    /// connection ends after the answer it is at, and a new one after its first: enough for a probe. One on which nothing was asked
    /// yet has a second for that.
    pub async fn run(
        self,
        routes: Routes,
        options: HttpOptions,
        metrics: Arc<Metrics>,
        draining: CancellationToken,
        stop: CancellationToken,
    ) {
        let door = Door {
            builder: builder(&options),
            routes: Arc::new(routes),
            options,
            metrics,
            draining,
            stop,
            connections: self.connections,
            late: TaskTracker::new(),
            turned_away: TaskTracker::new(),
        };
        door.accept(self.listener).await;
        door.connections.close();
        door.connections.wait().await;
        door.late.close();
        door.late.wait().await;
    }
}

fn builder(options: &HttpOptions) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(options.head_timeout)
        .max_buf_size(BUFFER_BYTES_MAX);

    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(u32::try_from(BUFFER_BYTES_MAX).unwrap_or(u32::MAX))
        .max_send_buf_size(BUFFER_BYTES_MAX)
        .keep_alive_interval(PROBE_EVERY)
        .keep_alive_timeout(options.write_timeout);
    builder
}

struct Door {
    builder: auto::Builder<TokioExecutor>,
    routes: Arc<Routes>,
    options: HttpOptions,
    metrics: Arc<Metrics>,
    draining: CancellationToken,
    stop: CancellationToken,
    connections: TaskTracker,
    /// Connections that came while draining.
    late: TaskTracker,
    turned_away: TaskTracker,
}

impl Door {
    async fn accept(&self, listener: TcpListener) {
        let mut pause = ACCEPT_PAUSE;
        loop {
            let accepted = tokio::select! {
                () = self.stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((socket, _)) => {
                    pause = ACCEPT_PAUSE;
                    self.admit(socket);
                }
                Err(error) if concerns_one_peer(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "HTTP: cannot accept for now");
                    tokio::select! {
                        () = self.stop.cancelled() => return,
                        () = tokio::time::sleep(pause) => {}
                    }
                    pause = (pause * 2).min(ACCEPT_PAUSE_MAX);
                }
            }
        }
    }

    fn admit(&self, socket: TcpStream) {
        if self.connections.len() + self.late.len() >= self.options.connections_max {
            self.metrics.connections_refused.increment(1);
            if self.turned_away.len() < TURNED_AWAY_MAX {
                self.turned_away
                    .spawn(tokio::time::timeout(TURN_AWAY_TIME, turn_away(socket)));
            }
            return;
        }
        socket::prepare(&socket);
        let late = self.draining.is_cancelled();
        let counted = self.metrics.http_connections.hold();
        let serving = serve(
            self.builder.clone(),
            UnreadLimit::new(socket, self.options.write_timeout),
            Arc::clone(&self.routes),
            self.options.head_timeout,
            if late {
                Ending::AfterFirst(self.stop.clone())
            } else {
                Ending::Once(self.draining.clone())
            },
        );
        let connections = if late { &self.late } else { &self.connections };
        connections.spawn(async move {
            serving.await;
            drop(counted);
        });
    }
}

/// When a connection is asked to end.
enum Ending {
    /// When this is cancelled; if nothing was asked yet, after a first request that is on its way.
    Once(CancellationToken),
    /// After its first request, or when this is cancelled.
    AfterFirst(CancellationToken),
}

async fn serve(
    builder: auto::Builder<TokioExecutor>,
    socket: UnreadLimit<TcpStream>,
    routes: Arc<Routes>,
    head_timeout: Duration,
    ending: Ending,
) {
    let began = CancellationToken::new();
    let first = began.clone();
    let service = service_fn(move |request| {
        first.cancel();
        let routes = Arc::clone(&routes);
        async move { Ok::<_, Never>(routes.answer(request).await) }
    });
    let connection = builder.serve_connection(TokioIo::new(socket), service);
    tokio::pin!(connection);
    // Until the first request it is not known which version the peer speaks, and hyper's own timers do not run.
    let first_head = tokio::time::sleep(head_timeout);
    tokio::pin!(first_head);
    let (mut waiting, mut stopping, mut excused) = (true, false, false);
    let (stop, mut one_request) = match ending {
        Ending::Once(stop) => (stop, false),
        Ending::AfterFirst(stop) => (stop, true),
    };
    let ended = loop {
        tokio::select! {
            // A request that came before the signal to stop is taken before it: hyper closes a connection on which none is under way.
            biased;
            ended = connection.as_mut() => break ended,
            () = &mut first_head, if waiting => {
                waiting = false;
                if !began.is_cancelled() {
                    return;
                }
            }
            () = stop.cancelled(), if !stopping && !excused => {
                if one_request || began.is_cancelled() {
                    stopping = true;
                    connection.as_mut().graceful_shutdown();
                } else {
                    // Its first request may be on the way, and would be lost.
                    (one_request, excused) = (true, true);
                    let until = first_head.deadline().min(Instant::now() + FIRST_REQUEST_GRACE);
                    first_head.as_mut().reset(until);
                }
            }
            () = began.cancelled(), if one_request && !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error, "an HTTP connection broke");
    }
}

/// Says why, and closes once the peer has: a reset before that could take the answer away.
async fn turn_away(mut socket: TcpStream) -> io::Result<()> {
    socket.write_all(TURNED_AWAY).await?;
    socket.shutdown().await?;
    let mut rest = socket.take(BUFFER_BYTES_MAX as u64);
    tokio::io::copy(&mut rest, &mut tokio::io::sink())
        .await
        .map(drop)
}
