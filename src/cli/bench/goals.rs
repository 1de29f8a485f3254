//! Every workload that Streamkeeper has a goal for, in turn, with its goal beside the figure.
//!
//! The goals are for 256-byte records, every confirm after fsync, load and broker together on a machine of two cores. Each row is a
//! command that can be run alone ([`table`]). A goal that is missed is told and is no failure: the machine may be another one, or busy.

mod table;

use std::collections::HashMap;

use clap::Args;
use serde_json::{Value, json};

use super::own::{self, Told, number};
use super::report::Unit;
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use table::{Bound, Figure, PEAK, ROWS, Row, Size};

/// Run every workload that has a goal, and compare
#[derive(Clone, Debug, Args)]
pub(super) struct All {
    /// Only rows whose name contains this; may be given several times
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,

    /// Tiny runs that show that everything works; their figures say nothing
    #[arg(long)]
    small: bool,

    #[command(flatten)]
    told: Told,
}

/// One figure that was measured.
#[derive(Debug)]
struct Measured {
    row: &'static str,
    figure: &'static Figure,
    command: String,
    value: f64,
    /// What it is compared with, unless that depends on a row that was left out.
    limit: Option<f64>,
}

/// The most memory that any of the rows took, which is a goal of its own.
const MEMORY: Figure = Figure {
    name: "broker memory at most, of all rows",
    at: "/broker/usage/rss_bytes_peak",
    unit: Unit::Bytes,
    bound: Bound::AtMost(128.0 * 1024.0 * 1024.0),
};

impl All {
    pub(super) fn run(self) -> Result<(), Failure> {
        let size = if self.small { Size::Small } else { Size::Full };
        let mut output = Output::new(self.told.json);
        let mut all: Vec<Measured> = Vec::new();
        let mut memory: HashMap<&'static str, f64> = HashMap::new();
        for row in ROWS.iter().filter(|row| self.wants(row)) {
            let arguments = row.arguments(size, value(&all, PEAK));
            let report = own::bench(&arguments, &self.told)?;
            let command = format!("streamkeeper bench {}", arguments.join(" "));
            if let Ok(most) = number(&report, MEMORY.at) {
                memory.insert(row.name, most);
            }
            let first = all.len();
            for figure in row.figures {
                all.push(Measured {
                    row: row.name,
                    figure,
                    command: command.clone(),
                    value: number(&report, figure.at)?,
                    limit: figure.bound.limit(|name| value(&all, name)),
                });
            }
            if !self.told.json {
                output.line(format!("\n{}: {command}", row.name))?;
                for measured in all.iter().skip(first) {
                    output.line(measured)?;
                }
                output.flush()?;
            }
        }
        let most = memory.iter().max_by(|a, b| a.1.total_cmp(b.1));
        if let Some((row, most)) = most {
            let measured = Measured {
                row,
                figure: &MEMORY,
                command: String::new(),
                value: *most,
                limit: MEMORY.bound.limit(|_| None),
            };
            if !self.told.json {
                output.line(format!("\nmemory: the most was in \"{row}\"\n{measured}"))?;
            }
            all.push(measured);
        }
        if self.told.json {
            let figures: Vec<_> = all.iter().map(Measured::to_json).collect();
            output
                .object(&json!({ "workload": "all", "small": self.small, "figures": figures }))?;
        }
        output.flush()
    }

    fn wants(&self, row: &Row) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| row.name.contains(part))
    }
}

/// The first figure of a row that was measured already.
fn value(all: &[Measured], row: &str) -> Option<f64> {
    let first = all.iter().find(|measured| measured.row == row);
    first.map(|measured| measured.value)
}

impl Measured {
    fn met(&self) -> Option<bool> {
        self.limit
            .map(|limit| self.figure.bound.holds(self.value, limit))
    }

    fn to_json(&self) -> Value {
        json!({
            "row": self.row,
            "figure": self.figure.name,
            "command": self.command,
            "value": self.value,
            "goal": self.limit,
            "sense": self.figure.bound.sense(),
            "met": self.met(),
        })
    }
}

impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let unit = self.figure.unit;
        write!(f, "  {:36} {:>14}", self.figure.name, unit.show(self.value))?;
        let Some(limit) = self.limit else {
            return Ok(());
        };
        let outcome = match self.met() {
            Some(true) => "met",
            _ => "MISSED",
        };
        write!(
            f,
            "   goal: {} {}   {outcome}",
            self.figure.bound.sense(),
            unit.show(limit)
        )
    }
}
