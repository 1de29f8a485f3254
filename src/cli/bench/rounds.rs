//! Several rounds of one workload, each against a broker of its own: what is told is the median of each number.
//!
//! What must not happen at all, and what is a maximum already, is told of the worst round instead.

use std::fmt;

use serde_json::{Map, Value, json};

use super::report::{Figure, Report};

/// Numbers of which the largest is told.
const WORST: [&str; 4] = ["missing", "out_of_order", "max", "rss_bytes_peak"];

/// The reports of all rounds, at least one.
#[derive(Debug)]
pub(super) struct Rounds(pub(super) Vec<Report>);

impl Rounds {
    pub(super) fn to_json(&self) -> Value {
        let rounds: Vec<_> = self.0.iter().map(Report::to_json).collect();
        let mut told = merged("", &rounds.iter().collect::<Vec<_>>());
        if let Value::Object(told) = &mut told {
            told.insert("rounds".into(), json!(rounds.len()));
        }
        told
    }

    /// The round whose first figure is the median.
    fn typical(&self) -> Option<&Report> {
        let first = |report: &Report| report.figures().first().map_or(0.0, |figure| figure.value);
        let mut sorted: Vec<_> = self.0.iter().collect();
        sorted.sort_by(|a, b| first(a).total_cmp(&first(b)));
        sorted.get((sorted.len().max(1) - 1) / 2).copied()
    }
}

impl fmt::Display for Rounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounds: Vec<_> = self.0.iter().map(Report::figures).collect();
        if let Some(typical) = self.typical() {
            write!(f, "{typical}")?;
        }
        let [first, _, ..] = rounds.as_slice() else {
            return Ok(());
        };
        write!(f, "\n\nmedians of {} rounds (least to most)", rounds.len())?;
        for (at, Figure { label, unit, .. }) in first.iter().enumerate() {
            let of_all = rounds.iter().filter_map(|figures| figures.get(at));
            let values = sorted(of_all.map(|figure| figure.value));
            let [least, middle, most] =
                [values.first(), values.get(values.len() / 2), values.last()]
                    .map(|value| unit.show(value.copied().unwrap_or_default()));
            write!(f, "\n{label:32} {middle:>12}   ({least} to {most})")?;
        }
        Ok(())
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// One value for those that stand under `key` in each round: all have the same shape.
fn merged(key: &str, rounds: &[&Value]) -> Value {
    match rounds.first() {
        Some(Value::Number(_)) => {
            let mut numbers = rounds.to_vec();
            numbers.sort_by(|a, b| of(a).total_cmp(&of(b)));
            let told = if WORST.contains(&key) {
                numbers.last()
            } else {
                numbers.get(numbers.len() / 2)
            };
            told.map_or(Value::Null, |told| (*told).clone())
        }
        Some(Value::Object(first)) => {
            let member = |key: &String| {
                let of_all: Vec<_> = rounds.iter().filter_map(|round| round.get(key)).collect();
                (key.clone(), merged(key, &of_all))
            };
            Value::Object(first.keys().map(member).collect::<Map<_, _>>())
        }
        Some(Value::Array(first)) => {
            let element = |at: usize| {
                let of_all: Vec<_> = rounds.iter().filter_map(|round| round.get(at)).collect();
                merged("", &of_all)
            };
            Value::Array((0..first.len()).map(element).collect())
        }
        other => other.map_or(Value::Null, |other| (*other).clone()),
    }
}

fn of(number: &Value) -> f64 {
    number.as_f64().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_the_median_of_the_rounds_and_losses_are_of_the_worst() {
        let round = |rate: u64, p50: f64, missing: u64| {
            json!({
                "workload": "x", "phases": [{"per_second": rate, "p50": p50}], "facts": {"missing": missing},
            })
        };
        let rounds = [round(3, 0.3, 0), round(1, 0.5, 7), round(2, 0.1, 0)];
        let told = merged("", &rounds.iter().collect::<Vec<_>>());
        assert_eq!(told, round(2, 0.3, 7));
    }
}
