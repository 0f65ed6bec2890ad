//! What the controller's own task knows, for others to see.

use std::{
    fmt,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use crate::metrics::{Kind, Metric, Page, Source};

static LEADER: Metric = Metric {
    name: "opamp_operator_leader",
    kind: Kind::Gauge,
    unit: None,
    labels: &[],
    help: "1 while this process is the one that writes settings and statuses, else 0.",
};
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
    leads: AtomicBool,
    ledger: AtomicUsize,
}

impl Metrics {
    /// What it writes.
    pub const METRICS: &[&Metric] = &[&LEADER, &LEDGER];

    pub(super) fn set(&self, leads: bool, ledger: usize) {
        self.leads.store(leads, Ordering::Relaxed);
        self.ledger.store(ledger, Ordering::Relaxed);
    }
}

impl Source for Metrics {
    fn write(&self, page: &mut Page<'_>) -> fmt::Result {
        page.value(&LEADER, self.leads.load(Ordering::Relaxed).into())?;
        page.value(&LEDGER, self.ledger.load(Ordering::Relaxed) as u64)
    }
}
