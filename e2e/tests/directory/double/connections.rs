//! What becomes of connections: two offers at once, servers that refuse, and
//! messages that carry more than settings.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::eventually::{Look, throughout};
use e2e::scene::SOON;
use e2e::tap::{Connection, Event, Kind, Record, Side};
use opamp_wire::proto::{AgentIdentification, ServerToAgent, ServerToAgentCommand};
use uuid::Uuid;

use super::bench::{Bench, in_short, marker, play};
use super::subject::EVERYONE;

/// What a client waits for an answer to its close frame, less what the tap may
/// be late.
const WAIT: Duration = Duration::from_millis(4_500);

/// Long enough to have heard an offer, and shorter than it waits for an answer
/// to its close frame.
const WAITS: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h12_two_offers_at_once_leave_a_ghost() -> Result<()> {
    play("ghost", &EVERYONE, async |bench| {
        let before = bench.moves("wss").await?;
        bench.stage("a good offer");

        // While it waits for its close frame to be answered it hears the other.
        bench.server.listen(false);
        let offer = bench.offer("wss");
        let first = bench.say(offer);
        one_of(bench, before, "parts", |link| {
            link.received.iter().any(|message| message.disconnect)
        })
        .await?;
        let offer = bench.offer("wss");
        let second = bench.say(offer);
        one_of(bench, before, "hears the other", |link| {
            link.offers().count() == 2
        })
        .await?;
        let connections = || bench.scene.tap.record().connections().len();
        let before = connections();
        throughout("it waits for a close frame", WAITS, || {
            (connections() > before).then(|| "it does not".to_owned())
        })
        .await?;
        bench.server.listen(true);

        for number in [first, second] {
            let beats = |link: &Connection| {
                let bare = link.received.iter().filter(|message| message.is_bare());
                link.open && bare.count() > 1
            };
            one_of(bench, number, "beats", beats).await?;
        }
        // The ghost is still there, and still beats.
        let still = |link: &Connection| link.open && link.received.len() > 8;
        one_of(bench, first, "is a ghost", still).await?;
        bench.stage("two offers at once");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h23_a_close_frame_without_an_answer_costs_five_seconds() -> Result<()> {
    play("close", &EVERYONE, async |bench| {
        bench.moves("wss").await?;
        bench.server.listen(false);
        let offer = bench.offer("wss");
        let number = bench.say(offer);
        one_of(bench, number, "comes back", |link| link.open).await?;
        bench.server.listen(true);
        bench.runs(number).await?;
        bench.stage("an unanswered close frame");

        let events = bench.scene.tap.record().events();
        let closed = |event: &&Event| matches!(event.kind, Kind::CloseFrame(Side::Agent, _));
        let back = |event: &&Event| match &event.kind {
            Kind::Request(request) => {
                request.header("OpAMP-Settings-Hash") == Some(&marker(number))
            }
            _ => false,
        };
        let closed = events.iter().rfind(closed).context("no close frame")?.at;
        let back = events.iter().find(back).context("no return")?.at;
        // As the agent's clock has it: it began a moment before we saw it.
        ensure!(back >= closed + WAIT, "{closed:?} {back:?}");
        Ok(())
    })
    .await
}

/// Waits until one of the connections with the settings of this offer is as wanted.
async fn one_of(
    bench: &Bench,
    number: u8,
    what: &str,
    wanted: impl Fn(&Connection) -> bool,
) -> Result<()> {
    let what = format!("{} with offer {number} {what}", bench.subject.player.name());
    let marker = marker(number);
    let look = |record: &Record| {
        let all = record.of(&bench.subject.uid);
        let found = all
            .iter()
            .any(|link| link.marker() == Some(&marker) && wanted(link));
        Look::when(
            found,
            all.iter().map(in_short).collect::<Vec<_>>().join("; "),
        )
    };
    bench.scene.tap.record().wait(&what, SOON, look).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h21_a_refused_poll_is_said_again_or_lost_and_an_upgrade_is_tried_again() -> Result<()> {
    play("refusals", &EVERYONE, async |bench| {
        bench.moves("wss").await?;
        bench.stage("a good offer");

        for (status, scheme, name) in [
            (503, "https", "polls are answered 503"),
            (500, "https", "polls are answered 500"),
            (401, "wss", "upgrades are answered 401"),
        ] {
            bench.server.refuse(status);
            let offer = bench.offer(scheme);
            let number = bench.say(offer);
            refused(bench, number, status).await?;
            bench.server.refuse(0);
            bench.runs(number).await?;
            let full = full_states(bench, number);
            ensure!(
                (full > 1) == (status == 503),
                "{status}: {full} full states"
            );
            bench.stage(name);
            if scheme == "https" {
                bench.moves("wss").await?;
                bench.stage("back");
            }
        }
        Ok(())
    })
    .await
}

/// Waits until it was refused twice with the settings of this offer.
async fn refused(bench: &Bench, number: u8, status: u16) -> Result<()> {
    let what = format!("{} is answered {status} twice", bench.subject.player.name());
    let marker = marker(number);
    let look = |record: &Record| {
        let all = record.connections();
        // Who is refused an upgrade never says its name.
        let refused = all.iter().filter(|link| link.marker() == Some(&marker));
        let messages: usize = refused.clone().map(|link| link.received.len().max(1)).sum();
        let right = refused.clone().all(|link| link.status == Some(status));
        Look::when(right && messages > 1, messages)
    };
    bench.scene.tap.record().wait(&what, SOON, look).await
}

/// How often it has said everything with the settings of this offer.
fn full_states(bench: &Bench, number: u8) -> usize {
    let all = bench.scene.tap.record().of(&bench.subject.uid);
    let with = all
        .iter()
        .filter(|link| link.marker() == Some(&marker(number)));
    with.flat_map(|link| &link.received)
        .filter(|message| message.described)
        .count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_name_full_state_and_a_command_beside_settings() -> Result<()> {
    play("told", &EVERYONE, async |bench| {
        bench.moves("wss").await?;
        bench.server.say(ServerToAgent {
            flags: 1,
            ..ServerToAgent::default()
        });
        let twice = |link: &Connection| {
            let described = link.received.iter().filter(|message| message.described);
            described.count() == 2
        };
        bench.newest("says everything again", twice).await?;
        bench.stage("full state");

        // It takes no commands, and reads what comes with one.
        let offer = bench.offer("wss");
        let number = offer.number();
        bench.server.say(ServerToAgent {
            command: Some(ServerToAgentCommand::default()),
            ..offer.message()
        });
        bench.runs(number).await?;
        bench.stage("a command beside settings");

        let name = Uuid::now_v7();
        bench.server.say(ServerToAgent {
            agent_identification: Some(AgentIdentification {
                new_instance_uid: name.as_bytes().to_vec().into(),
            }),
            ..ServerToAgent::default()
        });
        bench.subject.is_renamed(name);
        let described = |link: &Connection| {
            let said = link.received.iter();
            let named = said.filter(|message| message.uid == name.to_string());
            named.clone().any(|message| message.described) && named.count() > 1
        };
        bench.newest("has the new name", described).await?;
        bench.stage("a new name");

        bench.subject.restart(&mut bench.scene).await?;
        bench.settles().await?;
        bench.subject.stage(&bench.scene, "a restart", false);
        Ok(())
    })
    .await
}
