//! The process itself, by the names that all clients of Prometheus use.

use std::fmt;

use jiff::Timestamp;

use super::{Kind, Label, Metric, Page, Source, Unit, Values};

static BUILD_INFO: Metric = Metric {
    name: "opamp_operator_build_info",
    kind: Kind::Gauge,
    unit: None,
    labels: &[Label {
        name: "version",
        values: Values::Text("of the operator"),
    }],
    help: "1, and which operator it is.",
};
static START_TIME: Metric = Metric {
    name: "process_start_time_seconds",
    kind: Kind::Gauge,
    unit: Some(Unit::Seconds),
    labels: &[],
    help: "When the process began.",
};
static OPEN_FDS: Metric = Metric {
    name: "process_open_fds",
    kind: Kind::Gauge,
    unit: None,
    labels: &[],
    help: "File descriptors that are open: one for each connection, and a few.",
};
static RESIDENT_MEMORY: Metric = Metric {
    name: "process_resident_memory_bytes",
    kind: Kind::Gauge,
    unit: Some(Unit::Bytes),
    labels: &[],
    help: "Memory of the process that is in RAM.",
};

/// See the module.
#[derive(Debug)]
pub struct Process {
    began: Timestamp,
}

impl Process {
    /// What it writes.
    pub const METRICS: &[&Metric] = &[&BUILD_INFO, &START_TIME, &OPEN_FDS, &RESIDENT_MEMORY];

    /// The process began just now.
    #[must_use]
    pub fn begins() -> Self {
        Self {
            began: Timestamp::now(),
        }
    }
}

impl Source for Process {
    fn write(&self, page: &mut Page<'_>) -> fmt::Result {
        page.metric(&BUILD_INFO)?
            .value(&[env!("CARGO_PKG_VERSION")], 1)?;
        let began = u64::try_from(self.began.as_second()).unwrap_or_default();
        page.value(&START_TIME, began)?;
        // What the system does not tell is left out.
        if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
            page.value(&OPEN_FDS, open.count().saturating_sub(1) as u64)?;
        }
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        if let Some(resident) = resident(&status) {
            page.value(&RESIDENT_MEMORY, resident)?;
        }
        Ok(())
    }
}

/// In bytes; the system tells it in KiB.
fn resident(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}
