//! Any frame: what is encoded decodes to the same value.
#![no_main]

use libfuzzer_sys::fuzz_target;
use streamkeeper_protocol_fuzz::checks;

fuzz_target!(|bytes: &[u8]| checks::encoded_frames_decode(bytes));
