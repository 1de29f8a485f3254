//! What frames are made of: text, numbers, optional fields, and the rule that a body is used up exactly.
//!
//! [`read`] holds the nom parsers, [`write`] their counterparts, [`fields`] the optional fields. Everything parsed is
//! borrowed from one whole body and becomes a slice of it.

pub(crate) mod fields;
pub(crate) mod read;
mod text;
pub(crate) mod write;

use bytes::{Bytes, BytesMut};

use crate::error::WireError;
use crate::frame::{FrameHeader, put_header};

pub use text::Str;

/// The body of one frame kind. The files under `command/` and `event/` each implement it once.
pub(crate) trait Body: Sized {
    /// The kind byte.
    const KIND: u8;

    /// The flag bits to send.
    fn flags(&self) -> u8 {
        0
    }

    /// The exact length of what [`Body::put`] writes.
    fn body_bytes(&self) -> usize;

    /// Writes the body.
    fn put(&self, out: &mut BytesMut);

    /// Reads a whole body.
    fn parse(flags: u8, body: &Bytes) -> Result<Self, WireError>;

    /// Writes a whole frame.
    fn put_frame(&self, correlation: u32, out: &mut BytesMut) {
        let header = FrameHeader {
            kind: Self::KIND,
            flags: self.flags(),
            correlation,
        };
        put_header(header, self.body_bytes(), out);
        let start = out.len();
        self.put(out);
        debug_assert_eq!(
            out.len() - start,
            self.body_bytes(),
            "kind {:#04x}",
            Self::KIND
        );
    }
}

/// Writes a frame without a body.
pub(crate) fn put_empty(kind: u8, correlation: u32, out: &mut BytesMut) {
    put_header(
        FrameHeader {
            kind,
            flags: 0,
            correlation,
        },
        0,
        out,
    );
}

/// Checks that a frame that has no body indeed has none.
pub(crate) fn check_empty(kind: u8, body: &Bytes) -> Result<(), WireError> {
    if body.is_empty() {
        Ok(())
    } else {
        Err(WireError::TrailingBytes {
            kind,
            count: body.len(),
        })
    }
}

/// The value a number stands for, or the error that it stands for none.
pub(crate) fn known<T>(of: Option<T>, what: &'static str, number: u8) -> Result<T, WireError> {
    of.ok_or(WireError::UnknownValue {
        what,
        value: number.into(),
    })
}

/// Defines a `repr(u8)` enum of numbers on the wire together with its names and its way back.
macro_rules! wire_numbers {
    ($(#[doc = $doc:literal])* $set:ident { $($(#[doc = $item_doc:literal])* $item:ident = $number:literal, $name:literal;)* }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum $set {
            $($(#[doc = $item_doc])* $item = $number,)*
        }

        impl $set {
            /// Every value, by rising number.
            pub const ALL: &'static [Self] = &[$(Self::$item,)*];

            /// The number on the wire.
            pub const fn number(self) -> u8 {
                self as u8
            }

            /// The name in `SPEC.md`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$item => $name,)* }
            }

            /// The value with this number, if this version knows it.
            pub const fn of(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$item),)* _ => None }
            }
        }
    };
}

pub(crate) use wire_numbers;
