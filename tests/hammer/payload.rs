//! Payloads that say what they are: slot, incarnation, writer and counter, then bytes that follow from these.
//!
//! Payloads shorter than the tag hold the end of the tag's digest alone: their place is then checked by the oracle.

/// What one record says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Which stream name.
    pub slot: u16,
    /// Which incarnation of it.
    pub life: u32,
    /// Who appended it.
    pub writer: u16,
    /// The how-manieth of this writer in this incarnation.
    pub counter: u32,
}

/// Bytes of a whole tag.
pub const TAG_BYTES: usize = 12;

impl Tag {
    fn digest(self) -> u64 {
        let mixed = (u64::from(self.slot) << 48)
            ^ (u64::from(self.life) << 32)
            ^ (u64::from(self.writer) << 24)
            ^ u64::from(self.counter);
        let mixed = mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed ^ (mixed >> 29)
    }

    /// The payload of `length` bytes with this tag.
    pub fn payload(self, length: u32) -> Vec<u8> {
        let length = length as usize;
        let mut bytes = Vec::with_capacity(length.max(TAG_BYTES));
        bytes.extend_from_slice(&self.slot.to_be_bytes());
        bytes.extend_from_slice(&self.life.to_be_bytes());
        bytes.extend_from_slice(&self.writer.to_be_bytes());
        bytes.extend_from_slice(&self.counter.to_be_bytes());
        let digest = self.digest().to_le_bytes();
        if length < TAG_BYTES {
            return digest.iter().copied().cycle().take(length).collect();
        }
        while bytes.len() < length {
            bytes.extend_from_slice(&digest);
        }
        bytes.truncate(length);
        bytes
    }

    /// The tag of a payload that is long enough to hold one.
    pub fn of(payload: &[u8]) -> Option<Self> {
        let (slot, rest) = payload.split_first_chunk()?;
        let (life, rest) = rest.split_first_chunk()?;
        let (writer, rest) = rest.split_first_chunk()?;
        let (counter, _) = rest.split_first_chunk()?;
        Some(Self {
            slot: u16::from_be_bytes(*slot),
            life: u32::from_be_bytes(*life),
            writer: u16::from_be_bytes(*writer),
            counter: u32::from_be_bytes(*counter),
        })
    }
}
