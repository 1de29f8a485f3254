//! Where the records to append come from: files or stdin, whole or line by line.
//!
//! Never holds more than one record that the broker would take: a larger one is refused as soon as it is seen, so an
//! endless line costs no endless memory.

use std::path::{Path, PathBuf};
use std::pin::Pin;

use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};

use crate::cli::failure::{Code, Failure};

type Reader = BufReader<Pin<Box<dyn AsyncRead>>>;

/// Records one after the other.
pub(super) struct Input {
    /// Still to be opened, the next one last.
    sources: Vec<Source>,
    lines: bool,
    record_bytes_max: usize,
    open: Option<(Reader, Source)>,
}

/// One input.
#[derive(Clone, Debug)]
enum Source {
    Stdin,
    File(PathBuf),
}

impl Source {
    fn name(&self) -> String {
        match self {
            Self::Stdin => String::from("stdin"),
            Self::File(path) => path.display().to_string(),
        }
    }

    async fn open(&self) -> std::io::Result<Reader> {
        let reader: Pin<Box<dyn AsyncRead>> = match self {
            Self::Stdin => Box::pin(tokio::io::stdin()),
            Self::File(path) => Box::pin(tokio::fs::File::open(path).await?),
        };
        Ok(BufReader::with_capacity(256 << 10, reader))
    }
}

impl Input {
    /// Reads `files` in order, or stdin if there are none; `-` is stdin too.
    pub(super) fn new(files: &[PathBuf], lines: bool, record_bytes_max: u32) -> Self {
        let source = |path: &PathBuf| {
            let is_stdin = path.as_path() == Path::new("-");
            if is_stdin {
                Source::Stdin
            } else {
                Source::File(path.clone())
            }
        };
        let mut sources: Vec<Source> = files.iter().rev().map(source).collect();
        if sources.is_empty() {
            sources.push(Source::Stdin);
        }
        let record_bytes_max = usize::try_from(record_bytes_max).unwrap_or(usize::MAX);
        Self {
            sources,
            lines,
            record_bytes_max,
            open: None,
        }
    }

    /// Puts the next record into `record`, replacing what is there; false at the end.
    pub(super) async fn next(&mut self, record: &mut Vec<u8>) -> Result<bool, Failure> {
        loop {
            let (mut reader, source) = match self.open.take() {
                Some(open) => open,
                None => match self.sources.pop() {
                    Some(source) => (
                        source.open().await.map_err(|e| failed(&source, &e))?,
                        source,
                    ),
                    None => return Ok(false),
                },
            };
            record.clear();
            let found = if self.lines {
                self.line(&mut reader, record).await
            } else {
                self.whole(&mut reader, record).await.map(|()| true)
            };
            let found = found.map_err(|error| failed(&source, &error))?;
            if record.len() > self.record_bytes_max {
                return Err(self.too_large(&source));
            }
            if found && self.lines {
                self.open = Some((reader, source));
            }
            if found {
                return Ok(true);
            }
        }
    }

    /// One line without its end; false at the end of the input.
    async fn line(&self, reader: &mut Reader, record: &mut Vec<u8>) -> std::io::Result<bool> {
        // Room for the newline, and one byte more to tell "too large" from "just fits".
        let limit = (self.record_bytes_max as u64).saturating_add(2);
        let read = reader.take(limit).read_until(b'\n', record).await?;
        if record.last() == Some(&b'\n') {
            record.pop();
            if record.last() == Some(&b'\r') {
                record.pop();
            }
        }
        Ok(read > 0)
    }

    async fn whole(&self, reader: &mut Reader, record: &mut Vec<u8>) -> std::io::Result<()> {
        let limit = (self.record_bytes_max as u64).saturating_add(1);
        reader
            .take(limit)
            .read_to_end(record)
            .await
            .map(|_bytes| ())
    }

    fn too_large(&self, source: &Source) -> Failure {
        let (what, hint) = if self.lines {
            ("a line", "")
        } else {
            ("the input", "; --lines makes each line a record")
        };
        let message = format!(
            "{}: {what} is larger than the {} bytes the broker takes in one record{hint}",
            source.name(),
            self.record_bytes_max,
        );
        Failure::Other {
            message,
            code: Code::Refused,
        }
    }
}

fn failed(source: &Source, error: &std::io::Error) -> Failure {
    Failure::io(&format!("reading {}", source.name()), error)
}
