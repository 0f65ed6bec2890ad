//! How much waits on the way between backend and controller, and to be written.

use std::{fmt, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::metrics::{Kind, Label, Metric, Page, Source, Values};

const NAMES: [&str; 5] = ["observations", "questions", "reports", "statuses", "agents"];

static DEPTH: Metric = Metric {
    name: "opamp_operator_queue_depth",
    kind: Kind::Gauge,
    unit: None,
    labels: &[Label {
        name: "queue",
        values: Values::Of(&NAMES),
    }],
    help: "What waits in a queue: what was seen in the cluster, questions about tokens, what is to be written; and of the latter statuses of profiles and OpAMPAgents on their way to the Kubernetes API.",
};

/// None once the queue is gone.
type Depth = Box<dyn Fn() -> Option<usize> + Send + Sync>;

/// See the module.
#[derive(Clone, Default)]
pub struct Queues(Arc<Mutex<Vec<(&'static str, Depth)>>>);

impl Queues {
    /// What it writes.
    pub const METRICS: &[&Metric] = &[&DEPTH];

    /// One more; its name is one of [`NAMES`].
    pub(super) fn watch(
        &self,
        name: &'static str,
        depth: impl Fn() -> Option<usize> + Send + Sync + 'static,
    ) {
        self.0.lock().push((name, Box::new(depth)));
    }

    /// A channel, which may end all the same.
    pub(super) fn channel<T: Send + 'static>(&self, name: &'static str, sender: &mpsc::Sender<T>) {
        let sender = sender.downgrade();
        self.watch(name, move || {
            let sender = sender.upgrade()?;
            Some(sender.max_capacity() - sender.capacity())
        });
    }
}

impl fmt::Debug for Queues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let queues = self.0.lock();
        f.debug_list()
            .entries(queues.iter().map(|(name, _)| name))
            .finish()
    }
}

impl Source for Queues {
    fn write(&self, page: &mut Page<'_>) -> fmt::Result {
        let queues = self.0.lock();
        let depths = queues
            .iter()
            .filter_map(|(name, depth)| Some((*name, depth()? as u64)));
        page.values(&DEPTH, depths)
    }
}
