//! What is told of an agent that changed: one line for each [`Transition`], and
//! what came of a change is told under its name.

use opamp_operator_core::{
    fleet::{Agent, Transition},
    offer::Change,
};
use tracing::field::{DisplayValue, display};

/// One line per change of state.
pub(super) fn log(agent: &Agent, transition: &Transition) {
    let (uid, namespace) = (agent.uid(), agent.namespace());
    let profile = agent.profile().map(ToString::to_string).unwrap_or_default();
    // Of settings that it was offered; none if an earlier process did.
    let change = name(agent.change());
    match transition {
        Transition::Connected(transport) => {
            tracing::info!(agent = %uid, namespace, ?transport, "agent connected");
        }
        Transition::Described => tracing::debug!(agent = %uid, namespace, "agent described itself"),
        Transition::Disconnected => tracing::info!(agent = %uid, namespace, "agent disconnected"),
        Transition::Profile(_) => {
            tracing::info!(agent = %uid, namespace, profile, "profile chosen");
        }
        Transition::TakenFrom(before) => {
            tracing::info!(agent = %uid, namespace, profile, %before, "profile took the agent over by precedence");
        }
        Transition::Overridden(_) => {
            let others = agent.overridden().len();
            tracing::info!(agent = %uid, namespace, profile, others, "other profiles select the agent too and give way");
        }
        Transition::Capable(capable) => {
            tracing::info!(agent = %uid, namespace, capable, "agent takes connection settings, or not");
        }
        Transition::Offered {
            profile,
            number,
            marker,
            retry,
            change,
        } => {
            let change = name(*change);
            tracing::info!(change, agent = %uid, namespace, %profile, revision = number, marker = marker.short(), retry, "settings offered");
        }
        Transition::Told {
            profile,
            number,
            change,
        } => {
            let change = name(*change);
            tracing::info!(change, agent = %uid, namespace, %profile, revision = number, "settings beside OpAMP sent");
        }
        Transition::Arrived => {
            tracing::debug!(agent = %uid, namespace, profile, "settings beside OpAMP arrived");
        }
        Transition::CannotUse(message) => {
            tracing::warn!(agent = %uid, namespace, profile, message, "agent could not use the settings beside OpAMP");
        }
        Transition::Proved(proved, change) => {
            let change = name(*change);
            tracing::info!(change, agent = %uid, namespace, profile = %proved.profile, revision = proved.number, evidence = ?proved.evidence, "agent runs revision");
        }
        Transition::Taken { after } => {
            tracing::debug!(change, agent = %uid, namespace, profile, ?after, "agent runs the settings that it was offered");
        }
        Transition::CameWithout => {
            tracing::warn!(change, agent = %uid, namespace, profile, "agent came back without the settings that it was offered");
        }
        Transition::LostSettings => {
            tracing::info!(change, agent = %uid, namespace, profile, "agent came back without its settings");
        }
        Transition::Switching => {
            tracing::info!(change, agent = %uid, namespace, profile, "agent left after an offer and is expected back");
        }
        Transition::Lost => {
            tracing::warn!(change, agent = %uid, namespace, profile, "agent did not come back after an offer");
        }
        Transition::Departed => {
            tracing::info!(change, agent = %uid, namespace, profile, "agent went to the server of another");
        }
        Transition::Failed(message) => {
            tracing::warn!(change, agent = %uid, namespace, profile, message, "agent could not use the settings");
        }
        Transition::HeldBack(why, change) => {
            let change = name(*change);
            tracing::warn!(change, agent = %uid, namespace, profile, ?why, "offer held back");
        }
        Transition::CannotReturn => {
            tracing::warn!(agent = %uid, namespace, profile, "agent is connected by credentials that would not be admitted again");
        }
        Transition::Cloned => {
            tracing::warn!(agent = %uid, namespace, "two agents use this instance UID; one is told to take another");
        }
        Transition::AwaitingProof => {
            tracing::warn!(agent = %uid, namespace, profile, "agent must prove who it is before it is offered settings");
        }
    }
}

fn name(change: Option<Change>) -> Option<DisplayValue<impl std::fmt::Display>> {
    change.map(|change| display(change.id))
}
