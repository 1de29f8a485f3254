//! What is measured, in which unit, and what came out: one sample per round and system, told as medians.

use std::collections::BTreeMap;

use crate::raw::Raw;
use crate::system::System;

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Measure {
    Serial,
    OneStream,
    FourStreams,
    ThousandStreams,
    ProducerFour,
    ProducerThousand,
    DeliveryP50,
    DeliveryP99,
    CatchUp,
    RecordsStored,
    RssAfter,
    RssPeak,
    RssDelivering,
    RssIdle,
    Ready,
    ManyStreams,
}

/// The unit of a measure, which says how a figure is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    PerSecond,
    Milliseconds,
    Seconds,
    MegabytesPerSecond,
    Mebibytes,
    Records,
}

impl Measure {
    pub(crate) const ALL: [Self; 16] = [
        Self::Serial,
        Self::OneStream,
        Self::FourStreams,
        Self::ThousandStreams,
        Self::ProducerFour,
        Self::ProducerThousand,
        Self::DeliveryP50,
        Self::DeliveryP99,
        Self::CatchUp,
        Self::RecordsStored,
        Self::RssAfter,
        Self::RssPeak,
        Self::RssDelivering,
        Self::RssIdle,
        Self::Ready,
        Self::ManyStreams,
    ];

    /// Names it in files.
    pub(crate) const fn key(self) -> &'static str {
        match self {
            Self::Serial => "serial_append_p50_ms",
            Self::OneStream => "append_1_connection_1_stream_per_second",
            Self::FourStreams => "append_4_connections_4_streams_per_second",
            Self::ThousandStreams => "append_4_connections_1000_streams_per_second",
            Self::ProducerFour => "producer_4_streams_per_second",
            Self::ProducerThousand => "producer_1000_streams_per_second",
            Self::DeliveryP50 => "delivery_p50_ms",
            Self::DeliveryP99 => "delivery_p99_ms",
            Self::CatchUp => "catch_up_mb_per_second",
            Self::RecordsStored => "records_stored_by_the_appends",
            Self::RssAfter => "rss_after_the_appends_mib",
            Self::RssPeak => "rss_peak_of_the_appends_mib",
            Self::RssDelivering => "rss_peak_delivering_mib",
            Self::RssIdle => "rss_idle_mib",
            Self::Ready => "ready_ms",
            Self::ManyStreams => "create_streams_with_a_record_seconds",
        }
    }

    pub(crate) const fn unit(self) -> Unit {
        match self {
            Self::OneStream
            | Self::FourStreams
            | Self::ThousandStreams
            | Self::ProducerFour
            | Self::ProducerThousand => Unit::PerSecond,
            Self::Serial | Self::DeliveryP50 | Self::DeliveryP99 | Self::Ready => {
                Unit::Milliseconds
            }
            Self::CatchUp => Unit::MegabytesPerSecond,
            Self::RecordsStored => Unit::Records,
            Self::RssAfter | Self::RssPeak | Self::RssDelivering | Self::RssIdle => Unit::Mebibytes,
            Self::ManyStreams => Unit::Seconds,
        }
    }

    /// Whether less is better; nothing is, of what is only told to read the rest by.
    pub(crate) const fn less_is_better(self) -> bool {
        !matches!(self.unit(), Unit::PerSecond | Unit::MegabytesPerSecond)
    }

    /// Whether two systems can be compared by it.
    pub(crate) const fn has_ratio(self) -> bool {
        !matches!(self.unit(), Unit::Records)
    }
}

impl Unit {
    /// A figure with its unit, as short as it can be told apart.
    pub(crate) fn show(self, value: f64) -> String {
        match self {
            Self::PerSecond if value >= 1e6 => format!("{:.2} M/s", value / 1e6),
            Self::PerSecond if value >= 1e5 => format!("{:.0} k/s", value / 1e3),
            Self::PerSecond => format!("{:.1} k/s", value / 1e3),
            Self::Milliseconds => format!("{} ms", digits(value)),
            Self::Seconds => format!("{} s", digits(value)),
            Self::MegabytesPerSecond => format!("{value:.0} MB/s"),
            Self::Mebibytes => format!("{} MiB", digits(value)),
            Self::Records if value >= 1e6 => format!("{:.1} M", value / 1e6),
            Self::Records => format!("{:.0} k", value / 1e3),
        }
    }
}

/// Two or three digits.
fn digits(value: f64) -> String {
    match value {
        ..9.95 => format!("{value:.2}"),
        9.95..99.5 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// The samples of all rounds.
#[derive(Debug, Default)]
pub(crate) struct Results {
    samples: BTreeMap<(Measure, System), Vec<f64>>,
    raw: Vec<Raw>,
}

impl Results {
    pub(crate) fn add(&mut self, measure: Measure, system: System, sample: f64) {
        self.samples
            .entry((measure, system))
            .or_default()
            .push(sample);
    }

    pub(crate) fn add_raw(&mut self, raw: Raw) {
        self.raw.push(raw);
    }

    /// What the machine itself needs, one sample per round.
    pub(crate) fn raw(&self) -> &[Raw] {
        &self.raw
    }

    pub(crate) fn samples(&self, measure: Measure, system: System) -> &[f64] {
        self.samples
            .get(&(measure, system))
            .map_or(&[], Vec::as_slice)
    }

    /// See [`median`].
    pub(crate) fn median(&self, measure: Measure, system: System) -> Option<f64> {
        median(self.samples(measure, system))
    }

    /// Streamkeeper's median divided by that of `peer`.
    pub(crate) fn ratio(&self, measure: Measure, peer: System) -> Option<f64> {
        if peer == System::Streamkeeper || !measure.has_ratio() {
            return None;
        }
        let own = self.median(measure, System::Streamkeeper)?;
        let other = self.median(measure, peer)?;
        (other > 0.0).then(|| own / other)
    }
}

/// The middle one, or the mean of the two in the middle; of nothing there is none.
pub(crate) fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = *sorted.get(sorted.len().checked_sub(1)? / 2)?;
    Some(f64::midpoint(lower, upper))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_of_the_rounds_and_the_ratio_is_of_medians() {
        let mut results = Results::default();
        for sample in [30.0, 10.0, 20.0] {
            results.add(Measure::CatchUp, System::Streamkeeper, sample);
        }
        for sample in [4.0, 6.0] {
            results.add(Measure::CatchUp, System::RedisAlways, sample);
        }
        assert_eq!(
            results.median(Measure::CatchUp, System::Streamkeeper),
            Some(20.0)
        );
        assert_eq!(
            results.median(Measure::CatchUp, System::RedisAlways),
            Some(5.0)
        );
        assert_eq!(
            results.ratio(Measure::CatchUp, System::RedisAlways),
            Some(4.0)
        );
        assert_eq!(results.median(Measure::CatchUp, System::NatsAlways), None);
        assert_eq!(results.ratio(Measure::CatchUp, System::NatsAlways), None);
    }

    #[test]
    fn figures_are_shown_with_a_fitting_unit() {
        assert_eq!(Unit::PerSecond.show(1_234_567.0), "1.23 M/s");
        assert_eq!(Unit::PerSecond.show(4_480.0), "4.5 k/s");
        assert_eq!(Unit::Milliseconds.show(0.25), "0.25 ms");
        assert_eq!(Unit::Mebibytes.show(1478.4), "1478 MiB");
    }
}
