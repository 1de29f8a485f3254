//! CONNECT: `version:u16, name:str, library:str, library_version:str, fields`.

use bytes::{BufMut, Bytes, BytesMut};
use nom::Parser;

use super::CommandKind;
use crate::error::WireError;
use crate::fields::ConnectField;
use crate::limits::{CLIENT_TEXT, TOKEN};
use crate::wire::fields::{Entries, Value, fields, fields_bytes, put_fields};
use crate::wire::read::{text, u16, whole};
use crate::wire::write::{put_text, text_bytes};
use crate::wire::{Body, Str};

/// The client's first frame: who it is and which version it speaks.
#[derive(Clone, PartialEq, Eq)]
pub struct Connect {
    /// The protocol version for this connection, from the range INFO gave.
    pub version: u16,
    /// What the client calls itself, for logs; may be empty.
    pub name: Str,
    /// The client library; may be empty.
    pub library: Str,
    /// The client library's version; may be empty.
    pub library_version: Str,
    /// The credential, if the server asks for one; never logged.
    pub token: Option<Bytes>,
}

impl std::fmt::Debug for Connect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connect")
            .field("version", &self.version)
            .field("name", &self.name)
            .field("library", &self.library)
            .field("library_version", &self.library_version)
            .field("token", &self.token.as_ref().map(|_| "(hidden)"))
            .finish()
    }
}

impl Connect {
    fn entries(&self) -> Entries<'_, ConnectField, 1> {
        [(ConnectField::Token, self.token.as_deref().map(Value::Bytes))]
    }
}

impl Body for Connect {
    const KIND: u8 = CommandKind::Connect.number();

    fn body_bytes(&self) -> usize {
        2 + text_bytes(&self.name)
            + text_bytes(&self.library)
            + text_bytes(&self.library_version)
            + fields_bytes(&self.entries())
    }

    fn put(&self, out: &mut BytesMut) {
        out.put_u16(self.version);
        put_text(&self.name, out);
        put_text(&self.library, out);
        put_text(&self.library_version, out);
        put_fields(&self.entries(), out);
    }

    fn parse(_: u8, body: &Bytes) -> Result<Self, WireError> {
        let text = || text(body, CLIENT_TEXT);
        let mut parts = (u16, text(), text(), text(), fields::<ConnectField>(body));
        let (version, name, library, library_version, fields) =
            whole(Self::KIND, body, |input| parts.parse_complete(input))?;
        let token = fields.bytes(ConnectField::Token, TOKEN)?;
        Ok(Self {
            version,
            name,
            library,
            library_version,
            token,
        })
    }
}
