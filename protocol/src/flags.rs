//! The flag bits of the frames that have any.
//!
//! Declared here and nowhere else; `SPEC.md` holds the same table and a test compares the two. Bits not listed are
//! sent as zero and ignored by receivers, so that a later version can add some.

/// One flag bit of one frame kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flag {
    /// Name of the frame kind, or `CONFIRM entry` and `STATUS body` for the flag bytes inside bodies.
    pub frame: &'static str,
    /// The name in `SPEC.md`.
    pub name: &'static str,
    /// The bit.
    pub bit: u8,
}

impl Flag {
    /// The bit if `on`, otherwise nothing.
    pub(crate) const fn when(self, on: bool) -> u8 {
        if on { self.bit } else { 0 }
    }

    /// Whether the bit is among `flags`.
    pub const fn is_in(self, flags: u8) -> bool {
        flags & self.bit != 0
    }
}

macro_rules! flags {
    ($($(#[doc = $doc:literal])* $constant:ident = $frame:literal, $name:literal, $bit:literal;)*) => {
        $($(#[doc = $doc])* pub const $constant: Flag = Flag { frame: $frame, name: $name, bit: $bit };)*

        /// Every flag, in the order of the frame kinds.
        pub const ALL: &[Flag] = &[$($constant,)*];
    };
}

flags! {
    /// No CONFIRM is wanted.
    APPEND_NO_CONFIRM = "APPEND", "NO_CONFIRM", 0x01;
    /// The stream is closed in the same step.
    APPEND_CLOSE_AFTER = "APPEND", "CLOSE_AFTER", 0x02;
    /// The connection ends after this frame.
    ERR_FATAL = "ERR", "FATAL", 0x01;
    /// The stream was there before.
    CREATED_EXISTS = "CREATED", "EXISTS", 0x01;
    /// The stream takes no more records.
    STATUS_CLOSED = "STATUS body", "CLOSED", 0x01;
    /// More streams follow.
    LISTED_MORE = "LISTED", "MORE", 0x01;
    /// The append had been stored before.
    CONFIRM_DUPLICATE = "CONFIRM entry", "DUPLICATE", 0x01;
    /// The stream is closed now.
    CONFIRM_CLOSED = "CONFIRM entry", "CLOSED", 0x02;
    /// More records were there.
    RECORDS_MORE = "RECORDS", "MORE", 0x01;
    /// The stream is closed and this reaches its tail.
    RECORDS_CLOSED = "RECORDS", "CLOSED", 0x02;
}
