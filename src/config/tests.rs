//! Precedence, refusals with their places, and that what is printed is a file that means the same.

use std::io::Write as _;

use clap::{Args as _, FromArgMatches as _};

use super::*;

fn flags(arguments: &[&str]) -> Layers {
    let command = Layers::augment_args(clap::Command::new("test"));
    let matches = command.get_matches_from([&["test"], arguments].concat());
    Layers::from_arg_matches(&matches).unwrap()
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn load_file(text: &str) -> Result<(Config, Resolved), ConfigError> {
    let file = file(text);
    let mut layers = Layers::default();
    layers.file = Some(file.path().to_owned());
    Config::load(layers)
}

fn refusal(text: &str) -> String {
    load_file(text).unwrap_err().to_string()
}

#[test]
fn every_default_is_valid_and_every_row_of_the_table_is_taken() {
    let (config, resolved) = Config::resolve(Layers::default()).unwrap();
    assert_eq!(config.listen, [ListenAddress::Tcp("127.0.0.1:4438".into())]);
    assert_eq!(config.http, Http::At("127.0.0.1:4437".into()));
    assert_eq!(config.frame_bytes_max, limits::FRAME_BYTES_MAX);
    assert_eq!(config.record_bytes_max, limits::RECORD_BYTES_MAX);
    assert_eq!(config.batch_records_max, limits::BATCH_RECORDS_MAX);
    assert!(config.auth_token.is_empty());
    for key in keys::KEYS {
        assert!(
            resolved.to_string().contains(&format!("{} = ", key.name)),
            "{}",
            key.name
        );
        assert_eq!(resolved.source(key.name), Source::Default);
    }
}

#[test]
fn a_flag_outranks_the_environment_which_outranks_the_file() {
    let heartbeat = keys::find("heartbeat").unwrap();
    let file = file("heartbeat = '2s'\n\ndrain_grace = '3s'\nconnections_max = 7\n");
    let mut layers = flags(&[
        "--heartbeat",
        "4s",
        "--config",
        file.path().to_str().unwrap(),
    ]);
    let variable = |name: &str| Source::Environment {
        variable: name.into(),
    };
    layers.say(
        heartbeat,
        variable("STREAMKEEPER_HEARTBEAT"),
        vec!["5s".into()],
    );
    let drain = keys::find("drain_grace").unwrap();
    layers.say(
        drain,
        variable("STREAMKEEPER_DRAIN_GRACE"),
        vec!["6s".into()],
    );
    let (config, resolved) = Config::load(layers).unwrap();
    assert_eq!(config.heartbeat, Duration::from_secs(4));
    assert_eq!(config.drain_grace, Duration::from_secs(6));
    assert_eq!(config.connections_max, 7);
    assert_eq!(resolved.source("heartbeat").to_string(), "flag --heartbeat");
    assert_eq!(
        resolved.source("drain_grace").to_string(),
        "environment STREAMKEEPER_DRAIN_GRACE"
    );
    let in_file = format!("{}, line 4", file.path().display());
    assert_eq!(resolved.source("connections_max").to_string(), in_file);
    assert_eq!(resolved.source("data").to_string(), "default");
}

#[test]
fn of_a_flag_said_twice_the_last_counts_unless_it_takes_several() {
    let layers = flags(&["--http=off", "--http=h:1", "--listen=a:1", "--listen=b:2"]);
    let (config, _) = Config::resolve(layers).unwrap();
    assert_eq!(config.http, Http::At("h:1".into()));
    assert_eq!(config.listen.len(), 2);
}

#[test]
fn what_is_printed_is_a_file_that_means_the_same_and_prints_the_same_values() {
    let layers = flags(&[
        "--listen",
        "unix:/tmp/a b.sock,[::1]:0",
        "--data",
        "di\"r",
        "--http=off",
        "--record-bytes-max=1000",
        "--heartbeat",
        "1m 30s",
        "--log-level",
        "info,streamkeeper=debug",
    ]);
    let (config, resolved) = Config::resolve(layers).unwrap();
    let (again, resolved_again) = load_file(&resolved.to_string()).unwrap();
    assert_eq!(format!("{config:?}"), format!("{again:?}"));
    let values = |resolved: &Resolved| {
        let text = resolved.to_string();
        text.lines()
            .map(|line| line.split("  # ").next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(values(&resolved), values(&resolved_again));
    assert_eq!(config.listen.len(), 2);
    assert_eq!(config.heartbeat, Duration::from_secs(90));
}

#[test]
fn a_token_is_printed_redacted_and_never_in_errors() {
    let (config, resolved) = load_file("auth_token = ['hunter2', 'hunter3']").unwrap();
    assert_eq!(config.auth_token[1].reveal(), "hunter3");
    let printed = resolved.to_string();
    assert!(
        printed.contains("# auth_token = [\"<redacted>\", \"<redacted>\"]"),
        "{printed}"
    );
    assert!(!printed.contains("hunter") && !format!("{config:?}").contains("hunter"));
    assert!(load_file(&printed).unwrap().0.auth_token.is_empty());
    assert!(!refusal("auth_token = 'hunter 2'").contains("hunter"));
}

#[test]
fn an_unknown_key_is_refused_with_its_line_and_the_nearest_key() {
    let text = refusal("heartbeat = '2s'\n\n  heart_beats = 3\n");
    assert!(
        text.contains(", line 3: unknown key `heart_beats`; did you mean `heartbeat`?"),
        "{text}"
    );
    let text = refusal("Max-Connections = 3");
    assert!(text.contains("unknown key `Max-Connections`"), "{text}");
    let text = refusal("[zzz]\nx = 1");
    assert!(
        text.contains("line 1: unknown key `zzz`") && !text.contains("mean"),
        "{text}"
    );
}

#[test]
fn a_wrong_value_is_refused_with_its_place_and_what_it_must_be() {
    for (line, complaint) in [
        (
            "heartbeat = 'soon'",
            "line 1: `heartbeat` cannot be `soon`: it must be a time such as 15s",
        ),
        ("heartbeat = '1ms'", "it must be a time of at least 1s"),
        (
            "queue_bytes_max = '8 bananas'",
            "it must be a size such as 8MiB",
        ),
        (
            "record_bytes_max = '65MiB'",
            "it must be a size from 1 to 65472KiB",
        ),
        (
            "connections_max = 0",
            "it must be a whole number from 1 to 1000000",
        ),
        (
            "connections_max = -1",
            "cannot be `-1`: it must be a whole number",
        ),
        ("connections_max = [1, 2]", "it must be a single value"),
        ("connections_max = 1.5", "cannot be a float"),
        ("listen = []", "it must be at least one"),
        (
            "listen = ['127.0.0.1']",
            "it must be HOST:PORT or unix:PATH",
        ),
        ("listen = '::1:4438'", "it must be HOST:PORT or unix:PATH"),
        ("http = 'on'", "it must be HOST:PORT or `off`"),
        ("log_format = 'xml'", "it must be `text` or `json`"),
        ("log_level = 'loud'", "it must be error, warn, info"),
        ("data = { a = 1 }", "cannot be a table"),
        (
            "memory_max = '80MiB'\nconnections_max = 10240",
            "it must be 96MiB or more, for all bounds and connections_max",
        ),
        (
            "memory_max = '256MiB'\nhot_tail_bytes_max = '1GiB'",
            "for all bounds and connections_max",
        ),
        (
            "stream_queue_bytes_max = '9MiB'",
            "it must be at most queue_bytes_max, 8MiB",
        ),
        (
            "record_bytes_max = '5MiB'",
            "`frame_bytes_max` cannot be `4160KiB`",
        ),
        ("= 3", "TOML parse error at line 1"),
    ] {
        let text = refusal(line);
        assert!(text.contains(complaint), "{line}: {text}");
    }
}

#[test]
fn a_ceiling_is_divided_among_the_bounds_that_nobody_set() {
    let text = "memory_max = '256MiB'\nconnections_max = 10240\nfold_bytes = '1MiB'";
    let (config, resolved) = load_file(text).unwrap();
    // 256 MiB less 24 MiB and 40 MiB for connections.
    assert_eq!(config.hot_tail_bytes_max, (192 << 20) / 4);
    assert_eq!(config.unsent_bytes_max, (192 << 20) / 8);
    assert_eq!(config.fold_bytes, 1 << 20);
    let derived = Source::Derived { from: "memory_max" };
    assert_eq!(resolved.source("hot_tail_bytes_max"), derived);
    let (again, _) = load_file(&resolved.to_string()).unwrap();
    assert_eq!(again.unsent_bytes_max, config.unsent_bytes_max);
    assert_eq!(again.memory_max, config.memory_max);
}

#[test]
fn a_missing_file_is_an_error_that_names_it() {
    let layers = flags(&["--config", "/nonexistent/sk.toml"]);
    let text = Config::load(layers).unwrap_err().to_string();
    assert!(
        text.starts_with("cannot read the configuration file /nonexistent/sk.toml"),
        "{text}"
    );
}

#[test]
fn byte_counts_print_exactly_and_parse_back() {
    for (count, text) in [
        (0, "0"),
        (1000, "1000"),
        (1 << 10, "1KiB"),
        (3 << 20, "3MiB"),
        (5 << 30, "5GiB"),
    ] {
        assert_eq!(ByteCount(count).to_string(), text);
        assert_eq!(text.parse(), Ok(ByteCount(count)));
    }
    assert_eq!("2MB".parse(), Ok(ByteCount(2_000_000)));
}
