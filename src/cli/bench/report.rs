//! The outcome of a run: for people as a table with a plot, for programs as JSON.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use super::broker::Broker;
use super::measure::nanos;
use super::plot;
use super::process::Usage;

/// What came out of a run.
#[derive(Debug)]
pub(super) struct Report {
    workload: &'static str,
    parameters: Vec<(&'static str, Value)>,
    phases: Vec<Phase>,
    facts: Vec<Fact>,
    /// What a workload was told, in words.
    told: Vec<(&'static str, Vec<String>)>,
    broker: Option<BrokerReport>,
}

/// One thing that was done many times.
#[derive(Debug)]
pub(super) struct Phase {
    /// What was done, in the plural: "records".
    pub(super) unit: &'static str,
    /// How often.
    pub(super) count: u64,
    /// Payload bytes moved by it.
    pub(super) bytes: u64,
    /// How long that took.
    pub(super) elapsed: Duration,
    /// What is in `latencies`: "confirm latency".
    pub(super) latency: &'static str,
    /// In nanoseconds; empty where single operations are not timed.
    pub(super) latencies: Option<Histogram<u64>>,
}

/// One more number of a workload.
#[derive(Debug)]
struct Fact {
    name: &'static str,
    value: f64,
    unit: Unit,
}

/// What a number counts, and so how it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// Things.
    Count,
    /// Bytes.
    Bytes,
    /// Seconds, shown in a fitting fraction.
    Seconds,
    /// Things a second.
    PerSecond,
    /// One number over another.
    Ratio,
}

impl Unit {
    pub(super) fn show(self, value: f64) -> String {
        match self {
            Self::Count => thousands(value),
            Self::Bytes if value < 1e6 => format!("{} bytes", thousands(value)),
            Self::Bytes => format!("{:.1} MiB", value / f64::from(1 << 20)),
            Self::Seconds => {
                let time = Duration::try_from_secs_f64(value).unwrap_or_default();
                plot::show(nanos(time))
            }
            Self::PerSecond => format!("{}/s", thousands(value)),
            Self::Ratio => format!("{value:.2}"),
        }
    }
}

/// A number of a report with what it says.
#[derive(Debug)]
pub(super) struct Figure {
    pub(super) label: String,
    pub(super) value: f64,
    pub(super) unit: Unit,
}

#[derive(Debug)]
struct BrokerReport {
    description: String,
    usage: Option<(Usage, Usage)>,
}

const PERCENTILES: [(&str, f64); 4] =
    [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99.9", 99.9)];

impl Report {
    pub(super) fn new(workload: &'static str, parameters: Vec<(&'static str, Value)>) -> Self {
        Self {
            workload,
            parameters,
            phases: Vec::new(),
            facts: Vec::new(),
            told: Vec::new(),
            broker: None,
        }
    }

    pub(super) fn phase(mut self, phase: Phase) -> Self {
        self.phases.push(phase);
        self
    }

    /// Adds a number.
    pub(super) fn fact(mut self, name: &'static str, value: f64, unit: Unit) -> Self {
        self.facts.push(Fact { name, value, unit });
        self
    }

    /// Adds a time.
    pub(super) fn time(self, name: &'static str, time: Duration) -> Self {
        self.fact(name, time.as_secs_f64(), Unit::Seconds)
    }

    /// Adds a count.
    pub(super) fn count(self, name: &'static str, count: u64) -> Self {
        self.fact(name, float(count), Unit::Count)
    }

    /// Adds a number of bytes.
    pub(super) fn bytes(self, name: &'static str, bytes: u64) -> Self {
        self.fact(name, float(bytes), Unit::Bytes)
    }

    /// Adds words.
    pub(super) fn told(mut self, name: &'static str, words: Vec<String>) -> Self {
        self.told.push((name, words));
        self
    }

    /// The numbers that rounds of one workload are compared by; the first is the most telling one.
    pub(super) fn figures(&self) -> Vec<Figure> {
        let mut figures: Vec<_> = self.phases.iter().flat_map(Phase::figures).collect();
        figures.extend(self.facts.iter().map(|fact| Figure {
            label: fact.name.replace('_', " "),
            value: fact.value,
            unit: fact.unit,
        }));
        let usage = self.broker.as_ref().and_then(|broker| broker.usage);
        figures.extend(usage.map(|(_, after)| Figure {
            label: "broker memory at most".into(),
            value: float(after.rss_peak),
            unit: Unit::Bytes,
        }));
        figures
    }

    /// Adds what the broker is, and what it used before and after the run.
    pub(super) fn with_broker(mut self, broker: &Broker, before: Usage, after: Usage) -> Self {
        let usage = broker.is_spawned().then_some((before, after));
        self.broker = Some(BrokerReport {
            description: broker.description(),
            usage,
        });
        self
    }

    pub(super) fn to_json(&self) -> Value {
        let named = |pairs: &[(&'static str, Value)]| {
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect::<Map<_, _>>()
        };
        let numbers = self.facts.iter().map(|fact| (fact.name, fact.to_json()));
        let words = self.told.iter().map(|(name, words)| (*name, json!(words)));
        let facts: Vec<_> = numbers.chain(words).collect();
        let broker = self.broker.as_ref().map(|broker| {
            let usage = broker.usage.map(|(before, after)| {
                json!({
                    "rss_bytes_before": before.rss,
                    "rss_bytes_after": after.rss,
                    "rss_bytes_peak": after.rss_peak,
                    "data_bytes": after.data,
                    "cpu_seconds": after.cpu.saturating_sub(before.cpu).as_secs_f64(),
                    "ready_seconds": before.ready.as_secs_f64(),
                })
            });
            json!({ "description": broker.description, "usage": usage })
        });
        json!({
            "workload": self.workload,
            "parameters": named(&self.parameters),
            "phases": self.phases.iter().map(Phase::to_json).collect::<Vec<_>>(),
            "facts": named(&facts),
            "broker": broker,
        })
    }
}

impl Fact {
    fn to_json(&self) -> Value {
        match self.unit {
            Unit::Count | Unit::Bytes => json!(whole(self.value)),
            _ => json!(self.value),
        }
    }
}

impl Phase {
    fn figures(&self) -> Vec<Figure> {
        let mut figures = vec![Figure {
            label: self.unit.to_owned(),
            value: self.per_second(self.count),
            unit: Unit::PerSecond,
        }];
        let timed = self.latencies.iter().filter(|taken| !taken.is_empty());
        for (name, at) in timed.flat_map(|_| PERCENTILES) {
            let nanos = self
                .latencies
                .as_ref()
                .map(|taken| taken.value_at_percentile(at));
            figures.push(Figure {
                label: format!("{} {name}", self.latency),
                value: Duration::from_nanos(nanos.unwrap_or_default()).as_secs_f64(),
                unit: Unit::Seconds,
            });
        }
        figures
    }

    fn per_second(&self, count: u64) -> f64 {
        let seconds = self.elapsed.as_secs_f64();
        if seconds > 0.0 {
            float(count) / seconds
        } else {
            0.0
        }
    }

    fn to_json(&self) -> Value {
        let latencies = self
            .latencies
            .as_ref()
            .filter(|latencies| !latencies.is_empty());
        let latency = latencies.map(|latencies| {
            let seconds = |nanos: u64| Duration::from_nanos(nanos).as_secs_f64();
            let percentile = |(name, at): &(&str, f64)| {
                (
                    (*name).to_owned(),
                    json!(seconds(latencies.value_at_percentile(*at))),
                )
            };
            let mut values: Map<_, _> = PERCENTILES.iter().map(percentile).collect();
            values.insert("max".into(), json!(seconds(latencies.max())));
            values.insert("mean".into(), json!(latencies.mean() / 1e9));
            values.insert("samples".into(), json!(latencies.len()));
            values
        });
        json!({
            "unit": self.unit,
            "count": self.count,
            "seconds": self.elapsed.as_secs_f64(),
            "per_second": self.per_second(self.count),
            "bytes_per_second": self.per_second(self.bytes),
            "latency": self.latency,
            "latency_seconds": latency,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parameter = |(name, value): &(&str, Value)| match value {
            Value::String(text) => format!("{} {text}", name.replace('_', " ")),
            other => format!("{} {other}", name.replace('_', " ")),
        };
        let parameters: Vec<String> = self.parameters.iter().map(parameter).collect();
        writeln!(f, "{}: {}", self.workload, parameters.join(", "))?;
        if let Some(broker) = &self.broker {
            writeln!(f, "broker: {}", broker.description)?;
        }
        for phase in &self.phases {
            write!(f, "\n{phase}")?;
        }
        writeln!(f)?;
        for fact in &self.facts {
            let shown = fact.unit.show(fact.value);
            writeln!(f, "{:24} {shown}", fact.name.replace('_', " "))?;
        }
        for (name, words) in &self.told {
            writeln!(f, "{:24} {}", name.replace('_', " "), words.join("; "))?;
        }
        if let Some((before, after)) = self.broker.as_ref().and_then(|broker| broker.usage) {
            let mib = |bytes: u64| float(bytes) / f64::from(1 << 20);
            writeln!(
                f,
                "{:24} {:.1} MiB before, {:.1} MiB after, {:.1} MiB at most",
                "broker memory",
                mib(before.rss),
                mib(after.rss),
                mib(after.rss_peak),
            )?;
            write!(f, "{:24} {:.1} MiB", "broker data files", mib(after.data))?;
        }
        Ok(())
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = thousands(self.per_second(self.count).round());
        let done = thousands(float(self.count));
        write!(f, "{:24} {rate}/s", self.unit)?;
        if self.bytes > 0 {
            write!(f, "   {:.1} MB/s", self.per_second(self.bytes) / 1e6)?;
        }
        writeln!(f, "   ({done} in {:.2} s)", self.elapsed.as_secs_f64())?;
        let Some(latencies) = self
            .latencies
            .as_ref()
            .filter(|latencies| !latencies.is_empty())
        else {
            return Ok(());
        };
        write!(f, "{:24}", self.latency)?;
        for (name, at) in PERCENTILES {
            write!(
                f,
                " {name} {}  ",
                plot::show(latencies.value_at_percentile(at))
            )?;
        }
        writeln!(f, " max {}", plot::show(latencies.max()))?;
        plot::plot(f, latencies)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts and bytes: whole already, and far below 2^53"
)]
fn whole(number: f64) -> u64 {
    number as u64
}

#[expect(clippy::cast_precision_loss, reason = "shown rounded")]
pub(super) fn float(number: u64) -> f64 {
    number as f64
}

/// A whole number with a comma after each group of three digits.
pub(super) fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let grouped = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(String::from_utf8_lossy);
    grouped.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let shown = [0.0, 999.0, 1_000.0, 1_234_567.0].map(thousands);
        assert_eq!(shown, ["0", "999", "1,000", "1,234,567"]);
    }
}
