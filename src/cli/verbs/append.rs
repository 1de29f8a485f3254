//! `streamkeeper append`.
//!
//! Two ways. With `--seq` or `--expected-tail` all records are one batch, stored whole or not at all, because the
//! condition is one of the batch. Otherwise they go through the client's idempotent producer: batched, pipelined,
//! each stored once even if the connection is lost on the way.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use streamkeeper_client::{AppendOptions, Client, CreateOptions, ErrorCode};

use super::input::Input;
use crate::cli::failure::{Code, Failure};
use crate::cli::output::Output;
use crate::cli::target::Target;

/// Append records from stdin or files, and wait until they are durable
#[derive(Debug, Args)]
pub(in crate::cli) struct Append {
    /// Name of the stream
    name: String,

    /// Files to read instead of stdin, each a record of its own unless --lines; `-` is stdin
    files: Vec<PathBuf>,

    /// Make each line a record
    #[arg(short, long)]
    lines: bool,

    /// Create the stream if it does not exist
    #[arg(long)]
    create: bool,

    /// Append only if SEQ sorts after the last accepted one; one batch, all or nothing
    #[arg(long, value_name = "SEQ")]
    seq: Option<String>,

    /// Append only if the tail is this offset; one batch, all or nothing
    #[arg(long, value_name = "OFFSET")]
    expected_tail: Option<u64>,

    /// Append as this producer: of its epochs only the highest may append
    #[arg(long, value_name = "ID", requires = "epoch")]
    producer: Option<String>,

    /// Which start of the producer this is; must rise with every run
    #[arg(long, value_name = "N", requires = "producer", conflicts_with_all = ["seq", "expected_tail"])]
    epoch: Option<u64>,

    /// Close the stream afterwards
    #[arg(long)]
    close: bool,

    #[command(flatten)]
    target: Target,
}

/// What was done.
struct Outcome {
    records: u64,
    /// Unknown if nothing was appended, or only as a duplicate.
    tail: Option<u64>,
}

impl Append {
    pub(in crate::cli) async fn run(self) -> Result<(), Failure> {
        let client = self.target.connect().await?;
        let server = client
            .server()
            .await
            .map_err(Failure::during("connecting"))?;
        if self.create {
            self.create(&client).await?;
        }
        let input = Input::new(&self.files, self.lines, server.record_bytes_max);
        let as_one = self.seq.is_some() || self.expected_tail.is_some();
        let Outcome { records, tail } = if as_one {
            self.one_batch(&client, input, server.frame_bytes_max)
                .await?
        } else {
            self.produce(&client, input).await?
        };
        let object = json!({
            "stream": self.name, "records": records, "tail": tail, "closed": self.close,
        });
        let line = match tail {
            Some(tail) => format!("appended {records}, tail {tail}"),
            None => format!("appended {records}"),
        };
        Output::new(self.target.json).answer(&object, line)
    }

    async fn create(&self, client: &Client) -> Result<(), Failure> {
        match client
            .create(self.name.as_str(), CreateOptions::new())
            .await
        {
            Ok(_) => Ok(()),
            // It is there, with a configuration of its own: as good.
            Err(error) if error.code() == Some(ErrorCode::AlreadyExists) => Ok(()),
            Err(error) => Err(Failure::during(format!("creating {}", self.name))(error)),
        }
    }

    async fn one_batch(
        &self,
        client: &Client,
        mut input: Input,
        bytes_max: u32,
    ) -> Result<Outcome, Failure> {
        let mut records: Vec<Vec<u8>> = Vec::new();
        let mut bytes = 0_u64;
        let mut record = Vec::new();
        while input.next(&mut record).await? {
            bytes += record.len() as u64;
            if bytes > u64::from(bytes_max) {
                let message = format!(
                    "with --seq or --expected-tail all records are one batch, and the broker takes no more than \
                     {bytes_max} bytes in one"
                );
                return Err(Failure::Other {
                    message,
                    code: Code::Refused,
                });
            }
            records.push(std::mem::take(&mut record));
        }
        let mut options = AppendOptions::new();
        if let Some(seq) = &self.seq {
            options = options.seq(seq.clone());
        }
        if let Some(tail) = self.expected_tail {
            options = options.expected_tail(tail);
        }
        if self.close {
            options = options.close_after();
        }
        let appended = client
            .append_batch(self.name.as_str(), &records, options)
            .await
            .map_err(self.during())?;
        Ok(Outcome {
            records: records.len() as u64,
            tail: Some(appended.tail),
        })
    }

    async fn produce(&self, client: &Client, mut input: Input) -> Result<Outcome, Failure> {
        let mut producer = client.producer(self.name.as_str());
        if let (Some(id), Some(epoch)) = (&self.producer, self.epoch) {
            producer = producer.id(id.as_str()).epoch(epoch);
        }
        let producer = producer.open().await.map_err(self.during())?;
        let mut records = 0;
        let mut last = None;
        let mut record = Vec::new();
        while input.next(&mut record).await? {
            last = Some(producer.send(&record).await.map_err(self.during())?);
            records += 1;
        }
        producer.close().await.map_err(self.during())?;
        let stored = match last {
            Some(receipt) => Some(receipt.await.map_err(self.during())?),
            None => None,
        };
        let mut tail = stored
            .and_then(|stored| stored.offset)
            .map(|offset| offset + 1);
        if self.close {
            let during = Failure::during(format!("closing {}", self.name));
            tail = Some(
                client
                    .close_stream(self.name.as_str())
                    .await
                    .map_err(during)?,
            );
        }
        Ok(Outcome { records, tail })
    }

    fn during(&self) -> impl FnOnce(streamkeeper_client::Error) -> Failure + use<> {
        Failure::during(format!("appending to {}", self.name))
    }
}
