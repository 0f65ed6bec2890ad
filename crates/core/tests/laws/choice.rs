//! Law 2: what a link may be given for what it proves.

use std::sync::Arc;

use opamp_operator_api::{
    v1alpha1::AgentSelector,
    values::{Attributes, ProfileKey},
};
use opamp_operator_core::{
    catalog::{Candidate, Candidates, Choice, Chooser, candidates, choose},
    identity::Rights,
};

use crate::common::uid;

fn candidate(namespace: &str, name: &str, priority: i32) -> Candidate {
    Candidate {
        profile: ProfileKey::new(namespace, name),
        priority,
        admin: namespace == "ops",
        selector: Arc::default(),
    }
}

/// For this agent and nobody else.
fn by_uid(candidate: Candidate) -> Candidate {
    let selector = AgentSelector {
        instance_uids: vec![uid(1).to_string()],
        ..AgentSelector::default()
    };
    Candidate {
        selector: Arc::new(selector),
        ..candidate
    }
}

fn at_home(all: &[Candidate]) -> Candidates {
    candidates("a", all.iter())
}

/// What an agent gets on a link that shows credentials of these profiles only.
fn chosen(all: &[Candidate], shown: &[ProfileKey]) -> Choice {
    with_rights(all, &Rights::Recognised(shown.to_vec()))
}

fn with_rights(all: &[Candidate], rights: &Rights) -> Choice {
    let chooser = Chooser {
        uid: &uid(1).to_string(),
        identity: None,
        attributes: Some(&Attributes::default()),
        rights,
    };
    choose(&at_home(all), &chooser)
}

fn profile(namespace: &str, name: &str) -> Choice {
    Choice::Profile(ProfileKey::new(namespace, name))
}

fn awaiting(namespace: &str, name: &str) -> Choice {
    Choice::AwaitingProof(ProfileKey::new(namespace, name))
}

#[test]
fn law2_waiting_for_a_proof_does_not_cut_an_agent_off_from_what_it_runs() {
    let all = [candidate("a", "p", 0), candidate("ops", "better", 1)];
    let shows_p = [ProfileKey::new("a", "p")];
    assert_eq!(chosen(&all, &shows_p), profile("a", "p"));
    // What it shows is gone, or is for others now.
    assert_eq!(chosen(&all[1..], &shows_p), awaiting("ops", "better"));
    let elsewhere = [ProfileKey::new("b", "p")];
    assert_eq!(chosen(&all, &elsewhere), awaiting("ops", "better"));
    // A better one that can be judged only by what the agent has not said yet.
    let reads = AgentSelector {
        match_attributes: [("service.name".to_owned(), "otelcol".to_owned())].into(),
        ..AgentSelector::default()
    };
    let all = [
        candidate("a", "p", 0),
        Candidate {
            selector: Arc::new(reads),
            ..candidate("ops", "better", 1)
        },
    ];
    let chooser = Chooser {
        uid: "",
        identity: None,
        attributes: None,
        rights: &Rights::Recognised(shows_p.to_vec()),
    };
    assert_eq!(choose(&at_home(&all), &chooser), Choice::NotYet);
    assert_eq!(chosen(&all, &shows_p), profile("a", "p"));
}

#[test]
fn law2_an_admin_profile_recognised_gives_its_own_later_revisions_only() {
    let shows = [ProfileKey::new("ops", "one")];
    let all = [candidate("ops", "one", 0), candidate("ops", "two", 1)];
    assert_eq!(chosen(&all, &shows), profile("ops", "one"));
    assert_eq!(chosen(&all[1..], &shows), awaiting("ops", "two"));
    // Nor what the tenant at home offers.
    let tenant = [candidate("a", "p", 0)];
    assert_eq!(chosen(&tenant, &shows), awaiting("a", "p"));
}

#[test]
fn law2_a_tenant_profile_recognised_gives_what_that_tenant_offers_to_any_agent() {
    let shows = [ProfileKey::new("a", "p")];
    let all = [candidate("a", "p", 0), candidate("a", "q", 1)];
    assert_eq!(chosen(&all, &shows), profile("a", "q"));
    // Also when its own is gone; nothing of an admin namespace.
    assert_eq!(chosen(&all[1..], &shows), profile("a", "q"));
    let admin = [candidate("ops", "q", 1)];
    assert_eq!(chosen(&admin, &shows), awaiting("ops", "q"));
}

#[test]
fn law2_h19_what_names_instance_uids_needs_a_primary_proof() {
    let shows = [ProfileKey::new("a", "p")];
    let named = by_uid(candidate("a", "q", 1));
    assert_eq!(
        chosen(std::slice::from_ref(&named), &shows),
        awaiting("a", "q")
    );
    // Its own later revisions it gets whatever they select.
    let own = by_uid(candidate("a", "p", 0));
    assert_eq!(chosen(&[named, own], &shows), profile("a", "p"));
}

#[test]
fn law2_what_has_ended_gives_its_own_profile_only() {
    let ended = Rights::Expired(vec![ProfileKey::new("a", "p")]);
    let all = [candidate("a", "p", 0), candidate("a", "q", 1)];
    assert_eq!(with_rights(&all, &ended), profile("a", "p"));
    assert_eq!(with_rights(&all[1..], &ended), awaiting("a", "q"));
}
