//! The file with the baseline: a table for each build profile, and the toolchain it was counted with.

use std::fmt::Write as _;
use std::process::Command;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.toml");

const PROFILE: &str = if cfg!(debug_assertions) {
    "dev"
} else {
    "release"
};
const PROFILES: [&str; 2] = ["dev", "release"];

const HEADER: &str = "\
# Instructions of one operation of each hot path, counted by `tests/instructions` with callgrind on fixed input.
# Written by `make instructions`. Whoever changes a figure says why in the commit: what was added, or saved, and what for.
#
# The tests compare with the profile they are built in: `cargo test` with [dev] (incremental, as cargo does by itself; hardly
# optimised, so the figures are high), `cargo test --release` with [release], which is what ships. They repeat within 0.5 %,
# in any directory and beside other work; another compiler, another libc or a processor without AVX2 moves them.
#
# receive    one APPEND of 256 bytes, one record: split, parse, checksum, session, write queue
# append     the same on all threads, to the end: decide, journal row, write, publication, confirm, and the fold when the
#            broker is closed
# confirm    one entry of a CONFIRM, 256 in a frame: from the outbox to bytes
# deliver    one DELIVER of one record to one subscriber of 100: cursor, header, bytes, into a buffer that has room
# decide     the rules over one append, and their effect on the state
# row        one record of an append into a journal row
# http       one POST of 256 bytes over HTTP/1.1 with its answer, without the committer
";

/// See the module.
pub(crate) struct Baseline(toml::Table);

impl Baseline {
    pub(crate) fn read() -> Self {
        let text = std::fs::read_to_string(FILE).expect("benches/instructions.toml is readable");
        Self(text.parse().expect("it is TOML"))
    }

    /// The count of a path in this profile.
    pub(crate) fn of(&self, path: &str) -> Option<f64> {
        let count = self.0.get(PROFILE)?.get(path)?.as_integer()?;
        u32::try_from(count).ok().map(f64::from)
    }

    /// A word on how the build differs from the one that the baseline was counted with, if it does.
    pub(crate) fn other_build(&self) -> String {
        if PROFILE == "dev" && std::env::var("CARGO_INCREMENTAL").is_ok_and(|set| set == "0") {
            return String::from(
                "\nThe baseline is of an incremental build, as cargo makes it by itself; CARGO_INCREMENTAL=0 cuts the code \
                 differently and moves the counts by up to 15 %: unset it.",
            );
        }
        let table = self.0.get(PROFILE);
        let then = table.and_then(|table| table.get("toolchain")?.as_str());
        let (then, now) = (then.unwrap_or("unknown"), toolchain());
        if then == now {
            return String::new();
        }
        format!(
            "\nThe baseline was counted with {then}, this is {now}: that alone can be the reason."
        )
    }

    /// Puts the counts into the file; those of other profiles stay.
    pub(crate) fn write(counted: &[(&str, f64)]) {
        let before = std::fs::read_to_string(FILE).unwrap_or_default();
        let before: toml::Table = before.parse().unwrap_or_default();
        let mut text = String::from(HEADER);
        for profile in PROFILES {
            if profile == PROFILE {
                writeln!(text, "\n[{profile}]\ntoolchain = \"{}\"", toolchain()).expect("written");
                for (name, count) in counted {
                    writeln!(text, "{name} = {count:.0}").expect("written");
                }
            } else if let Some(table) = before.get(profile) {
                let names = ["toolchain"]
                    .into_iter()
                    .chain(counted.iter().map(|(name, _)| *name));
                let kept = names.filter_map(|name| Some((name, table.get(name)?)));
                writeln!(text, "\n[{profile}]").expect("written");
                for (name, value) in kept {
                    writeln!(text, "{name} = {value}").expect("written");
                }
            }
        }
        std::fs::write(FILE, text).expect("benches/instructions.toml is writable");
    }
}

/// The compiler that `rust-toolchain.toml` pins, as it names itself.
fn toolchain() -> String {
    let mut rustc = Command::new("rustc");
    rustc
        .arg("--version")
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    let said = rustc.output().expect("rustc runs");
    String::from_utf8_lossy(&said.stdout).trim().to_owned()
}
