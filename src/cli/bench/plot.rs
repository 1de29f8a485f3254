//! A latency histogram as text: two lines per doubling, a bar for each share.

use std::fmt::{self, Write as _};
use std::time::Duration;

use hdrhistogram::Histogram;

const BAR_WIDTH: u64 = 50;

/// Draws the distribution of nanoseconds.
pub(super) fn plot(f: &mut fmt::Formatter<'_>, latencies: &Histogram<u64>) -> fmt::Result {
    let total = latencies.len().max(1);
    let rows = rows(latencies);
    let largest = rows
        .iter()
        .map(|(_, count)| *count)
        .max()
        .unwrap_or(1)
        .max(1);
    for (upper, count) in rows {
        let width = (count * BAR_WIDTH).div_ceil(largest);
        let mut bar = String::new();
        for _ in 0..width {
            bar.write_char('█')?;
        }
        let share = percent(count, total);
        writeln!(f, "  < {:>9} {share:>7.3}% {bar}", show(upper))?;
    }
    Ok(())
}

/// Upper bounds (a power of two, or half as much again) and counts, without the empty ones at either end.
fn rows(latencies: &Histogram<u64>) -> Vec<(u64, u64)> {
    let mut power = latencies.min().max(2).next_power_of_two();
    let mut lower = 0;
    let mut rows = Vec::new();
    loop {
        for upper in [power, power + power / 2] {
            rows.push((upper, latencies.count_between(lower, upper - 1)));
            if upper > latencies.max() {
                return rows;
            }
            lower = upper;
        }
        power = power.saturating_mul(2);
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
fn percent(part: u64, whole: u64) -> f64 {
    part as f64 * 100.0 / whole as f64
}

/// Nanoseconds with three digits and a unit.
pub(super) fn show(nanos: u64) -> String {
    let time = Duration::from_nanos(nanos);
    match nanos {
        0..1_000 => format!("{nanos} ns"),
        1_000..1_000_000 => format!("{:.1} µs", time.as_secs_f64() * 1e6),
        1_000_000..1_000_000_000 => format!("{:.2} ms", time.as_secs_f64() * 1e3),
        _ => format!("{:.2} s", time.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Plot(Histogram<u64>);

    impl fmt::Display for Plot {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            plot(f, &self.0)
        }
    }

    #[test]
    fn every_sample_is_in_one_row_and_the_largest_row_has_the_longest_bar() {
        let mut latencies = Histogram::new_with_bounds(1, 1 << 40, 3).unwrap();
        for (value, count) in [(1_000, 10), (5_000, 80), (9_000_000, 10)] {
            latencies.record_n(value, count).unwrap();
        }
        let rows = rows(&latencies);
        assert_eq!(rows.iter().map(|(_, count)| count).sum::<u64>(), 100);
        let text = Plot(latencies).to_string();
        let longest = text
            .lines()
            .max_by_key(|line| line.matches('█').count())
            .unwrap();
        assert!(longest.contains("80.000%"), "{text}");
    }

    #[test]
    fn an_empty_histogram_has_a_plot_too() {
        let latencies = Histogram::new_with_bounds(1, 1 << 40, 3).unwrap();
        assert!(Plot(latencies).to_string().contains("0.000%"));
    }

    #[test]
    fn times_are_shown_in_a_fitting_unit() {
        let shown = [999, 1_500, 2_340_000, 61_000_000_000].map(show);
        assert_eq!(shown, ["999 ns", "1.5 µs", "2.34 ms", "61.00 s"]);
    }
}
