//! JSON mode: what becomes a record, and what is refused.

use streamkeeper::rules::{Command, Effect};
use streamkeeper::types::{AppendOptions, RecordBlock, Refusal};

use super::common::{Subject, closing, of_type};

fn stored(payloads: &[&str]) -> Vec<String> {
    let mut subject = Subject::json();
    subject.append(payloads).expect("the records are JSON");
    subject.stored()
}

fn refusal(payloads: &[&str]) -> Refusal {
    let mut subject = Subject::json();
    let refusal = subject
        .append(payloads)
        .expect_err("the records are not acceptable");
    assert_eq!(subject.tail(), 0);
    refusal
}

#[test]
fn json_mode_goes_by_the_media_type() {
    for on in [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        "application/json ;x=y",
    ] {
        assert!(Subject::with(of_type(on)).stream().is_json(), "{on}");
    }
    for off in [
        "application/jsonl",
        "application/json-seq",
        "text/json",
        "application/ld+json",
    ] {
        assert!(!Subject::with(of_type(off)).stream().is_json(), "{off}");
    }
}

#[test]
fn outside_json_mode_arrays_and_garbage_are_stored_as_they_are() {
    let mut subject = Subject::plain();
    subject.append(&[" [1, 2]", "{", ""]).unwrap();
    assert_eq!(subject.stored(), [" [1, 2]", "{", ""]);
}

#[test]
fn an_array_is_flattened_one_level() {
    assert_eq!(
        stored(&["[1, \"two\", [3, [4]], {\"5\": []}]"]),
        ["1", "\"two\"", "[3, [4]]", "{\"5\": []}"]
    );
    assert_eq!(stored(&["[[]]"]), ["[]"]);
}

#[test]
fn every_record_of_a_batch_is_flattened_in_its_place() {
    assert_eq!(
        stored(&["0", "[1, 2]", "3", "[4]"]),
        ["0", "1", "2", "3", "4"]
    );
}

#[test]
fn a_value_is_stored_as_given_without_the_white_space_around_it() {
    let text = "{ \"b\":1.50e+10,\"a\" : \"\\u00e9\\ud800\", \"a\":-0 }";
    assert_eq!(stored(&[&format!(" \t\r\n{text}\n")]), [text]);
    assert_eq!(stored(&[&format!("[ {text} ,\n{text}]")]), [text, text]);
}

#[test]
fn a_batch_that_needs_no_change_is_not_copied() {
    let mut subject = Subject::json();
    let batch = RecordBlock::from_payloads(["{\"a\": 1}", "2"]);
    let bytes = batch.bytes().clone();
    subject
        .run(Command::Append {
            batch,
            options: AppendOptions::default(),
        })
        .unwrap();
    let [Effect::Appended { batch, .. }] = subject.effects.as_slice() else {
        panic!("one effect, got {:?}", subject.effects);
    };
    assert_eq!(batch.bytes().as_ptr(), bytes.as_ptr());
}

#[test]
fn what_is_not_json_is_refused_by_its_index() {
    let bad = [
        "",
        " ",
        "{",
        "[1",
        "[1,]",
        "[,1]",
        "1 2",
        "[1] 2",
        "[1]]",
        "nul",
        "'a'",
        "\"\u{1}\"",
        "01",
        "{\"a\":1,}",
        "\u{feff}1",
        "NaN",
        "\"\\x\"",
    ];
    for bad in bad {
        assert_eq!(
            refusal(&["1", "[2, 3]", bad]),
            Refusal::InvalidJson { index: 2 },
            "{bad:?}"
        );
    }
}

#[test]
fn what_is_not_utf8_is_refused() {
    for bad in [&b"\"\xFF\""[..], b"[1, \"\xC3\"]", b"[\xFF]"] {
        let mut subject = Subject::json();
        let batch = RecordBlock::from_payloads([bad]);
        let refused = subject.run(Command::Append {
            batch,
            options: AppendOptions::default(),
        });
        assert_eq!(refused, Err(Refusal::InvalidJson { index: 0 }), "{bad:?}");
    }
}

#[test]
fn an_empty_array_is_refused_anywhere_in_a_batch() {
    assert_eq!(refusal(&["[]"]), Refusal::EmptyBatch);
    assert_eq!(refusal(&["1", " [ \n] "]), Refusal::EmptyBatch);
    let refused = Subject::json().append_with(&["[]"], closing());
    assert_eq!(
        refused,
        Err(Refusal::EmptyBatch),
        "a close does not make up for it"
    );
}

#[test]
fn a_close_without_records_needs_no_json() {
    assert!(Subject::json().append_with(&[], closing()).unwrap().closed);
}

#[test]
fn the_size_limit_is_on_each_record_after_flattening() {
    let mut subject = Subject::json();
    subject.limits.record_bytes_max = 3;
    subject.append(&["[123, 456, 789]", "   1   "]).unwrap();
    assert_eq!(subject.tail(), 4);
    let refused = subject.append(&["[1, 2345]"]);
    assert_eq!(refused, Err(Refusal::RecordTooLarge { have: 4, limit: 3 }));
}

#[test]
fn nesting_of_any_depth_costs_no_stack() {
    let depth = 200_000;
    let deep = format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(stored(&[&deep]), [&deep[1..deep.len() - 1]]);
    let broken = "[".repeat(depth);
    assert_eq!(refusal(&[&broken]), Refusal::InvalidJson { index: 0 });
}
