//! The table: a row per measure, a column per system, and in each peer's cell how Streamkeeper compares.
//!
//! The heads say what a confirm means in that column, because a figure without a sync is another figure.

use std::fmt::Write as _;
use std::time::Duration;

use super::Report;
use crate::measure::{Measure, Results, Unit, median};
use crate::plan::Plan;
use crate::raw::Raw;
use crate::system::System;

/// The table, with a line above it that says when and where.
pub(super) fn table(report: &Report<'_>) -> String {
    let plan = report.plan;
    let mut text = caption(report);
    text.push_str("\n| |");
    for system in &plan.systems {
        text.push_str(&head(report, *system));
    }
    text.push_str("\n|---|");
    for _ in &plan.systems {
        text.push_str("---|");
    }
    text.push('\n');
    for measure in Measure::ALL {
        if let Some(row) = row(report, measure) {
            text.push_str(&row);
        }
    }
    text
}

fn caption(report: &Report<'_>) -> String {
    let Report {
        plan,
        date,
        machine,
        ..
    } = report;
    let rounds = match plan.rounds {
        1 => String::from("one round"),
        rounds => format!("medians of {rounds} interleaved rounds"),
    };
    let raw = |of: fn(&Raw) -> Duration| {
        let samples: Vec<f64> = report
            .results
            .raw()
            .iter()
            .map(|raw| of(raw).as_secs_f64() * 1e3)
            .collect();
        Unit::Milliseconds.show(median(&samples).unwrap_or_default())
    };
    let (sync, round_trip) = (raw(|raw| raw.sync), raw(|raw| raw.round_trip));
    let (records, seconds) = (
        thousands(plan.appends.records),
        plan.appends.time.as_secs_f64(),
    );
    format!(
        "{date}, {machine}, load and server together; {rounds}; 256-byte records, up to {records} or {seconds} s of them per \
         append row. In the same run the machine alone took {sync} (p50) to append and sync such a record to a file, {round_trip} \
         for a round trip over the loopback. In brackets: Streamkeeper's figure divided by this one.\n"
    )
}

fn head(report: &Report<'_>, system: System) -> String {
    let (name, promise) = (report.name(system), system.promise());
    let strong = if system.syncs() { "" } else { "**" };
    match system.mode() {
        "" => format!(" {name}: {promise} |"),
        mode => format!(" {name}, `{mode}`: {strong}{promise}{strong} |"),
    }
}

fn row(report: &Report<'_>, measure: Measure) -> Option<String> {
    let systems = report.plan.systems.iter();
    let cells: Vec<_> = systems
        .map(|system| cell(report.results, measure, *system))
        .collect();
    if cells.iter().all(Option::is_none) {
        return None;
    }
    let mut row = format!("| {} |", title(measure, report.plan));
    for cell in cells {
        write!(row, " {} |", cell.as_deref().unwrap_or("-")).expect("a String takes all");
    }
    row.push('\n');
    Some(row)
}

/// Median, and the ratio in brackets.
fn cell(results: &Results, measure: Measure, system: System) -> Option<String> {
    let shown = measure.unit().show(results.median(measure, system)?);
    Some(match results.ratio(measure, system) {
        Some(ratio) => format!("{shown} ({})", times(ratio)),
        None => shown,
    })
}

/// A ratio with two digits or more.
fn times(ratio: f64) -> String {
    match ratio {
        ..0.095 => format!("{ratio:.3}×"),
        0.095..9.95 => format!("{ratio:.2}×"),
        _ => format!("{ratio:.0}×"),
    }
}

/// A count with its thousands apart.
fn thousands(count: u64) -> String {
    let (rest, last) = (count / 1000, count % 1000);
    if rest == 0 {
        last.to_string()
    } else {
        format!("{},{last:03}", thousands(rest))
    }
}

fn title(measure: Measure, plan: &Plan) -> String {
    let what = match measure {
        Measure::Serial => "append, one at a time: confirm p50",
        Measure::OneStream => "1 connection × 1,024 in flight, 1 stream",
        Measure::FourStreams => "4 × 1,024, 4 streams",
        Measure::ThousandStreams => "4 × 1,024, 1,000 streams",
        Measure::ProducerFour => "the client's own batching producer, 4 streams",
        Measure::ProducerThousand => "the same, 1,000 streams",
        Measure::DeliveryP50 => {
            let (subscribers, rate) = (thousands(plan.subscribers), plan.rate);
            return format!(
                "{subscribers} subscribers of one stream × {rate} appends/s: delivery p50"
            );
        }
        Measure::DeliveryP99 => "the same: delivery p99",
        Measure::CatchUp => {
            let mib = plan.catch_up_records >> 12;
            return format!("catch-up read of {mib} MiB, after a restart");
        }
        Measure::RecordsStored => "records stored by the rows of one record per append",
        Measure::RssAfter => "server memory after those (RSS)",
        Measure::RssPeak => "server memory during those, at most",
        Measure::RssDelivering => "server memory with the subscribers, at most",
        Measure::RssIdle => "server memory, idle and empty",
        Measure::Ready => "start on an empty store: ready after",
        Measure::ManyStreams => {
            let streams = thousands(plan.many_streams.into());
            return format!("make {streams} streams with a record each");
        }
    };
    what.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peers_cell_has_its_median_and_how_streamkeeper_compares() {
        let mut results = Results::default();
        results.add(Measure::FourStreams, System::Streamkeeper, 600_000.0);
        results.add(Measure::FourStreams, System::NatsDefault, 240_000.0);
        let cell = |system| cell(&results, Measure::FourStreams, system);
        assert_eq!(cell(System::Streamkeeper).as_deref(), Some("600 k/s"));
        assert_eq!(
            cell(System::NatsDefault).as_deref(),
            Some("240 k/s (2.50×)")
        );
        assert_eq!(cell(System::RedisAlways), None);
    }

    #[test]
    fn thousands_stand_apart() {
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(2_000_050), "2,000,050");
    }
}
