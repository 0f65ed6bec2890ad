//! What a source writes on.

use std::fmt;

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric as _, MetricEncoder, NoLabelSet},
    metrics::{MetricType, histogram::Histogram},
    registry,
};

use super::{Kind, Metric, Unit};

static SECONDS: registry::Unit = registry::Unit::Seconds;
static BYTES: registry::Unit = registry::Unit::Bytes;

/// A page under way.
#[derive(Debug)]
pub struct Page<'a>(DescriptorEncoder<'a>);

impl<'a> Page<'a> {
    pub(super) fn new(encoder: DescriptorEncoder<'a>) -> Self {
        Self(encoder)
    }

    /// Begins a metric.
    ///
    /// # Errors
    /// If the page takes no more.
    pub fn metric(&mut self, metric: &'static Metric) -> Result<Samples<'_>, fmt::Error> {
        let unit = metric.unit.map(|unit| match unit {
            Unit::Seconds => &SECONDS,
            Unit::Bytes => &BYTES,
        });
        let kind = match metric.kind {
            Kind::Gauge => MetricType::Gauge,
            Kind::Counter => MetricType::Counter,
            Kind::Histogram => MetricType::Histogram,
        };
        let encoder = self
            .0
            .encode_descriptor(metric.base(), metric.help, unit, kind)?;
        Ok(Samples { metric, encoder })
    }

    /// A metric without labels.
    ///
    /// # Errors
    /// If the page takes no more.
    pub fn value(&mut self, metric: &'static Metric, value: u64) -> fmt::Result {
        self.metric(metric)?.value(&[], value)
    }

    /// A counter for each value of the only label that a metric has.
    ///
    /// # Errors
    /// If the page takes no more.
    pub fn values<'v>(
        &mut self,
        metric: &'static Metric,
        values: impl IntoIterator<Item = (&'v str, u64)>,
    ) -> fmt::Result {
        let mut samples = self.metric(metric)?;
        values
            .into_iter()
            .try_for_each(|(label, value)| samples.value(&[label], value))
    }
}

/// The numbers of one metric.
#[derive(Debug)]
pub struct Samples<'a> {
    metric: &'static Metric,
    encoder: MetricEncoder<'a>,
}

impl Samples<'_> {
    /// One, under the values of its labels in their order.
    ///
    /// # Errors
    /// If the page takes no more.
    pub fn value(&mut self, labels: &[&str], value: u64) -> fmt::Result {
        debug_assert_eq!(labels.len(), self.metric.labels.len());
        let names = self.metric.labels.iter().map(|label| label.name);
        let labels: Vec<_> = names.zip(labels.iter().copied()).collect();
        if labels.is_empty() {
            return encode(self.metric, &mut self.encoder, value);
        }
        encode(
            self.metric,
            &mut self.encoder.encode_family(&labels)?,
            value,
        )
    }

    /// A histogram.
    ///
    /// # Errors
    /// If the page takes no more.
    pub fn histogram(self, histogram: &Histogram) -> fmt::Result {
        histogram.encode(self.encoder)
    }
}

fn encode(metric: &Metric, encoder: &mut MetricEncoder<'_>, value: u64) -> fmt::Result {
    match metric.kind {
        Kind::Counter => encoder.encode_counter::<NoLabelSet, _, u64>(&value, None),
        Kind::Gauge | Kind::Histogram => encoder.encode_gauge(&value),
    }
}
