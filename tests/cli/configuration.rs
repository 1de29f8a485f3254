//! Flags over environment over file over defaults, in the process itself; errors with their places.

use std::fs;

use super::support::{finish, program, run};

#[test]
fn print_config_shows_the_layer_each_value_came_from() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("sk.toml");
    fs::write(
        &file,
        "heartbeat = '2s'\ndrain_grace = '3s'\nconnections_max = 7\n",
    )
    .expect("written");
    let file = file.to_str().expect("a UTF-8 path");
    let mut command = program();
    command
        .args(["serve", "--print-config", "--heartbeat", "4s"])
        .env("STREAMKEEPER_CONFIG", file)
        .env("STREAMKEEPER_HEARTBEAT", "5s")
        .env("STREAMKEEPER_DRAIN_GRACE", "6s")
        .env("STREAMKEEPER_HTTP", "")
        // What an orchestrator adds for a service called `streamkeeper`.
        .env("STREAMKEEPER_PORT", "tcp://10.0.0.1:4438");
    let printed = finish(&mut command, b"").ok();
    for line in [
        "heartbeat = \"4s\"  # flag --heartbeat",
        "drain_grace = \"6s\"  # environment STREAMKEEPER_DRAIN_GRACE",
        &format!("connections_max = 7  # {file}, line 3"),
        "http = \"127.0.0.1:4437\"  # default",
        "listen = [\"127.0.0.1:4438\"]  # default",
    ] {
        assert!(
            printed.lines().any(|printed| printed == line),
            "{line}\n{printed}"
        );
    }
}

#[test]
fn what_print_config_prints_is_a_file_that_gives_the_same_values() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("sk.toml");
    let arguments = [
        "--listen=unix:/tmp/a.sock,[::1]:0",
        "--http=off",
        "--record-bytes-max=1000",
    ];
    let printed = run(&[&["serve", "--print-config"], &arguments[..]].concat()).ok();
    fs::write(&file, &printed).expect("written");
    let path = file.to_str().expect("a UTF-8 path");
    let again = run(&["serve", "--print-config", "--config", path]).ok();
    let values = |text: &str| -> Vec<String> {
        text.lines()
            .map(|line| line.split("  # ").next().unwrap_or_default().to_owned())
            .collect()
    };
    assert_eq!(values(&printed), values(&again));
}

#[test]
fn a_token_is_not_printed() {
    let mut command = program();
    command
        .args(["serve", "--print-config"])
        .env("STREAMKEEPER_AUTH_TOKEN", "hunter2");
    let printed = finish(&mut command, b"").ok();
    assert!(
        printed.contains("# auth_token = [\"<redacted>\"]  # environment"),
        "{printed}"
    );
    assert!(!printed.contains("hunter2"));
}

#[test]
fn a_wrong_configuration_is_exit_code_2_and_names_the_place() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("sk.toml");
    fs::write(&file, "\nheart_beat = '2s'\n").expect("written");
    let path = file.to_str().expect("a UTF-8 path");
    let stderr = run(&["serve", "--config", path]).fails(2);
    let expected = format!("{path}, line 2: unknown key `heart_beat`; did you mean `heartbeat`?");
    assert!(stderr.contains(&expected), "{stderr}");

    let mut command = program();
    command
        .arg("serve")
        .env("STREAMKEEPER_QUEUE_BYTES_MAX", "lots");
    let stderr = finish(&mut command, b"").fails(2);
    let expected = "environment STREAMKEEPER_QUEUE_BYTES_MAX: `queue_bytes_max` cannot be `lots`";
    assert!(stderr.contains(expected), "{stderr}");

    let stderr = run(&["serve", "--no-such-flag"]).fails(2);
    assert!(stderr.contains("--no-such-flag"), "{stderr}");
}

#[test]
fn every_command_has_help_that_lists_the_exit_codes() {
    let help = run(&["--help"]).ok();
    assert!(help.contains("4  no such stream"), "{help}");
    for command in [
        "serve",
        "create",
        "append",
        "read",
        "tail",
        "close",
        "rm",
        "ls",
        "stat",
        "healthcheck",
        "bench",
        "completions",
    ] {
        assert!(
            help.contains(&format!("  {command} ")),
            "{command} is missing in\n{help}"
        );
        assert!(run(&[command, "--help"]).ok().contains("Usage:"));
    }
}

#[test]
fn each_workload_of_bench_says_what_it_does() {
    let help = run(&["bench", "--help"]).ok();
    let about: Vec<&str> = ["append", "serial", "deliver", "catch-up", "streams"]
        .iter()
        .filter_map(|name| {
            help.lines()
                .find(|line| line.starts_with(&format!("  {name} ")))
        })
        .collect();
    assert_eq!(about.len(), 5, "{help}");
    assert!(about[0].contains("Append as fast as possible"), "{help}");
    assert!(about[4].contains("Create many streams"), "{help}");
}

#[test]
fn completions_are_written_for_a_shell() {
    let script = run(&["completions", "bash"]).ok();
    assert!(script.contains("complete -F _streamkeeper"), "{script}");
}
