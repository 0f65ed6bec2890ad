//! Laws 4 and 9: what stands beside OpAMP in a profile is judged apart. What is
//! wrong with it keeps no credential of OpAMP from being rotated, and what was
//! taken away of it goes to nobody new.

use std::sync::Arc;

use opamp_operator_api::{
    reason::{ConditionType, Reason},
    v1alpha1::{OpAMPConnectionProfileSpec, OpAMPConnectionProfileStatus},
    values::ObjectRef,
};
use opamp_operator_core::{
    catalog::{Bound, Settled, Target},
    fleet::Transport,
    offer::{Observed, Revision},
    rollout::Rollout,
    status::{Overlap, events, summarize},
};
use opamp_wire::{AgentCapabilities, proto::ConnectionSettingsOffers};

use super::{
    catalog::{Bench, for_team},
    sections::{OTHERS, STATUS, TELEMETRY, header, world},
    withdrawn::{observe, says, withdrawn},
};
use crate::common::{
    Bench as Fleet, Ca, Issue, able, at, decode, nothing, opaque, tls_secret, uid,
};

const ALL: u64 = STATUS | TELEMETRY | OTHERS;

fn ingest() -> ObjectRef {
    ObjectRef::secret("a", "ingest")
}

fn key(value: &str) -> Observed {
    Observed::Present(opaque(&[("key", value)]).into())
}

/// Exists, and has not what is named.
fn broken() -> Observed {
    Observed::Present(opaque(&[("kye", "0a1b2c")]).into())
}

/// A profile of all kinds of settings, judged with what there is.
fn judged(edit: impl FnOnce(&mut Bench) -> OpAMPConnectionProfileSpec) -> Bench {
    let mut bench = Bench::new();
    bench.world = world();
    let spec = edit(&mut bench);
    bench.write(Ok(&spec), 0);
    bench.settle(2, false);
    assert_eq!((bench.number(), withdrawn(&bench)), (1, None));
    bench
}

fn good() -> Bench {
    judged(|bench| bench.world.spec.clone())
}

fn current(bench: &Bench) -> Arc<Revision> {
    let state = bench.catalog.get(&bench.world.profile).unwrap();
    Arc::clone(state.current.as_ref().unwrap())
}

/// What an agent gets that comes for the first time and can use all.
fn sent(bench: &Bench) -> Option<ConnectionSettingsOffers> {
    let mut fleet = Fleet::new(current(bench));
    let id = fleet.connect(Transport::WebSocket, nothing(), 0, 0);
    fleet.say(id, able(ALL), 0).reply.offer.map(decode)
}

fn metrics_key(message: &ConnectionSettingsOffers) -> Option<&str> {
    let metrics = message.own_metrics.as_ref()?;
    Some(&metrics.headers.as_ref()?.headers[0].value)
}

#[test]
fn law9_a_broken_secret_of_telemetry_holds_no_certificate_back() {
    let mut bench = good();
    let (first, before) = (current(&bench), sent(&bench));
    let settled = observe(&mut bench, &ingest(), broken(), 10);
    assert!(matches!(settled, Settled::Unchanged), "{settled:?}");
    assert_eq!((withdrawn(&bench), sent(&bench)), (None, before.clone()));

    let client = Ca::new("clients").issue(&Issue::client());
    let renewed = Observed::Present(tls_secret(&client.crt, &client.key).into());
    bench.world.spec.other_connections.clear();
    let renewed = observe(&mut bench, &ObjectRef::secret("a", "client"), renewed, 20);
    assert!(matches!(renewed, Settled::Draft(..)), "{renewed:?}");
    assert_eq!(bench.number(), 2);
    assert_ne!(current(&bench).marker(), first.marker());
    let now = sent(&bench).unwrap();
    assert_eq!(metrics_key(&now), Some("0a1b2c3d4e5f-ingest"), "as it was");
    let (why, message) = says(&bench, ConditionType::ResolvedRefs);
    assert_eq!(why, Reason::KeyMissing.as_str());
    assert!(message.starts_with("`ownTelemetry.metrics`: "), "{message}");
    assert!(message.ends_with("and 2 more"), "{message}");
    let (why, message) = says(&bench, ConditionType::Ready);
    assert_eq!(why, Reason::KeyMissing.as_str());
    assert!(message.contains("get the rest of the profile"), "{message}");
    for (condition, reason) in [
        (ConditionType::Accepted, Reason::Accepted),
        (ConditionType::CredentialsValid, Reason::Valid),
        (ConditionType::Progressing, Reason::NoAgents),
    ] {
        assert_eq!(says(&bench, condition).0, reason.as_str());
    }

    let mended = observe(&mut bench, &ingest(), key("another"), 30);
    assert!(matches!(mended, Settled::Retargeted), "{mended:?}");
    let now = sent(&bench).unwrap();
    assert_eq!((bench.number(), metrics_key(&now)), (2, Some("another")));
    assert_eq!(
        says(&bench, ConditionType::Ready).0,
        Reason::NoAgents.as_str()
    );
}

/// Its API server may never tell of it; and at a start nothing is known yet.
#[test]
fn law9_telemetry_that_nobody_told_of_holds_no_certificate_back() {
    let mut bench = good();
    let before = sent(&bench);
    bench.catalog.retain(|object| *object != ingest());
    let client = Ca::new("clients").issue(&Issue::client());
    let renewed = Observed::Present(tls_secret(&client.crt, &client.key).into());
    bench.world.spec.other_connections.clear();
    let renewed = observe(&mut bench, &ObjectRef::secret("a", "client"), renewed, 20);
    assert!(matches!(renewed, Settled::Draft(..)), "{renewed:?}");
    assert_eq!(bench.number(), 2);
    let now = sent(&bench).unwrap();
    let (now, before) = (metrics_key(&now), before.unwrap());
    assert_eq!(now, metrics_key(&before), "as it was");
    let (why, _) = says(&bench, ConditionType::ResolvedRefs);
    assert_eq!(why, Reason::Resolved.as_str());

    let mut world = world();
    let all = world.revision(1);
    world.objects.insert(ingest(), Observed::Pending);
    let start = world.revision(1);
    assert_eq!(start.marker(), all.marker());
    assert!(
        start
            .beside(AgentCapabilities(STATUS | TELEMETRY))
            .is_none()
    );
}

/// The other way round as well: what is wrong with OpAMP says more.
#[test]
fn law9_what_is_wrong_beside_opamp_hides_nothing_that_is_worse() {
    let mut bench = good();
    let status = |bench: &Bench| {
        let state = bench.catalog.get(&bench.world.profile).unwrap();
        let overlap = Overlap::default();
        summarize(state, &[], &overlap, &Rollout::default(), at(900))
    };
    let words = |before: &OpAMPConnectionProfileStatus, after| -> Vec<_> {
        let events = events(before, after).into_iter();
        events.map(|event| event.reason.as_str()).collect()
    };
    let before = status(&bench);
    observe(&mut bench, &ingest(), Observed::Absent, 10);
    let beside = status(&bench);
    assert_eq!(words(&before, &beside), ["SecretNotFound"]);
    let client = ObjectRef::secret("a", "client");
    observe(&mut bench, &client, Observed::Absent, 20);
    let (why, message) = says(&bench, ConditionType::Ready);
    assert_eq!(why, Reason::SecretNotFound.as_str());
    assert!(message.contains("`client` does not exist"), "{message}");
    assert_eq!(withdrawn(&bench), Some(client));

    // While agents lack their settings that is the reason, and it is told all
    // the same what is wrong beside; once.
    let mut rolling = beside.clone();
    let ready = rolling.conditions.iter_mut().find(|c| c.type_ == "Ready");
    ready.unwrap().reason = Reason::RolloutInProgress.to_string();
    assert_eq!(
        words(&before, &rolling),
        ["RolloutInProgress", "SecretNotFound"]
    );
    assert!(words(&rolling, &beside).is_empty());
}

#[test]
fn law4_h28_telemetry_that_never_was_is_left_out_and_what_nobody_remembers_holds_the_rest_back() {
    let mut bench = judged(|bench| {
        bench.world.spec.own_telemetry.as_mut().unwrap().logs = None;
        bench.world.spec.clone()
    });
    let first = current(&bench);
    let mut spec = bench.world.spec.clone();
    let own = spec.own_telemetry.as_mut().unwrap();
    own.logs.clone_from(&own.traces);
    own.logs.as_mut().unwrap().headers = vec![header("nowhere")];
    bench.write(Ok(&spec), 10);
    bench.settle(12, true);
    observe(&mut bench, &ingest(), key("another"), 20);
    let message = sent(&bench).unwrap();
    assert_eq!(metrics_key(&message), Some("another"));
    assert!(message.own_traces.is_some() && message.own_logs.is_none());

    // A process that begins knows of no logs before: without them a supervisor
    // would drop those that it has.
    let bench = judged(|_| spec);
    let message = sent(&bench).unwrap();
    assert!(message.own_metrics.is_none() && message.own_traces.is_none());
    assert_eq!(message.other_connections.len(), 2);
    // Whoever was told by the one before is left alone.
    let mut fleet = Fleet::new(first);
    let id = fleet.connect(Transport::WebSocket, nothing(), 0, 0);
    assert!(fleet.say(id, able(ALL), 0).offers());
    assert!(!fleet.say(id, able(ALL), 1).offers(), "it arrived");
    let mut fleet = Fleet::restored(fleet.agent.record(), current(&bench));
    let id = fleet.connect(Transport::WebSocket, nothing(), 17, 0);
    assert!(!fleet.say(id, able(ALL), 0).offers());
    assert_eq!(fleet.refresh(id, 7_200).push, None);
}

/// An edit of both would bring what is for one to the agents of another.
#[test]
fn law2_nothing_of_before_stays_for_others_than_before() {
    let mut bench = judged(|bench| for_team(&bench.world.spec, "a"));
    bench.world.secret("ingest", opaque(&[("kye", "0a1b2c")]));
    let b = for_team(&bench.world.spec, "b");
    bench.write(Ok(&b), 10);
    bench.settle(12, true);
    assert_eq!(**current(&bench).selector(), b.agent_selector);
    let beside = current(&bench).beside(AgentCapabilities(STATUS | TELEMETRY));
    assert!(beside.is_none());
}

#[test]
fn law4_telemetry_that_was_taken_away_goes_to_nobody_new() {
    let mut bench = good();
    let mut unlabelled = opaque(&[("key", "0a1b2c3d4e5f-ingest")]);
    unlabelled.offerable = false;
    let cases = [
        (Observed::Absent, Reason::SecretNotFound),
        (
            Observed::Present(unlabelled.into()),
            Reason::SecretNotOptedIn,
        ),
        (
            Observed::Forbidden("`kubectl create role`".into()),
            Reason::Forbidden,
        ),
    ];
    for (case, (observed, reason)) in cases.into_iter().enumerate() {
        let second = 100 * (u64::try_from(case).unwrap() + 1);
        let whole = sent(&bench).unwrap();
        let mut fleet = Fleet::new(current(&bench));
        let told = fleet.connect(Transport::WebSocket, nothing(), 0, 0);
        assert!(fleet.say(told, able(ALL), 0).offers());

        let good = bench.catalog.object(&ingest()).clone();
        let settled = observe(&mut bench, &ingest(), observed, second);
        assert!(!matches!(settled, Settled::Draft(..)), "{settled:?}");
        assert_eq!(withdrawn(&bench), None, "OpAMP is not concerned");
        let (why, _) = says(&bench, ConditionType::ResolvedRefs);
        assert_eq!(why, reason.as_str());
        let message = sent(&bench).unwrap();
        let own = [&message.own_metrics, &message.own_traces, &message.own_logs];
        assert!(own.iter().all(|own| own.is_none()), "{reason}");
        assert_eq!(message.other_connections, whole.other_connections);

        // Whoever has it is told nothing; and of the rest what changes.
        fleet.target.current = current(&bench);
        assert_eq!(fleet.refresh(told, 7_200).push, None);
        let mut spec = bench.world.spec.clone();
        spec.other_connections[0].endpoint = format!("kafka-{case}.example.com:9093");
        bench.write(Ok(&spec), second + 10);
        bench
            .catalog
            .set_object(&ingest(), Observed::Absent, at(second + 10));
        bench.settle(second + 12, true);
        fleet.target.current = current(&bench);
        let push = decode(fleet.refresh(told, 14_400).push.unwrap());
        assert!(push.own_metrics.is_none());
        assert_ne!(push.other_connections, whole.other_connections);

        observe(&mut bench, &ingest(), good, second + 20);
        let back = sent(&bench).unwrap();
        assert_eq!(back.own_metrics, whole.own_metrics);
        fleet.target.current = current(&bench);
        assert!(fleet.refresh(told, 21_600).push.is_some());
    }
}

/// What is broken may be over as well.
#[test]
fn law4_a_certificate_that_ended_stays_for_nobody() {
    let mut bench = judged(|bench| {
        let ends = Issue {
            to: (2030, 1, 2),
            ..Issue::client()
        };
        let pair = Ca::new("clients").issue(&ends);
        let secret = tls_secret(&pair.crt, &pair.key);
        bench.world.secret("ends", secret);
        let mut spec = bench.world.spec.clone();
        let certificate = &mut spec.other_connections[0].client_certificate;
        certificate.secret_ref.as_mut().unwrap().name = "ends".into();
        spec
    });
    let whole = sent(&bench).unwrap();
    assert_eq!(whole.other_connections.len(), 2);
    let day = 24 * 3_600;
    assert_eq!(bench.catalog.due(at(day - 1)), []);
    assert_eq!(bench.catalog.due(at(day)), [bench.world.profile.clone()]);
    // Before it is judged anew nobody is told either.
    let mut fleet = Fleet::new(current(&bench));
    let id = fleet.connect(Transport::WebSocket, nothing(), 0, day);
    assert!(!fleet.say(id, able(ALL), day).offers());
    bench.settle(day, true);
    let (why, message) = says(&bench, ConditionType::CredentialsValid);
    assert_eq!(why, Reason::Expired.as_str());
    assert!(
        message.starts_with("`otherConnections[kafka]`"),
        "{message}"
    );
    let message = sent(&bench).unwrap();
    assert_eq!(message.own_metrics, whole.own_metrics);
    assert!(message.other_connections.is_empty());
}

/// While a newer revision is tried, agents that lost their settings go back to
/// those before: not if somebody took these away.
#[test]
fn law4_settings_before_that_were_taken_away_are_offered_to_nobody() {
    let mut bench = good();
    let first = current(&bench);
    let client = ObjectRef::secret("a", "client");
    let mut spec = bench.world.spec.clone();
    spec.other_connections.clear();
    let certificate = &mut spec.opamp.client_certificate;
    certificate.secret_ref.as_mut().unwrap().name = "renewed".into();
    let pair = Ca::new("clients").issue(&Issue::client());
    let renewed = tls_secret(&pair.crt, &pair.key);
    bench.world.secret("renewed", renewed);
    bench.write(Ok(&spec), 10);
    bench.settle(12, true);
    assert_eq!((bench.number(), bench.previous()), (2, Some(1)));
    assert!(bench.catalog.wanted().contains(&client), "it is watched");

    let target = |bench: &Bench| {
        let state = bench.catalog.get(&bench.world.profile).unwrap();
        Target {
            current: current(bench),
            previous: state.previous.clone(),
            bound: Bound::Nobody,
            paused: false,
        }
    };
    let offered = |target: &Target| {
        let revision = target.revision_for(uid(1), None, None);
        revision.map(|revision| revision.number())
    };
    let before = target(&bench);
    assert_eq!(offered(&before), Some(1));
    let good = bench.catalog.object(&client).clone();
    let settled = observe(&mut bench, &client, Observed::Absent, 20);
    assert!(matches!(settled, Settled::Retargeted), "{settled:?}");
    let after = target(&bench);
    assert_eq!((offered(&after), withdrawn(&bench)), (None, None));
    assert_ne!(before, after, "agents hear of it");
    // It still tells who runs it.
    assert_eq!(after.previous.unwrap().marker(), first.marker());
    observe(&mut bench, &client, good, 30);
    assert_eq!(offered(&target(&bench)), Some(1));
    // Its telemetry likewise.
    observe(&mut bench, &ingest(), Observed::Absent, 40);
    let previous = target(&bench).previous.unwrap();
    let own = AgentCapabilities(STATUS | TELEMETRY);
    assert!(previous.beside(own).is_none());
}
