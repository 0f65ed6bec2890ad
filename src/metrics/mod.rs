//! What is counted, and its text for those who scrape it.
//!
//! Each module describes and owns its own numbers, as a [`Source`]; nothing is
//! global. A number that is a fact of something else is looked up when it is
//! asked for, and kept nowhere.

mod page;
mod process;
mod text;

use std::{fmt, sync::Arc};

use parking_lot::RwLock;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, text::encode},
};

pub use page::{Page, Samples};
pub use process::Process;
pub use prometheus_client::metrics::{counter::Counter, histogram::Histogram};

/// What kind of number it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Goes up and down.
    Gauge,
    /// Goes up, from 0 when the process starts.
    Counter,
    /// How often something took how long.
    Histogram,
}

impl Kind {
    /// As the formats call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Histogram => "histogram",
        }
    }
}

/// What it is counted in, if not in pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Seconds; of a point in time, since 1970.
    Seconds,
    /// Bytes.
    Bytes,
}

impl Unit {
    /// The end of the name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Seconds => "seconds",
            Self::Bytes => "bytes",
        }
    }
}

/// Which values a label has.
#[derive(Clone, Copy, Debug)]
pub enum Values {
    /// One of these.
    Of(&'static [&'static str]),
    /// What the text says.
    Text(&'static str),
}

/// A label.
#[derive(Clone, Copy, Debug)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// Its values.
    pub values: Values,
}

/// What a metric is: for its own lines, and for the reference.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its whole name, with the unit and the `_total` of a counter.
    pub name: &'static str,
    /// What kind of number.
    pub kind: Kind,
    /// In what it is counted.
    pub unit: Option<Unit>,
    /// Its labels, in order.
    pub labels: &'static [Label],
    /// What it means, in one sentence.
    pub help: &'static str,
}

impl Metric {
    /// The name without what the formats add to it.
    fn base(&self) -> &'static str {
        let mut base = self.name;
        if self.kind == Kind::Counter {
            base = base.strip_suffix("_total").unwrap_or(base);
        }
        if let Some(unit) = self.unit {
            base = base.strip_suffix(unit.name()).unwrap_or(base);
            base = base.strip_suffix('_').unwrap_or(base);
        }
        base
    }
}

/// What a module counts.
pub trait Source: fmt::Debug + Send + Sync + 'static {
    /// Writes its metrics, each once.
    ///
    /// # Errors
    /// If the page takes no more.
    fn write(&self, page: &mut Page<'_>) -> fmt::Result;
}

impl<S: Source> Source for Arc<S> {
    fn write(&self, page: &mut Page<'_>) -> fmt::Result {
        (**self).write(page)
    }
}

/// How a page is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// <https://prometheus.io/docs/specs/om/open_metrics_spec/>.
    OpenMetrics,
    /// <https://prometheus.io/docs/instrumenting/exposition_formats/>.
    Prometheus,
}

impl Form {
    /// What somebody gets who accepts this.
    #[must_use]
    pub fn accepted(accept: Option<&str>) -> Self {
        let named = accept.unwrap_or_default().split(',').any(|kind| {
            let kind = kind.split(';').next().unwrap_or_default();
            kind.trim()
                .eq_ignore_ascii_case("application/openmetrics-text")
        });
        if named {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    /// Its `Content-Type`.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// All sources of the process, in the order in which they were added.
#[derive(Clone, Debug, Default)]
pub struct Registry(Arc<RwLock<prometheus_client::registry::Registry>>);

impl Registry {
    /// One more.
    pub fn add(&self, source: impl Source) {
        self.0
            .write()
            .register_collector(Box::new(Collected(source)));
    }

    /// The page of this moment.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn page(&self, form: Form) -> Result<String, fmt::Error> {
        let mut page = String::new();
        encode(&mut page, &self.0.read())?;
        Ok(match form {
            Form::OpenMetrics => page,
            Form::Prometheus => text::prometheus(&page),
        })
    }
}

#[derive(Debug)]
struct Collected<S>(S);

impl<S: Source> Collector for Collected<S> {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0.write(&mut Page::new(encoder))
    }
}
