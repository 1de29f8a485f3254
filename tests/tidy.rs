//! Rules of the house that the compiler does not check: imports run one way, every module says what it is for, files stay small.

use std::fs;
use std::path::{Path, PathBuf};

/// Layers of `src`, lowest first: a module may import from its own line and the ones above it in this list.
const LAYERS: &[&[&str]] = &[
    &["types"],
    &["metrics", "rules"],
    &["storage"],
    &["stream"],
    &["store"],
    &["fanout"],
    &["broker"],
    &["subscriptions"],
    &["session"],
    &["connection"],
    &["server", "config", "http"],
    &["cli"],
];

/// Modules that speak the wire protocol. The others know only its shared value types, through `types`.
const WIRE: &[&str] = &["session", "connection", "server", "cli"];

/// What the inner modules may name of the protocol crate: records and runs are one encoding from socket to disk and back.
const SHARED: &[&str] = &[
    "RecordBlock",
    "Run",
    "RunHeader",
    "Str",
    "limits",
    "run::",
    "error::RecordError",
    "WireError",
    "ErrorCode",
    "record::",
    "command::Str",
];

fn sources(directory: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(directory)];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(&directory).expect("the directory is there") {
            let path = entry.expect("the entry is readable").path();
            if path.is_dir() {
                left.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty(), "no sources under {directory}");
    found
}

/// The top-level module a file of `src` belongs to.
fn module(path: &Path) -> String {
    let within = path
        .strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
        .expect("a file of src");
    let first = within
        .components()
        .next()
        .expect("a component")
        .as_os_str()
        .to_string_lossy()
        .into_owned();
    first.trim_end_matches(".rs").to_owned()
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// Code lines with their numbers: comments and everything from the inline tests on are left out.
fn code(path: &Path) -> Vec<(usize, String)> {
    let text = fs::read_to_string(path).expect("a readable file");
    let lines = text
        .lines()
        .enumerate()
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"));
    lines
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(n, line)| (n + 1, line.to_owned()))
        .collect()
}

#[test]
fn imports_run_one_way() {
    let mut backward = Vec::new();
    for path in sources("src") {
        let from = module(&path);
        let Some(own) = layer(&from) else { continue };
        if path.file_name().is_some_and(|name| name == "tests.rs") {
            continue;
        }
        for (number, line) in code(&path) {
            for used in line.split("crate::").skip(1) {
                let used: String = used
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect();
                if layer(&used).is_some_and(|other| other > own) {
                    backward.push(format!(
                        "{}:{number}: {from} imports {used}",
                        path.display()
                    ));
                }
            }
        }
    }
    assert!(
        backward.is_empty(),
        "imports against the data flow:\n{}",
        backward.join("\n")
    );
}

#[test]
fn every_module_has_a_layer() {
    for path in sources("src") {
        let module = module(&path);
        let known = layer(&module).is_some() || ["lib", "main"].contains(&module.as_str());
        assert!(known, "{module}: give it a place in LAYERS");
    }
}

#[test]
fn the_engine_does_not_name_wire_types() {
    let mut named = Vec::new();
    for path in sources("src") {
        let from = module(&path);
        if layer(&from).is_none() || WIRE.contains(&from.as_str()) {
            continue;
        }
        for (number, line) in code(&path) {
            for used in line.split("streamkeeper_protocol::").skip(1) {
                let shared =
                    used.starts_with('{') || SHARED.iter().any(|allowed| used.starts_with(allowed));
                if !shared {
                    named.push(format!("{}:{number}: {used}", path.display()));
                }
            }
        }
    }
    assert!(
        named.is_empty(),
        "wire types inside the engine:\n{}",
        named.join("\n")
    );
}

/// The compiler refuses `unsafe` where nothing allows it; what allows it is one call (`ARCHITECTURE.md`).
#[test]
fn unsafe_is_in_one_place() {
    let allowed = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/serve/footprint.rs");
    let mut uses = Vec::new();
    for directory in ["src", "protocol/src", "client/src"] {
        for path in sources(directory) {
            for (number, line) in code(&path) {
                if line.contains("unsafe_code") || line.contains("unsafe {") {
                    uses.push((path.clone(), number));
                }
            }
        }
    }
    assert!(
        uses.len() == 2 && uses.iter().all(|(path, _)| *path == allowed),
        "`unsafe` elsewhere, or more of it: {uses:?}"
    );
}

#[test]
fn every_file_opens_with_what_it_is_for() {
    for directory in ["src", "protocol/src", "client/src", "tests", "examples"] {
        for path in sources(directory) {
            let text = fs::read_to_string(&path).expect("a readable file");
            assert!(
                text.starts_with("//!"),
                "{} does not open with //!",
                path.display()
            );
        }
    }
}

#[test]
fn files_stay_under_six_hundred_lines_of_code() {
    for directory in ["src", "protocol/src", "client/src"] {
        for path in sources(directory) {
            if path.file_name().is_some_and(|name| name == "tests.rs") {
                continue;
            }
            let lines = code(&path).len();
            assert!(
                lines <= 600,
                "{} has {lines} lines of code: split it by duty",
                path.display()
            );
        }
    }
}

/// `make planted` builds and runs them; here it is seen that they still fit the code, so that this can be done at any time.
#[test]
fn every_planted_bug_still_applies_and_has_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let planted = root.join("tests/planted");
    let list = fs::read_to_string(planted.join("list")).expect("the list is there");
    let listed = list.lines().filter(|line| !line.starts_with('#'));
    let mut listed: Vec<&str> = listed
        .map(|line| line.split_once(' ').expect("a name and a test").0)
        .collect();
    listed.sort_unstable();
    let patches = fs::read_dir(&planted).expect("the directory is there");
    let mut patches: Vec<PathBuf> = patches
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "patch")
        })
        .collect();
    patches.sort();
    let names = patches.iter().filter_map(|path| path.file_stem()?.to_str());
    assert_eq!(names.collect::<Vec<_>>(), listed, "patches and their list");
    assert!(listed.len() >= 5, "{listed:?}");
    for patch in &patches {
        let check = std::process::Command::new("git")
            .args(["apply", "--check"])
            .arg(patch)
            .current_dir(root)
            .output()
            .expect("git is needed to see whether planted bugs still apply");
        let said = String::from_utf8_lossy(&check.stderr);
        assert!(check.status.success(), "{}: {said}", patch.display());
    }
}
