//! Spans as OTLP has them.

use std::fmt::Display;

use jiff::Timestamp;
use opamp_operator_core::offer::ChangeId;
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span::SpanKind, status::StatusCode},
};
use sha2::{Digest as _, Sha256};

/// Names traces and spans.
#[derive(Debug)]
pub(super) struct Names {
    seed: [u8; 16],
    next: u64,
}

impl Names {
    /// From a number that no other process has.
    pub(super) fn new(seed: [u8; 16]) -> Self {
        Self { seed, next: 0 }
    }

    /// The trace of a change, always the same; and an even number of its own.
    pub(super) fn trace(&self, change: ChangeId) -> ([u8; 16], u64) {
        let digest = self.digest(b"trace", u64::from(change.0));
        let (mut trace, mut dice) = ([0; 16], [0; 8]);
        trace.copy_from_slice(&digest[..16]);
        dice.copy_from_slice(&digest[16..24]);
        (trace, u64::from_be_bytes(dice))
    }

    /// A new span.
    pub(super) fn span(&mut self) -> [u8; 8] {
        self.next += 1;
        let digest = self.digest(b"span", self.next);
        let mut span = [0; 8];
        span.copy_from_slice(&digest[..8]);
        span
    }

    fn digest(&self, kind: &[u8], number: u64) -> [u8; 32] {
        let digest = Sha256::new().chain_update(self.seed).chain_update(kind);
        digest.chain_update(number.to_be_bytes()).finalize().into()
    }
}

/// A span on its way.
pub(super) struct Made(Span);

/// A span from then to then.
pub(super) fn span(
    name: &str,
    trace: [u8; 16],
    id: [u8; 8],
    from: Timestamp,
    to: Timestamp,
) -> Made {
    let nanos = |at: Timestamp| u64::try_from(at.as_nanosecond()).unwrap_or_default();
    Made(Span {
        trace_id: trace.to_vec(),
        span_id: id.to_vec(),
        name: name.to_owned(),
        kind: SpanKind::Internal.into(),
        start_time_unix_nano: nanos(from),
        // Clocks may be set back.
        end_time_unix_nano: nanos(to.max(from)),
        ..Span::default()
    })
}

impl Made {
    /// A child of that.
    pub(super) fn below(mut self, parent: [u8; 8]) -> Self {
        self.0.parent_span_id = parent.to_vec();
        self
    }

    /// Under this name.
    pub(super) fn named(mut self, id: [u8; 8]) -> Self {
        self.0.span_id = id.to_vec();
        self
    }

    /// With an attribute.
    pub(super) fn text(self, key: &str, value: &impl Display) -> Self {
        self.with(key, Value::StringValue(value.to_string()))
    }

    /// With an attribute that is a number.
    pub(super) fn number(self, key: &str, value: u64) -> Self {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        self.with(key, Value::IntValue(value))
    }

    fn with(mut self, key: &str, value: Value) -> Self {
        self.0.attributes.push(attribute(key, value));
        self
    }

    /// It ended badly.
    pub(super) fn failed(mut self, why: &str) -> Self {
        self.0.status = Some(Status {
            message: why.to_owned(),
            code: StatusCode::Error.into(),
        });
        self
    }

    pub(super) fn end(self) -> Span {
        self.0
    }
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

/// What is sent.
pub(super) fn request(spans: Vec<Span>) -> ExportTraceServiceRequest {
    let resource = [
        ("service.name", env!("CARGO_PKG_NAME")),
        ("service.version", env!("CARGO_PKG_VERSION")),
    ];
    let attributes = resource.map(|(key, value)| attribute(key, Value::StringValue(value.into())));
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: attributes.into(),
                ..Resource::default()
            }),
            scope_spans: vec![ScopeSpans {
                scope: Some(InstrumentationScope {
                    name: env!("CARGO_PKG_NAME").into(),
                    ..InstrumentationScope::default()
                }),
                spans,
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    }
}
