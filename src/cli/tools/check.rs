//! `streamkeeper check`.
//!
//! Exit code 0 means whole, 1 that there are problems, 2 that it could not be checked.

use std::fmt;
use std::io::{BufRead as _, BufReader, Read};
use std::ops::ControlFlow;

use clap::Args;
use serde::Deserialize;
use serde_json::json;

use super::remote::Remote;
use super::{Data, not_done};
use crate::cli::failure::{Code, Failure};
use crate::cli::output::Output;
use crate::store::check::{self, Event, Problem, Report};

/// Read everything that is stored and compare it with its checksums
///
/// Exits with 0 if all is whole, 1 if there are problems, 2 if it could not be checked. Nothing is changed.
#[derive(Debug, Args)]
pub(in crate::cli) struct Check {
    #[command(flatten)]
    data: Data,

    #[command(flatten)]
    remote: Remote,

    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(in crate::cli) fn run(self) -> Result<(), Failure> {
        let mut told = Told::new(self.json);
        if let Some(url) = &self.remote.url {
            let listen = move |from: &mut dyn Read| listen(from, told);
            return self.remote.ask(url, "check", listen)?;
        }
        let report = check::offline(&self.data.path, &mut |event| told.event(event))
            .map_err(|error| not_done("cannot check", &error))?;
        told.end(&report)
    }
}

/// What was found, on its way to stdout.
#[derive(Debug)]
pub(super) struct Told {
    output: Output,
    /// What kept it from being written.
    failed: Option<Failure>,
}

impl Told {
    pub(super) fn new(json: bool) -> Self {
        Self {
            output: Output::new(json),
            failed: None,
        }
    }

    /// Prints one finding. Progress is only for programs.
    pub(super) fn event(&mut self, event: Event) -> ControlFlow<()> {
        let output = &mut self.output;
        let told = match event {
            event if output.is_json() => output.object(&event),
            Event::Problem(problem) => output.line(Line(&problem)),
            Event::Note(note) => output.line(format_args!("note: {note}")),
            Event::Progress(_) => Ok(()),
        };
        self.failed = told.and_then(|()| self.output.flush()).err();
        match self.failed {
            Some(_) => ControlFlow::Break(()),
            None => ControlFlow::Continue(()),
        }
    }

    /// Prints the report, and ends the command as it says.
    pub(super) fn end(mut self, report: &Report) -> Result<(), Failure> {
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        let verdict = match report.problems {
            0 => "whole".to_owned(),
            1 => "1 problem".to_owned(),
            problems => format!("{problems} problems"),
        };
        let Report {
            streams,
            forks,
            records,
            bytes,
            chunks,
            segments,
            journal_rows,
            ..
        } = report;
        let line = format!(
            "{verdict}: {streams} streams ({forks} forks), {records} records of {bytes} bytes, {chunks} chunks in {segments} \
             segments, {journal_rows} journal rows"
        );
        self.output.answer(&json!({ "report": report }), line)?;
        if report.problems == 0 {
            return Ok(());
        }
        Err(Failure::Other {
            message: format!("{verdict} found: keep the directory as it is, and put back a backup"),
            code: Code::Refused,
        })
    }
}

/// A line of a broker's answer.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Said {
    Progress(Report),
    Problem(Problem),
    Note(String),
    Report(Report),
    Failed(String),
}

/// Passes on what a broker finds.
fn listen(from: &mut dyn Read, mut told: Told) -> Result<(), Failure> {
    let unfinished = |why: &str| Failure::Other {
        message: format!("the check was not finished: {why}"),
        code: Code::Usage,
    };
    for line in BufReader::new(from).lines() {
        let line = line.map_err(|error| unfinished(&error.to_string()))?;
        let said = serde_json::from_str(&line).map_err(|error| unfinished(&error.to_string()))?;
        let event = match said {
            Said::Progress(report) => Event::Progress(report),
            Said::Problem(problem) => Event::Problem(problem),
            Said::Note(note) => Event::Note(note),
            Said::Report(report) => return told.end(&report),
            Said::Failed(why) => return Err(unfinished(&why)),
        };
        if told.event(event).is_break() {
            return told.end(&Report::default());
        }
    }
    Err(unfinished("the broker broke off"))
}

/// A problem as a line for people.
struct Line<'a>(&'a Problem);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problem = self.0;
        write!(f, "problem: {}", problem.file)?;
        match (&problem.stream, problem.stream_id) {
            (Some(name), Some(id)) => write!(f, ", stream {name} (id {id})")?,
            (None, Some(id)) => write!(f, ", stream id {id}")?,
            _ => {}
        }
        if let Some(offset) = problem.offset {
            write!(f, ", offset {offset}")?;
        }
        write!(f, ": {}", problem.what)
    }
}
