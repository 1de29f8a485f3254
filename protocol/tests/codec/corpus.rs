//! The corpus of the fuzz targets, replayed: each input as it is, cut anywhere, and with any one byte changed.

use std::fs;
use std::path::Path;

use crate::checks;

/// Inputs longer than this are changed at every so-manieth byte only.
const EVERY_BYTE: usize = 200;

fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let listed = fs::read_dir(directory.join(target)).expect("the corpus is there");
    let files = listed.map(|entry| {
        let path = entry.unwrap().path();
        (path.display().to_string(), fs::read(&path).unwrap())
    });
    let files: Vec<_> = files.collect();
    assert!(!files.is_empty(), "no corpus for {target}");
    files
}

fn changed(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let places = (0..bytes.len()).step_by(bytes.len() / EVERY_BYTE + 1);
    places.flat_map(move |at| {
        let changes = [0x00, 0x01, 0x7F, 0x80, 0xFF].map(|value| {
            let mut bytes = bytes.to_vec();
            bytes[at] = if value == 0x01 { bytes[at] ^ 1 } else { value };
            bytes
        });
        changes.into_iter().chain([bytes[..at].to_vec()])
    })
}

#[test]
fn the_corpus_of_raw_bytes_decodes_or_is_an_error() {
    let mut cases = 0_u64;
    for (_, bytes) in corpus("raw") {
        for case in changed(&bytes).chain([bytes.clone()]) {
            checks::stream_of_frames(&case);
            // Also without what delimits a frame, so that the body is parsed whatever the length says.
            if let [_, _, _, _, kind, flags, _, _, _, _, body @ ..] = &case[..] {
                checks::one_body(*kind, *flags, body);
            }
            cases += 1;
        }
    }
    println!("{cases} inputs");
}

#[test]
fn the_corpus_of_built_frames_survives_the_wire() {
    for (_, bytes) in corpus("structured") {
        for case in changed(&bytes).chain([bytes.clone()]) {
            checks::encoded_frames_decode(&case);
        }
    }
}
