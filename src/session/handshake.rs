//! The beginning of a conversation: the server's INFO, the peer's CONNECT.
//!
//! Pure. The order of checks is fixed: version, then credentials; a peer without a token learns nothing but the version
//! range, which INFO has told it anyway.

use streamkeeper_protocol::command::{CommandKind, Connect, Str};
use streamkeeper_protocol::event::{Connected, Info};
use streamkeeper_protocol::limits::{VERSION, VERSION_MIN};
use streamkeeper_protocol::{ErrorCode, Event};

use super::failure::Failure;
use super::options::{SessionOptions, Token};

/// The first frame of every connection.
pub(super) fn info(options: &SessionOptions) -> Event {
    Event::Info(Info {
        server_id: Str::from(options.server_id.as_str()),
        server_version: Str::from_static(env!("CARGO_PKG_VERSION")),
        version_min: VERSION_MIN,
        version_max: VERSION,
        heartbeat_ms: u32::try_from(options.heartbeat.as_millis()).unwrap_or(u32::MAX),
        auth_required: !options.tokens.is_empty(),
        limits: options.limits,
        features: None,
    })
}

/// Whether a frame of this kind may come before CONNECT is accepted.
pub(super) fn admit(kind: u8) -> Result<(), Failure> {
    match CommandKind::of(kind) {
        // An unknown kind is refused as such by the decoder.
        Some(CommandKind::Connect | CommandKind::Ping | CommandKind::Pong) | None => Ok(()),
        Some(other) => {
            let message = format!("{} before CONNECT", other.as_str());
            Err(Failure::new(ErrorCode::NotConnected, message))
        }
    }
}

/// Accepts a peer, or says why not.
pub(super) fn connect(
    options: &SessionOptions,
    connect: &Connect,
    session: u64,
) -> Result<Event, Failure> {
    if !(VERSION_MIN..=VERSION).contains(&connect.version) {
        let version = connect.version;
        let message = format!("version {version} is not one of {VERSION_MIN} to {VERSION}");
        return Err(Failure::new(ErrorCode::UnsupportedVersion, message));
    }
    if !is_authorized(&options.tokens, connect.token.as_deref()) {
        return Err(Failure::new(
            ErrorCode::Unauthorized,
            "the token is missing or wrong",
        ));
    }
    Ok(Event::Connected(Connected {
        session,
        version: connect.version,
    }))
}

/// Compares with every token, so that the time taken does not say which one came close.
fn is_authorized(tokens: &[Token], shown: Option<&[u8]>) -> bool {
    let shown = shown.unwrap_or_default();
    tokens.iter().fold(tokens.is_empty(), |authorized, token| {
        token.matches(shown) | authorized
    })
}
