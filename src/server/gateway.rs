//! Several instances on one WebSocket: a gateway. All are answered and
//! recorded; none is offered anything, since what the connection shows is the
//! gateway's.

use std::collections::BTreeMap;

use opamp_wire::{InstanceUid, Reply, proto::AgentToServer};

use super::{
    exchange::{Attached, Denied, bad_request, exchange, unavailable},
    quota::Account,
    shared::Shared,
    standing::{Standing, revoked},
    subscriptions::Subscriptions,
};
use crate::hub::Hub;

/// Agents behind one connection, beside the first.
const MOST: usize = 1024;

/// Those that are not the first on their connection.
#[derive(Default)]
pub(super) struct Gateway(BTreeMap<InstanceUid, (Attached, Subscriptions)>);

impl Gateway {
    /// Answers a message of one of them. A refusal is for that one alone: the
    /// others stay connected.
    pub(super) fn hear(
        &mut self,
        shared: &Shared,
        standing: &Standing,
        account: &Account,
        uid: InstanceUid,
        message: &AgentToServer,
    ) -> Reply {
        let hub = &shared.hub;
        if !self.0.contains_key(&uid) {
            if self.0.len() >= MOST {
                let wait = shared.refusal();
                return unavailable(uid, "too many agents on one connection", wait);
            }
            let attached = match join(shared, standing, account, uid) {
                Ok(attached) => attached,
                Err(denied) => return refusal(shared, uid, &denied),
            };
            attached.agent.lock().mark_shared(attached.id);
            let namespace = attached.agent.lock().namespace().to_owned();
            let subscriptions = Subscriptions::new(&hub.book, &namespace);
            self.0.insert(uid, (attached, subscriptions));
        }
        let Some((attached, subscriptions)) = self.0.get_mut(&uid) else {
            return Reply::new(uid);
        };
        let heard = exchange(shared, &attached.agent, attached.id, subscriptions, message);
        if message.agent_disconnect.is_some() || heard.is_err() {
            self.0.remove(&uid);
        }
        match heard {
            Ok((reply, _)) => reply,
            Err(denied) => refusal(shared, uid, &denied),
        }
    }

    /// Trust changed: whoever is revoked leaves, and is told if it speaks again.
    /// The others stay.
    pub(super) fn judge(&mut self, hub: &Hub, standing: &Standing) {
        self.0.retain(|uid, (attached, _)| {
            let (presented, verdict) = (&standing.presented, &standing.verdict);
            let why = revoked(hub, &attached.agent.lock(), presented, verdict);
            if let Some(why) = &why {
                tracing::warn!(agent = %uid, %why, "agent of a gateway denied: revoked");
            }
            why.is_none()
        });
    }

    /// All of them leave.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

/// One more behind this connection.
fn join(
    shared: &Shared,
    standing: &Standing,
    account: &Account,
    uid: InstanceUid,
) -> Result<Attached, Denied> {
    let hub = &shared.hub;
    let verdict = standing.for_newcomer(hub)?;
    shared
        .quotas
        .takes(account, hub, uid, &verdict.for_uid(uid))?;
    Attached::websocket(hub, uid, &standing.presented, &verdict)
}

fn refusal(shared: &Shared, uid: InstanceUid, denied: &Denied) -> Reply {
    shared.metrics.denied(denied);
    tracing::info!(agent = %uid, why = %denied, "agent of a gateway denied");
    if denied.is_for_now() {
        unavailable(uid, &denied.text(), shared.refusal())
    } else {
        bad_request(uid, denied.text())
    }
}
