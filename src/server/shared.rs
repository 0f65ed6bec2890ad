//! What every connection needs.

use std::sync::Arc;

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::Limits;
use crate::hub::Hub;

pub(super) struct Shared {
    pub(super) hub: Arc<Hub>,
    pub(super) limits: Limits,
    pub(super) tasks: TaskTracker,
    pub(super) closing: CancellationToken,
}
