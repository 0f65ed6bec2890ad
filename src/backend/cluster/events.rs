//! Events about profiles, for `kubectl describe` and whoever collects them.
//!
//! The name of an event is made of what it says: what happens again in the same
//! revision, also after a restart, is counted in the event that is there.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{
    Api, Client, Resource as _,
    api::{Patch, PatchParams, PostParams},
};
use opamp_operator_api::{ProfileKey, v1alpha1::OpAMPConnectionProfile};
use opamp_operator_core::status::{ProfileEvent, Severity, severity};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::{FIELD_MANAGER, fault};

/// The API takes no longer note.
const MAX_NOTE_BYTES: usize = 1024;
/// Of a profile's name, in the name of its events.
const MAX_NAME_BYTES: usize = 200;
/// The API forgets events after an hour, and so do we.
const KEPT: Duration = Duration::from_secs(3600);

pub(super) struct Events {
    client: Client,
    instance: String,
    /// How often an event was told, and when last.
    told: Mutex<BTreeMap<String, (i32, Instant)>>,
}

impl Events {
    pub(super) fn new(client: Client) -> Self {
        // In a Pod, its name.
        let instance = std::env::var("HOSTNAME").ok();
        let instance = instance.filter(|name| (1..=128).contains(&name.len()));
        Self {
            client,
            instance: instance.unwrap_or_else(|| FIELD_MANAGER.to_owned()),
            told: Mutex::default(),
        }
    }

    /// Publishes what happened to a profile. An event that cannot be written
    /// is lost: the status says the same.
    pub(super) async fn publish(
        &self,
        profile: &ProfileKey,
        uid: Option<&str>,
        events: &[ProfileEvent],
    ) {
        for event in events {
            if let Err((_, error)) = self.tell(profile, uid, event).await {
                tracing::warn!(%profile, error, "an event cannot be written");
            }
        }
    }

    async fn tell(
        &self,
        profile: &ProfileKey,
        uid: Option<&str>,
        event: &ProfileEvent,
    ) -> Result<(), (Option<u16>, String)> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), &profile.namespace);
        let object = self.object(profile, uid, event);
        let name = object.metadata.name.clone().unwrap_or_default();
        let count = self.count(&name);
        let created = fault::within(api.create(&PostParams::default(), &object)).await;
        match created {
            Err((Some(409), _)) => {
                let series = serde_json::json!({"series": {
                    "count": count.max(2),
                    "lastObservedTime": MicroTime(Timestamp::now()),
                }});
                let (how, again) = (PatchParams::default(), Patch::Merge(&series));
                let patched = api.patch(&name, &how, &again);
                fault::within(patched).await.map(drop)
            }
            created => created.map(drop),
        }
    }

    /// How often this event was told, this time included, as far as is known.
    fn count(&self, name: &str) -> i32 {
        let mut told = self.told.lock();
        told.retain(|_, (_, last)| last.elapsed() < KEPT);
        let now = Instant::now();
        let (count, last) = told.entry(name.to_owned()).or_insert((0, now));
        (*count, *last) = (count.saturating_add(1), now);
        *count
    }

    fn object(&self, profile: &ProfileKey, uid: Option<&str>, event: &ProfileEvent) -> Event {
        let kind = match severity(event.reason) {
            Some(Severity::Warning) => "Warning",
            _ => "Normal",
        };
        let action = event.revision.map_or_else(
            || "Resolve".to_owned(),
            |number| format!("Revision{number}"),
        );
        let note = &event.note[..event.note.floor_char_boundary(MAX_NOTE_BYTES)];
        Event {
            metadata: ObjectMeta {
                namespace: Some(profile.namespace.clone()),
                name: Some(name(profile, uid, &action, event)),
                ..ObjectMeta::default()
            },
            action: Some(action),
            reason: Some(event.reason.to_string()),
            note: Some(note.to_owned()),
            type_: Some(kind.to_owned()),
            event_time: Some(MicroTime(Timestamp::now())),
            regarding: Some(ObjectReference {
                api_version: Some(OpAMPConnectionProfile::api_version(&()).into_owned()),
                kind: Some(OpAMPConnectionProfile::kind(&()).into_owned()),
                namespace: Some(profile.namespace.clone()),
                name: Some(profile.name.clone()),
                uid: uid.map(str::to_owned),
                ..ObjectReference::default()
            }),
            reporting_controller: Some(FIELD_MANAGER.to_owned()),
            reporting_instance: Some(self.instance.clone()),
            ..Event::default()
        }
    }
}

/// What is the same in all of these is one event.
fn name(profile: &ProfileKey, uid: Option<&str>, action: &str, event: &ProfileEvent) -> String {
    let mut digest = Sha256::new();
    let parts = [
        uid.unwrap_or_default(),
        action,
        event.reason.as_str(),
        &event.about,
    ];
    for part in parts {
        digest.update(part.len().to_be_bytes());
        digest.update(part);
    }
    let digest = hex::encode(&digest.finalize()[..8]);
    let end = profile.name.floor_char_boundary(MAX_NAME_BYTES);
    let readable = profile.name[..end].trim_end_matches(['.', '-']);
    format!("{readable}.{digest}")
}

#[cfg(test)]
mod tests {
    use opamp_operator_api::Reason;

    use super::*;

    #[test]
    fn law8_what_happens_again_has_the_name_it_had() {
        let event = |about: &str| ProfileEvent {
            reason: Reason::SecretNotFound,
            note: "whatever".into(),
            about: about.into(),
            revision: Some(1),
        };
        let named = |uid, action, about: &str| {
            let profile = ProfileKey::new("a", "p-".repeat(120));
            name(&profile, Some(uid), action, &event(about))
        };
        let first = named("u", "Revision1", "x");
        assert_eq!(first, named("u", "Revision1", "x"));
        assert!(first.len() < 253 && first.contains("p-p."), "{first}");
        for other in [
            named("v", "Revision1", "x"),
            named("u", "Revision2", "x"),
            named("u", "Revision1", "y"),
            named("u", "Revision", "1x"),
        ] {
            assert_ne!(first, other);
        }
    }
}
