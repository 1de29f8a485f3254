//! Packages from npm, exactly as a lock file names them, installed once.
//!
//! A directory below `tests/` with `package.json` and `package-lock.json` gets its `node_modules` by `npm ci`; a copy of
//! the lock file inside says that it is done. Tests that share a directory wait for each other, also in other processes:
//! they lock its lock file.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

/// Said where node or npm is missing.
const HOW_TO_GET_NODE: &str = "Node.js 20 or newer with npm is needed as `node` and `npm`; get it from the system's \
    packages (`apt install nodejs npm`, `dnf install nodejs`, `brew install node`) or from nodejs.org";

/// An installed directory, this process's alone until dropped.
#[derive(Debug)]
pub struct Packages {
    directory: PathBuf,
    _alone: File,
}

impl Packages {
    /// Installs what the lock file in `tests/NAME` names, unless it is there.
    pub fn install(name: &str) -> Self {
        let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("tests")
            .join(name);
        let lock = directory.join("package-lock.json");
        let alone = File::open(&lock).expect("the lock file is part of the repository");
        alone.lock().expect("a file can be locked");
        let wanted = fs::read(&lock).expect("the lock file is readable");
        let stamp = directory.join("node_modules").join(".installed");
        if fs::read(&stamp).ok().as_ref() != Some(&wanted) {
            let npm = Command::new("npm")
                .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
                .current_dir(&directory)
                .output()
                .expect(HOW_TO_GET_NODE);
            assert!(
                npm.status.success(),
                "npm ci in tests/{name}: {}\n{}{}",
                npm.status,
                String::from_utf8_lossy(&npm.stdout),
                String::from_utf8_lossy(&npm.stderr)
            );
            fs::write(&stamp, wanted).expect("node_modules is writable");
        }
        Self {
            directory,
            _alone: alone,
        }
    }

    /// A run of node in the directory.
    pub fn node(&self) -> Command {
        let version = Command::new("node").arg("--version").output();
        let version = version.expect(HOW_TO_GET_NODE);
        let version = String::from_utf8_lossy(&version.stdout);
        let major = version.trim_start_matches('v').split('.').next();
        let major = major.and_then(|major| major.parse::<u32>().ok());
        assert!(
            major >= Some(20),
            "node is {}: {HOW_TO_GET_NODE}",
            version.trim()
        );
        let mut command = Command::new("node");
        command.current_dir(&self.directory);
        command
    }
}
