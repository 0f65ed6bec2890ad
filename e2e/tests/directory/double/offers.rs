//! Offers that the operator never makes, and what comes of them.

use anyhow::{Result, ensure};
use e2e::eventually::Look;
use e2e::pki::{Ca, DAY, KeyKind, Window};
use e2e::scene::SOON;
use e2e::tap::{Connection, Kind, Record};
use opamp_wire::proto::{OpAmpConnectionSettings, TlsCertificate};

use super::bench::{Bench, marker, play};
use super::subject::EVERYONE;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h6_h9_rejected_offers_change_the_heartbeat_alone() -> Result<()> {
    play("rejected", &EVERYONE, async |bench| {
        bench.moves("wss").await?;
        bench.stage("a good offer");

        let offer = bench.offer("wss").with(|settings| {
            settings.destination_endpoint.clear();
            settings.heartbeat_interval_seconds = 0;
        });
        bench.say(offer);
        bench.falls_silent().await?;
        bench.stage("no endpoint, heartbeat 0");

        let offer = bench.offer("wss");
        let keyless = offer.with_certificate(|certificate| certificate.private_key.clear());
        bench.say(keyless);
        bench.says_more(2).await?;
        bench.stage("a certificate without its key, heartbeat 1");

        let ftp = bench.offer("ftp");
        bench.say(ftp);
        bench.says_more(2).await?;
        bench.stage("another scheme");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_that_do_not_load_send_it_back_to_its_old_settings() -> Result<()> {
    play("unloadable", &EVERYONE, async |bench| {
        let number = bench.moves("wss").await?;
        bench.stage("a good offer");

        let offer = bench.offer("wss");
        let broken = offer.with_certificate(|certificate| certificate.ca_cert = "garbage".into());
        bench.say(broken);
        comes_back(bench, number, 2).await?;
        bench.stage("a CA that is none");

        let month = Window::lasting(30 * DAY);
        let other = Ca::new("other")?.client("other", KeyKind::EcdsaP256, month)?;
        let key = bench.leaf.key.clone();
        let mixed = bench.offer("wss").with_certificate(|certificate| {
            certificate.cert = other.certificate.clone().into();
            certificate.private_key = key.into();
        });
        bench.say(mixed);
        comes_back(bench, number, 3).await?;
        bench.stage("the key of another certificate");
        Ok(())
    })
    .await
}

/// It is there again with the settings of this offer, over its newest of so
/// many connections with them.
async fn comes_back(bench: &Bench, number: u8, connections: usize) -> Result<()> {
    let look = |record: &Record| {
        let marker = marker(number);
        let all = record.of(&bench.subject.uid);
        let with = all.iter().filter(|link| link.marker() == Some(&marker));
        Look::when(with.clone().count() == connections, with.count())
    };
    let record = bench.scene.tap.record();
    record.wait("it goes back", SOON, look).await?;
    bench.runs(number).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h3_heartbeat_0_for_polls_ends_a_poller_and_silences_a_websocket() -> Result<()> {
    play("heartbeat", &EVERYONE, async |bench| {
        let first = bench.moves("wss").await?;
        bench.stage("a good offer");

        // The new client cannot start; the old one starts again, but with 0.
        let never = |settings: &mut OpAmpConnectionSettings| {
            settings.heartbeat_interval_seconds = 0;
        };
        let offer = bench.offer("https").with(never);
        bench.say(offer);
        let back =
            |link: &Connection| link.marker() == Some(&marker(first)) && link.received.len() == 1;
        bench.newest("goes back", back).await?;
        bench.falls_silent().await?;
        bench.stage("from WebSocket to polls without an interval");

        bench.moves("https").await?;
        bench.stage("to polls");

        let offer = bench.offer("https").with(never);
        bench.say(offer);
        let heard = |link: &Connection| link.offers().count() == 1;
        bench.newest("hears of it", heard).await?;
        bench.falls_silent().await?;
        if let Some(double) = bench.subject.double() {
            ensure!(!double.has_client());
        }
        bench.stage("polls without an interval");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h4_h10_without_a_certificate_nothing_is_verified_and_an_empty_one_means_the_system()
-> Result<()> {
    play("verification", &EVERYONE, async |bench| {
        bench.moves("wss").await?;
        let offer = bench.offer("wss");
        let number = bench.say(offer.with(|settings| settings.certificate = None));
        bench.runs(number).await?;
        let imposter = Ca::new("imposter")?.server(Window::lasting(DAY))?;
        bench.scene.tap.set_serving(&imposter)?;
        let offer = bench.offer("wss");
        let number = bench.say(offer.with(|settings| settings.certificate = None));
        // It shows its headers to a server that nobody vouches for.
        bench.runs(number).await?;
        bench.stage("no certificate");

        let offer = bench.offer("wss");
        let serving = bench.scene.pki.serving.clone();
        bench.scene.tap.set_serving(&serving)?;
        bench.say(offer.with(|settings| settings.certificate = Some(TlsCertificate::default())));
        // It never goes back: it tries the same again and again.
        let failed = |record: &Record| {
            let events = record.events();
            let failed = events
                .iter()
                .filter(|event| matches!(event.kind, Kind::Failed(_)));
            let count = failed.count();
            Look::when(count >= 4, count)
        };
        let record = bench.scene.tap.record();
        record.wait("it trusts nobody", SOON, failed).await?;
        bench.falls_silent().await?;
        bench.stage("an empty certificate");

        bench.subject.restart(&mut bench.scene).await?;
        bench.settles().await?;
        bench.subject.stage(&bench.scene, "a restart", false);
        Ok(())
    })
    .await
}
