//! What the API says of a profile.

use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

use super::api::Api;
use crate::eventually::{Look, eventually_async};
use crate::state::Condition;

impl Api {
    /// The status of a profile; null where there is none yet.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn status(&self, profile: &str) -> Result<Value> {
        let object = self.get("OpAMPConnectionProfile", profile).await?;
        Ok(object.map_or(Value::Null, |mut object| object["status"].take()))
    }

    /// Waits until the status of a profile is as wanted.
    ///
    /// # Errors
    /// When the deadline passes.
    pub async fn wait_for_status<T>(
        &self,
        what: &str,
        profile: &str,
        within: Duration,
        wanted: impl Fn(&Value) -> Option<T>,
    ) -> Result<T> {
        eventually_async(what, within, || async {
            match self.status(profile).await {
                Ok(status) => Look::some(wanted(&status), &status),
                Err(error) => Look::NotYet(format!("{error:#}")),
            }
        })
        .await
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
        let right = |seen: &Value| Condition::of(seen, kind).filter(|have| have.is(status, reason));
        self.wait_for_status(&what, profile, within, right).await
    }
}
