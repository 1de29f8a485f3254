//! INFO, CONNECTED and DRAINING: the beginning and the end of a connection, seen from the server.

use bytes::{BufMut, Bytes, BytesMut};
use nom::Parser;

use super::EventKind;
use crate::error::WireError;
use crate::fields::InfoField;
use crate::limits::{EVENT_FIELD, EVENT_TEXT, Limits};
use crate::wire::fields::{Entries, Value, fields, fields_bytes, put_fields};
use crate::wire::read::{Parsed, bool, text, u16, u32, u64, whole};
use crate::wire::write::{put_text, text_bytes};
use crate::wire::{Body, Str};

/// The server's first frame: `server_id:str, server_version:str, version_min:u16, version_max:u16,
/// heartbeat_ms:u32, auth_required:u8`, the five [`Limits`] as `u32`, `fields`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// Tells one server process from another.
    pub server_id: Str,
    /// The server's release, for logs.
    pub server_version: Str,
    /// Oldest protocol version the server speaks.
    pub version_min: u16,
    /// Newest protocol version the server speaks.
    pub version_max: u16,
    /// Milliseconds of silence after which the server sends PING, and after as many again gives up.
    pub heartbeat_ms: u32,
    /// Whether CONNECT must carry a token.
    pub auth_required: bool,
    /// What the server takes.
    pub limits: Limits,
    /// Names of optional features, joined by commas.
    pub features: Option<Str>,
}

/// Answers CONNECT: `session:u64, version:u16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connected {
    /// Names the session in the server's logs.
    pub session: u64,
    /// The version in force, which is the one CONNECT asked for.
    pub version: u16,
}

/// The server is shutting down: `grace_ms:u32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draining {
    /// Milliseconds until the server closes the connection.
    pub grace_ms: u32,
}

impl Info {
    fn entries(&self) -> Entries<'_, InfoField, 1> {
        let features = self
            .features
            .as_ref()
            .map(|text| Value::Bytes(text.as_bytes()));
        [(InfoField::Features, features)]
    }
}

fn limits(input: &[u8]) -> Parsed<'_, Limits> {
    let (input, (frame, record, batch, subscriptions, unauthenticated)) =
        (u32, u32, u32, u32, u32).parse_complete(input)?;
    let limits = Limits {
        frame_bytes_max: frame,
        record_bytes_max: record,
        batch_records_max: batch,
        subscriptions_max: subscriptions,
        unauthenticated_frame_bytes_max: unauthenticated,
    };
    Ok((input, limits))
}

impl Body for Info {
    const KIND: u8 = EventKind::Info.number();

    fn body_bytes(&self) -> usize {
        let fixed = 2 + 2 + 4 + 1 + 5 * 4;
        text_bytes(&self.server_id)
            + text_bytes(&self.server_version)
            + fixed
            + fields_bytes(&self.entries())
    }

    fn put(&self, out: &mut BytesMut) {
        put_text(&self.server_id, out);
        put_text(&self.server_version, out);
        out.put_u16(self.version_min);
        out.put_u16(self.version_max);
        out.put_u32(self.heartbeat_ms);
        out.put_u8(self.auth_required.into());
        out.put_u32(self.limits.frame_bytes_max);
        out.put_u32(self.limits.record_bytes_max);
        out.put_u32(self.limits.batch_records_max);
        out.put_u32(self.limits.subscriptions_max);
        out.put_u32(self.limits.unauthenticated_frame_bytes_max);
        put_fields(&self.entries(), out);
    }

    fn parse(_: u8, body: &Bytes) -> Result<Self, WireError> {
        let text = || text(body, EVENT_TEXT);
        let names = (text(), text());
        let numbers = (u16, u16, u32, bool("auth_required"), limits);
        let mut parts = (names, numbers, fields::<InfoField>(body));
        let (names, numbers, fields) =
            whole(Self::KIND, body, |input| parts.parse_complete(input))?;
        let (server_id, server_version) = names;
        let (version_min, version_max, heartbeat_ms, auth_required, limits) = numbers;
        let features = fields.text(InfoField::Features, EVENT_FIELD)?;
        Ok(Self {
            server_id,
            server_version,
            version_min,
            version_max,
            heartbeat_ms,
            auth_required,
            limits,
            features,
        })
    }
}

impl Body for Connected {
    const KIND: u8 = EventKind::Connected.number();

    fn body_bytes(&self) -> usize {
        10
    }

    fn put(&self, out: &mut BytesMut) {
        out.put_u64(self.session);
        out.put_u16(self.version);
    }

    fn parse(_: u8, body: &Bytes) -> Result<Self, WireError> {
        let mut parts = (u64, u16);
        let (session, version) = whole(Self::KIND, body, |input| parts.parse_complete(input))?;
        Ok(Self { session, version })
    }
}

impl Body for Draining {
    const KIND: u8 = EventKind::Draining.number();

    fn body_bytes(&self) -> usize {
        4
    }

    fn put(&self, out: &mut BytesMut) {
        out.put_u32(self.grace_ms);
    }

    fn parse(_: u8, body: &Bytes) -> Result<Self, WireError> {
        let grace_ms = whole(Self::KIND, body, u32)?;
        Ok(Self { grace_ms })
    }
}
