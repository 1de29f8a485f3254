//! Cases of JSON mode: what an append becomes, what is refused, and that a read is a JSON array.

use serde_json::{Value, json};

use super::Failure;
use super::Subject;
use super::fixture::{Expect as _, Fixture, Ran, ensure, from, same};
use crate::storage::{ReadLimits, Storage as _};
use crate::types::{AppendOptions, Refusal, Start, Str};

async fn given_json<S: Subject>(f: &Fixture<'_, S>) -> Ran {
    f.given_with(|o| o.content_type = Str::from("application/json"))
        .await
}

/// The joined read from `start` is the JSON array `expected`, in as many pages as it takes.
async fn reads_as<S: Subject>(f: &Fixture<'_, S>, start: Start, expected: &[Value]) -> Ran {
    let what = format!("the joined read from {start:?}");
    let mut start = start;
    let mut found = Vec::new();
    loop {
        let data = f
            .storage
            .read(&f.stream, start, ReadLimits::default())
            .await;
        let data = data.accepted(&what)?;
        let page: Vec<Value> = serde_json::from_slice(&data.bytes).map_err(|error| {
            let bytes = format!("{error} in {:?}", data.bytes);
            Failure::new(&*what, "a JSON array", bytes)
        })?;
        found.extend(page);
        if !data.has_more {
            return same(&what, &found.as_slice(), &expected);
        }
        start = Start::At(data.next.offset);
    }
}

pub(super) async fn an_array_is_flattened_one_level<S: Subject>(f: Fixture<'_, S>) -> Ran {
    given_json(&f).await?;
    let appended = f
        .append(&[r#" [ {"a": 1} , [2, [3]], "x" , null ] "#])
        .await?;
    same(
        "the tail after an array of four",
        &appended.tail.offset.0,
        &4,
    )?;
    f.holds(&[r#"{"a": 1}"#, "[2, [3]]", r#""x""#, "null"])
        .await
}

pub(super) async fn any_other_value_is_one_record<S: Subject>(f: Fixture<'_, S>) -> Ran {
    given_json(&f).await?;
    f.append_each(&[r#"{"a": [1, 2]}"#, " 7 ", r#""text""#, "true"])
        .await?;
    f.holds(&[r#"{"a": [1, 2]}"#, "7", r#""text""#, "true"])
        .await
}

pub(super) async fn each_record_of_a_batch_is_flattened<S: Subject>(f: Fixture<'_, S>) -> Ran {
    given_json(&f).await?;
    let appended = f.append(&["[1,2]", "3", "[[4],5]"]).await?;
    same("the tail", &appended.tail.offset.0, &5)?;
    f.holds(&["1", "2", "3", "[4]", "5"]).await
}

pub(super) async fn a_json_stream_reads_as_an_array<S: Subject>(f: Fixture<'_, S>) -> Ran {
    given_json(&f).await?;
    reads_as(&f, Start::Beginning, &[]).await?;
    f.append(&[r#"[{"a": 1}, [2]]"#]).await?;
    f.append(&["3"]).await?;
    reads_as(
        &f,
        Start::Beginning,
        &[json!({"a": 1}), json!([2]), json!(3)],
    )
    .await?;
    reads_as(&f, from(1), &[json!([2]), json!(3)]).await?;
    reads_as(&f, from(2), &[json!(3)]).await?;
    reads_as(&f, Start::Now, &[]).await
}

pub(super) async fn every_page_of_a_json_stream_is_an_array<S: Subject>(f: Fixture<'_, S>) -> Ran {
    given_json(&f).await?;
    f.append(&["[0, 1, 2, 3, 4]"]).await?;
    let limits = ReadLimits {
        max_records: 2,
        ..ReadLimits::default()
    };
    let mut next = 0;
    while next < 5 {
        let data = f
            .storage
            .read(&f.stream, from(next), limits)
            .await
            .accepted("a page")?;
        let count = data.next.offset.0.saturating_sub(next);
        ensure(
            "a page of at most two records",
            "one or two",
            (1..=2).contains(&count),
        )?;
        let expected: Vec<u64> = (next..data.next.offset.0).collect();
        let found = serde_json::from_slice(&data.bytes).ok();
        same(&format!("the page from {next}"), &found, &Some(expected))?;
        next = data.next.offset.0;
        same("has_more", &data.has_more, &(next < 5))?;
    }
    Ok(())
}

pub(super) async fn invalid_json_is_refused_whole<S: Subject>(f: Fixture<'_, S>) -> Ran {
    given_json(&f).await?;
    f.append(&["0"]).await?;
    let before = f.metadata().await?;
    for invalid in [
        "{",
        "",
        "nope",
        "[1, 2",
        "1 2",
        "{'a': 1}",
        "[1,]",
        "\u{feff}1",
    ] {
        let answer = f
            .try_append(&["1", "[2, 3]", invalid], AppendOptions::default())
            .await;
        let refusal = Refusal::InvalidJson { index: 2 };
        answer.refused(&refusal, &format!("a batch whose record 2 is {invalid:?}"))?;
    }
    let not_text = crate::types::RecordBlock::from_payloads([b"\"\xff\""]);
    let answer = f
        .storage
        .append(&f.stream, not_text, AppendOptions::default())
        .await;
    answer.refused(
        &Refusal::InvalidJson { index: 0 },
        "a record that is not UTF-8",
    )?;
    same("the metadata", &f.metadata().await?, &before)?;
    f.holds(&["0"]).await
}

pub(super) async fn an_empty_array_is_refused<S: Subject>(f: Fixture<'_, S>) -> Ran {
    given_json(&f).await?;
    for empty in ["[]", " [ ] "] {
        let answer = f.try_append(&[empty], AppendOptions::default()).await;
        answer.refused(&Refusal::EmptyBatch, &format!("an append of {empty:?}"))?;
    }
    f.append(&["[[]]"]).await?;
    f.holds(&["[]"]).await
}

pub(super) async fn json_mode_looks_at_the_media_type_alone<S: Subject>(f: Fixture<'_, S>) -> Ran {
    for content_type in ["Application/JSON", "application/json; charset=utf-8"] {
        f.given_with(|o| o.content_type = Str::from(content_type))
            .await?;
        f.append(&["[1, 2]"]).await?;
        f.holds(&["1", "2"]).await?;
        f.delete().await?;
    }
    Ok(())
}

pub(super) async fn other_content_types_take_any_bytes<S: Subject>(f: Fixture<'_, S>) -> Ran {
    f.given_with(|o| o.content_type = Str::from("application/jsonl"))
        .await?;
    f.append(&["[1, 2]", "{", "[]"]).await?;
    f.holds(&["[1, 2]", "{", "[]"]).await?;
    let joined = f.data(Start::Beginning).await?;
    ensure(
        "the joined read",
        "the bytes as they are",
        joined.bytes == "[1, 2]{[]",
    )
}
