//! What a broker has, and whether that is allowed.

use std::time::{Duration, Instant};

use bytes::Bytes;
use streamkeeper::broker::Broker;
use streamkeeper::storage::{ReadLimits, Storage};
use streamkeeper::types::{Error, Metadata, Refusal, Start, StreamName};

use crate::model::{self, Allowed, Mirror, Name, World};

/// What is said of a stream that begins elsewhere, or is trimmed while it is read.
const TRIMS: [&str; 2] = ["its earliest is", "the offset is trimmed"];

/// The streams of the load.
pub const NAMES: [Name; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

/// A stream as it is read.
#[derive(Debug)]
pub enum Found {
    Absent,
    Gone,
    There(Box<Metadata>, Vec<Bytes>),
}

pub fn name(text: &str) -> StreamName {
    StreamName::new(text).expect("a valid name")
}

/// Reads a stream from its beginning.
pub async fn find(broker: &Broker, stream: Name) -> Result<Found, Error> {
    let stream = name(stream);
    let metadata = match broker.get_metadata(&stream).await {
        Ok(metadata) => metadata,
        Err(Error::Refused(Refusal::NotFound)) => return Ok(Found::Absent),
        Err(Error::Refused(Refusal::Gone)) => return Ok(Found::Gone),
        Err(error) => return Err(error),
    };
    let mut records: Vec<Bytes> = Vec::new();
    let mut from = Start::Beginning;
    loop {
        let limits = ReadLimits {
            max_bytes: 64 << 10,
            ..ReadLimits::default()
        };
        let read = broker.read_messages(&stream, from, limits).await?;
        for (offset, message) in
            (read.next.offset.0 - read.messages.len() as u64..).zip(&read.messages)
        {
            assert_eq!(message.position.offset.0, offset, "offsets have a gap");
        }
        records.extend(read.messages.into_iter().map(|message| message.payload));
        if !read.has_more {
            return Ok(Found::There(Box::new(metadata), records));
        }
        from = Start::At(read.next.offset);
    }
}

/// Why `found` is not what `mirror` says, if it is not.
fn difference(mirror: Option<&Mirror>, found: &Found) -> Result<(), String> {
    let (mirror, metadata, records) = match (mirror, found) {
        (None, Found::Absent) => return Ok(()),
        (Some(mirror), Found::Gone) if mirror.gone => return Ok(()),
        (Some(mirror), Found::There(metadata, records)) if !mirror.gone => {
            (mirror, metadata, records)
        }
        (None, _) => return Err("there should be no such stream".to_owned()),
        (Some(mirror), _) if mirror.gone => return Err("it should be gone".to_owned()),
        (Some(mirror), _) => {
            let count = mirror.records.len();
            return Err(format!("it should be there, with {count} records"));
        }
    };
    let same = |what: &str, equal: bool, is: &dyn std::fmt::Debug, should: &dyn std::fmt::Debug| {
        if equal {
            return Ok(());
        }
        Err(format!("its {what} is {is:?} and should be {should:?}"))
    };
    let tail = mirror.tail();
    same("tail", metadata.tail == tail, &metadata.tail, &tail)?;
    same(
        "closed",
        metadata.closed == mirror.closed,
        &metadata.closed,
        &mirror.closed,
    )?;
    let (seq, last_seq) = (&metadata.last_seq, &mirror.last_seq);
    same("seq", seq == last_seq, seq, last_seq)?;
    let (options, should) = (&metadata.options, &mirror.options);
    same("options", options == should, options, should)?;
    let (at, created_at) = (metadata.created_at, mirror.created_at);
    same("time of creation", at == created_at, &at, &created_at)?;
    let earliest = usize::try_from(metadata.earliest.offset.0).expect("a small number");
    let trimmed = mirror.earliest..=mirror.earliest.max(mirror.aged);
    same("earliest", trimmed.contains(&earliest), &earliest, &trimmed)?;
    let begins = mirror.records.len().checked_sub(records.len());
    // Between the two reads, age may trim.
    let should = begins.and_then(|begins| mirror.records.get(begins..));
    let whole = should == Some(&records[..]) && begins.is_some_and(|begins| begins >= earliest);
    let exact = trimmed.start() < trimmed.end() || begins == Some(earliest);
    let (is, should) = (records.len(), mirror.records.len() - earliest);
    if whole && exact {
        return Ok(());
    }
    Err(format!(
        "its {is} records are not the {should} it should have"
    ))
}

/// Reads everything and says which of the allowed worlds it is.
pub async fn judge(broker: &Broker, allowed: &Allowed) -> Result<World, String> {
    settled(async || compare(broker, allowed).await).await
}

/// What `look` says at last: a trim that was not written down yet may take the timers a moment.
async fn settled<T>(look: impl AsyncFn() -> Result<T, String>) -> Result<T, String> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match look().await {
            Err(reason)
                if TRIMS.iter().any(|trim| reason.contains(trim)) && Instant::now() < deadline =>
            {
                tokio::time::sleep(Duration::from_micros(200)).await;
            }
            other => return other,
        }
    }
}

async fn compare(broker: &Broker, allowed: &Allowed) -> Result<World, String> {
    let mut found = Vec::new();
    for stream in NAMES {
        let read = find(broker, stream).await;
        found.push((
            stream,
            read.map_err(|error| format!("{stream} cannot be read: {error}"))?,
        ));
    }
    let mut reason = String::new();
    if !allowed.by_stream {
        for world in &allowed.choices {
            let different = found.iter().find_map(|(stream, found)| {
                let different = difference(world.get(stream), found).err()?;
                Some(format!("{stream}: {different}; "))
            });
            match different {
                None => return Ok(world.clone()),
                Some(different) => reason.push_str(&different),
            }
        }
        return Err(reason);
    }
    let mut resolved = World::new();
    for (stream, found) in &found {
        model::put(&mut resolved, stream, fitting(stream, allowed, found)?);
    }
    Ok(resolved)
}

/// Which of the allowed mirrors of a stream it is.
fn fitting<'a>(
    stream: Name,
    allowed: &'a Allowed,
    found: &Found,
) -> Result<Option<&'a Mirror>, String> {
    let mut reason = String::new();
    let fit = allowed
        .of(stream)
        .find(|mirror| match difference(*mirror, found) {
            Ok(()) => true,
            Err(different) => {
                if !reason.contains(&different) {
                    reason.push_str(&different);
                    reason.push_str("; or ");
                }
                false
            }
        });
    fit.ok_or_else(|| format!("{stream}: {reason}"))
}

/// What a damaged store does not give back.
#[derive(Debug, Default)]
pub struct Lost {
    /// Streams of which it says that they cannot be read.
    pub told: u64,
    /// Streams that it takes for absent.
    pub absent: u64,
}

/// As [`judge`], stream by stream: each is as allowed, or cannot be read, or is absent.
pub async fn judge_damaged(broker: &Broker, allowed: &Allowed) -> Result<Lost, String> {
    settled(async || {
        let mut lost = Lost::default();
        for stream in NAMES {
            match find(broker, stream).await {
                Err(_) => lost.told += 1,
                Ok(found) => match fitting(stream, allowed, &found) {
                    Ok(_) => {}
                    Err(_) if matches!(found, Found::Absent) => lost.absent += 1,
                    Err(reason) => return Err(reason),
                },
            }
        }
        Ok(lost)
    })
    .await
}
