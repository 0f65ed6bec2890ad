//! What may not be in anything that the operator says or writes.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{OPERATOR, TEAM};
use crate::cluster::api::Api;
use crate::cluster::tools::Kubectl;
use crate::leaks::Leaks;

/// Of a Secret: certificates, and what Helm keeps, which is what the chart says.
const PUBLIC: [&str; 3] = ["ca.crt", "tls.crt", "release"];

/// Where the operator writes, or could write a secret into.
const WRITTEN: &str = "opcp,opag,events,configmaps,controllerrevisions,leases";

/// Keys and tokens of Secrets, also of those that were replaced.
#[derive(Default)]
pub(super) struct Secrets(Mutex<Leaks>);

impl Secrets {
    /// Takes in what is in Secrets now.
    pub(super) async fn take_in(&self, api: &Api) -> Result<()> {
        for namespace in [OPERATOR, TEAM] {
            let secrets = api.within(namespace).list("Secret").await?;
            for secret in secrets["items"].as_array().into_iter().flatten() {
                let name = secret["metadata"]["name"].as_str().unwrap_or_default();
                let data = secret["data"].as_object().into_iter().flatten();
                for (key, value) in data.filter(|(key, _)| !PUBLIC.contains(&key.as_str())) {
                    let value = STANDARD.decode(value.as_str().unwrap_or_default())?;
                    let value = String::from_utf8_lossy(&value);
                    let mut leaks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                    leaks.add(&format!("{key} of Secret {name}"), &value);
                }
            }
        }
        Ok(())
    }

    /// Searches the logs of the operator's Pods, also of those that are gone,
    /// and what is in the API.
    pub(super) async fn are_kept(&self, kubectl: &Kubectl, folder: &Path) -> Result<()> {
        let get = ["get", WRITTEN, "--all-namespaces", "--output=yaml"];
        let written = kubectl.run(&get).await?;
        let pods = std::fs::read_dir(folder.join("pods"))?;
        let pods: Vec<PathBuf> = pods.flatten().map(|entry| entry.path()).collect();
        let prefix = format!("{OPERATOR}_");
        let own = |path: &&PathBuf| {
            let name = path.file_name().unwrap_or_default();
            name.to_string_lossy().starts_with(&prefix)
        };
        let logs: Vec<&Path> = pods.iter().filter(own).map(PathBuf::as_path).collect();
        let leaks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        leaks.check(&logs, &[("the API", &written)], &folder.join("scratch"))
    }
}
