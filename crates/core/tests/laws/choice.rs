//! Law 2: what a link may be given for what it proves.

use std::sync::Arc;

use opamp_operator_api::{
    v1alpha1::{AgentSelector, AttributeScope},
    values::{Attributes, Found, Identity, IdentityMethod, ProfileKey},
};
use opamp_operator_core::{
    catalog::{Candidate, Candidates, Choice, Chooser, candidates, choose, overridden},
    identity::Rights,
};
use opamp_wire::proto::{AgentDescription, AgentToServer, AnyValue, KeyValue, any_value::Value};
use proptest::prelude::*;
use serde_json::json;

use crate::common::{bench, full, nothing, uid};

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

/// Whoever waits for a proof has nothing that was taken from another profile.
#[test]
fn nobody_gives_way_to_a_profile_that_waits_for_a_proof() {
    let all = [candidate("ops", "p", 0), candidate("ops", "better", 1)];
    let lose = |rights: &Rights| {
        let chooser = Chooser {
            uid: &uid(1).to_string(),
            identity: None,
            attributes: Some(&Attributes::default()),
            rights,
        };
        let choice = choose(&at_home(&all), &chooser);
        overridden(&at_home(&all), &chooser, &choice)
    };
    assert_eq!(lose(&Rights::Everything), [ProfileKey::new("ops", "p")]);
    assert_eq!(lose(&Rights::Nothing), []);
}

/// What is too long, no scalar or one too many is not kept, and is there.
#[test]
fn law10_what_is_not_kept_of_a_description_is_not_taken_for_missing() {
    let text = |text: &str| AnyValue {
        value: Some(Value::StringValue(text.into())),
    };
    let pair = |key: &str, value: AnyValue| KeyValue {
        key: key.into(),
        value: Some(value),
    };
    let long = text(&"x".repeat(1_025));
    let many = (0..65).map(|n| pair(&format!("k{n:02}"), text("v")));
    let description = AgentDescription {
        identifying_attributes: vec![
            pair("fits", text(&"x".repeat(1_024))),
            pair("long", long),
            pair("none", AnyValue::default()),
        ],
        non_identifying_attributes: many.collect(),
    };
    let mut bench = bench();
    let (link, _) = bench.come(nothing(), 0);
    let message = AgentToServer {
        agent_description: Some(description),
        ..full()
    };
    bench.say(link, message, 1);
    let known = bench.agent.record().attributes.unwrap();
    use AttributeScope::{Any, Identifying};
    assert!(matches!(known.find("fits", Any), Found::Value(_)));
    for key in ["long", "none"] {
        assert_eq!(known.find(key, Any), Found::Unread);
    }
    assert_eq!(known.find("k63", Any), Found::Value("v"));
    assert_eq!(known.find("k64", Any), Found::Unknown);
    assert_eq!(known.find("absent", Identifying), Found::Nothing);
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

/// Not even to the owner of the instance UID: its link must show who it is.
#[test]
fn law2_what_names_identities_needs_a_primary_proof() {
    let owner = Identity {
        namespace: "a".into(),
        method: IdentityMethod::ServiceAccount,
        authenticator: "cluster".into(),
        subject: "edge".into(),
    };
    let names = |account: &str| Candidate {
        selector: Arc::new(
            serde_json::from_value(json!({
                "authenticatedAs": [{"serviceAccount": {"name": account}}],
            }))
            .unwrap(),
        ),
        ..candidate("a", "q", 1)
    };
    let given = |all: &[Candidate], rights: &Rights| {
        let chooser = Chooser {
            uid: &uid(1).to_string(),
            identity: Some(&owner),
            attributes: Some(&Attributes::default()),
            rights,
        };
        choose(&at_home(all), &chooser)
    };
    let shows = Rights::Recognised(vec![ProfileKey::new("a", "p")]);
    let (its, others) = ([names("edge")], [names("another")]);
    assert_eq!(given(&its, &Rights::Everything), profile("a", "q"));
    assert_eq!(given(&others, &Rights::Everything), Choice::Nobody);
    assert_eq!(given(&its, &shows), awaiting("a", "q"));
    assert_eq!(given(&others, &shows), Choice::Nobody);
    // What it shows goes on, whoever else might get more.
    let [better] = its;
    let all = [better, candidate("a", "p", 0)];
    assert_eq!(given(&all, &shows), profile("a", "p"));
}

/// Whoever it is, it was not seen to be this agent that was offered it.
#[test]
fn law2_under_a_uid_without_an_owner_a_credential_gives_its_own_profile_alone() {
    let shows = Rights::Own(vec![ProfileKey::new("a", "p")]);
    let all = [candidate("a", "p", 0), candidate("a", "q", 1)];
    assert_eq!(with_rights(&all, &shows), profile("a", "p"));
    assert_eq!(with_rights(&all[1..], &shows), awaiting("a", "q"));
}

#[test]
fn law2_precedence_is_by_priority_then_admin_then_name_then_namespace() {
    let admins = |namespace: &str, name: &str, priority| Candidate {
        admin: true,
        ..candidate(namespace, name, priority)
    };
    // Each beats all that follow it.
    let ranked = [
        candidate("a", "z", 3),
        admins("ops", "z", 2),
        candidate("a", "a", 2),
        candidate("a", "b", 2),
        admins("ops", "c", -1),
        admins("sre", "c", -1),
        candidate("a", "c", -1),
    ];
    for first in 0..ranked.len() {
        let mut all = ranked[first..].to_vec();
        all.reverse();
        let best = &ranked[first].profile;
        assert_eq!(
            with_rights(&all, &Rights::Everything),
            Choice::Profile(best.clone())
        );
    }
    // A tenant's profile is nobody's of another namespace.
    let elsewhere = [candidate("b", "p", 9)];
    assert_eq!(with_rights(&elsewhere, &Rights::Everything), Choice::Nobody);
}

fn any_candidate() -> impl Strategy<Value = Candidate> {
    let namespace = prop::sample::select(&["a", "b", "ops", "sre"][..]);
    let name = prop::sample::select(&["p", "q", "r"][..]);
    (namespace, name, -1..=1).prop_map(|(namespace, name, priority)| Candidate {
        admin: ["ops", "sre"].contains(&namespace),
        ..candidate(namespace, name, priority)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn law2_one_profile_applies_in_whatever_order_they_are_told(
        all in prop::collection::vec(any_candidate(), 0..8).prop_map(|mut all| {
            // One object of a name.
            let mut seen = std::collections::BTreeSet::new();
            all.retain(|one| seen.insert(one.profile.clone()));
            all
        }),
        turn in 0_usize..8,
    ) {
        let chosen = with_rights(&all, &Rights::Everything);
        let mut turned = all.clone();
        turned.rotate_left(turn % all.len().max(1));
        for other in [turned.clone(), turned.into_iter().rev().collect()] {
            prop_assert_eq!(with_rights(&other, &Rights::Everything), chosen.clone());
        }
        let mine: Vec<_> = all.iter().filter(|c| c.admin || c.profile.namespace == "a").collect();
        let Choice::Profile(best) = chosen else {
            prop_assert!(mine.is_empty());
            return Ok(());
        };
        let best = mine.iter().find(|c| c.profile == best).expect("one that it may have");
        // By the words of the documentation, one after the other.
        for other in mine.iter().filter(|c| c.profile != best.profile) {
            let beaten = other.priority < best.priority
                || other.priority == best.priority
                    && (!other.admin && best.admin
                        || other.admin == best.admin
                            && (other.profile.name > best.profile.name
                                || other.profile.name == best.profile.name
                                    && other.profile.namespace > best.profile.namespace));
            prop_assert!(beaten, "{:?} is no better than {:?}", best.profile, other.profile);
        }
    }
}

#[test]
fn law2_what_has_ended_gives_its_own_profile_only() {
    let ended = Rights::Expired(vec![ProfileKey::new("a", "p")]);
    let all = [candidate("a", "p", 0), candidate("a", "q", 1)];
    assert_eq!(with_rights(&all, &ended), profile("a", "p"));
    assert_eq!(with_rights(&all[1..], &ended), awaiting("a", "q"));
}

mod explained {
    use opamp_operator_api::v1alpha1::{AttributeExpression, AttributeOperator, AttributeScope};
    use opamp_operator_core::catalog::{Relation, explain};
    use proptest::{prelude::*, sample::select};

    use super::*;

    fn selectors() -> impl Strategy<Value = AgentSelector> {
        let expression = |operator, values: &[&str]| AttributeExpression {
            key: "zone".into(),
            operator,
            values: values.iter().map(ToString::to_string).collect(),
            scope: AttributeScope::Any,
        };
        let zone = |value: &str| [("zone".to_owned(), value.to_owned())].into();
        select(vec![
            AgentSelector::default(),
            AgentSelector {
                match_attributes: zone("a"),
                ..AgentSelector::default()
            },
            AgentSelector {
                match_attributes: zone("b"),
                ..AgentSelector::default()
            },
            AgentSelector {
                match_expressions: vec![expression(AttributeOperator::NotIn, &["a"])],
                ..AgentSelector::default()
            },
            AgentSelector {
                instance_uids: vec![uid(1).to_string()],
                ..AgentSelector::default()
            },
            AgentSelector {
                instance_uids: vec![uid(2).to_string()],
                ..AgentSelector::default()
            },
        ])
    }

    fn profiles() -> impl Strategy<Value = Vec<Candidate>> {
        let namespace = select(vec!["a", "b", "ops"]);
        let name = select(vec!["p", "q", "r"]);
        let one = (namespace, name, -1..2, selectors());
        let one = one.prop_map(|(namespace, name, priority, selector)| Candidate {
            selector: Arc::new(selector),
            ..candidate(namespace, name, priority)
        });
        proptest::collection::vec(one, 0..8).prop_map(|mut all| {
            all.sort_by(|a, b| a.profile.cmp(&b.profile));
            all.dedup_by(|a, b| a.profile == b.profile);
            all
        })
    }

    proptest! {
        #[test]
        fn what_is_explained_is_what_is_chosen(
            all in profiles(),
            described in select(vec![None, Some("a"), Some("c")]),
            rights in select(vec![
                Rights::Everything,
                Rights::Nothing,
                Rights::Recognised(vec![ProfileKey::new("a", "q")]),
                Rights::Expired(vec![ProfileKey::new("a", "p")]),
            ]),
        ) {
            let attributes = described.map(|zone| Attributes {
                identifying: [("zone".to_owned(), zone.to_owned())].into(),
                ..Attributes::default()
            });
            let chooser = Chooser {
                uid: &uid(1).to_string(),
                identity: None,
                attributes: attributes.as_ref(),
                rights: &rights,
            };
            let chosen = choose(&at_home(&all), &chooser);
            let (choice, explained) = explain("a", &all, &chooser);
            prop_assert_eq!(&choice, &chosen);
            // Every profile has one line, and the one that applies is the chosen.
            prop_assert_eq!(explained.len(), all.len());
            let of = |relation| {
                let found = explained.iter().filter(move |one| one.verdict == relation);
                found.map(|one| one.profile.clone()).collect::<Vec<_>>()
            };
            let applies = match &chosen {
                Choice::Profile(profile) => vec![profile.clone()],
                _ => Vec::new(),
            };
            prop_assert_eq!(of(Relation::Applies), applies);
            if let Choice::AwaitingProof(profile) = &chosen {
                prop_assert_eq!(of(Relation::AwaitingProof), [profile.clone()]);
            }
            // Who is outranked would apply, proof given, if it stood alone;
            // who is not selected would not.
            let proved = Chooser { rights: &Rights::Everything, ..chooser.clone() };
            for one in &explained {
                let alone: Vec<_> = all.iter().filter(|c| c.profile == one.profile).cloned().collect();
                let wins = |chooser| choose(&at_home(&alone), chooser) == Choice::Profile(one.profile.clone());
                let consistent = match one.verdict {
                    Relation::Applies => wins(&chooser),
                    Relation::Outranked => wins(&proved),
                    Relation::AwaitingProof => wins(&proved) && !wins(&chooser),
                    Relation::NotSelected => !wins(&proved),
                    Relation::OtherNamespace => one.profile.namespace != "a" && !one.admin,
                    Relation::Undecided => described.is_none(),
                };
                prop_assert!(consistent, "{one:?}");
            }
        }
    }

    #[test]
    fn the_reason_names_the_property_that_decides() {
        let reason = |all: &[Candidate], attributes: &Attributes| {
            let chooser = Chooser {
                uid: &uid(1).to_string(),
                identity: None,
                attributes: Some(attributes),
                rights: &Rights::Everything,
            };
            let (_, explained) = explain("a", all, &chooser);
            explained.last().unwrap().because.clone()
        };
        let none = Attributes::default();
        let against = |loser, winner| reason(&[loser, winner], &none);
        let better = "it selects the agent, but ";
        for (loser, winner, why) in [
            (
                candidate("a", "p", 1),
                candidate("ops", "x", 2),
                "ops/x has the higher priority (2 against 1)",
            ),
            (
                candidate("a", "p", 1),
                candidate("ops", "x", 1),
                "ops/x is of an admin namespace",
            ),
            (
                candidate("a", "p", 1),
                candidate("a", "b", 1),
                "a/b comes first by name",
            ),
        ] {
            let said = against(loser, winner);
            assert!(said.starts_with(&format!("{better}{why}")), "{said}");
        }
        let elsewhere = reason(&[candidate("b", "p", 0)], &none);
        assert!(elsewhere.contains("at home in `a`"), "{elsewhere}");
        let selector = |selector| Candidate {
            selector: Arc::new(selector),
            ..candidate("a", "p", 0)
        };
        let zone = AgentSelector {
            match_attributes: [("zone".to_owned(), "a".to_owned())].into(),
            ..AgentSelector::default()
        };
        let wants = "`matchAttributes` wants `zone` to be `a`; the agent has ";
        assert_eq!(
            reason(&[selector(zone.clone())], &none),
            format!("{wants}none")
        );
        // Law 7: what it says of itself may be anything.
        let says = Attributes {
            identifying: [("zone".to_owned(), "hunter2".to_owned())].into(),
            ..Attributes::default()
        };
        let said = reason(&[selector(zone)], &says);
        assert_eq!(said, format!("{wants}another value"));
        let expression = AttributeExpression {
            key: "zone".into(),
            operator: AttributeOperator::In,
            values: vec!["a".into(), "b".into()],
            scope: AttributeScope::Any,
        };
        let wants = AgentSelector {
            match_expressions: vec![expression],
            ..AgentSelector::default()
        };
        let said = reason(&[selector(wants)], &says);
        assert_eq!(
            said,
            "`matchExpressions[0]` wants `zone` In (a, b); the agent has one that is not so"
        );
    }
}
