//! The plot: a panel per measure, a bar per system.
//!
//! Streamkeeper has a colour of its own, peers that confirm after a sync are grey, and bars of those that confirm before
//! it are hatched. Bars of one panel share a scale that begins at zero. Panels of which nothing was measured are left out.

use std::fmt::Write as _;

use super::Report;
use crate::measure::Measure;
use crate::system::System;

/// What is drawn, in the order of the panels.
const PANELS: [(Measure, &str); 8] = [
    (
        Measure::OneStream,
        "1 connection × 1,024 in flight, 1 stream",
    ),
    (Measure::FourStreams, "4 × 1,024, 4 streams"),
    (Measure::ThousandStreams, "4 × 1,024, 1,000 streams"),
    (Measure::CatchUp, "catch-up read"),
    (Measure::Serial, "one append at a time, p50"),
    (Measure::DeliveryP50, "delivery to many subscribers, p50"),
    (Measure::DeliveryP99, "delivery to many subscribers, p99"),
    (Measure::RssPeak, "server memory during the appends"),
];

const COLUMNS: u32 = 2;
const PANEL_WIDTH: u32 = 460;
const MARGIN: u32 = 20;
const TITLE_HEIGHT: u32 = 24;
const BAR_STEP: u32 = 20;
const BAR_HEIGHT: u32 = 14;
const NAME_WIDTH: u32 = 150;
const VALUE_WIDTH: u32 = 70;
const LEGEND_HEIGHT: u32 = 34;

const OWN: &str = "#0b7285";
const SYNCED: &str = "#868e96";
const HATCHED: &str = "url(#hatch)";

/// The whole picture.
pub(super) fn plot(report: &Report<'_>) -> String {
    let measured = |measure: Measure| {
        let mut systems = report.plan.systems.iter();
        systems.any(|system| report.results.median(measure, *system).is_some())
    };
    let panels = PANELS.iter().filter(|(measure, _)| measured(*measure));
    let panels: Vec<_> = (0_u32..).zip(panels).collect();
    let systems = u32::try_from(report.plan.systems.len()).expect("there are five systems");
    let panel_height = TITLE_HEIGHT + systems * BAR_STEP + MARGIN;
    let rows =
        u32::try_from(panels.len().div_ceil(COLUMNS as usize)).expect("there are eight panels");
    let width = COLUMNS * PANEL_WIDTH + (COLUMNS + 1) * MARGIN;
    let height = rows * panel_height + LEGEND_HEIGHT + MARGIN;

    let mut svg = Picture(String::new());
    svg.open(width, height);
    for (place, (measure, title)) in panels {
        let x = MARGIN + (place % COLUMNS) * (PANEL_WIDTH + MARGIN);
        let y = MARGIN + (place / COLUMNS) * panel_height;
        panel(&mut svg, report, (*measure, title), (x, y));
    }
    legend(&mut svg, report, height - LEGEND_HEIGHT);
    svg.0.push_str("</svg>\n");
    svg.0
}

fn panel(
    svg: &mut Picture,
    report: &Report<'_>,
    (measure, title): (Measure, &str),
    (x, y): (u32, u32),
) {
    let better = if measure.less_is_better() {
        "less"
    } else {
        "more"
    };
    svg.text((x, y + 14), "title", title);
    svg.text(
        (x + PANEL_WIDTH, y + 14),
        "better",
        &format!("{better} is better"),
    );
    let medians: Vec<_> = report
        .plan
        .systems
        .iter()
        .map(|system| (*system, report.results.median(measure, *system)))
        .collect();
    let largest = medians
        .iter()
        .filter_map(|(_, median)| *median)
        .fold(0.0, f64::max);
    let full = f64::from(PANEL_WIDTH - NAME_WIDTH - VALUE_WIDTH);
    for (place, (system, median)) in (0_u32..).zip(medians) {
        let top = y + TITLE_HEIGHT + place * BAR_STEP;
        svg.text((x + NAME_WIDTH - 6, top + 11), "name", &label(system));
        let Some(median) = median else {
            continue;
        };
        let width = if largest > 0.0 {
            full * median / largest
        } else {
            0.0
        };
        svg.bar(
            (f64::from(x + NAME_WIDTH), top),
            width.max(1.0),
            colour(system),
        );
        let end = f64::from(x + NAME_WIDTH) + width.max(1.0) + 5.0;
        svg.value((end, top + 11), &measure.unit().show(median));
    }
}

fn legend(svg: &mut Picture, report: &Report<'_>, y: u32) {
    let entries = [
        (OWN, "confirmed after a sync: Streamkeeper"),
        (SYNCED, "confirmed after a sync: peers"),
        (HATCHED, "confirmed before it"),
    ];
    let mut x = MARGIN;
    for (colour, text) in entries {
        svg.bar((f64::from(x), y), f64::from(BAR_HEIGHT), colour);
        svg.text((x + BAR_HEIGHT + 6, y + 11), "key", text);
        x += 290;
    }
    let right = COLUMNS * PANEL_WIDTH + COLUMNS * MARGIN;
    svg.text((right, y + 11), "better", &report.date);
}

const fn colour(system: System) -> &'static str {
    match system {
        System::Streamkeeper => OWN,
        other if other.syncs() => SYNCED,
        _ => HATCHED,
    }
}

fn label(system: System) -> String {
    match system {
        System::Streamkeeper => String::from("Streamkeeper"),
        System::NatsAlways => String::from("NATS, sync always"),
        System::NatsDefault => String::from("NATS, default"),
        System::RedisAlways => String::from("Redis, fsync always"),
        System::RedisEverysec => String::from("Redis, everysec"),
    }
}

/// The text of the picture so far.
struct Picture(String);

impl Picture {
    fn open(&mut self, width: u32, height: u32) {
        write!(
            self.0,
            r##"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img">
<title>Streamkeeper beside NATS JetStream and Redis Streams</title>
<style>
text {{ font: 12px system-ui, sans-serif; fill: #212529 }}
.title {{ font-weight: 600 }}
.better {{ fill: #868e96; text-anchor: end }}
.name {{ text-anchor: end }}
</style>
<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
<rect width="6" height="6" fill="#f1f3f5"/><rect width="3" height="6" fill="#ced4da"/></pattern></defs>
<rect width="{width}" height="{height}" fill="#ffffff"/>
"##
        )
        .expect("a String takes all");
    }

    fn text(&mut self, (x, y): (u32, u32), class: &str, text: &str) {
        let text = escaped(text);
        writeln!(
            self.0,
            r#"<text x="{x}" y="{y}" class="{class}">{text}</text>"#
        )
        .expect("a String takes all");
    }

    fn value(&mut self, (x, y): (f64, u32), text: &str) {
        let text = escaped(text);
        writeln!(self.0, r#"<text x="{x:.1}" y="{y}">{text}</text>"#).expect("a String takes all");
    }

    fn bar(&mut self, (x, y): (f64, u32), width: f64, colour: &str) {
        writeln!(
            self.0,
            r#"<rect x="{x:.1}" y="{y}" width="{width:.1}" height="{BAR_HEIGHT}" fill="{colour}"/>"#
        )
        .expect("a String takes all");
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Results;
    use crate::parts::Parts;
    use crate::plan::Options;
    use clap::Parser as _;

    fn picture(results: &Results) -> String {
        let plan = Options::parse_from(["peers"]).plan();
        let parts = Parts::default();
        let report = Report {
            plan: &plan,
            parts: &parts,
            results,
            date: String::from("2026-01-31"),
            machine: String::new(),
        };
        plot(&report)
    }

    #[test]
    fn a_bar_is_as_long_as_its_share_of_the_longest() {
        let mut results = Results::default();
        results.add(Measure::CatchUp, System::Streamkeeper, 1000.0);
        results.add(Measure::CatchUp, System::RedisAlways, 250.0);
        let svg = picture(&results);
        let full = f64::from(PANEL_WIDTH - NAME_WIDTH - VALUE_WIDTH);
        assert!(
            svg.contains(&format!(r#"width="{full:.1}" height="14" fill="{OWN}""#)),
            "{svg}"
        );
        let quarter = full / 4.0;
        assert!(
            svg.contains(&format!(
                r#"width="{quarter:.1}" height="14" fill="{SYNCED}""#
            )),
            "{svg}"
        );
    }

    #[test]
    fn what_was_not_measured_has_no_panel() {
        let mut results = Results::default();
        results.add(Measure::CatchUp, System::Streamkeeper, 1000.0);
        let svg = picture(&results);
        assert!(svg.contains("catch-up read"));
        assert!(!svg.contains("server memory"));
    }
}
