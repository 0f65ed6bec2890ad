//! A real run under a real Prometheus: every panel shows something of it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::cluster::repository;
use e2e::double::{Double, Mode, Options};
use e2e::eventually::{Look, eventually_async};
use e2e::manifests::{CLIENT_TLS, mutual_tls, offerable_tls, profile};
use e2e::panels::{Panel, filled, marks, picture};
use e2e::parts::Set;
use e2e::pki::{DAY, KeyKind, Window};
use e2e::prometheus::{Prometheus, Span, clock};
use e2e::world::{PROFILE, Setup, World};

use super::{dashboard, rules};
use crate::double::subject::double_options;
use crate::steps::greeted;

/// Prometheus and the operator are on a busy machine too.
const FILLED: Duration = Duration::from_mins(2);
/// Of rates: some scrapes.
const WINDOW: &str = "5s";
/// Where the picture is.
const PICTURE: &str = "docs/dashboard.svg";
const CREW: usize = 8;
const WELL: &str = r#"min_over_time((sum(opamp_operator_agents_outdated) == bool 0)[8s:1s]) > 0
    and on () opamp_operator_profile_condition{profile="fleet", condition="Ready", reason="Complete"}"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_panel_shows_something_of_a_rotation() -> Result<()> {
    let mut world = World::with("panels", Setup::default(), Set::Monitoring).await?;
    world.start_operator().await?;
    let mut prometheus = start(&mut world).await?;
    let from = clock();
    let mut crew = vec![world.supervisor("a1").await?];
    let mut doubles = Vec::new();
    for number in 1..CREW {
        let scheme = if number % 3 == 0 { "https" } else { "wss" };
        let options = Options {
            endpoint: world.tap.url(scheme),
            ..double_options(&world, Mode::Legacy0)
        };
        let double = Double::start(&format!("double-{number}"), options)?;
        crew.push(double.uid());
        doubles.push(double);
    }
    // Somebody is not ours.
    let options = Options {
        token: world.token("another's")?,
        ..double_options(&world, Mode::Legacy0)
    };
    let mut stranger = Double::start("stranger", options)?;
    for uid in &crew {
        greeted(&world, uid).await?;
    }
    // Another profile that cannot be in force yet.
    let mut waits = profile("gateways", &mutual_tls());
    waits["spec"]["opamp"]["clientCertificate"]["secretRef"]["name"] = "none-yet".into();
    world.manifests.apply(&waits)?;

    // The first settings, and a renewal.
    let first = world.client_leaf("fleet-1", KeyKind::EcdsaP256, Window::lasting(3 * DAY))?;
    let mut fleet = profile(PROFILE, &mutual_tls());
    fleet["spec"]["priority"] = 1.into();
    let state = world.state();
    world.manifests.apply(&offerable_tls(CLIENT_TLS, &first))?;
    world.manifests.apply(&fleet)?;
    for uid in &crew {
        // Some poll, every half a minute.
        let file = state.wait_for_agent(uid, "Applied", "SettingsHeader", FILLED);
        file.await?;
    }
    let renewed = world.client_leaf("fleet-2", KeyKind::EcdsaP256, Window::lasting(21 * DAY))?;
    world
        .manifests
        .apply(&offerable_tls(CLIENT_TLS, &renewed))?;
    state.wait_for_revision(PROFILE, 2, FILLED).await?;
    let ready = state.wait_for_condition(PROFILE, "Ready", "True", "Complete", FILLED);
    ready.await?;
    stranger.kill9().await;

    // Prometheus has seen for a while that all is well again.
    let well = || async {
        match prometheus.now(WELL).await {
            Ok(found) => Look::when(!found.is_empty(), "not yet"),
            Err(error) => Look::Never(format!("{error:#}")),
        }
    };
    eventually_async("the profile is Ready for a while", FILLED, well).await?;

    let dashboard = dashboard()?;
    let look = async || -> Result<(Vec<Panel>, Span)> {
        let span = Span {
            from,
            to: clock(),
            step: 1.0,
        };
        Ok((filled(&dashboard, &prometheus, span, WINDOW).await?, span))
    };
    let whole = eventually_async(
        "every panel shows something",
        FILLED,
        async || match look().await {
            Ok((panels, span)) => {
                let empty = panels.iter().flat_map(|panel| {
                    panel
                        .empty()
                        .map(|query| format!("{}: {query}", panel.title))
                });
                let empty: Vec<_> = empty.collect();
                Look::some(
                    empty.is_empty().then_some((panels, span)),
                    format!("{empty:?}"),
                )
            }
            Err(error) => Look::Never(format!("{error:#}")),
        },
    );
    let (panels, span) = whole.await?;
    let revisions = marks(&dashboard, &prometheus, span, WINDOW).await?;
    ensure!(!revisions.is_empty(), "the renewal made no mark");
    for rule in prometheus.rules().await? {
        ensure!(rule["health"] == "ok", "{rule}");
    }
    draw(&panels, span, &revisions, world.folder())?;
    prometheus.stop().await?;
    world.finish().await
}

async fn start(world: &mut World) -> Result<Prometheus> {
    let binary = world.parts().path("prometheus")?.to_owned();
    let folder = world.folder().join("prometheus");
    let log = world.folder().join("logs/prometheus.log");
    let target = world.operator_mut()?.admin_address();
    Prometheus::start(&binary, &folder, &log, target, &rules()?).await
}

/// The picture of the documentation is of one of these runs.
fn draw(panels: &[Panel], span: Span, revisions: &[f64], folder: &Path) -> Result<()> {
    let title = "OpAMP operator: eight agents get a certificate, and its renewal";
    let picture = picture(title, panels, span, revisions);
    for panel in panels {
        ensure!(picture.contains(&panel.title), "no {}", panel.title);
    }
    let made = folder.join("dashboard.svg");
    std::fs::write(&made, &picture)?;
    if std::env::var_os("UPDATE").is_some() {
        std::fs::copy(made, repository().join(PICTURE)).context(PICTURE)?;
    }
    Ok(())
}
