//! The records that are appended: 256 bytes that say where they belong.
//!
//! ```text
//!  stream:u32  sequence:u64  moment:u64  noise (236 bytes)
//! ```
//!
//! The noise is a stretch of a fixed random table, chosen by stream and sequence: it does not compress, it costs one
//! copy to write, and a record that is lost, swapped, cut or damaged differs from the one that is expected. `moment`
//! is when the append was due, for deliveries that are timed, in nanoseconds since the run began.

/// Bytes of a record.
pub(crate) const RECORD_BYTES: usize = 256;

/// Bytes of stream and sequence.
const PLACE_BYTES: usize = 12;
/// Bytes before the noise.
const HEAD_BYTES: usize = 20;
const NOISE_BYTES: usize = RECORD_BYTES - HEAD_BYTES;
/// Stretches of noise to choose from.
const STRETCHES: usize = 4096;

/// One record.
pub(crate) type Payload = [u8; RECORD_BYTES];

static NOISE: [u8; STRETCHES + NOISE_BYTES] = noise();

#[expect(
    clippy::indexing_slicing,
    reason = "runs in the compiler, which would say so"
)]
const fn noise() -> [u8; STRETCHES + NOISE_BYTES] {
    let mut table = [0; STRETCHES + NOISE_BYTES];
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut at = 0;
    while at < table.len() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        table[at] = state.to_le_bytes()[3];
        at += 1;
    }
    table
}

/// The noise of one record.
fn stretch(stream: u32, sequence: u64) -> &'static [u8] {
    let mixed = (sequence ^ (u64::from(stream) << 40)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let at = usize::try_from(mixed >> 52).expect("twelve bits are left");
    NOISE
        .get(at..at + NOISE_BYTES)
        .expect("twelve bits choose one of 4096 stretches")
}

/// The record that belongs at `sequence` of `stream`.
pub(crate) fn make(stream: u32, sequence: u64, moment: u64) -> Payload {
    let mut record = [0; RECORD_BYTES];
    let (head, tail) = record.split_at_mut(HEAD_BYTES);
    let (place, when) = head.split_at_mut(PLACE_BYTES);
    let (which, position) = place.split_at_mut(4);
    which.copy_from_slice(&stream.to_be_bytes());
    position.copy_from_slice(&sequence.to_be_bytes());
    when.copy_from_slice(&moment.to_be_bytes());
    tail.copy_from_slice(stretch(stream, sequence));
    record
}

/// The moment in `record`, if it is the one that belongs at `sequence` of `stream`.
pub(crate) fn check(record: &[u8], stream: u32, sequence: u64) -> Option<u64> {
    let record: &Payload = record.try_into().ok()?;
    let (which, rest) = record.split_first_chunk()?;
    let (position, rest) = rest.split_first_chunk()?;
    let (moment, noise) = rest.split_first_chunk()?;
    let right = u32::from_be_bytes(*which) == stream
        && u64::from_be_bytes(*position) == sequence
        && noise == stretch(stream, sequence);
    right.then(|| u64::from_be_bytes(*moment))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_right_only_at_its_place() {
        let record = make(7, 41, 99);
        assert_eq!(check(&record, 7, 41), Some(99));
        assert_eq!(check(&record, 7, 42), None);
        assert_eq!(check(&record, 8, 41), None);
    }

    #[test]
    fn a_damaged_or_cut_record_is_not_right() {
        let mut record = make(7, 41, 99);
        assert_eq!(check(&record[1..], 7, 41), None);
        record[255] ^= 1;
        assert_eq!(check(&record, 7, 41), None);
    }
}
