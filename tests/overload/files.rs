//! How many connections this machine lets a test have.

use std::io::Write as _;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::{Mutex, MutexGuard};

static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());
/// What the process needs beside the connections of a test.
const OTHERS: usize = 300;
/// With fewer connections a test would show nothing.
const LEAST: usize = 1000;

/// Waits until no other test is running.
pub(crate) async fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().await
}

/// As many connections as wanted, or as this machine lets us have: each needs
/// `ends` files here, beside `fixed` of the server.
pub(crate) fn connections(wanted: usize, ends: usize, fixed: usize) -> usize {
    let now = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: now.maximum,
        maximum: now.maximum,
    };
    setrlimit(Resource::Nofile, raised).unwrap();
    let Some(files) = now.maximum.and_then(|files| usize::try_from(files).ok()) else {
        return wanted;
    };
    let possible = files.saturating_sub(OTHERS + fixed) / ends;
    if possible < wanted {
        say(&format!(
            "NOT the whole test: {files} open files are allowed (ulimit -Hn), \
             enough for {possible} connections instead of {wanted}"
        ));
    }
    assert!(
        possible >= LEAST,
        "raise the limit of open files (ulimit -Hn)"
    );
    wanted.min(possible)
}

/// Files that are open now.
pub(crate) fn open() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// For whoever runs the test: seen also when it passes.
pub(crate) fn say(text: &str) {
    let mut out = std::io::stderr();
    writeln!(out, "overload: {text}").unwrap();
}
