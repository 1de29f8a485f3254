//! Any bytes: delimiting and decoding never panic, and what decodes is stable.
#![no_main]

use libfuzzer_sys::fuzz_target;
use streamkeeper_protocol_fuzz::checks;

fuzz_target!(|bytes: &[u8]| {
    checks::stream_of_frames(bytes);
    if let Some((kind, flags, body)) = checks::kind_flags_body(bytes) {
        checks::one_body(kind, flags, body);
    }
});
