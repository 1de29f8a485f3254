//! What a run leaves behind: the table on standard output and in files, the samples as JSON, a plot, and, if asked for,
//! the README's section and `docs/peers.svg`.

mod json;
mod markdown;
mod readme;
mod svg;

use std::io::Write as _;
use std::path::Path;

use crate::disk;
use crate::error::Error;
use crate::measure::Results;
use crate::parts::Parts;
use crate::plan::{Options, Plan};
use crate::system::{Product, System};

const HERE: &str = env!("CARGO_MANIFEST_DIR");

/// A finished run.
pub(crate) struct Report<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) parts: &'a Parts,
    pub(crate) results: &'a Results,
    /// The day, as in 2026-01-31.
    pub(crate) date: String,
    /// Cores, processor and file system.
    pub(crate) machine: String,
}

impl<'a> Report<'a> {
    /// A run that ended now, with its data under `data`.
    pub(crate) fn new(plan: &'a Plan, parts: &'a Parts, results: &'a Results, data: &Path) -> Self {
        Self {
            plan,
            parts,
            results,
            date: today(),
            machine: machine(data),
        }
    }

    /// The table as markdown.
    pub(crate) fn table(&self) -> String {
        markdown::table(self)
    }

    /// Writes all of it.
    pub(crate) fn write(&self, options: &Options) -> Result<(), Error> {
        let table = self.table();
        let plot = svg::plot(self);
        let mut out = std::io::stdout().lock();
        let said = out.write_all(table.as_bytes()).and_then(|()| out.flush());
        said.map_err(Error::io("printing the table"))?;

        let results = Path::new(HERE).join("results");
        let directory = options.out.as_deref().unwrap_or(&results);
        std::fs::create_dir_all(directory)
            .map_err(Error::io("making the directory of the results"))?;
        write(&directory.join("peers.md"), &table)?;
        write(&directory.join("peers.svg"), &plot)?;
        write(&directory.join("peers.json"), &json::figures(self))?;
        if options.write_readme {
            let root = Path::new(HERE).join("../..");
            let block = format!("{table}\n![The main rows as bars](docs/peers.svg)\n");
            readme::replace_block(&root.join("README.md"), &block)?;
            write(&root.join("docs/peers.svg"), &plot)?;
        }
        Ok(())
    }

    /// A system with its release and mode.
    fn name(&self, system: System) -> String {
        let product = match system.product() {
            Product::Streamkeeper => "Streamkeeper",
            Product::Nats => "NATS",
            Product::Redis => "Redis",
        };
        let release = self.parts.version(product);
        match system.product() {
            Product::Streamkeeper => product.to_owned(),
            Product::Nats => format!("NATS JetStream {release}"),
            Product::Redis => format!("Redis Streams {release}"),
        }
    }
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    std::fs::write(path, text).map_err(Error::io("writing the results"))
}

#[expect(
    clippy::disallowed_methods,
    reason = "a report bears the day on which it was made"
)]
fn today() -> String {
    let now = humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string();
    now.split('T').next().unwrap_or_default().to_owned()
}

fn machine(data: &Path) -> String {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let about = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = about
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("unknown processor", |rest| {
        rest.trim_start_matches([' ', '\t', ':'])
    });
    let kind = disk::file_system(data).unwrap_or_else(|| String::from("unknown file system"));
    format!("{cores} cores ({model}), {kind}")
}
