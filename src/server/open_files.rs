//! Every connection is a file descriptor, and the soft limit that processes
//! start with (often 1024) is one for programs that use `select`.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::Limits;

/// For everything else: other requests to the API server, files, the runtime.
const OTHERS: usize = 100;

/// Raises the soft limit to the hard one, and says so if that is not enough.
pub(super) fn raise(limits: &Limits) {
    let now = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: now.maximum,
        maximum: now.maximum,
    };
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => now.maximum,
        Err(error) => {
            tracing::warn!(%error, "the limit of open files cannot be raised");
            now.current
        }
    };
    let needed = [
        limits.connections,
        limits.handshakes,
        limits.waiting,
        limits.watches,
        OTHERS,
    ];
    let needed = needed.into_iter().fold(0, usize::saturating_add);
    // None: without a limit.
    if let Some(open_files) = current
        && usize::try_from(open_files).is_ok_and(|open_files| open_files < needed)
    {
        tracing::warn!(
            open_files,
            needed,
            "fewer open files are allowed than limits.connections, limits.handshakes, limits.waiting and limits.watches may need: raise the limit (ulimit -Hn) or lower them"
        );
    }
}
