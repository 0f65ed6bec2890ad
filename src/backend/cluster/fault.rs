//! Errors of the client in words that are safe to log: a parser's error may
//! quote the value it did not like, so those are named by kind only.

use kube::runtime::watcher;
use tokio::time::timeout;

use super::WRITE_TIMEOUT;
use crate::backend::root_cause;

/// What went wrong.
pub(super) fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("{} ({})", status.message, status.code),
        kube::Error::SerdeError(_) => "the answer cannot be read".into(),
        kube::Error::Service(error) => root_cause(&**error),
        kube::Error::HyperError(error) => root_cause(error),
        kube::Error::Auth(_) => "the credentials of the client cannot be used".into(),
        _ => "the request failed".into(),
    }
}

/// The API's code, where it is the API that refuses.
pub(super) fn code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// A request with its deadline; the code of the API and safe words if it fails.
pub(super) async fn within<T>(
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T, (Option<u16>, String)> {
    match timeout(WRITE_TIMEOUT, request).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err((code(&error), words(&error))),
        Err(_) => Err((None, "no answer in time".into())),
    }
}

/// What became of a watch.
pub(super) struct WatchFault {
    /// The API's code.
    pub(super) code: Option<u16>,
    /// Safe to log.
    pub(super) words: String,
}

impl From<&watcher::Error> for WatchFault {
    fn from(error: &watcher::Error) -> Self {
        match error {
            watcher::Error::InitialListFailed(error)
            | watcher::Error::WatchStartFailed(error)
            | watcher::Error::WatchFailed(error) => Self {
                code: code(error),
                words: words(error),
            },
            watcher::Error::WatchError(status) => Self {
                code: Some(status.code),
                words: status.message.clone(),
            },
            watcher::Error::NoResourceVersion => Self {
                code: None,
                words: "the API gives no resource version".into(),
            },
        }
    }
}
