//! Events about profiles, for `kubectl describe` and whoever collects them.
//!
//! The name of an event is made of what it says: what happens again in the same
//! revision, also after a restart, is counted in the event that is there. Who
//! writes a profile could make as many as it likes: so each has a few at once,
//! and one more every five minutes, which says how many were left out.

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
/// Events of a profile at once, as clients of the API have it.
const AT_ONCE: u32 = 25;
/// Of them for warnings about agents only: an author who makes one edit after
/// the other tells much, and that agents fail must be told all the same.
const FOR_AGENTS: u32 = 10;
/// And one more each.
const ONE_MORE: Duration = Duration::from_secs(300);

pub(super) struct Events {
    client: Client,
    instance: String,
    /// Of profiles that were told of lately.
    left: Mutex<BTreeMap<ProfileKey, Bucket>>,
}

/// What a profile may tell.
#[derive(Debug)]
struct Bucket {
    events: u32,
    /// When there was last one more.
    since: Instant,
    /// Not told, and not said yet.
    left_out: usize,
}

impl Bucket {
    fn full(now: Instant) -> Self {
        Self {
            events: AT_ONCE,
            since: now,
            left_out: 0,
        }
    }

    fn refill(&mut self, now: Instant) {
        while self.events < AT_ONCE && self.since + ONE_MORE <= now {
            self.events += 1;
            self.since += ONE_MORE;
        }
        if self.events == AT_ONCE {
            self.since = now;
        }
    }

    fn take(&mut self, kept: u32) -> bool {
        let may = self.events > kept;
        if may {
            self.events -= 1;
        } else {
            self.left_out += 1;
        }
        may
    }
}

impl Events {
    pub(super) fn new(client: Client) -> Self {
        // In a Pod, its name.
        let instance = std::env::var("HOSTNAME").ok();
        let instance = instance.filter(|name| (1..=128).contains(&name.len()));
        Self {
            client,
            instance: instance.unwrap_or_else(|| FIELD_MANAGER.to_owned()),
            left: Mutex::default(),
        }
    }

    /// Publishes what happened to a profile, beside events that found no room
    /// before. An event that cannot be written is lost: the status says the same.
    pub(super) async fn publish(
        &self,
        profile: &ProfileKey,
        uid: Option<&str>,
        events: &[ProfileEvent],
        left_out: usize,
    ) {
        if events.is_empty() {
            return;
        }
        self.bucket(profile, |bucket| bucket.left_out += left_out);
        for event in events {
            let (may, said) = self.bucket(profile, |bucket| {
                let may = bucket.take(kept_from(event));
                (may, bucket.left_out)
            });
            if !may {
                // The first of them.
                if said == 1 {
                    tracing::warn!(%profile, "too many events about a profile: some are left out");
                }
                continue;
            }
            match self.tell(profile, uid, event, said).await {
                Ok(New(true)) => self.bucket(profile, |bucket| bucket.left_out -= said),
                Ok(New(false)) => {}
                Err((_, error)) => {
                    tracing::warn!(%profile, error, "an event cannot be written");
                }
            }
        }
    }

    /// Looks at what is left to a profile; one that told nothing for long has
    /// all of it, and is not kept.
    fn bucket<T>(&self, profile: &ProfileKey, look: impl FnOnce(&mut Bucket) -> T) -> T {
        let (mut left, now) = (self.left.lock(), Instant::now());
        left.retain(|_, bucket| {
            bucket.refill(now);
            bucket.events < AT_ONCE || bucket.left_out > 0
        });
        let bucket = left.entry(profile.clone());
        look(bucket.or_insert_with(|| Bucket::full(now)))
    }

    async fn tell(
        &self,
        profile: &ProfileKey,
        uid: Option<&str>,
        event: &ProfileEvent,
        left_out: usize,
    ) -> Result<New, (Option<u16>, String)> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), &profile.namespace);
        let object = self.object(profile, uid, event, left_out);
        let name = object.metadata.name.clone().unwrap_or_default();
        let created = fault::within(api.create(&PostParams::default(), &object)).await;
        match created {
            Err((Some(409), _)) => {
                let how = PatchParams::default();
                // A patch of nothing is answered by what is there, and needs no
                // further right.
                let nothing = Patch::Merge(serde_json::json!({}));
                let there = fault::within(api.patch(&name, &how, &nothing)).await?;
                let before = there.series.map_or(1, |series| series.count.max(1));
                let again = Patch::Merge(serde_json::json!({"series": {
                    "count": before.saturating_add(1),
                    "lastObservedTime": MicroTime(Timestamp::now()),
                }}));
                let patched = fault::within(api.patch(&name, &how, &again)).await;
                patched.map(|_| New(false))
            }
            created => created.map(|_| New(true)),
        }
    }

    fn object(
        &self,
        profile: &ProfileKey,
        uid: Option<&str>,
        event: &ProfileEvent,
        left_out: usize,
    ) -> Event {
        let kind = match severity(event.reason) {
            Some(Severity::Warning) => "Warning",
            _ => "Normal",
        };
        let action = event.revision.map_or_else(
            || "Resolve".to_owned(),
            |number| format!("Revision{number}"),
        );
        let more = match left_out {
            0 => String::new(),
            1 => " (1 event before was left out)".to_owned(),
            many => format!(" ({many} events before were left out)"),
        };
        let end = event.note.floor_char_boundary(MAX_NOTE_BYTES - more.len());
        let note = format!("{}{more}", &event.note[..end]);
        Event {
            metadata: ObjectMeta {
                namespace: Some(profile.namespace.clone()),
                name: Some(name(profile, uid, &action, event)),
                ..ObjectMeta::default()
            },
            action: Some(action),
            reason: Some(event.reason.to_string()),
            note: Some(note),
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

/// How many events are left to others. What an author brings about by an edit is
/// no warning, or says what is wrong with it; of agents it is said how many.
fn kept_from(event: &ProfileEvent) -> u32 {
    let warning = severity(event.reason) == Some(Severity::Warning);
    let many = event.about.bytes().all(|byte| byte.is_ascii_digit());
    if warning && many { 0 } else { FOR_AGENTS }
}

/// An event was made, and not only counted.
struct New(bool);

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
    use std::{collections::btree_map::Entry, sync::Arc};

    use http::{Method, Request, Response};
    use kube::client::Body;
    use opamp_operator_api::Reason;
    use serde_json::{Value, json};

    use super::*;

    /// The events of an API, by name.
    type Stored = Arc<Mutex<BTreeMap<String, Value>>>;

    /// An API that keeps events.
    fn api(stored: Stored) -> Client {
        let service = tower::service_fn(move |request: Request<Body>| {
            let stored = Arc::clone(&stored);
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect_bytes().await.unwrap();
                let body: Value = serde_json::from_slice(&body).unwrap();
                let mut stored = stored.lock();
                let (code, answer) = if head.method == Method::POST {
                    let name = body["metadata"]["name"].as_str().unwrap().to_owned();
                    let status = json!({"kind": "Status", "code": 409, "reason": "AlreadyExists",
                        "message": "no", "status": "Failure"});
                    match stored.entry(name) {
                        Entry::Occupied(_) => (409, status),
                        Entry::Vacant(free) => (201, free.insert(body).clone()),
                    }
                } else {
                    assert_eq!(head.method, Method::PATCH, "another right is needed");
                    let name = head.uri.path().rsplit('/').next().unwrap();
                    let event = stored.get_mut(name).unwrap();
                    for (key, value) in body.as_object().unwrap() {
                        event[key] = value.clone();
                    }
                    (200, event.clone())
                };
                let answer = Body::from(serde_json::to_vec(&answer).unwrap());
                Response::builder().status(code).body(answer)
            }
        });
        Client::new(service, "a")
    }

    fn halted(revision: i64) -> ProfileEvent {
        ProfileEvent {
            reason: Reason::Halted,
            ..created(revision)
        }
    }

    fn created(revision: i64) -> ProfileEvent {
        ProfileEvent {
            reason: Reason::RevisionCreated,
            note: "x".repeat(2000),
            about: String::new(),
            revision: Some(revision),
        }
    }

    #[tokio::test]
    async fn law8_an_event_that_happens_again_is_counted_on_after_a_restart() {
        let (stored, profile) = (Stored::default(), ProfileKey::new("a", "p"));
        for count in 1..=4 {
            // A process of its own each.
            let events = Events::new(api(Arc::clone(&stored)));
            events.publish(&profile, Some("u"), &[created(1)], 0).await;
            let stored = stored.lock();
            assert_eq!(stored.len(), 1);
            let series = &stored.values().next().unwrap()["series"]["count"];
            assert_eq!(series.as_i64().unwrap_or(1), count);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn law10_a_profile_tells_so_many_events_and_says_how_many_it_did_not() {
        let (stored, profile) = (Stored::default(), ProfileKey::new("a", "p"));
        let events = Events::new(api(Arc::clone(&stored)));
        let flood: Vec<_> = (0..40).map(halted).collect();
        events.publish(&profile, None, &flood, 0).await;
        assert_eq!(stored.lock().len(), 25);
        // Others are none the worse.
        let other = ProfileKey::new("a", "q");
        events.publish(&other, None, &flood[..1], 2).await;
        let note = |of: &str, revision: i64| {
            let action = format!("Revision{revision}");
            let stored = stored.lock();
            let mut notes = stored.values().filter(|event| {
                event["regarding"]["name"] == of && event["action"] == action.as_str()
            });
            let note = notes.next()?["note"].as_str().unwrap().to_owned();
            assert!(note.len() <= MAX_NOTE_BYTES);
            Some(note)
        };
        assert!(
            note("q", 0)
                .unwrap()
                .ends_with("xx (2 events before were left out)")
        );
        tokio::time::advance(ONE_MORE).await;
        events
            .publish(&profile, None, &[halted(90), halted(91)], 0)
            .await;
        assert!(
            note("p", 90)
                .unwrap()
                .ends_with("xx (15 events before were left out)")
        );
        assert_eq!(note("p", 91), None);
        tokio::time::advance(ONE_MORE * AT_ONCE).await;
        events
            .publish(&profile, None, &[halted(92), halted(93)], 0)
            .await;
        assert!(
            note("p", 92)
                .unwrap()
                .ends_with("xx (1 event before was left out)")
        );
        assert!(note("p", 93).unwrap().ends_with("xx"));
        assert_eq!(events.left.lock().len(), 1, "who told long ago is kept");
    }

    /// An author who breaks and mends a reference all the time.
    #[tokio::test(start_paused = true)]
    async fn law10_who_tells_much_leaves_room_for_what_becomes_of_agents() {
        let (stored, profile) = (Stored::default(), ProfileKey::new("a", "p"));
        let events = Events::new(api(Arc::clone(&stored)));
        let edits = (0..40).flat_map(|number| {
            let broken = ProfileEvent {
                reason: Reason::SecretNotFound,
                about: "an object".into(),
                ..created(number)
            };
            [created(number), broken]
        });
        let edits: Vec<_> = edits.collect();
        events.publish(&profile, None, &edits, 0).await;
        assert_eq!(stored.lock().len(), 15);
        let failed = ProfileEvent {
            reason: Reason::AgentsFailed,
            about: "100".into(),
            ..created(50)
        };
        events
            .publish(&profile, None, &[halted(50), failed], 0)
            .await;
        let stored = stored.lock();
        for reason in ["Halted", "AgentsFailed"] {
            assert!(stored.values().any(|event| event["reason"] == reason));
        }
    }

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
