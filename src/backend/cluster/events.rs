//! Events about profiles, for `kubectl describe` and whoever collects them.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client, Resource as _,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use opamp_operator_api::{ProfileKey, v1alpha1::OpAMPConnectionProfile};
use opamp_operator_core::status::{ProfileEvent, Severity, severity};
use tokio::time::timeout;

use super::{FIELD_MANAGER, WRITE_TIMEOUT, fault};

/// The API takes no longer note.
const MAX_NOTE_BYTES: usize = 1024;

pub(super) struct Events(Recorder);

impl Events {
    pub(super) fn new(client: Client) -> Self {
        let reporter = Reporter {
            controller: FIELD_MANAGER.to_owned(),
            // In a Pod, its name.
            instance: std::env::var("HOSTNAME").ok(),
        };
        Self(Recorder::new(client, reporter))
    }

    /// Publishes what happened to a profile. An event that cannot be written
    /// is lost: the status says the same.
    pub(super) async fn publish(
        &self,
        profile: &ProfileKey,
        uid: Option<&str>,
        events: &[ProfileEvent],
    ) {
        let regarding = ObjectReference {
            api_version: Some(OpAMPConnectionProfile::api_version(&()).into_owned()),
            kind: Some(OpAMPConnectionProfile::kind(&()).into_owned()),
            namespace: Some(profile.namespace.clone()),
            name: Some(profile.name.clone()),
            uid: uid.map(str::to_owned),
            ..ObjectReference::default()
        };
        for event in events {
            let event = Event {
                type_: match severity(event.reason) {
                    Some(Severity::Warning) => EventType::Warning,
                    _ => EventType::Normal,
                },
                reason: event.reason.to_string(),
                note: Some(event.note[..event.note.floor_char_boundary(MAX_NOTE_BYTES)].to_owned()),
                // What has the same action and reason is one event with a count.
                action: event
                    .revision
                    .map_or_else(|| "Resolve".into(), |number| format!("Revision{number}")),
                secondary: None,
            };
            let published = timeout(WRITE_TIMEOUT, self.0.publish(&event, &regarding)).await;
            let error = match published {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => fault::words(&error),
                Err(_) => "no answer in time".into(),
            };
            tracing::warn!(%profile, error, "an event cannot be written");
        }
    }
}
