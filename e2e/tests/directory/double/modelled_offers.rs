//! What the double does with offers in the modes that are **modelled,
//! unverified**, with a server that says what the operator never would.

use anyhow::{Context as _, Result, ensure};
use e2e::double::Mode;
use e2e::eventually::Look;
use e2e::scene::SOON;
use e2e::tap::{Connection, Record};
use opamp_wire::proto::ConnectionSettingsStatuses::{self, Applied, Applying, Failed};

use super::bench::{Bench, marker, play};
use super::subject::Player;

const LEGACY: [Player; 1] = [Player::Double(Mode::Legacy)];
const PERSIST: [Player; 1] = [Player::Double(Mode::Persist)];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn modelled_unverified_legacy_polls_on_when_it_is_offered_no_interval() -> Result<()> {
    play("legacy-heartbeat", &LEGACY, async |bench| {
        bench.moves("https").await?;
        let offer = bench.offer("https");
        let number = bench.say(offer.with(|settings| settings.heartbeat_interval_seconds = 0));
        bench.runs(number).await?;
        Ok(())
    })
    .await
}

/// What it reports of the offer of this number, in order.
fn reports(bench: &Bench, number: u8) -> Vec<ConnectionSettingsStatuses> {
    let all = bench.scene.tap.record().of(&bench.subject.uid);
    let said = all.iter().flat_map(|link| &link.received);
    let of = said.filter_map(|message| message.settings.as_ref());
    let mut reports: Vec<_> = of
        .filter(|settings| settings.hash == hex::encode([number]))
        .map(|settings| settings.status)
        .collect();
    reports.dedup();
    reports
}

/// Waits until it has said this last of the offer of this number.
async fn reported(bench: &Bench, number: u8, status: ConnectionSettingsStatuses) -> Result<()> {
    let what = format!("reports {status:?} of offer {number}");
    let said = |_: &Connection| reports(bench, number).last() == Some(&status);
    bench.newest(&what, said).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn modelled_unverified_persist_says_applied_of_what_it_runs_and_stays() -> Result<()> {
    play("persist-identical", &PERSIST, async |bench| {
        let first = bench.moves("wss").await?;
        reported(bench, first, Applied).await?;
        ensure!(reports(bench, first) == [Applying, Applied]);
        let links = bench.scene.tap.record().connections().len();
        let runs = bench.offered().context("nothing offered")?;
        let offer = bench.offer("wss").with(|settings| *settings = runs);
        let again = bench.say(offer);
        reported(bench, again, Applied).await?;
        ensure!(bench.scene.tap.record().connections().len() == links);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn modelled_unverified_persist_refuses_aloud_and_takes_offers_in_turn() -> Result<()> {
    play("persist-turns", &PERSIST, async |bench| {
        let first = bench.moves("wss").await?;
        let offer = bench.offer("wss");
        let keyless = offer.with_certificate(|certificate| certificate.private_key.clear());
        let refused = bench.say(keyless);
        reported(bench, refused, Failed).await?;
        let there = |link: &Connection| link.marker() == Some(&marker(first));
        bench.newest("stays", there).await?;

        let (one, other) = (bench.offer("wss"), bench.offer("wss"));
        let (one, other) = (bench.say(one), bench.say(other));
        // Who comes first is chance; both are tried, one after the other.
        for number in [one, other] {
            reported(bench, number, Applied).await?;
            ensure!(reports(bench, number) == [Applying, Applied]);
        }
        let all = bench.scene.tap.record().of(&bench.subject.uid);
        ensure!(all.iter().filter(|link| link.open).count() == 1, "a ghost");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn modelled_unverified_persist_tries_again_what_it_tried_when_it_was_killed() -> Result<()> {
    play("persist-candidate", &PERSIST, async |bench| {
        bench.moves("wss").await?;
        bench.server.refuse(503);
        let offer = bench.offer("wss");
        let number = bench.say(offer);
        let refused = |record: &Record| {
            let all = record.connections();
            let tried = all
                .iter()
                .filter(|link| link.marker() == Some(&marker(number)) && link.status == Some(503));
            Look::when(tried.count() > 0, "not tried")
        };
        let record = bench.scene.tap.record();
        record.wait("it is refused", SOON, refused).await?;
        bench.subject.restart(&mut bench.scene).await?;
        bench.server.refuse(0);
        bench.runs(number).await?;
        reported(bench, number, Applied).await
    })
    .await
}
