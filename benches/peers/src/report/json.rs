//! All samples, so that a run can be looked at again.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::Report;
use crate::measure::Measure;
use crate::raw::Raw;

/// The figures as JSON: `measures`, by measure and system, each with its median, samples and ratio.
pub(super) fn figures(report: &Report<'_>) -> String {
    let results = report.results;
    let mut measures = Map::new();
    for measure in Measure::ALL {
        let mut systems = Map::new();
        for system in &report.plan.systems {
            let Some(median) = results.median(measure, *system) else {
                continue;
            };
            let figures = json!({
                "median": median,
                "samples": results.samples(measure, *system),
                "streamkeeper_to_this": results.ratio(measure, *system),
            });
            systems.insert(system.key().to_owned(), figures);
        }
        measures.insert(measure.key().to_owned(), Value::Object(systems));
    }
    let plan = report.plan;
    let versions: Map<String, Value> = report
        .parts
        .versions
        .iter()
        .map(|(name, version)| ((*name).to_owned(), json!(version)))
        .collect();
    let raw = |of: fn(&Raw) -> Duration| -> Vec<f64> {
        results
            .raw()
            .iter()
            .map(|raw| of(raw).as_secs_f64() * 1e3)
            .collect()
    };
    let whole = json!({
        "date": report.date,
        "machine": report.machine,
        "versions": versions,
        "rounds": plan.rounds,
        "records_max": plan.appends.records,
        "seconds_max": plan.appends.time.as_secs_f64(),
        "subscribers": plan.subscribers,
        "appends_per_second_followed": plan.rate,
        "catch_up_records": plan.catch_up_records,
        "streams_made": plan.many_streams,
        "raw_append_and_sync_p50_ms": raw(|raw| raw.sync),
        "raw_round_trip_p50_ms": raw(|raw| raw.round_trip),
        "measures": measures,
    });
    format!("{whole:#}\n")
}
