//! Children end also when a test run is interrupted.
//!
//! A test that is interrupted drops nothing, so every process group that is
//! alive is noted here, and a watcher ends them all on SIGINT and SIGTERM.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use rustix::process::{Pid, Signal};
use tokio::signal::unix::{SignalKind, signal};

static GROUPS: Mutex<Option<HashSet<Pid>>> = Mutex::new(None);
static WATCHER: Once = Once::new();

/// What a shell says of a program that SIGINT ended.
const INTERRUPTED: i32 = 130;

/// Notes a process group that must not outlive this process.
pub(crate) fn add(group: Pid) {
    groups().get_or_insert_default().insert(group);
}

/// Forgets a group whose leader is about to be reaped: its id may be used again.
pub(crate) fn remove(group: Pid) {
    groups().get_or_insert_default().remove(&group);
}

/// From now on SIGINT and SIGTERM end all children before they end this process.
pub(crate) fn watch() {
    WATCHER.call_once(|| {
        std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            if let Ok(runtime) = runtime {
                runtime.block_on(interruption());
                end();
            }
        });
    });
}

/// Waits for SIGINT or SIGTERM.
pub(crate) async fn interruption() {
    let kinds = [SignalKind::interrupt(), SignalKind::terminate()];
    let [Ok(mut interrupt), Ok(mut terminate)] = kinds.map(signal) else {
        // Without handlers the signals keep their default effect.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the test runner owns main; this is what the signal would have done"
)]
fn end() {
    for group in groups().iter().flatten() {
        let _ = rustix::process::kill_process_group(*group, Signal::KILL);
    }
    std::process::exit(INTERRUPTED);
}

fn groups() -> MutexGuard<'static, Option<HashSet<Pid>>> {
    GROUPS.lock().unwrap_or_else(PoisonError::into_inner)
}
