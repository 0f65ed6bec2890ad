//! What the controller's own task knows, for others to see.

use std::{
    fmt,
    sync::atomic::{AtomicUsize, Ordering},
};

use crate::metrics::{Kind, Metric, Page, Source};

static LEDGER: Metric = Metric {
    name: "opamp_operator_ledger_entries",
    kind: Kind::Gauge,
    unit: None,
    labels: &[],
    help: "Revisions in the ledger, of all profiles.",
};

/// See the module.
#[derive(Debug, Default)]
pub struct Metrics {
    ledger: AtomicUsize,
}

impl Metrics {
    /// What it writes.
    pub const METRICS: &[&Metric] = &[&LEDGER];

    pub(super) fn set(&self, ledger: usize) {
        self.ledger.store(ledger, Ordering::Relaxed);
    }
}

impl Source for Metrics {
    fn write(&self, page: &mut Page<'_>) -> fmt::Result {
        page.value(&LEDGER, self.ledger.load(Ordering::Relaxed) as u64)
    }
}
