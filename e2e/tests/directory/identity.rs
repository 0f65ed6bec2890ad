//! Who is let in, who may come back, and who is cut off, with real supervisors.

use anyhow::{Context as _, Result, ensure};
use e2e::eventually::Look;
use e2e::manifests::{config_map, mutual_tls, profile, read_yaml, secret, write_atomically};
use e2e::tap::{Connection, Record};
use e2e::world::{OFFER, PROFILE, SOON, Setup, World};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, jwk::Jwk};
use serde_json::{Value, json};

use crate::steps::{applies_leaf, comes_back, exchanges, greeted, offers};

fn denying() -> Setup {
    Setup {
        configuration: json!({"denyList": {"name": "revoked"}, "limits": {"refusalSeconds": 1}}),
        ..Setup::default()
    }
}

/// Waits until the newest connection of an agent has ended; when that was.
async fn ends(world: &World, uid: &str, connection: &Connection) -> Result<std::time::Duration> {
    let look = |record: &Record| {
        let all = record.of(uid);
        let ended = all.iter().find(|link| link.id == connection.id);
        Look::some(ended.and_then(|link| link.life.1), "still open")
    };
    let what = format!("the session of {uid} ends");
    world.tap.record().wait(&what, SOON, look).await
}

/// Waits until somebody is answered 401 on a connection after `known`.
async fn refused(world: &World, known: usize) -> Result<()> {
    let look = |record: &Record| {
        let all = record.connections();
        let refused = all.iter().skip(known).any(|c| c.status == Some(401));
        Look::when(refused, "nobody was refused")
    };
    let what = "a connection is answered 401";
    world.tap.record().wait(what, SOON, look).await
}

fn connections(world: &World) -> usize {
    world.tap.record().connections().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s12_a_certificate_on_the_deny_list_ends_its_session_and_is_refused() -> Result<()> {
    let (mut world, leaf) = World::with_mutual_tls("deny", denying()).await?;
    let uid = world.supervisor("a1").await?;
    applies_leaf(&world, &uid, &leaf).await?;
    let link = exchanges(&world, &uid, 1).await?;
    let known = connections(&world);
    let written = world.timeline.now();
    let list = config_map("revoked", "certificates", leaf.fingerprint());
    world.manifests.apply(&list)?;
    let ended = ends(&world, &uid, &link).await?;
    let took = ended.saturating_sub(written);
    world.timeline.add(
        "deny list",
        format!("the session ended {took:?} after the write"),
    );
    refused(&world, known).await?;
    let answered = world.tap.record().of(&uid);
    ensure!(
        answered.last().map(|c| c.id) == Some(link.id),
        "let in again"
    );
    // What is taken off the list again is let in again.
    world
        .manifests
        .apply(&config_map("revoked", "certificates", ""))?;
    let shows = |last: &Connection| last.certificate.as_deref() == Some(leaf.fingerprint());
    comes_back(&world, &uid, "its certificate", shows).await?;
    world.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s12_revoking_all_tokens_of_a_secret_reaches_agents_that_came_by_one() -> Result<()> {
    let (mut world, leaf) = World::with_mutual_tls("revoked", denying()).await?;
    let uid = world.supervisor("a1").await?;
    // It shows its new certificate alone by now; the instance UID is the token's.
    applies_leaf(&world, &uid, &leaf).await?;
    let link = exchanges(&world, &uid, 1).await?;
    let token = world.bootstrap_token().to_owned();
    let entries = [("token", token.as_str()), ("revoked", "true")];
    world
        .manifests
        .apply(&secret("bootstrap-token", &entries))?;
    ends(&world, &uid, &link).await?;
    // Its certificate is nobody's who is revoked; under this instance UID it is.
    let look = |record: &Record| {
        let last = record.of(&uid).pop().filter(|last| last.id != link.id);
        let denied = last.is_some_and(|last| last.sent.iter().any(|m| m.error.is_some()));
        Look::when(denied, "not denied yet")
    };
    let what = "the agent is denied";
    world.tap.record().wait(what, SOON, look).await?;
    ensure!(offers(&world, &uid).len() == 1, "offered again");
    world.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn law8_a_token_that_left_its_secret_brings_back_who_came_by_it_and_nobody_else() -> Result<()>
{
    let mut world = World::new("retired", Setup::default()).await?;
    world.start_operator().await?;
    let uid = world.supervisor("a1").await?;
    greeted(&world, &uid).await?;
    let link = exchanges(&world, &uid, 0).await?;
    let next = world.token("next token")?;
    world
        .manifests
        .apply(&secret("bootstrap-token", &[("token", &next)]))?;
    let mut with_next = world.supervisor_options("a2");
    with_next.token.clone_from(&next);
    // Once somebody is let in by the next one, the first has left.
    let second = world.supervisor_with("a2", &with_next).await?;
    greeted(&world, &second).await?;
    ensure!(exchanges(&world, &uid, 0).await?.id == link.id, "cut off");

    // Also after a restart of the operator, and of the agent.
    world.kill_operator()?;
    world.start_operator_again().await?;
    world.supervisor_mut("a1")?.kill9()?;
    let known = world.tap.record().of(&uid).len();
    world.supervisor_mut("a1")?.start_again()?;
    let look = |record: &Record| {
        let back = record.of(&uid).into_iter().skip(known);
        Look::when(back.into_iter().any(|c| !c.sent.is_empty()), "not yet")
    };
    let what = "the agent is let in with its old token";
    world.tap.record().wait(what, SOON, look).await?;
    let third = world.supervisor("a3").await?;
    let look = |record: &Record| {
        let all = record.of(&third);
        let errors = all
            .iter()
            .flat_map(|c| &c.sent)
            .filter_map(|m| m.error.as_deref());
        Look::when(
            errors.into_iter().any(|e| e.contains("no new agent")),
            "not told",
        )
    };
    let what = "a new agent is denied";
    world.tap.record().wait(what, SOON, look).await?;
    world.finish().await
}

/// Whoever signs tokens.
struct Issuer {
    key: EncodingKey,
    jwks: String,
}

impl Issuer {
    fn new() -> Result<Self> {
        let pair = rcgen::KeyPair::generate()?;
        let key = EncodingKey::from_ec_der(&pair.serialize_der());
        let jwk = Jwk::from_encoding_key(&key, Algorithm::ES256)?;
        let jwks = json!({"keys": [jwk]}).to_string();
        Ok(Self { key, jwks })
    }

    fn token(&self, subject: &str, audience: &str, lasts: i64) -> Result<String> {
        let now = i64::try_from(jsonwebtoken::get_current_timestamp())?;
        let claims = json!({
            "iss": "https://issuer.example.com", "aud": audience, "sub": subject, "exp": now + lasts,
        });
        Ok(encode(&Header::new(Algorithm::ES256), &claims, &self.key)?)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn law2_a_json_web_token_gets_what_its_subject_may_have() -> Result<()> {
    let issuer = Issuer::new()?;
    let jwt = |audience: &str, jwks: Value| json!({"issuer": "https://issuer.example.com", "audiences": [audience], "jwks": jwks, "namespace": "default"});
    let setup = Setup {
        authenticators: Some(json!([
            {"name": "ci", "jwt": jwt("opamp", json!({"keyRef": {"name": "issuer"}}))},
        ])),
        ..Setup::default()
    };
    let mut world = World::new("jwt", setup).await?;
    world
        .manifests
        .apply(&config_map("issuer", "jwks.json", &issuer.jwks))?;
    let leaf = world.client_leaf(
        "fleet-1",
        e2e::pki::KeyKind::EcdsaP256,
        e2e::pki::Window::lasting(30 * e2e::pki::DAY),
    )?;
    let chosen = json!([{"jwt": {"authenticator": "ci", "subject": "chosen"}}]);
    let mut only = profile(PROFILE, &mutual_tls());
    only["spec"]["agentSelector"] = json!({"authenticatedAs": chosen});
    world.manifests.apply(&e2e::manifests::offerable_tls(
        e2e::manifests::CLIENT_TLS,
        &leaf,
    ))?;
    world.manifests.apply(&only)?;
    world.start_operator().await?;

    let good = issuer.token("chosen", "opamp", 3600)?;
    let other = issuer.token("other", "opamp", 3600)?;
    let mut agents = Vec::new();
    for (name, token) in [("chosen", &good), ("other", &other)] {
        world.keeps_secret(name, token);
        let mut options = world.supervisor_options(name);
        options.token.clone_from(token);
        agents.push(world.supervisor_with(name, &options).await?);
    }
    applies_leaf(&world, &agents[0], &leaf).await?;
    greeted(&world, &agents[1]).await?;
    ensure!(
        offers(&world, &agents[1]).is_empty(),
        "not what is another's"
    );

    let stranger = Issuer::new()?;
    let wrong = [
        ("expired", issuer.token("chosen", "opamp", -120)?),
        ("audience", issuer.token("chosen", "another", 3600)?),
        ("signature", stranger.token("chosen", "opamp", 3600)?),
    ];
    for (name, token) in wrong {
        let known = connections(&world);
        let mut options = world.supervisor_options(name);
        options.token = token;
        let uid = world.supervisor_with(name, &options).await?;
        refused(&world, known).await?;
        let of_it = world.tap.record().of(&uid);
        ensure!(of_it.iter().all(|c| c.sent.is_empty()), "{name} was heard");
    }
    world.finish().await
}

/// The state of a disk that was copied, with another host name.
fn copy_identity(world: &mut World, from: &str, to: &str) -> Result<()> {
    let state = |world: &mut World, name: &str| -> Result<_> {
        Ok(world
            .supervisor_mut(name)?
            .folder()
            .join("storage/persistent_state.yaml"))
    };
    let original = state(world, from)?;
    let copy = state(world, to)?;
    let text = serde_saphyr::to_string(&read_yaml(&original).context("no state")?)?;
    write_atomically(&copy, &text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m15_a_copied_disk_gets_an_instance_uid_of_its_own() -> Result<()> {
    let mut world = World::new("clones", Setup::default()).await?;
    world.start_operator().await?;
    let on = |world: &World, name: &str| {
        let mut options = world.supervisor_options(name);
        let host = ("host.name".to_owned(), name.to_owned());
        options.attributes.push(host);
        options
    };
    let options = on(&world, "original");
    let uid = world.supervisor_with("original", &options).await?;
    greeted(&world, &uid).await?;
    let original = exchanges(&world, &uid, 0).await?;
    let options = on(&world, "copy");
    world.supervisor_with("copy", &options).await?;
    world.supervisor_mut("copy")?.kill9()?;
    copy_identity(&mut world, "original", "copy")?;
    let before = connections(&world);
    world.supervisor_mut("copy")?.start_again()?;

    // Both are live for a minute, then the newer is told its new name.
    let look = |record: &Record| {
        // Whatever it calls itself by now.
        let all = record.connections();
        let copies = all.iter().skip(before).filter(|c| c.id != original.id);
        let told = copies.flat_map(|c| &c.sent);
        let new = told.rev().find_map(|message| message.new_uid.clone());
        Look::some(new, "nobody was told")
    };
    let what = "the copy is told another instance UID";
    let wait = SOON + OFFER + OFFER;
    let new = world.tap.record().wait(what, wait, look).await?;
    greeted(&world, &new).await?;
    let still = world.tap.record().of(&uid);
    let first = still.iter().find(|c| c.id == original.id);
    ensure!(first.is_some_and(|c| c.open), "the original was cut off");
    let told = first.into_iter().flat_map(|c| &c.sent);
    ensure!(
        told.into_iter().all(|m| m.new_uid.is_none()),
        "the original was renamed"
    );
    // Both are known, each by its own name.
    for uid in [&new, &uid] {
        let state = world.state();
        state.wait_for_agent(uid, "Pending", "None", SOON).await?;
    }
    world.finish().await
}
