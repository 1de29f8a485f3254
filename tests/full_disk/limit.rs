//! A limit on the size of files (`ulimit -f`): the writes of a full disk fail, in the middle, with `EFBIG` instead of `ENOSPC`, and
//! `prlimit` makes room under the running broker. Needs no privileges at all.

use std::path::Path;
use std::process::Command;

use crate::server::Server;
use crate::volume::fill;

/// Starts the broker with files of at most `blocks` times 512 bytes.
fn start(data: &Path, blocks: u32) -> Server {
    // The signal that the limit brings would end the process; a disk sends none.
    let script = format!("trap '' XFSZ; ulimit -S -f {blocks}; exec \"$0\" \"$@\"");
    let mut shell = Command::new("sh");
    shell.args(["-c", &script, env!("CARGO_BIN_EXE_streamkeeper")]);
    Server::start(shell, data)
}

#[test]
fn a_full_file_system_refuses_serves_and_resumes_by_itself() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = start(directory.path(), 6_000);
    let stream = "/v1/stream/full";
    server.create(stream);
    let [confirmed] = fill(&server, [stream]);
    server.read_all(stream, confirmed);

    let pid = server.process.id().to_string();
    let raised = Command::new("prlimit")
        .args(["--pid", &pid, "--fsize=unlimited"])
        .status();
    let raised = raised.expect("prlimit is not installed: apt install util-linux");
    assert!(raised.success(), "the limit can be raised");
    server.until("/readyz", 200);
    server.append(stream, 20);
    drop(server);
    let server = start(directory.path(), 4_000_000);
    server.until("/readyz", 200);
    server.read_all(stream, confirmed + 20);
}
