//! What the hot paths cost in instructions, held against the baseline in `benches/instructions.toml`.
//!
//! Instructions, because they repeat: time on a shared machine does not. Valgrind counts them, over this same binary, which
//! it starts again for each path ([`paths`]): so nothing is built for the count but what the tests build anyway. A debug
//! build is compared with the figures of the dev profile, a release build with those of the release profile.
//!
//! Needs `valgrind`, and fails without it. With `STREAMKEEPER_WRITE_BASELINE` set, the baseline is written instead of compared
//! (`make instructions` does both profiles).

mod baseline;
mod count;
mod http;
mod paths;
mod peer;

use baseline::Baseline;
use paths::PATHS;

/// Of the baseline, a count may differ by this many parts in a hundred. In a release build, what is inlined where changes with
/// code that has nothing to do with a path: that was seen to move a count by 6 %.
const TOLERANCE: f64 = if cfg!(debug_assertions) { 3.0 } else { 10.0 };

/// So often a path is counted that takes more than it should.
const TRIES: u32 = 3;

#[test]
fn the_hot_paths_take_as_many_instructions_as_the_baseline_says() {
    count::require_valgrind();
    if std::env::var_os("STREAMKEEPER_WRITE_BASELINE").is_some() {
        let counted = PATHS.iter();
        let counted: Vec<_> = counted
            .map(|path| (path.name, count::per_operation(path)))
            .collect();
        Baseline::write(&counted);
        return;
    }
    let baseline = Baseline::read();
    let mut differing = Vec::new();
    for path in PATHS {
        let name = path.name;
        let mut now = count::per_operation(path);
        let Some(before) = baseline.of(name) else {
            differing.push(format!(
                "{name}: {now:.0}, and the baseline does not have it"
            ));
            continue;
        };
        let percent = |now: f64| (now / before - 1.0) * 100.0;
        // What else runs on the machine can only add to it.
        for _ in 1..TRIES {
            if percent(now) > TOLERANCE {
                now = now.min(count::per_operation(path));
            }
        }
        let percent = percent(now);
        println!("{name:20} {now:8.0} instructions, baseline {before:8.0}: {percent:+.2} %");
        if percent.abs() > TOLERANCE {
            differing.push(format!(
                "{name}: {now:.0} instead of {before:.0}: {percent:+.1} %"
            ));
        }
    }
    assert!(
        differing.is_empty(),
        "instructions per operation differ from benches/instructions.toml by more than {TOLERANCE} %:\n  {}\n\
        Explain the change and write the new baseline with `make instructions`.{}",
        differing.join("\n  "),
        baseline.other_build(),
    );
}

/// The other side of [`count`]: does what is to be counted, in the process that valgrind runs.
#[test]
#[ignore = "run under valgrind by the test above"]
fn counted() {
    let (path, rounds) = count::asked();
    (path.run)(rounds);
}
