//! How much of everything a run does, and the options it is told by.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::load::Extent;
use crate::system::{Product, System};

/// The same workloads against Streamkeeper, NATS and Redis Streams, in turn, in one run.
#[derive(Clone, Debug, Parser)]
#[command(name = "peers")]
pub(crate) struct Options {
    /// Rounds; each runs every workload against every server, and a cell of the table is the median
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// Records of each append workload
    #[arg(long, default_value_t = 2_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    records: u64,

    /// ... but no longer than this, in seconds
    #[arg(long, default_value_t = 6.0)]
    seconds: f64,

    /// Subscribers of one stream
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    subscribers: u64,

    /// Appends a second that they follow
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    rate: u64,

    /// Payload of the stream that is read from its beginning
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..))]
    catch_up_mib: u64,

    /// Streams that are made with a record each
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    streams: u32,

    /// One short round: shows that everything works, its figures mean little
    #[arg(long)]
    quick: bool,

    /// Only these, comma-separated
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Product>,

    /// Where the data goes: a directory on a disk [default: beside this crate]
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,

    /// A broker to use, instead of building the one of this repository
    #[arg(long)]
    pub(crate) streamkeeper: Option<PathBuf>,

    /// Where table (peers.md), figures (peers.json) and plot (peers.svg) go [default: results/ beside this crate]
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,

    /// Put the table into the README and the plot into docs/
    #[arg(long, conflicts_with_all = ["quick", "only"])]
    pub(crate) write_readme: bool,
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) rounds: u32,
    pub(crate) systems: Vec<System>,
    /// Of an append workload.
    pub(crate) appends: Extent,
    /// Of the serial one.
    pub(crate) serial: Extent,
    pub(crate) subscribers: u64,
    /// Appends a second, and how many.
    pub(crate) rate: u64,
    pub(crate) followed: u64,
    pub(crate) catch_up_records: u64,
    pub(crate) many_streams: u32,
}

impl Options {
    /// What these options come to.
    pub(crate) fn plan(&self) -> Plan {
        let all = System::ALL.into_iter();
        let wanted =
            |system: &System| self.only.is_empty() || self.only.contains(&system.product());
        let seconds = if self.quick {
            1.0
        } else {
            self.seconds.clamp(0.1, 3600.0)
        };
        let time = Duration::from_secs_f64(seconds);
        let least = |of: u64, quick: u64| if self.quick { of.min(quick) } else { of };
        Plan {
            rounds: if self.quick { 1 } else { self.rounds },
            systems: all.filter(wanted).collect(),
            appends: Extent {
                records: least(self.records, 200_000),
                time,
            },
            serial: Extent {
                records: least(4_000, 1_000),
                time,
            },
            subscribers: self.subscribers,
            rate: self.rate,
            followed: least(5, 1) * self.rate,
            catch_up_records: least(self.catch_up_mib, 32) << 12,
            many_streams: if self.quick {
                self.streams.min(1_000)
            } else {
                self.streams
            },
        }
    }
}

impl Plan {
    /// The products among the systems.
    pub(crate) fn products(&self) -> Vec<Product> {
        self.systems.iter().map(|system| system.product()).collect()
    }

    /// The order of one round: it is turned by one each time, so that nobody always follows the same one.
    pub(crate) fn order(&self, round: u32) -> Vec<System> {
        let mut order = self.systems.clone();
        let turn = (round as usize).checked_rem(order.len()).unwrap_or(0);
        order.rotate_left(turn);
        order
    }
}
