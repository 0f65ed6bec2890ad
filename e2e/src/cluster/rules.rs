//! What somebody may do.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::api::Api;

impl Api {
    /// What this user may do in a namespace, as the API server sees it: lines of
    /// verb, resource and, where only some objects are meant, the name of one.
    ///
    /// # Errors
    /// When the API server does not answer or does not know all.
    pub async fn rules(&self, namespace: &str) -> Result<BTreeSet<String>> {
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectRulesReview",
            "spec": {"namespace": namespace},
        });
        let answer = self
            .create(&review)
            .await?
            .map_err(|status| anyhow::anyhow!("{status:?}"))?;
        ensure!(answer["status"]["incomplete"] == false, "{answer}");
        Ok(lines(&answer["status"]["resourceRules"]))
    }
}

/// The rules of a role, or of a review, as lines.
#[must_use]
pub fn lines(rules: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for rule in rules.as_array().into_iter().flatten() {
        let names = texts(&rule["resourceNames"]);
        let names = if names.is_empty() {
            vec![String::new()]
        } else {
            names
        };
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                let slash = if group.is_empty() { "" } else { "/" };
                for name in &names {
                    for verb in texts(&rule["verbs"]) {
                        found.insert(format!("{verb} {group}{slash}{resource} {name}"));
                    }
                }
            }
        }
    }
    found
}

fn texts(list: &Value) -> Vec<String> {
    let all = list.as_array().into_iter().flatten();
    all.filter_map(|text| text.as_str().map(str::to_owned))
        .collect()
}
