//! The goals, row by row: what is run, which numbers of its report are compared, and with what.

use super::Unit;

/// How much a row does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    /// Enough for figures that mean something.
    Full,
    /// Enough to show that it works.
    Small,
}

/// One command, and what is wanted of it.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) name: &'static str,
    /// Arguments of `streamkeeper bench`, the same for each size; [`HALF_OF_PEAK`] is replaced.
    command: &'static str,
    full: &'static str,
    small: &'static str,
    pub(super) figures: &'static [Figure],
}

/// A number of a report and its goal.
#[derive(Debug)]
pub(super) struct Figure {
    pub(super) name: &'static str,
    /// Where it stands in the report, as a JSON pointer.
    pub(super) at: &'static str,
    pub(super) unit: Unit,
    pub(super) bound: Bound,
}

/// What a number is to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Bound {
    AtMost(f64),
    AtLeast(f64),
    /// At least this share of the first figure of another row.
    ShareOf(f64, &'static str),
}

impl Bound {
    /// The number to compare with, where `of` gives the first figure of a row.
    pub(super) fn limit(self, of: impl Fn(&str) -> Option<f64>) -> Option<f64> {
        match self {
            Self::AtMost(limit) | Self::AtLeast(limit) => Some(limit),
            Self::ShareOf(share, row) => of(row).map(|figure| figure * share),
        }
    }

    pub(super) fn holds(self, value: f64, limit: f64) -> bool {
        match self {
            Self::AtMost(_) => value <= limit,
            Self::AtLeast(_) | Self::ShareOf(..) => value >= limit,
        }
    }

    pub(super) fn sense(self) -> &'static str {
        match self {
            Self::AtMost(_) => "at most",
            Self::AtLeast(_) | Self::ShareOf(..) => "at least",
        }
    }
}

impl Row {
    /// The arguments of its command; `peak` is the first figure of [`PEAK`].
    pub(super) fn arguments(&self, size: Size, peak: Option<f64>) -> Vec<String> {
        let rate = format!("{:.0}", peak.unwrap_or(PEAK_ASSUMED) / 2.0);
        let of_size = match size {
            Size::Full => self.full,
            Size::Small => self.small,
        };
        let words = self.command.split(' ').chain(of_size.split(' '));
        let words = words.filter(|word| !word.is_empty());
        words
            .map(|word| word.replace(HALF_OF_PEAK, &rate))
            .collect()
    }
}

/// Stands in a command for half the rate that [`PEAK`] came to.
const HALF_OF_PEAK: &str = "HALF";

/// The row that says what peak load is.
pub(super) const PEAK: &str = "4 x 1024, 4 streams";

/// Peak load if that row is left out: its goal.
const PEAK_ASSUMED: f64 = 550_000.0;

const RATE: &str = "/phases/0/per_second";
const P50: &str = "/phases/0/latency_seconds/p50";
const P99: &str = "/phases/0/latency_seconds/p99";
const P999: &str = "/phases/0/latency_seconds/p99.9";

const fn at_least(name: &'static str, at: &'static str, rate: f64) -> Figure {
    Figure {
        name,
        at,
        unit: Unit::PerSecond,
        bound: Bound::AtLeast(rate),
    }
}

const fn within(name: &'static str, at: &'static str, seconds: f64) -> Figure {
    Figure {
        name,
        at,
        unit: Unit::Seconds,
        bound: Bound::AtMost(seconds),
    }
}

const fn bytes(name: &'static str, at: &'static str, most: f64) -> Figure {
    Figure {
        name,
        at,
        unit: Unit::Bytes,
        bound: Bound::AtMost(most),
    }
}

const fn ratio(name: &'static str, at: &'static str, most: f64) -> Figure {
    Figure {
        name,
        at,
        unit: Unit::Ratio,
        bound: Bound::AtMost(most),
    }
}

const fn none_missing(at: &'static str) -> Figure {
    Figure {
        name: "missing",
        at,
        unit: Unit::Count,
        bound: Bound::AtMost(0.0),
    }
}

/// The goals are for 10 GiB, which takes minutes to write and is left to a person: `start --fill 10GiB`, and over many streams `--streams 100000`.
const AFTER_A_KILL: &[Figure] = &[
    within("ready", "/facts/ready_after_kill", 1.0),
    Figure {
        name: "speed of writes, after over before",
        at: "/facts/write_speed_kept",
        unit: Unit::Ratio,
        bound: Bound::AtLeast(0.9),
    },
];

const MIB: f64 = 1024.0 * 1024.0;

/// In the order in which they run: a row comes after those it is compared with.
pub(super) const ROWS: &[Row] = &[
    Row {
        name: "start",
        command: "start",
        full: "--rounds 11",
        small: "--settle 10ms",
        figures: &[
            within("ready on an empty store", "/facts/ready", 0.015),
            bytes("memory when idle", "/facts/idle_rss_bytes", 8.0 * MIB),
        ],
    },
    Row {
        name: "serial",
        command: "serial",
        full: "--rounds 3",
        small: "--count 60",
        figures: &[ratio(
            "append p50 over raw write and round trip",
            "/facts/append_to_raw_ratio",
            1.15,
        )],
    },
    Row {
        name: "1 x 1024, 1 stream",
        command: "append --connections 1 --streams 1",
        full: "--rounds 3",
        small: "--count 2000",
        figures: &[at_least("records", RATE, 500_000.0)],
    },
    Row {
        name: PEAK,
        command: "append --streams 4",
        full: "--rounds 3",
        small: "--count 4000",
        figures: &[at_least("records", RATE, PEAK_ASSUMED)],
    },
    Row {
        name: "4 x 1024, 1,000 streams",
        command: "append --streams 1000",
        full: "--rounds 3",
        small: "--count 4000",
        figures: &[
            at_least("records", RATE, 450_000.0),
            Figure {
                name: "records, within 25 % of 4 streams",
                at: RATE,
                unit: Unit::PerSecond,
                bound: Bound::ShareOf(0.75, PEAK),
            },
        ],
    },
    Row {
        name: "producer, 4 streams",
        command: "append --producer --streams 4",
        full: "--rounds 3",
        small: "--count 4000",
        figures: &[at_least("records", RATE, 1_000_000.0)],
    },
    Row {
        name: "producer, 1,000 streams",
        command: "append --producer --streams 1000",
        full: "--rounds 3",
        small: "--count 4000",
        figures: &[at_least("records", RATE, 800_000.0)],
    },
    Row {
        name: "half of peak load",
        command: "append --streams 4 --rate HALF",
        full: "--duration 20s --rounds 3",
        small: "--count 4000",
        figures: &[
            within("confirm p99", P99, 0.005),
            within("confirm p99.9", P999, 0.015),
        ],
    },
    Row {
        name: "delivery to 1,000 subscribers at 200/s",
        command: "deliver --rate 200",
        full: "--subscribers 1000 --duration 20s --rounds 3",
        small: "--subscribers 20 --count 50",
        figures: &[
            within("append to delivery p50", P50, 0.005),
            within("append to delivery p99", P99, 0.020),
            none_missing("/facts/missing"),
        ],
    },
    Row {
        name: "fan-out at full speed to 1,000 subscribers",
        command: "deliver --rate 0",
        full: "--subscribers 1000 --count 20000 --rounds 3",
        small: "--subscribers 20 --count 200",
        figures: &[
            at_least("deliveries", RATE, 1_000_000.0),
            none_missing("/facts/missing"),
        ],
    },
    Row {
        name: "catch-up",
        command: "catch-up",
        full: "--bytes 1GiB --rounds 3",
        small: "--bytes 1MiB",
        figures: &[
            at_least(
                "bytes from the page cache",
                "/phases/1/bytes_per_second",
                1e9,
            ),
            at_least("bytes from disk", "/phases/2/bytes_per_second", 1e9),
        ],
    },
    Row {
        name: "idle connections",
        command: "connections",
        full: "--connections 2000 --rounds 3",
        small: "--connections 20 --settle 10ms",
        figures: &[bytes(
            "memory of an idle connection",
            "/facts/memory_per_connection_bytes",
            12.0 * 1024.0,
        )],
    },
    Row {
        name: "10,000 streams",
        command: "streams",
        full: "--streams 10000 --rounds 5",
        small: "--streams 200",
        figures: &[within(
            "created with a record each",
            "/facts/create_and_append",
            0.3,
        )],
    },
    Row {
        name: "1,000,000 streams",
        command: "start",
        full: "--streams 1000000",
        small: "--streams 500 --touched 20 --settle 10ms",
        figures: &[
            within("ready", "/facts/ready_after_drain", 0.5),
            within("ready after a kill", "/facts/ready_after_kill", 0.5),
            within(
                "first append dearer by",
                "/facts/first_append_dearer",
                0.001,
            ),
        ],
    },
    Row {
        name: "start after a kill, 1 GiB",
        command: "start",
        full: "--fill 1GiB --rounds 3",
        small: "--fill 1MiB --lead 50ms",
        figures: AFTER_A_KILL,
    },
    Row {
        name: "neighbours",
        command: "neighbours",
        full: "--rounds 3",
        small: "--duration 100ms --lead 50ms --connections 9 --subscribers 9 --streams 9",
        figures: &[
            ratio(
                "confirm p99 beside 9,990 idle connections, over alone",
                "/facts/idle_p99_over_alone",
                3.0,
            ),
            ratio(
                "confirm p99 beside 1,000 subscribers that do not read, over alone",
                "/facts/stalled_p99_over_alone",
                3.0,
            ),
            ratio(
                "confirm p99 beside 1 MiB records, over alone",
                "/facts/large_p99_over_alone",
                3.0,
            ),
            ratio(
                "confirm p99 beside 1 MiB records and 1,000 small streams, over alone",
                "/facts/mixed_p99_over_alone",
                3.0,
            ),
            ratio(
                "confirm p99 beside 4 producers, over alone",
                "/facts/producers_p99_over_alone",
                3.0,
            ),
            ratio(
                "confirm p99 beside 4 x 1,024 single records, over alone",
                "/facts/pipelines_p99_over_alone",
                3.0,
            ),
            ratio(
                "confirm p99 beside 10,000/s over 100,000 streams, over alone",
                "/facts/streams_p99_over_alone",
                3.0,
            ),
            ratio(
                "confirm p99 beside 100,000 streams at full speed, over alone",
                "/facts/crowd_p99_over_alone",
                3.0,
            ),
        ],
    },
    Row {
        name: "growth",
        command: "growth",
        full: "--store 10GiB --duration 10s",
        small: "--store 64KiB --most 2 --rate 1000 --duration 100ms --rounds 1",
        figures: &[
            ratio(
                "streams, dearest over cheapest",
                "/dimensions/streams/dearest_over_cheapest",
                1.1,
            ),
            ratio(
                "connections, dearest over cheapest",
                "/dimensions/connections/dearest_over_cheapest",
                1.1,
            ),
            ratio(
                "store, full over empty",
                "/dimensions/store/dearest_over_cheapest",
                1.1,
            ),
        ],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_row_is_compared_with_runs_before_it() {
        for (at, row) in ROWS.iter().enumerate() {
            let earlier = &ROWS[..at];
            let ran = |name: &str| earlier.iter().any(|row| row.name == name);
            for figure in row.figures {
                if let Bound::ShareOf(_, other) = figure.bound {
                    assert!(ran(other), "{}: {other}", row.name);
                }
            }
            assert!(
                !row.command.contains(HALF_OF_PEAK) || ran(PEAK),
                "{}",
                row.name
            );
        }
    }

    #[test]
    fn half_of_the_peak_is_put_into_the_command() {
        let row = ROWS
            .iter()
            .find(|row| row.command.contains(HALF_OF_PEAK))
            .unwrap();
        let arguments = row.arguments(Size::Small, Some(1000.0));
        assert!(arguments.join(" ").contains("--rate 500 "), "{arguments:?}");
    }

    #[test]
    fn a_bound_holds_up_to_its_limit() {
        assert!(Bound::AtMost(2.0).holds(2.0, 2.0) && !Bound::AtMost(2.0).holds(2.1, 2.0));
        assert!(Bound::AtLeast(2.0).holds(2.0, 2.0) && !Bound::AtLeast(2.0).holds(1.9, 2.0));
        assert_eq!(Bound::ShareOf(0.5, "x").limit(|_| Some(8.0)), Some(4.0));
    }
}
