//! What the operator says about profiles and agents, read from its state directory.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

use crate::eventually::{Look, eventually};
use crate::manifests::read_yaml;

/// The operator's state directory.
#[derive(Clone, Debug)]
pub struct State {
    folder: PathBuf,
}

/// A condition of a profile, in short.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// The reason.
    pub reason: String,
    /// The message for people.
    pub message: String,
}

impl Condition {
    /// A condition of a profile's status, if it has one of that type.
    #[must_use]
    pub fn of(status: &Value, kind: &str) -> Option<Self> {
        let conditions = status["conditions"].as_array()?;
        let found = conditions.iter().find(|one| one["type"] == kind)?;
        let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
        Some(Self {
            status: text("status"),
            reason: text("reason"),
            message: text("message"),
        })
    }

    /// Whether it has this status and, unless empty, this reason.
    #[must_use]
    pub fn is(&self, status: &str, reason: &str) -> bool {
        self.status == status && (reason.is_empty() || self.reason == reason)
    }
}

impl State {
    /// The state under `folder`.
    #[must_use]
    pub fn of(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
        }
    }

    /// The directory.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The status of a profile; null where there is none yet.
    #[must_use]
    pub fn profile(&self, name: &str) -> Value {
        let file = self.folder.join(format!("profiles/default/{name}.yaml"));
        let object = read_yaml(&file);
        object.map_or(Value::Null, |mut object| object["status"].take())
    }

    /// The whole file of an agent; null where there is none yet.
    #[must_use]
    pub fn agent(&self, uid: &str) -> Value {
        let file = self.folder.join(format!("agents/default/{uid}.yaml"));
        read_yaml(&file).unwrap_or(Value::Null)
    }

    /// A condition of a profile.
    #[must_use]
    pub fn condition(&self, profile: &str, kind: &str) -> Option<Condition> {
        Condition::of(&self.profile(profile), kind)
    }

    /// Waits until a condition of a profile has a status and, unless empty, a reason.
    ///
    /// # Errors
    /// When the deadline passes.
    pub async fn wait_for_condition(
        &self,
        profile: &str,
        kind: &str,
        status: &str,
        reason: &str,
        within: Duration,
    ) -> Result<Condition> {
        let what = format!("profile {profile} has {kind}={status} {reason}");
        eventually(&what, within, || {
            let have = self.condition(profile, kind);
            let right = have.clone().filter(|have| have.is(status, reason));
            Look::some(right, format!("{have:?}"))
        })
        .await
    }

    /// Waits until a profile's revision has at least this number; returns the revision.
    ///
    /// # Errors
    /// When the deadline passes.
    pub async fn wait_for_revision(
        &self,
        profile: &str,
        number: u64,
        within: Duration,
    ) -> Result<Value> {
        let what = format!("profile {profile} publishes revision {number}");
        eventually(&what, within, || {
            let status = self.profile(profile);
            let revision = status["revision"].clone();
            let have = revision["number"].as_u64().unwrap_or(0);
            Look::some((have >= number).then_some(revision), status)
        })
        .await
    }

    /// Waits until an agent's settings have a state (and evidence, unless empty).
    ///
    /// # Errors
    /// When the deadline passes.
    pub async fn wait_for_agent(
        &self,
        uid: &str,
        state: &str,
        evidence: &str,
        within: Duration,
    ) -> Result<Value> {
        let what = format!("agent {uid} is {state} {evidence}");
        eventually(&what, within, || {
            let agent = self.agent(uid);
            let settings = &agent["status"]["settings"];
            let right = settings["state"] == state
                && (evidence.is_empty() || settings["evidence"] == evidence);
            let seen = agent["status"].to_string();
            Look::some(right.then_some(agent), seen)
        })
        .await
    }
}
