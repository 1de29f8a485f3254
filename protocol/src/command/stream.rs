//! DELETE, CLOSE and STAT: `stream:str` and nothing else.

use bytes::{Bytes, BytesMut};

use super::CommandKind;
use crate::error::WireError;
use crate::wire::read::{stream_name, whole};
use crate::wire::write::{put_text, text_bytes};
use crate::wire::{Body, Str};

macro_rules! names_a_stream {
    ($(#[doc = $doc:literal])* $command:ident) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $command {
            /// The stream's name.
            pub stream: Str,
        }

        impl Body for $command {
            const KIND: u8 = CommandKind::$command.number();

            fn body_bytes(&self) -> usize {
                text_bytes(&self.stream)
            }

            fn put(&self, out: &mut BytesMut) {
                put_text(&self.stream, out);
            }

            fn parse(_: u8, body: &Bytes) -> Result<Self, WireError> {
                let stream = whole(Self::KIND, body, stream_name(body))?;
                Ok(Self { stream })
            }
        }
    };
}

names_a_stream! {
    /// Removes a stream and all its data.
    Delete
}

names_a_stream! {
    /// Ends a stream for ever: it takes no more records and can still be read. Closing it again changes nothing.
    Close
}

names_a_stream! {
    /// Asks for a stream's state.
    Stat
}
