//! The Python of the tests: a virtual environment with exactly what `requirements.txt` names, made once.
//!
//! It lies in the target directory, since it holds absolute paths. A copy of the requirements inside says that it is
//! done; tests in other processes wait at the requirements file, which is locked meanwhile.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

/// Said where Python or its venv is missing.
const HOW_TO_GET_PYTHON: &str = "Python 3.10 or newer with venv is needed as `python3`; get it from the system's \
    packages (`apt install python3 python3-venv`, `dnf install python3`, `brew install python`) or from python.org";

/// The interpreter of the environment, which is made if need be.
pub fn installed() -> PathBuf {
    let requirements =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/clients/requirements.txt");
    let lock = File::open(&requirements).expect("the requirements are part of the repository");
    lock.lock().expect("a file can be locked");
    let wanted = fs::read(&requirements).expect("the requirements are readable");
    let environment = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("python-client");
    let interpreter = environment.join("bin/python");
    let stamp = environment.join(".installed");
    if fs::read(&stamp).ok().as_ref() != Some(&wanted) {
        let make = ["-m", "venv", "--clear"];
        run(Command::new("python3").args(make).arg(&environment));
        let install = [
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ];
        let only_these = ["--no-deps", "--only-binary", ":all:", "-r"];
        run(Command::new(&interpreter)
            .args(install)
            .args(only_these)
            .arg(&requirements));
        fs::write(&stamp, wanted).expect("the environment is writable");
    }
    interpreter
}

fn run(command: &mut Command) {
    let ran = command.output().expect(HOW_TO_GET_PYTHON);
    assert!(
        ran.status.success(),
        "{command:?}: {}\n{}{}\n{HOW_TO_GET_PYTHON}",
        ran.status,
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr)
    );
}
