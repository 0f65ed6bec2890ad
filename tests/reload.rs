//! The configuration file changes while the operator runs. Time is paused.
#![expect(clippy::unwrap_used, reason = "helpers of a test end it by panicking")]

#[expect(dead_code, reason = "these tests need little of it")]
mod log;

use std::{fs, path::PathBuf, time::Duration};

use opamp_operator::{
    app::{Reload, Source, run},
    config::{Authentication, Config},
    telemetry::{LogFormat, subscriber},
};
use tempfile::TempDir;
use tokio::time::{Instant, timeout};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::log::Log;

const FIRST: &str = "
apiVersion: opamp-operator.dev/v1alpha1
kind: OperatorConfiguration
namespace: ops
advertisedURL: wss://localhost:4320/v1/opamp
servingCertificate: {secretName: serving}
authenticators:
  - {name: bootstrap, agentToken: {secretName: token}}
";

const ACCOUNTS: &str = "  - {name: cluster, serviceAccount: {}}\n";

struct Bench {
    file: PathBuf,
    reload: Reload,
    log: Log,
    folder: TempDir,
    _logging: DefaultGuard,
}

impl Bench {
    fn new(cluster: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("operator.yaml");
        fs::write(&file, FIRST).unwrap();
        let config = Config::read(&file).unwrap();
        let in_force = config.authentication().unwrap();
        let log = Log::default();
        let logging = subscriber(LogFormat::Text, "info", log.writer()).unwrap();
        Self {
            reload: Reload::new(file.clone(), config, in_force, cluster),
            file,
            log,
            folder,
            _logging: logging.set_default(),
        }
    }

    fn write(&self, text: &str) {
        fs::write(&self.file, text).unwrap();
    }

    async fn next(&mut self) -> Authentication {
        self.reload.next().await
    }

    /// Nothing comes of the file, however long one looks; what is said of it.
    async fn nothing(&mut self) -> String {
        let before = self.log.text().len();
        let next = timeout(Duration::from_secs(60), self.reload.next());
        assert!(next.await.is_err(), "it was taken");
        self.log.text().split_off(before)
    }
}

fn names(authentication: &Authentication) -> Vec<&str> {
    let all = authentication.authenticators.iter();
    all.map(|source| &*source.name).collect()
}

#[tokio::test(start_paused = true)]
async fn who_may_connect_is_configured_anew_within_seconds() {
    let mut bench = Bench::new(true);
    assert_eq!(bench.nothing().await, "");
    bench.write(&format!(
        "{FIRST}{ACCOUNTS}homeNamespaces: [team-a]\nretirementHours: 1\n"
    ));
    let start = Instant::now();
    let new = bench.next().await;
    assert!(start.elapsed() <= Duration::from_secs(5));
    assert_eq!(names(&new), ["bootstrap", "cluster"]);
    assert!(new.homes.contains("team-a") && new.retirement.as_hours() == 1);
    bench.reload.done(new);
    assert_eq!(bench.nothing().await, "");
    bench.write(FIRST);
    assert_eq!(names(&bench.next().await), ["bootstrap"]);
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_put_into_force_comes_again() {
    let mut bench = Bench::new(true);
    bench.write(&format!("{FIRST}{ACCOUNTS}"));
    let new = bench.next().await;
    bench.reload.again();
    assert_eq!(bench.next().await, new);
}

#[tokio::test(start_paused = true)]
async fn law9_a_file_that_cannot_be_used_changes_nothing_and_is_named_once() {
    let mut bench = Bench::new(true);
    for broken in [
        FIRST.replace("agentToken", "agentTokens"),
        "a: [".to_owned(),
    ] {
        bench.write(&broken);
        let said = bench.nothing().await;
        assert_eq!(said.matches("cannot be used").count(), 1, "{said}");
    }
    fs::remove_file(&bench.file).unwrap();
    let said = bench.nothing().await;
    assert_eq!(said.matches("cannot be used").count(), 1, "{said}");
    bench.write(FIRST);
    assert_eq!(bench.nothing().await, "");
}

#[tokio::test(start_paused = true)]
async fn what_needs_a_restart_is_named_and_no_half_of_it_takes_effect() {
    let mut bench = Bench::new(true);
    let elsewhere = FIRST.replace(
        "namespace: ops",
        "namespace: other\nwatchNamespaces: [other]",
    );
    let accounts = format!("{elsewhere}{ACCOUNTS}");
    bench.write(&accounts);
    let new = bench.next().await;
    // Namespaces are still those of the start.
    assert!(new.homes.iter().eq(["ops"]), "{:?}", new.homes);
    let said = bench.log.text();
    assert_eq!(
        said.matches("needs a restart: namespace, watchNamespaces")
            .count(),
        1,
        "{said}"
    );
    bench.reload.done(new);
    // Said once, until it is something else.
    bench.write(&format!("{accounts}# a comment\n"));
    assert_eq!(bench.nothing().await, "");
    bench.write(&format!("{accounts}listen: 127.0.0.1:1\n"));
    let said = bench.nothing().await;
    assert!(
        said.contains("needs a restart: namespace, listen, watchNamespaces"),
        "{said}"
    );
}

#[tokio::test(start_paused = true)]
async fn without_a_cluster_nobody_could_judge_service_accounts() {
    let mut bench = Bench::new(false);
    let folder = bench.folder.path().to_owned();
    let config = Config::parse(&format!("{FIRST}{ACCOUNTS}")).unwrap();
    let source = Source::Directory {
        manifests: folder.join("manifests"),
        state: folder.join("state"),
    };
    let error = run(config, bench.file.clone(), source).await.unwrap_err();
    assert!(
        error.to_string().contains("authenticator `cluster`"),
        "{error}"
    );
    bench.write(&format!("{FIRST}{ACCOUNTS}"));
    let said = bench.nothing().await;
    assert_eq!(said.matches("needs a cluster").count(), 1, "{said}");
}
