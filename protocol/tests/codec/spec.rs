//! SPEC.md against the code: its tables and its example, in both directions.
//!
//! A table is found by its header, so a renamed column fails here too.

use std::fs;
use std::path::Path;

use serde_json::Value;
use streamkeeper_protocol::ErrorCode;
use streamkeeper_protocol::command::{CommandKind, Read, Start, Storage};
use streamkeeper_protocol::event::{EndReason, EventKind};
use streamkeeper_protocol::fields::{
    AppendField, ConnectField, CreateField, EndField, ErrField, Field, InfoField, StatusField,
};
use streamkeeper_protocol::frame::{HEADER_BYTES, LENGTH_BYTES};
use streamkeeper_protocol::{Command, RecordBlock, flags, limits};

use crate::meaning::{Meaning, hex, unhex};
use crate::{encoded_command, vectors};

fn spec() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("SPEC.md")).unwrap()
}

fn cells(line: &str) -> Vec<String> {
    line.trim_matches('|')
        .split('|')
        .map(|cell| cell.trim().to_owned())
        .collect()
}

/// The rows below every header that has exactly these columns.
fn rows(columns: &[&str]) -> Vec<Vec<String>> {
    let spec = spec();
    let mut lines = spec.lines().peekable();
    let mut rows = Vec::new();
    while let Some(line) = lines.next() {
        if !line.starts_with('|') || cells(line) != columns {
            continue;
        }
        assert!(
            lines.next().is_some_and(|line| line.starts_with("| ---")),
            "{columns:?}"
        );
        while let Some(row) = lines.next_if(|line| line.starts_with('|')) {
            rows.push(cells(row));
            assert_eq!(rows[rows.len() - 1].len(), columns.len(), "{row}");
        }
    }
    assert!(!rows.is_empty(), "SPEC.md has no table {columns:?}");
    rows
}

/// The first `N` cells of each row.
fn heads<const N: usize>(columns: &[&str]) -> Vec<[String; N]> {
    let head = |row: Vec<String>| <[String; N]>::try_from(row[..N].to_vec()).unwrap();
    rows(columns).into_iter().map(head).collect()
}

#[test]
fn the_table_of_frame_kinds_is_the_code() {
    let mut expected: Vec<[String; 3]> = Vec::new();
    let row = |number: u8, name: &str, by: &str| {
        [format!("0x{number:02X}"), name.to_owned(), by.to_owned()]
    };
    for kind in CommandKind::ALL {
        let both = EventKind::of(kind.number()).is_some();
        expected.push(row(
            kind.number(),
            kind.as_str(),
            if both { "both" } else { "client" },
        ));
    }
    for kind in EventKind::ALL
        .iter()
        .filter(|kind| CommandKind::of(kind.number()).is_none())
    {
        expected.push(row(kind.number(), kind.as_str(), "server"));
    }
    assert_eq!(heads::<3>(&["kind", "name", "sent by", "reply"]), expected);
}

#[test]
fn every_reply_in_the_table_of_frame_kinds_is_an_event() {
    for row in rows(&["kind", "name", "sent by", "reply"]) {
        let is_event = EventKind::ALL.iter().any(|kind| kind.as_str() == row[3]);
        assert!(is_event || row[3] == "none", "{row:?}");
        assert!(row[2] != "server" || row[3] == "none", "{row:?}");
    }
}

#[test]
fn a_kind_both_sides_send_is_the_same_kind() {
    for kind in CommandKind::ALL {
        if let Some(event) = EventKind::of(kind.number()) {
            assert_eq!(event.as_str(), kind.as_str());
        }
    }
}

#[test]
fn the_table_of_error_codes_is_the_code() {
    let row = |code: &ErrorCode| {
        let fatal = if code.is_fatal() { "yes" } else { "no" };
        let number = code.number().to_string();
        [&number, code.as_str(), fatal, code.advice().as_str()].map(str::to_owned)
    };
    let expected: Vec<_> = ErrorCode::ALL.iter().map(row).collect();
    assert_eq!(
        heads::<4>(&["code", "name", "fatal", "what to do", "meaning"]),
        expected
    );
}

#[test]
fn error_codes_are_found_by_their_number() {
    for number in 0..=u16::MAX {
        match ErrorCode::try_from(number) {
            Ok(code) => assert!(code.number() == number && ErrorCode::ALL.contains(&code)),
            Err(unknown) => assert_eq!(unknown.0, number),
        }
    }
}

#[test]
fn the_table_of_flags_is_the_code() {
    let row = |flag: &flags::Flag| {
        [
            flag.frame.to_owned(),
            format!("0x{:02x}", flag.bit),
            flag.name.to_owned(),
        ]
    };
    let expected: Vec<_> = flags::ALL.iter().map(row).collect();
    assert_eq!(heads::<3>(&["frame", "bit", "name", "meaning"]), expected);
}

#[test]
fn the_table_of_optional_fields_is_the_code() {
    fn set<F: Field>(frame: &'static str) -> impl Iterator<Item = [String; 4]> {
        F::ALL.iter().map(move |field| {
            let tag = field.tag().to_string();
            [frame, &tag, field.name(), field.width().as_str()].map(str::to_owned)
        })
    }
    let expected: Vec<_> = set::<ConnectField>("CONNECT")
        .chain(set::<CreateField>("CREATE"))
        .chain(set::<AppendField>("APPEND"))
        .chain(set::<InfoField>("INFO"))
        .chain(set::<ErrField>("ERR"))
        .chain(set::<StatusField>("STATUS"))
        .chain(set::<EndField>("END"))
        .collect();
    assert_eq!(
        heads::<4>(&["frame", "tag", "name", "type", "meaning"]),
        expected
    );
}

#[test]
fn the_tables_of_storages_and_end_reasons_are_the_code() {
    let storage = |it: &Storage| [it.number().to_string(), it.as_str().to_uppercase()];
    let expected: Vec<_> = Storage::ALL.iter().map(storage).collect();
    assert_eq!(heads::<2>(&["storage", "name", "meaning"]), expected);
    let reason = |it: &EndReason| [it.number().to_string(), it.as_str().to_owned()];
    let expected: Vec<_> = EndReason::ALL.iter().map(reason).collect();
    assert_eq!(heads::<2>(&["reason", "name", "meaning"]), expected);
}

#[test]
fn the_table_of_starts_is_the_code() {
    let starts = [
        Start::Beginning,
        Start::Now,
        Start::Offset(9),
        Start::Time(9),
    ];
    let names = ["BEGINNING", "NOW", "OFFSET", "TIME"];
    let tag_on_wire = |start| {
        let stream = "s".into();
        let read = Read {
            stream,
            start,
            max_bytes: 0,
            max_records: 0,
            wait_ms: 0,
        };
        let tag_at = LENGTH_BYTES + HEADER_BYTES + 3;
        encoded_command(&Command::Read(read))[tag_at].to_string()
    };
    let expected = starts
        .into_iter()
        .zip(names)
        .map(|(it, name)| [tag_on_wire(it), name.to_owned()]);
    assert_eq!(
        heads::<2>(&["tag", "name", "value", "meaning"]),
        expected.collect::<Vec<_>>()
    );
}

#[test]
fn the_table_of_limits_is_the_code() {
    macro_rules! limits {
        ($($name:ident)*) => { [$((stringify!($name), u64::try_from(limits::$name).unwrap()),)*] };
    }
    let limits = limits! {
        FRAME_BYTES_MAX FRAME_BYTES_FLOOR FRAME_BYTES_CEILING UNAUTHENTICATED_FRAME_BYTES_MAX
        RECORD_BYTES_MAX RECORD_BYTES_CEILING ENVELOPE_BYTES_MAX BATCH_RECORDS_MAX
        SUBSCRIPTIONS_MAX HEARTBEAT_MS STREAM_NAME_BYTES_MAX CONTENT_TYPE_BYTES_MAX SEQ_BYTES_MAX
        PRODUCER_ID_BYTES_MAX TOKEN_BYTES_MAX CLIENT_TEXT_BYTES_MAX
        FIELD_VALUE_BYTES_MAX ERROR_MESSAGE_BYTES_MAX
        CONFIRM_ENTRIES_MAX LIST_ENTRIES_MAX WAIT_MS_MAX CREDIT_BYTES_MAX
    };
    let expected = limits.map(|(name, number)| [name.to_owned(), number.to_string()]);
    assert_eq!(heads::<2>(&["limit", "number", "meaning"]), expected);
}

#[test]
fn every_limit_of_the_code_is_in_the_table() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/limits.rs");
    let source = fs::read_to_string(source).unwrap();
    let spec = spec();
    let constants = source
        .lines()
        .filter_map(|line| line.strip_prefix("pub const "));
    for name in constants.filter_map(|line| line.split(':').next()) {
        let exempt = ["VERSION", "VERSION_MIN"].contains(&name);
        assert!(
            exempt || spec.contains(&format!("| {name} |")),
            "{name} is not in SPEC.md"
        );
    }
}

#[test]
fn the_version_described_is_the_version_spoken() {
    assert!(spec().contains(&format!("This is version {}.", limits::VERSION)));
}

#[test]
fn the_example_checksums_are_right() {
    for row in rows(&["bytes", "crc32c"]) {
        let bytes = match row[0].split('`').collect::<Vec<_>>()[..] {
            ["32 × ", byte, ""] => byte.repeat(32),
            [_, bytes, ..] => bytes.to_owned(),
            _ => String::new(),
        };
        let block = RecordBlock::from_payloads([unhex(&bytes)]);
        assert_eq!(hex(&block.bytes()[4..8]), row[1], "{row:?}");
    }
}

/// The golden frames a paragraph of the example names: each as `` `file`: *name* ``.
fn named(paragraph: &str) -> impl Iterator<Item = (&str, &str)> {
    paragraph.match_indices("`: *").map(|(at, mark)| {
        let file = paragraph[..at]
            .rsplit('`')
            .next()
            .expect("a split has a part");
        let name = paragraph[at + mark.len()..]
            .split('*')
            .next()
            .expect("a split has a part");
        (file, name)
    })
}

#[test]
fn the_example_session_is_made_of_golden_frames() {
    let spec = spec();
    let example = spec.split_once("## 17.").expect("the example").1;
    let mut wanted: Vec<String> = Vec::new();
    let mut shown = 0;
    for block in example.split("\n\n") {
        if let Some(hex) = block.strip_prefix("```hex\n") {
            let hex: String = hex
                .trim_end()
                .trim_end_matches('`')
                .split_whitespace()
                .collect();
            assert_eq!(hex, wanted.remove(0), "frame {shown} of the example");
            shown += 1;
        } else {
            assert!(wanted.is_empty(), "not shown: {wanted:?}");
            let paragraph = block.replace('\n', " ");
            wanted.extend(named(&paragraph).map(|(file, name)| golden(file, name)));
        }
    }
    assert!(wanted.is_empty() && shown > 10);
}

fn golden(file: &str, name: &str) -> String {
    let file: Value = vectors::file(file);
    let frame = Meaning(&file)
        .list("frames")
        .find(|frame| frame.string("name") == name);
    frame
        .unwrap_or_else(|| panic!("no golden frame {name}"))
        .string("hex")
        .to_owned()
}
