//! `opamp-operator agent-config`: a real supervisor that starts with the
//! printed file gets its settings, and keeps them.

use std::ffi::OsString;

use anyhow::{Context as _, Result, ensure};
use e2e::manifests::{bearer, mutual_tls, offerable_secret, profile, write_atomically};
use e2e::operator;
use e2e::pki::{DAY, KeyKind, Window};
use e2e::supervisor::{CA_FILE, COLLECTOR, TOKEN, prepare};
use e2e::world::{PROFILE, Setup, World};
use serde_json::{Value, json};

use crate::steps::{applies_bearer, applies_leaf, nobody_was_refused, offers};

/// Starts a supervisor with what the command prints for the standard profile
/// and the files of its folder.
async fn start(
    world: &mut World,
    name: &str,
    more: &[&str],
    variable: Option<(String, String)>,
) -> Result<String> {
    let folder = world.supervisor_folder(name);
    prepare(&folder, world.pki.server_ca.pem())?;
    let mut arguments: Vec<OsString> = vec!["agent-config".into()];
    arguments.push(world.manifests.folder().into());
    arguments.extend(["--profile".into(), PROFILE.into()]);
    arguments.extend(["--endpoint".into(), world.tap.url("wss").into()]);
    for (option, path) in [
        ("--ca-file", folder.join(CA_FILE)),
        ("--executable", world.parts().path("otelcol")?.to_owned()),
        ("--collector-config", folder.join(COLLECTOR)),
        ("--storage", folder.join("storage")),
    ] {
        arguments.extend([option.into(), path.into()]);
    }
    // Files are relative to the folder, as the supervisor runs there.
    arguments.extend(more.iter().map(Into::into));
    let printed = operator::command(&arguments)?;
    let config: Value = serde_saphyr::from_str(&printed).context("not YAML")?;
    world.supervisor_by(name, &config, variable).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_printed_configuration_fits_a_profile_with_a_certificate() -> Result<()> {
    let (mut world, leaf) = World::with_mutual_tls("printed", Setup::default()).await?;
    // What a supervisor would expand is a value like any other.
    let mut selecting = profile(PROFILE, &mutual_tls());
    selecting["spec"]["agentSelector"] = json!({
        "matchAttributes": {"service.name": "edge", "e2e.zone": "a$b${env:HOME}"},
    });
    world.manifests.apply(&selecting)?;

    let folder = world.supervisor_folder("by-token");
    std::fs::create_dir_all(&folder)?;
    write_atomically(&folder.join(TOKEN), world.bootstrap_token())?;
    let by_token = start(&mut world, "by-token", &["--token-file", TOKEN], None).await?;
    applies_leaf(&world, &by_token, &leaf).await?;

    let own = world.client_leaf("own", KeyKind::EcdsaP256, Window::lasting(DAY))?;
    let folder = world.supervisor_folder("by-certificate");
    std::fs::create_dir_all(&folder)?;
    write_atomically(&folder.join("own.crt"), &own.certificate)?;
    write_atomically(&folder.join("own.key"), &own.key)?;
    let files = ["--cert-file", "own.crt", "--key-file", "own.key"];
    let by_certificate = start(&mut world, "by-certificate", &files, None).await?;
    applies_leaf(&world, &by_certificate, &leaf).await?;

    for uid in [by_token, by_certificate] {
        ensure!(
            offers(&world, &uid).len() == 1,
            "{:?}",
            offers(&world, &uid)
        );
    }
    nobody_was_refused(&world)?;
    world.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_printed_configuration_fits_a_profile_that_offers_a_token() -> Result<()> {
    let setup = Setup {
        authenticators: Some(json!([
            {"name": "bootstrap", "agentToken": {"secretName": "bootstrap-token", "namespace": "default"}},
            {"name": "agents", "agentToken": {"secretName": "agent-token", "namespace": "default"}},
        ])),
        ..Setup::default()
    };
    let mut world = World::new("printed-token", setup).await?;
    let token = world.token("offered token")?;
    let secret = offerable_secret("agent-token", &[("token", &token)]);
    world.manifests.apply(&secret)?;
    world
        .manifests
        .apply(&profile(PROFILE, &bearer("agent-token")))?;
    world.start_operator().await?;
    let variable = ("OPAMP_TOKEN".to_owned(), world.bootstrap_token().to_owned());
    let uid = start(&mut world, "by-variable", &[], Some(variable)).await?;
    applies_bearer(&world, &uid, &token).await?;
    ensure!(
        offers(&world, &uid).len() == 1,
        "{:?}",
        offers(&world, &uid)
    );
    nobody_was_refused(&world)?;
    world.finish().await
}
