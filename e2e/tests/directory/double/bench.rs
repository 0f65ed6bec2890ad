//! Scenarios without the operator: a server that says what it would never say.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use e2e::eventually::{Look, throughout};
use e2e::parts::Set;
use e2e::pki::{DAY, KeyKind, Leaf, Window};
use e2e::raw_server::RawServer;
use e2e::scene::{SOON, Scene, Setup};
use e2e::tap::{Connection, FromAgent, Record};
use opamp_wire::proto::{
    ConnectionSettingsOffers, Header, Headers, OpAmpConnectionSettings, ServerToAgent,
    TlsCertificate,
};

use super::subject::{Player, Subject, agree};

/// Longer than some heartbeats of a second.
const QUIET: Duration = Duration::from_secs(4);

/// A server of the test, the tap, and one agent.
pub(crate) struct Bench {
    pub(crate) scene: Scene,
    pub(crate) server: RawServer,
    pub(crate) subject: Subject,
    /// A client certificate that the server knows.
    pub(crate) leaf: Leaf,
    offers: u8,
    last: Option<OpAmpConnectionSettings>,
}

impl Bench {
    /// Everything runs, and the agent has no more news of its collector.
    async fn start(name: &str, player: Player) -> Result<Self> {
        let name = format!("{name}-{}", player.name());
        let mut scene = Scene::new(&name, Setup::default(), Set::Releases).await?;
        let server = RawServer::start(&scene.pki.serving, &scene.pki.client_ca).await?;
        scene.tap.set_operator(server.address());
        let month = Window::lasting(30 * DAY);
        let leaf = scene.client_leaf("agent", KeyKind::EcdsaP256, month)?;
        let subject = Subject::start(&mut scene, player).await?;
        let mut bench = Self {
            scene,
            server,
            subject,
            leaf,
            offers: 0,
            last: None,
        };
        bench.settles().await?;
        bench.stage("first connection");
        Ok(bench)
    }

    pub(crate) fn stage(&mut self, name: &'static str) {
        self.subject.stage(&self.scene, name, true);
    }

    /// Its collector has started, and all that came of it is said.
    pub(crate) async fn settles(&self) -> Result<()> {
        let settled = |link: &Connection| link.healthy() == Some(true);
        let link = self.newest("its collector is healthy", settled);
        link.await.map(drop)
    }

    /// Waits until the newest connection is open and as wanted.
    pub(crate) async fn newest(
        &self,
        what: &str,
        wanted: impl Fn(&Connection) -> bool,
    ) -> Result<Connection> {
        let what = format!("{}: {what}", self.subject.player.name());
        let look = |record: &Record| {
            let last = record.of(&self.subject.uid).pop();
            let seen = last.as_ref().map_or("nothing".to_owned(), in_short);
            let good = |link: &Connection| link.open && wanted(link);
            Look::some(last.filter(good), seen)
        };
        self.scene.tap.record().wait(&what, SOON, look).await
    }

    /// Waits until it is there with the offer of this number, and beats.
    pub(crate) async fn runs(&self, number: u8) -> Result<Connection> {
        let marker = marker(number);
        let runs = |link: &Connection| {
            let bare = link.received.iter().any(FromAgent::is_bare);
            // Answered, and not refused any more.
            link.marker() == Some(&marker) && bare && link.sent.len() > 1
        };
        self.newest(&format!("runs offer {number}"), runs).await
    }

    /// Waits for so many more messages on its newest connection.
    pub(crate) async fn says_more(&self, more: usize) -> Result<Connection> {
        let have = self.heard();
        let what = format!("{more} more messages");
        self.newest(&what, |_| self.heard() >= have + more).await
    }

    /// How many messages it has sent in all.
    pub(crate) fn heard(&self) -> usize {
        let all = self.scene.tap.record().of(&self.subject.uid);
        all.iter().map(|link| link.received.len()).sum()
    }

    /// Waits until it says nothing at all for longer than some heartbeats.
    pub(crate) async fn falls_silent(&self) -> Result<()> {
        let (what, end) = (self.subject.player.name(), Instant::now() + SOON);
        loop {
            let heard = self.heard();
            let silence = throughout(what, QUIET, || {
                let more = self.heard() - heard;
                (more > 0).then(|| format!("still says {more} messages"))
            });
            match silence.await {
                Err(_) if Instant::now() < end => {}
                silent => return silent,
            }
        }
    }

    /// Offers good settings and waits until it runs them.
    pub(crate) async fn moves(&mut self, scheme: &str) -> Result<u8> {
        let offer = self.offer(scheme);
        let number = self.say(offer);
        self.runs(number).await?;
        Ok(number)
    }

    /// The next offer: to this endpoint, with certificate, key and CA, each
    /// heartbeat a second apart.
    pub(crate) fn offer(&mut self, scheme: &str) -> Offered {
        self.offers += 1;
        Offered {
            number: self.offers,
            settings: OpAmpConnectionSettings {
                destination_endpoint: self.scene.tap.url(scheme),
                headers: Some(Headers {
                    headers: [
                        ("OpAMP-Settings-Hash", marker(self.offers).as_str()),
                        ("X-Two", "a"),
                        ("X-Two", "b"),
                    ]
                    .map(|(key, value)| Header {
                        key: key.to_owned(),
                        value: value.to_owned(),
                    })
                    .into(),
                }),
                certificate: Some(TlsCertificate {
                    cert: self.leaf.certificate.clone().into(),
                    private_key: self.leaf.key.clone().into(),
                    ca_cert: self.scene.pki.server_ca.pem().to_owned().into(),
                }),
                heartbeat_interval_seconds: 1,
                ..OpAmpConnectionSettings::default()
            },
        }
    }

    /// The settings that it was offered last.
    pub(crate) fn offered(&self) -> Option<OpAmpConnectionSettings> {
        self.last.clone()
    }

    /// Offers settings.
    pub(crate) fn say(&mut self, offered: Offered) -> u8 {
        let number = offered.number;
        self.last = Some(offered.settings.clone());
        self.server.say(offered.message());
        number
    }
}

/// A connection in a few words, for who reads why a wait ended.
pub(crate) fn in_short(link: &Connection) -> String {
    let marker = link.marker().unwrap_or("no marker");
    let (open, received) = (link.open, link.received.len());
    let offers = link.offers().count();
    format!(
        "#{} {marker}, open {open}, {received} messages, {offers} offers",
        link.id
    )
}

pub(crate) fn marker(number: u8) -> String {
    format!("marker-{number}")
}

/// Settings on their way.
pub(crate) struct Offered {
    number: u8,
    pub(crate) settings: OpAmpConnectionSettings,
}

impl Offered {
    pub(crate) fn number(&self) -> u8 {
        self.number
    }

    pub(crate) fn message(self) -> ServerToAgent {
        ServerToAgent {
            connection_settings: Some(ConnectionSettingsOffers {
                hash: vec![self.number].into(),
                opamp: Some(self.settings),
                ..ConnectionSettingsOffers::default()
            }),
            ..ServerToAgent::default()
        }
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut OpAmpConnectionSettings)) -> Self {
        change(&mut self.settings);
        self
    }

    pub(crate) fn with_certificate(self, change: impl FnOnce(&mut TlsCertificate)) -> Self {
        self.with(|settings| change(settings.certificate.get_or_insert_default()))
    }
}

/// Plays a scenario with everyone at once; they must all do the same.
pub(crate) async fn play<S>(name: &str, players: &[Player], scenario: S) -> Result<()>
where
    S: AsyncFn(&mut Bench) -> Result<()>,
{
    let one = |player: Player| {
        let scenario = &scenario;
        async move {
            let mut bench = Bench::start(name, player).await?;
            scenario(&mut bench).await?;
            anyhow::Ok(bench)
        }
    };
    let played = futures::future::join_all(players.iter().map(|player| one(*player))).await;
    let mut subjects = Vec::new();
    let mut scenes = Vec::new();
    for bench in played {
        let bench = bench?;
        subjects.push(bench.subject);
        scenes.push(bench.scene);
    }
    agree(&subjects)?;
    ensure!(subjects.len() == players.len());
    scenes.into_iter().for_each(Scene::abandon);
    Ok(())
}
