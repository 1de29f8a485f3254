//! Inputs: the files of a corpus as they are, and mangled by a seed.
//!
//! `corpus/TARGET/` holds small files of bytes from which a target makes up what it does. A case that fails is written to the
//! temporary directory and named; put it into the corpus, and it is replayed from then on. `STREAMKEEPER_SEED=n` mangles
//! by that seed, `STREAMKEEPER_SOAK=seconds` goes on for that long.
//!
//! Files named `c-...` were kept by a search with coverage as its guide, a few minutes per target: each reached code of ours that those
//! before it did not. It began with the other files, random bytes and, for HTTP, a few dialogues written for it; the search is not part of the tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::random::Random;

/// One input. If a test fails while it holds this, the input is kept.
#[derive(Debug)]
pub struct Case {
    pub name: String,
    pub bytes: Vec<u8>,
}

impl Drop for Case {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let path = std::env::temp_dir().join(format!("streamkeeper-fuzz-{}.bin", self.name));
            let kept = fs::write(&path, &self.bytes);
            println!("the input is in {}: {kept:?}", path.display());
        }
    }
}

/// See the module.
pub struct Corpus {
    target: &'static str,
    files: Vec<(String, Vec<u8>)>,
}

impl Corpus {
    pub fn of(target: &'static str) -> Self {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
        let listed = fs::read_dir(directory.join(target)).expect("the corpus is there");
        let mut paths: Vec<PathBuf> = listed.map(|entry| entry.expect("listed").path()).collect();
        paths.sort();
        let files = paths.into_iter().map(|path| {
            let name = path
                .file_name()
                .expect("a file")
                .to_string_lossy()
                .into_owned();
            (name, fs::read(&path).expect("it is read"))
        });
        let files: Vec<_> = files.collect();
        assert!(!files.is_empty(), "no corpus for {target}");
        Self { target, files }
    }

    /// Every file, and then `count` mangled ones; as many as there is time for in a soak.
    pub fn cases(&self, seed: u64, count: u64) -> impl Iterator<Item = Case> {
        let target = self.target;
        let whole = self.files.iter().map(move |(name, bytes)| Case {
            name: format!("{target}-{name}"),
            bytes: bytes.clone(),
        });
        let soak = std::env::var("STREAMKEEPER_SOAK").ok();
        let soak = soak.map(|seconds| {
            seconds
                .parse()
                .expect("STREAMKEEPER_SOAK is a number of seconds")
        });
        let until = soak.map(|seconds| Instant::now() + Duration::from_secs(seconds));
        let random = Random::new(seed);
        let goes_on =
            move |number: &u64| until.map_or(*number < count, |until| Instant::now() < until);
        let mangled = (0..u64::MAX).take_while(goes_on).map(move |number| Case {
            name: format!("{target}-{seed}-{number}"),
            bytes: self.mangled(&mut random.fork(number)),
        });
        whole.chain(mangled)
    }

    fn mangled(&self, random: &mut Random) -> Vec<u8> {
        let mut bytes = self.pick(random).to_vec();
        for _ in 0..random.between(1, 6) {
            self.mangle(&mut bytes, random);
        }
        bytes
    }

    fn pick(&self, random: &mut Random) -> &[u8] {
        let at = below(random, self.files.len());
        self.files.get(at).map_or(&[], |(_, bytes)| bytes)
    }

    fn mangle(&self, bytes: &mut Vec<u8>, random: &mut Random) {
        let at = below(random, bytes.len());
        match random.below(7) {
            0 => bytes.truncate(at),
            1 => {
                let other = self.pick(random);
                let from = below(random, other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(other.get(from..).unwrap_or_default());
            }
            2 => {
                let fresh = (0..random.between(1, 60)).map(|_| random.bits().to_be_bytes()[0]);
                let fresh: Vec<u8> = fresh.collect();
                bytes.splice(at..at, fresh);
            }
            3 => {
                let to = at + below(random, bytes.len() - at);
                bytes.drain(at..to);
            }
            4 => {
                // Again what came before: the same request twice.
                let to = at + below(random, bytes.len() - at);
                let again = bytes.get(at..to).unwrap_or_default().to_vec();
                bytes.splice(at..at, again);
            }
            _ => {
                let value = random.bits();
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = if value.is_multiple_of(2) {
                        value.to_be_bytes()[0]
                    } else {
                        *byte ^ (1 << (value / 2 % 8))
                    };
                }
            }
        }
    }
}

/// A place below `length`; 0 if that is 0.
pub fn below(random: &mut Random, length: usize) -> usize {
    usize::try_from(random.below(length as u64)).unwrap_or(0)
}
