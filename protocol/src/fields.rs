//! The optional fields each frame kind knows: tag, name and width of the value.
//!
//! Declared here and nowhere else, so that the parsers, the encoders and the tables of `SPEC.md` (held against these
//! by a test) cannot disagree. A tag is never reused. Tags count from 1 within each frame kind.

/// How long the value of a field may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// One number of 1 byte.
    U8,
    /// One number of 8 bytes.
    U64,
    /// Bytes, as many as the entry's length says.
    Bytes,
    /// UTF-8, as many bytes as the entry's length says.
    Text,
    /// Two numbers of 8 bytes, then UTF-8.
    NumbersAndText,
}

impl Width {
    /// Whether a value may have `bytes` bytes; limits of text and bytes are another matter.
    pub const fn allows(self, bytes: usize) -> bool {
        match self {
            Self::U8 => bytes == 1,
            Self::U64 => bytes == 8,
            Self::Bytes | Self::Text => true,
            Self::NumbersAndText => bytes >= 16,
        }
    }

    /// The words `SPEC.md` uses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::U8 => "u8",
            Self::U64 => "u64",
            Self::Bytes => "bytes",
            Self::Text => "utf8",
            Self::NumbersAndText => "u64, u64, utf8",
        }
    }
}

/// One frame kind's set of fields.
pub trait Field: Copy + 'static {
    /// Every field, by rising tag.
    const ALL: &'static [Self];

    /// The tag on the wire.
    fn tag(self) -> u8;

    /// The name in `SPEC.md`.
    fn name(self) -> &'static str;

    /// What lengths its value may have.
    fn width(self) -> Width;

    /// The field with this tag, if this version knows it.
    fn of(tag: u8) -> Option<Self>;
}

macro_rules! fields {
    ($(#[doc = $doc:literal])* $set:ident { $($(#[doc = $field_doc:literal])* $field:ident = $tag:literal, $name:literal, $width:ident;)* }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum $set {
            $($(#[doc = $field_doc])* $field = $tag,)*
        }

        impl Field for $set {
            const ALL: &'static [Self] = &[$(Self::$field,)*];

            fn tag(self) -> u8 {
                self as u8
            }

            fn name(self) -> &'static str {
                match self { $(Self::$field => $name,)* }
            }

            fn width(self) -> Width {
                match self { $(Self::$field => Width::$width,)* }
            }

            fn of(tag: u8) -> Option<Self> {
                match tag { $($tag => Some(Self::$field),)* _ => None }
            }
        }
    };
}

fields! {
    /// Fields of CONNECT.
    ConnectField {
        /// The credential.
        Token = 1, "token", Bytes;
    }
}

fields! {
    /// Fields of CREATE.
    CreateField {
        /// Media type of the records.
        ContentType = 1, "content_type", Text;
        /// Seconds without a read or write after which the stream expires.
        TtlSeconds = 2, "ttl_seconds", U64;
        /// When the stream expires, in microseconds since the Unix epoch.
        ExpiresAt = 3, "expires_at", U64;
        /// Age in milliseconds after which records are trimmed.
        MaxAgeMs = 4, "max_age_ms", U64;
        /// Records kept.
        MaxRecords = 5, "max_records", U64;
        /// Payload bytes kept.
        MaxBytes = 6, "max_bytes", U64;
        /// Where the stream is kept.
        Storage = 7, "storage", U8;
    }
}

fields! {
    /// Fields of APPEND.
    AppendField {
        /// The writer's own order: byte-wise greater than the last.
        Seq = 1, "seq", Bytes;
        /// Epoch, sequence and id of the producer.
        Producer = 2, "producer", NumbersAndText;
        /// The tail the stream must have.
        ExpectedTail = 3, "expected_tail", U64;
    }
}

fields! {
    /// Fields of INFO.
    InfoField {
        /// Names of optional features, joined by commas.
        Features = 1, "features", Text;
    }
}

fields! {
    /// Fields of ERR.
    ErrField {
        /// The sequence the producer must send next.
        ExpectedSeq = 1, "expected_seq", U64;
        /// The producer's epoch in force.
        CurrentEpoch = 2, "current_epoch", U64;
        /// The stream's tail.
        Tail = 3, "tail", U64;
        /// Offset of the earliest record kept.
        Earliest = 4, "earliest", U64;
        /// The last `seq` accepted.
        LastSeq = 5, "last_seq", Bytes;
        /// How long to wait before trying again, in milliseconds.
        RetryAfterMs = 6, "retry_after_ms", U64;
    }
}

fields! {
    /// Fields of STATUS.
    StatusField {
        /// As in CREATE.
        TtlSeconds = 1, "ttl_seconds", U64;
        /// As in CREATE.
        ExpiresAt = 2, "expires_at", U64;
        /// As in CREATE.
        MaxAgeMs = 3, "max_age_ms", U64;
        /// As in CREATE.
        MaxRecords = 4, "max_records", U64;
        /// As in CREATE.
        MaxBytes = 5, "max_bytes", U64;
        /// The last `seq` accepted.
        LastSeq = 6, "last_seq", Bytes;
        /// When records were last appended, in microseconds since the Unix epoch.
        LastAppendAt = 7, "last_append_at", U64;
    }
}

fields! {
    /// Fields of END.
    EndField {
        /// Offset of the earliest record kept.
        Earliest = 1, "earliest", U64;
    }
}
