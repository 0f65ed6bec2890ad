//! One release from its installation to its end and its return, with agents that
//! are Pods. After each step every agent runs its settings, and none was offered
//! them again.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use e2e::certificates::{certificate, issuer, renew};
use e2e::cluster::{RELEASE, repository};
use e2e::manifests::{CLIENT_TLS, config_map, mutual_tls, profile};
use e2e::node::{NodeWorld, OPERATOR, TEAM, pods};
use e2e::pki::{Ca, KeyKind};
use e2e::scene::PROFILE;
use serde_json::{Value, json};

use crate::crowd::Crowd;
use crate::permissions;

/// How many agents are Pods.
const PODS: usize = 4;

/// How many more there are, so that an upgrade is one under load.
const CROWD: usize = 100;

/// All of them.
const AGENTS: usize = PODS + CROWD;

/// How long anything may take that takes Pods a while on a busy machine.
const PATIENCE: Duration = Duration::from_mins(3);
/// Without a connection while one Pod of the operator follows the other.
const LONGEST_AWAY: Duration = Duration::from_secs(30);

/// Where the chart says that agents connect.
const ENDPOINT: &str = "wss://opamp-operator.opamp-system.svc:4320/v1/opamp";

pub(crate) async fn tell() -> Result<()> {
    let world = NodeWorld::start().await?;
    let mut story = Story {
        world: &world,
        crowd: None,
    };
    story.refuses_what_is_not_restricted().await?;
    story.install().await?;
    permissions::are_what_the_chart_says(&world).await?;
    story.start_agents().await?;
    story.publish().await?;
    world.keeps_secrets().await?;
    story.renew().await?;
    story.upgrade().await?;
    story.roll_back().await?;
    story.kill().await?;
    story.uninstall().await?;
    story.come_back().await?;
    world.finish().await
}

struct Story<'a> {
    world: &'a NodeWorld,
    crowd: Option<Crowd>,
}

/// What the log of each agent's Pod says so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Heard {
    offers: usize,
    connections: usize,
}

impl Story<'_> {
    /// The namespaces enforce what they say.
    async fn refuses_what_is_not_restricted(&self) -> Result<()> {
        for namespace in [OPERATOR, TEAM] {
            let place = format!("--namespace={namespace}");
            let run = ["run", "root", "--image=x", &place];
            let output = self.world.kubectl.output(&run, "").await?;
            let refused = output.stderr.contains("violates PodSecurity \"restricted");
            ensure!(!output.success && refused, "{}", output.stderr);
        }
        Ok(())
    }

    async fn install(&self) -> Result<()> {
        self.helm_with("install", &json!({})).await?;
        self.is_well().await
    }

    /// Installs or upgrades with the values of this test and more.
    async fn helm_with(&self, verb: &str, more: &Value) -> Result<()> {
        let mut values = json!({
            "image": {"pullPolicy": "Never"},
            "watchNamespaces": [TEAM],
            "debounceMilliseconds": 300,
            "log": {"level": "info,opamp_operator=debug", "format": "text"},
            "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}},
        });
        for (name, value) in more.as_object().into_iter().flatten() {
            values[name] = value.clone();
        }
        let file = self.world.folder().join("values.json");
        std::fs::write(&file, values.to_string())?;
        let chart = repository().join("charts/opamp-operator");
        let (file, chart) = (file.display().to_string(), chart.display().to_string());
        let arguments = [
            verb,
            RELEASE,
            &chart,
            "--values",
            &file,
            "--wait",
            "--timeout=85s",
        ];
        self.world.helm(&arguments).await.map(drop)
    }

    /// `helm test`, and one Pod that is ready.
    async fn is_well(&self) -> Result<()> {
        self.world.helm(&["test", RELEASE, "--timeout=80s"]).await?;
        let what = "one operator, ready";
        let ready = self
            .world
            .wait_for(what, (OPERATOR, "Pod"), PATIENCE, |pods| {
                let [pod] = pods else { return None };
                let name = pod["metadata"]["name"].as_str()?.to_owned();
                is_ready(pod).then_some(name)
            });
        let name = ready.await?;
        self.world
            .timeline
            .add("operator", format!("{name} is ready"));
        Ok(())
    }

    async fn start_agents(&mut self) -> Result<()> {
        let world = self.world;
        let account = json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": pods::ACCOUNT},
        });
        let serving = world.api.get("Secret", "opamp-operator-serving").await?;
        let serving = serving.context("no serving certificate")?;
        let ca = serving["data"]["ca.crt"].as_str().context("no CA")?;
        let ca = String::from_utf8(STANDARD.decode(ca)?)?;
        let objects = [
            account,
            config_map("server-ca", "ca.crt", &ca),
            pods::configuration(ENDPOINT),
            pods::deployment(PODS),
        ];
        world.apply(TEAM, &objects).await?;
        let role = format!("--clusterrole={OPERATOR}-{RELEASE}-connect");
        let subject = format!("--serviceaccount={TEAM}:{}", pods::ACCOUNT);
        let bind = ["create", "rolebinding", "opamp-connect", &role, &subject];
        world.kubectl(TEAM, &bind, "").await?;
        self.crowd = Some(Crowd::start(world, ENDPOINT, &ca, CROWD).await?);
        let what = "every agent is connected";
        let known = world.wait_for(what, (TEAM, "OpAMPAgent"), PATIENCE, |agents| {
            let all = agents.len() == AGENTS && agents.iter().all(is_connected);
            let account = |agent: &Value| agent["spec"]["identity"]["method"] == "ServiceAccount";
            (all && agents.iter().all(account)).then_some(())
        });
        known.await?;
        let what =
            format!("{PODS} Pods are connected by their projected tokens, and {CROWD} doubles");
        world.timeline.add("agents", what);
        Ok(())
    }

    async fn publish(&self) -> Result<()> {
        let world = self.world;
        let ca = Ca::new("fleet CA")?;
        let [keys, issuer] = issuer("fleet-ca", &ca);
        let fleet = certificate("fleet", CLIENT_TLS, "fleet-ca", KeyKind::EcdsaP256);
        let objects = [keys, issuer, fleet, profile(PROFILE, &mutual_tls())];
        world.apply(TEAM, &objects).await?;
        world
            .timeline
            .add("profile", "applied, with a Certificate of cert-manager");
        self.all_run(1).await?;
        let resource = format!("opcp/{PROFILE}");
        let wait = ["wait", "--for=condition=Ready", &resource, "--timeout=60s"];
        world.kubectl(TEAM, &wait, "").await?;
        Ok(())
    }

    /// Waits until every agent proved that it runs a revision, and says so.
    async fn all_run(&self, revision: u64) -> Result<()> {
        let world = self.world;
        let what = format!("every agent runs revision {revision}");
        let run = world.wait_for(&what, (TEAM, "OpAMPAgent"), PATIENCE, |agents| {
            let runs = |agent: &Value| {
                let settings = &agent["status"]["settings"];
                let evidence = settings["evidence"].as_str();
                is_connected(agent)
                    && settings["state"] == "Applied"
                    && settings["revision"] == revision
                    && evidence.is_some_and(|evidence| evidence != "None")
            };
            (agents.len() == AGENTS && agents.iter().all(runs)).then_some(())
        });
        run.await?;
        let shown = world.kubectl(TEAM, &["get", "opag"], "").await?;
        let pods = |line: &&str| line.starts_with("NAME") || line.contains(pods::AGENTS);
        let shown: Vec<&str> = shown.lines().filter(pods).collect();
        ensure!(shown.len() == 1 + PODS, "{shown:?}");
        world
            .timeline
            .add("agents", format!("{what}\n{}", shown.join("\n")));
        Ok(())
    }

    async fn renew(&self) -> Result<()> {
        let before = self.heard()?;
        renew(&self.world.team(), "fleet").await?;
        self.world
            .timeline
            .add("cert-manager", "renews the certificate");
        self.all_run(2).await?;
        for (pod, now) in self.heard()? {
            let offers = before.get(&pod).map(|before| before.offers + 1);
            ensure!(
                Some(now.offers) == offers,
                "{pod}: {now:?} after {before:?}"
            );
        }
        Ok(())
    }

    async fn upgrade(&self) -> Result<()> {
        let change = json!({"podAnnotations": {"e2e": "upgraded"}});
        let upgrade = async || self.helm_with("upgrade", &change).await;
        let away = self.goes_over("helm upgrade", upgrade).await?;
        ensure!(away <= LONGEST_AWAY, "a double was away for {away:?}");
        self.is_well().await
    }

    async fn roll_back(&self) -> Result<()> {
        let back = ["rollback", RELEASE, "1", "--wait", "--timeout=85s"];
        let roll_back = async || self.world.helm(&back).await.map(drop);
        let away = self.goes_over("helm rollback", roll_back).await?;
        ensure!(away <= LONGEST_AWAY, "a double was away for {away:?}");
        self.is_well().await
    }

    /// SIGKILL for the first process of the operator's container.
    async fn kill(&self) -> Result<()> {
        let world = self.world;
        let pods = world.api.list("Pod").await?;
        let container = &pods["items"][0]["status"]["containerStatuses"][0];
        let id = container["containerID"].as_str().context("no container")?;
        let before = container["restartCount"].as_u64();
        let kill = async || {
            world.node.kill_container(id)?;
            let what = "the container is started again";
            let again = world.wait_for(what, (OPERATOR, "Pod"), PATIENCE, |pods| {
                let [pod] = pods else { return None };
                let container = &pod["status"]["containerStatuses"][0];
                let again = container["restartCount"].as_u64() > before;
                (again && is_ready(pod)).then_some(())
            });
            again.await
        };
        self.goes_over("kill -9", kill).await.map(drop)
    }

    async fn uninstall(&self) -> Result<()> {
        let world = self.world;
        world
            .helm(&["uninstall", RELEASE, "--wait", "--timeout=85s"])
            .await?;
        let what = "the operator's Pod is gone";
        let gone = |pods: &[Value]| pods.is_empty().then_some(());
        world
            .wait_for(what, (OPERATOR, "Pod"), PATIENCE, gone)
            .await?;
        for kind in ["opampconnectionprofiles", "opampagents"] {
            let name = format!("{kind}.opamp-operator.dev");
            let definition = world.api.get("CustomResourceDefinition", &name).await?;
            ensure!(definition.is_some(), "{name} is gone");
        }
        let kept = world.team().get("OpAMPConnectionProfile", PROFILE).await?;
        ensure!(kept.is_some(), "the profile is gone");
        let agents = world.team().list("OpAMPAgent").await?;
        let count = agents["items"].as_array().map(Vec::len);
        ensure!(count == Some(AGENTS), "{count:?} agents are left");
        let left = format!("left the definitions, the profile and {AGENTS} agents");
        world.timeline.add("helm", left);
        Ok(())
    }

    /// A new release knows all that the last one knew.
    async fn come_back(&self) -> Result<()> {
        self.goes_over("helm install, again", async || {
            self.helm_with("install", &json!({})).await
        })
        .await
        .map(drop)
    }

    /// Does something that takes the operator away for a moment: every agent
    /// comes back, and none is offered what it has. Says how long the double that
    /// was away for longest was.
    async fn goes_over<D>(&self, what: &str, does: D) -> Result<Duration>
    where
        D: AsyncFnOnce() -> Result<()>,
    {
        let world = self.world;
        let crowd = self.crowd.as_ref().context("there is no crowd")?;
        let (before, crowd_before) = (self.heard()?, crowd.lived());
        let begin = world.timeline.now();
        does().await?;
        let back = e2e::eventually::eventually("every agent came back", PATIENCE, || {
            let now = self.heard().unwrap_or_default();
            let back = now.iter().filter(|(pod, now)| {
                let before = before.get(*pod).cloned().unwrap_or_default();
                now.connections > before.connections
            });
            let back = back.count();
            e2e::eventually::Look::when(back == PODS, format!("{back} of {PODS}"))
        });
        back.await?;
        let longest = crowd.is_back(&crowd_before, PATIENCE).await?;
        let took = world.timeline.now().saturating_sub(begin).as_secs_f64();
        self.all_run(2).await?;
        for (pod, now) in self.heard()? {
            let offers = before.get(&pod).map(|before| before.offers);
            ensure!(
                Some(now.offers) == offers,
                "{pod} was offered what it has: {now:?} after {before:?}"
            );
        }
        let said = format!(
            "{what}: all {AGENTS} agents are back {took:.1} s after its begin, of the {CROWD} \
             doubles none was away for longer than {:.1} s; none was offered anything",
            longest.as_secs_f64()
        );
        world.timeline.add("agents", said);
        Ok(longest)
    }

    fn heard(&self) -> Result<BTreeMap<String, Heard>> {
        let logs = self.world.pod_logs(TEAM, pods::AGENTS)?;
        let heard = logs.into_iter().map(|(pod, log)| {
            let connections = log.matches("Connected to the OpAMP server.").count();
            let offers = pods::times_offered(&log);
            (
                pod,
                Heard {
                    offers,
                    connections,
                },
            )
        });
        Ok(heard.collect())
    }
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    let mut ready = conditions.filter(|one| one["type"] == "Ready" && one["status"] == "True");
    ready.next().is_some() && pod["metadata"]["deletionTimestamp"].is_null()
}

fn is_connected(agent: &Value) -> bool {
    agent["status"]["connected"] == true
}
