//! Whether a record costs more where there is more: more streams, more connections, more data in the store.
//!
//! The cost is the broker's processor time per record at one fixed rate, which other work on the machine disturbs far less
//! than elapsed time. Each step is a run of `bench append`; the steps take turns, round by round, and the median of a
//! step counts.

use clap::Args;
use serde_json::{Value, json};

use super::own::{self, Told, number};
use super::report::Unit;
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::config::ByteCount;

/// See what a record costs as streams, connections and the store grow
#[derive(Clone, Debug, Args)]
pub(super) struct Growth {
    /// Records a second in every step, all connections together
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    rate: u64,

    /// Most streams, and most connections
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(2..))]
    most: u64,

    /// The filled store, as in 10GiB
    #[arg(long, value_name = "SIZE", default_value = "1GiB")]
    store: ByteCount,

    /// Only streams, connections, or store
    #[arg(long)]
    only: Option<Dimension>,

    /// Run each step this long
    #[arg(long, value_name = "TIME", default_value = "5s")]
    duration: humantime::Duration,

    /// Rounds
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    #[command(flatten)]
    told: Told,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Dimension {
    Streams,
    Connections,
    Store,
}

/// Where a report has the most memory that the broker took; ours has it in the same place.
const MEMORY: &str = "/broker/usage/rss_bytes_peak";

/// One setting of what grows.
#[derive(Debug)]
struct Step {
    at: String,
    arguments: Vec<String>,
    /// Broker processor time per record, a round each.
    costs: Vec<f64>,
    /// Median time to the confirm, a round each.
    latencies: Vec<f64>,
    /// The most memory that the broker took, in bytes.
    memory: f64,
}

/// What the steps of one dimension came to.
#[derive(Debug)]
struct Grown {
    name: &'static str,
    steps: Vec<Step>,
}

impl Growth {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut all = Vec::new();
        for (dimension, name) in [
            (Dimension::Streams, "streams"),
            (Dimension::Connections, "connections"),
            (Dimension::Store, "store"),
        ] {
            if self.only.is_none_or(|only| only == dimension) {
                let steps = self.steps(dimension);
                all.push(self.measure(Grown { name, steps })?);
            }
        }
        let mut output = Output::new(self.told.json);
        if self.told.json {
            let told: serde_json::Map<_, _> = all
                .iter()
                .map(|grown| (grown.name.to_owned(), grown.to_json()))
                .collect();
            let steps = all.iter().flat_map(|grown| &grown.steps);
            let memory = steps.map(|step| step.memory).fold(0.0, f64::max);
            output.object(&json!({
                "workload": "growth",
                "parameters": { "rate": self.rate, "rounds": self.rounds },
                "dimensions": told,
                "broker": { "usage": { "rss_bytes_peak": memory } },
            }))?;
        } else {
            let rate = Unit::Count.show(super::report::float(self.rate));
            output.line(format!(
                "growth: broker processor time per record at {rate} records/s, and p50 of the confirm"
            ))?;
            for grown in &all {
                output.line(grown.to_text())?;
            }
        }
        output.flush()
    }

    fn steps(&self, dimension: Dimension) -> Vec<Step> {
        let powers = std::iter::successors(Some(1), |n: &u64| n.checked_mul(10));
        let counts: Vec<u64> = powers
            .take_while(|n| *n < self.most)
            .chain([self.most])
            .collect();
        let counted = |flag: &str, other: &str| {
            let step = |n: &u64| self.step(n.to_string(), &[flag, &n.to_string(), other, "4"]);
            counts.iter().map(step).collect()
        };
        match dimension {
            Dimension::Streams => counted("--streams", "--connections"),
            Dimension::Connections => counted("--connections", "--streams"),
            Dimension::Store => [String::from("0B"), self.store.to_string()]
                .into_iter()
                .map(|size| {
                    let fill = ["--prefill", &size, "--streams", "4"];
                    self.step(size.clone(), &fill)
                })
                .collect(),
        }
    }

    fn step(&self, at: String, arguments: &[&str]) -> Step {
        let (rate, duration) = (self.rate.to_string(), self.duration.to_string());
        let duration = duration.replace(' ', "");
        let common = ["append", "--rate", &rate, "--duration", &duration];
        let arguments = common.iter().chain(arguments).map(ToString::to_string);
        Step {
            at,
            arguments: arguments.collect(),
            costs: Vec::new(),
            latencies: Vec::new(),
            memory: 0.0,
        }
    }

    fn measure(&self, mut grown: Grown) -> Result<Grown, Failure> {
        for _ in 0..self.rounds {
            for step in &mut grown.steps {
                let report = own::bench(&step.arguments, &self.told)?;
                step.costs
                    .push(number(&report, "/facts/broker_cpu_per_record")?);
                step.memory = step.memory.max(number(&report, MEMORY)?);
                step.latencies
                    .push(number(&report, "/phases/0/latency_seconds/p50")?);
            }
        }
        Ok(grown)
    }
}

impl Grown {
    /// The dearest step over the cheapest; 1 if the run was too short for any cost to be seen.
    fn ratio(&self) -> f64 {
        let costs = || self.steps.iter().map(|step| median(&step.costs));
        let cheapest = costs().fold(f64::INFINITY, f64::min);
        if cheapest > 0.0 {
            costs().fold(0.0, f64::max) / cheapest
        } else {
            1.0
        }
    }

    fn to_json(&self) -> Value {
        let step = |step: &Step| {
            json!({
                "at": step.at,
                "command": format!("streamkeeper bench {}", step.arguments.join(" ")),
                "broker_cpu_per_record": median(&step.costs),
                "confirm_p50": median(&step.latencies),
            })
        };
        json!({
            "steps": self.steps.iter().map(step).collect::<Vec<_>>(),
            "dearest_over_cheapest": self.ratio(),
        })
    }

    fn to_text(&self) -> String {
        let title = format!("\n{}: dearest over cheapest {:.2}", self.name, self.ratio());
        let step = |step: &Step| {
            let shown = |all: &[f64]| Unit::Seconds.show(median(all));
            let (cost, latency) = (shown(&step.costs), shown(&step.latencies));
            format!("  {:>8}  {cost:>10}  {latency:>10}", step.at)
        };
        let steps = self.steps.iter().map(step);
        std::iter::once(title)
            .chain(steps)
            .collect::<Vec<_>>()
            .join("\n")
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}
