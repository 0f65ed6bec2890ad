//! From the Lease to the controller: who becomes its holder goes on from what
//! the one before left, and not from what it knew itself.

use std::{collections::BTreeSet, time::Duration};

use kube::{
    Api, Client, ResourceExt as _,
    api::{ApiResource, DynamicObject, ListParams},
};
use opamp_operator_api::{
    ProfileKey,
    v1alpha1::{OpAMPConnectionProfile, OpAMPConnectionProfileStatus},
};
use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};

use super::{Records, fault::within, lease::Fence, memory::Store};
use crate::backend::{Homes, Observation};

/// When what was left is read again, if it could not be.
const RETRY: Duration = Duration::from_secs(1);
/// Objects fetched at a time.
const PAGE: u32 = 500;

pub(super) struct Succession {
    pub(super) client: Client,
    pub(super) fence: Fence,
    pub(super) store: Store,
    pub(super) records: Records,
    pub(super) namespaces: BTreeSet<String>,
    pub(super) homes: watch::Receiver<Homes>,
    pub(super) observations: mpsc::Sender<Observation>,
}

impl Succession {
    /// Runs until the other side is gone.
    pub(super) async fn run(self) {
        let mut told = false;
        loop {
            if self.fence.is_open() {
                match self.fence.within(self.left()).await {
                    Some(Ok(())) => told = true,
                    Some(Err(error)) => {
                        tracing::error!(
                            error,
                            "what was written before cannot be read: it is tried again"
                        );
                        sleep(RETRY).await;
                        continue;
                    }
                    None => continue,
                }
            }
            if told {
                tracing::info!(
                    "holding the Lease: this process writes ledger, statuses and events"
                );
                if self
                    .observations
                    .send(Observation::Leads(true))
                    .await
                    .is_err()
                {
                    return;
                }
                self.fence.closed().await;
                tracing::warn!(
                    "the Lease is lost: this process serves agents and writes nothing for others"
                );
                if self
                    .observations
                    .send(Observation::Leads(false))
                    .await
                    .is_err()
                {
                    return;
                }
                told = false;
            }
            if !self.fence.opened().await {
                return;
            }
        }
    }

    /// Tells everything that another process may have written.
    async fn left(&self) -> Result<(), String> {
        let tell = async |observation| {
            let told = self.observations.send(observation).await;
            told.map_err(|_| "the controller ended".to_owned())
        };
        for entry in self.store.ledger().await.map_err(|e| e.to_string())? {
            tell(Observation::Ledger(Box::new(entry))).await?;
        }
        let homes = self.homes.borrow().namespaces.clone();
        let records = self.records.load(&homes).await;
        for record in records.map_err(|error| error.to_string())? {
            tell(Observation::Agent(Box::new(record))).await?;
        }
        for namespace in &self.namespaces {
            for (key, status) in self.statuses(namespace).await? {
                tell(Observation::Status(key, Box::new(status))).await?;
            }
        }
        Ok(())
    }

    async fn statuses(
        &self,
        namespace: &str,
    ) -> Result<Vec<(ProfileKey, OpAMPConnectionProfileStatus)>, String> {
        let resource = ApiResource::erase::<OpAMPConnectionProfile>(&());
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), namespace, &resource);
        let mut how = ListParams::default().limit(PAGE);
        let mut statuses = Vec::new();
        loop {
            let page = match within(api.list(&how)).await {
                Ok(page) => page,
                // Whoever may not read them reports none of them.
                Err((Some(403), _)) => return Ok(statuses),
                Err((_, problem)) => return Err(problem),
            };
            for object in page.items {
                let key = ProfileKey::new(namespace, object.name_any());
                let status = object.data.get("status").cloned().unwrap_or_default();
                // One that cannot be read is written anew.
                statuses.push((key, serde_json::from_value(status).unwrap_or_default()));
            }
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => how = how.continue_token(&token),
                None => return Ok(statuses),
            }
        }
    }
}
