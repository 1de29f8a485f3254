//! Counting: this binary once more, under valgrind, doing one path.
//!
//! Callgrind counts either what runs within one function of ours, on the thread that called it, or, where the path goes over
//! several threads, everything. Then it is run with two different numbers of rounds, and the difference counts: starting and
//! ending cancel out. What else runs on the machine can only add to it (a commit is split in two, a timer runs out), so each
//! number is the least of several runs.

use std::path::Path as FilePath;
use std::process::Command;

use crate::paths::{PATHS, Path, Scope};

const HOW_TO_GET_VALGRIND: &str = "valgrind is needed to count instructions; get it from the system's packages \
    (`apt install valgrind`, `dnf install valgrind`) or from valgrind.org";

/// Names the path and the number of rounds to the process under valgrind: `NAME ROUNDS`.
const ASKED: &str = "STREAMKEEPER_COUNTED";

/// Rounds of a run.
const ROUNDS: u64 = 16;

/// Runs of which the least counts, where all threads are counted.
const RUNS: u32 = 3;

pub(crate) fn require_valgrind() {
    let version = Command::new("valgrind").arg("--version").output();
    assert!(
        version.expect(HOW_TO_GET_VALGRIND).status.success(),
        "{HOW_TO_GET_VALGRIND}"
    );
}

/// Instructions of one operation of a path.
pub(crate) fn per_operation(path: &Path) -> f64 {
    let whole = match path.scope {
        Scope::Function(_) => instructions(path, ROUNDS),
        Scope::Process => least(path, 2 * ROUNDS) - least(path, ROUNDS),
    };
    whole / number(ROUNDS * path.operations)
}

/// What the process under valgrind is to do.
pub(crate) fn asked() -> (&'static Path, u64) {
    let asked = std::env::var(ASKED).expect("run by the other test, which says what to do");
    let (name, rounds) = asked.rsplit_once(' ').expect("a name and a number");
    let path = PATHS.iter().find(|path| path.name == name).expect("a path");
    (path, rounds.parse().expect("a number"))
}

fn least(path: &Path, rounds: u64) -> f64 {
    let counts = (0..RUNS).map(|_| instructions(path, rounds));
    counts.fold(f64::INFINITY, f64::min)
}

fn instructions(path: &Path, rounds: u64) -> f64 {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let out = directory.path().join("callgrind.out");
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--fair-sched=yes"]);
    command.arg(format!("--callgrind-out-file={}", out.display()));
    if let Scope::Function(name) = path.scope {
        command.arg(format!("--toggle-collect=*::{name}"));
    }
    command
        .arg(std::env::current_exe().expect("this binary"))
        .args(["--exact", "counted", "--ignored", "--test-threads=1"])
        .env(ASKED, format!("{} {rounds}", path.name));
    let ran = command.output().expect(HOW_TO_GET_VALGRIND);
    let said =
        || String::from_utf8_lossy(&[ran.stdout.clone(), ran.stderr.clone()].concat()).into_owned();
    assert!(ran.status.success(), "{}: {}", path.name, said());
    let total = total(&out);
    assert!(total > 0, "{}: nothing was counted: {}", path.name, said());
    number(total)
}

/// The last line of callgrind's output: `totals: COUNT`.
fn total(out: &FilePath) -> u64 {
    let text = std::fs::read_to_string(out).expect("callgrind wrote its output");
    let totals = text
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("totals: "));
    totals
        .and_then(|total| total.trim().parse().ok())
        .expect("a total")
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn number(count: u64) -> f64 {
    count as f64
}
