//! The operator as a process on two directories, and an agent that polls it.

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use opamp_wire::{
    Message as _,
    proto::{AgentDescription, AgentToServer, OpAmpConnectionSettings, ServerToAgent},
};
use rcgen::{CertificateParams, KeyPair};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_rustls::TlsConnector;

use crate::page::{Page, Sample, read};

pub(crate) const SOON: Duration = Duration::from_secs(60);
/// What the profile's Secret holds at first, and then.
pub(crate) const FIRST: &str = "first-token-0123456789abcdef0123";
pub(crate) const SECOND: &str = "second-token-0123456789abcdef012";
pub(crate) const BOOTSTRAP: &str = "bootstrap-token-of-the-fleet";

pub(crate) struct Operator {
    folder: TempDir,
    child: Child,
    address: SocketAddr,
    admin: SocketAddr,
    root: CertificateDer<'static>,
}

impl Operator {
    /// Ready for agents; they come by the token `BOOTSTRAP` and are offered `FIRST`.
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["localhost".into()]).unwrap();
        let certificate = certificate.self_signed(&key).unwrap();
        let free = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let admin = free.local_addr().unwrap();
        drop(free);
        for name in ["manifests", "state"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let manifests = folder.path().join("manifests");
        let pem = certificate.pem();
        write(
            &manifests,
            "serving",
            &secret(
                "serving",
                "",
                &[("tls.crt", &pem), ("tls.key", &key.serialize_pem())],
            ),
        );
        write(
            &manifests,
            "bootstrap",
            &secret("bootstrap", "", &[("token", BOOTSTRAP)]),
        );
        write(&manifests, "token", &offered(FIRST));
        write(
            &manifests,
            "ca",
            &secret("ca", "", &[("ca.crt", &pem)])
                .replace("kind: Secret", "kind: ConfigMap")
                .replace("stringData", "data"),
        );
        write(&manifests, "profile", PROFILE);
        let config = folder.path().join("operator.yaml");
        let text = format!(
            "apiVersion: opamp-operator.dev/v1alpha1\nkind: OperatorConfiguration\nnamespace: default\n\
             listen: 127.0.0.1:0\nadvertisedURL: wss://localhost:4320/v1/opamp\nservingCertificate: {{secretName: serving}}\n\
             admin: {{listen: '{admin}'}}\nauthenticators:\n  - name: bootstrap\n    agentToken: {{secretName: bootstrap}}\n\
             debounceMilliseconds: 100\nrestartHoldSeconds: 0\n"
        );
        fs::write(&config, text).unwrap();
        let (child, address) = spawn(folder.path(), &config).await;
        Self {
            folder,
            child,
            address,
            admin,
            root: certificate.der().clone(),
        }
    }

    pub(crate) fn manifests(&self) -> PathBuf {
        self.folder.path().join("manifests")
    }

    /// The profile's Secret holds something else from now on.
    pub(crate) fn rotate(&self) {
        write(&self.manifests(), "token", &offered(SECOND));
    }

    /// Status, head and body.
    pub(crate) async fn get(&self, path: &str, headers: &str) -> (u16, String, String) {
        let stream = TcpStream::connect(self.admin).await.unwrap();
        // Of a Service, which is no name of this machine.
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: metrics.example.com:8081\r\nConnection: close\r\n{headers}\r\n"
        );
        let (status, head, body) = ask(stream, head.as_bytes()).await;
        (status, head, String::from_utf8(body).unwrap())
    }

    /// What a scraper gets.
    pub(crate) async fn scrape(&self) -> Page {
        let accept = "Accept: application/openmetrics-text; version=1.0.0;q=0.5,*/*;q=0.1\r\n";
        let (status, head, body) = self.get("/metrics", accept).await;
        assert_eq!(status, 200, "{body}");
        assert!(
            head.contains("content-type: application/openmetrics-text; version=1.0.0"),
            "{head}"
        );
        for secret in [FIRST, SECOND, BOOTSTRAP] {
            assert!(!body.contains(secret), "a secret");
        }
        assert!(!body.contains("01010101-"), "an agent: {body}");
        read(&body).unwrap_or_else(|problem| panic!("{problem}"))
    }

    /// Scrapes until something holds.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Page) -> bool) -> Page {
        let end = Instant::now() + SOON;
        loop {
            let page = self.scrape().await;
            if holds(&page) {
                return page;
            }
            assert!(Instant::now() < end, "{what}: {page:#?}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// A connection to the port of agents on which nobody speaks TLS; ended by
    /// the operator.
    pub(crate) async fn knock(&self) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let ended = timeout(SOON, stream.read_to_end(&mut Vec::new())).await;
        // In order, or not.
        let _ = ended.unwrap();
    }

    /// Status and body of one poll.
    pub(crate) async fn poll(&self, headers: &str, message: &AgentToServer) -> (u16, Vec<u8>) {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
            .unwrap();
        let body = message.encode_to_vec();
        let head = format!(
            "POST /v1/opamp HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\
             Content-Type: application/x-protobuf\r\n{headers}\r\n",
            body.len()
        );
        let (status, _, body) = ask(stream, &[head.as_bytes(), &body].concat()).await;
        (status, body)
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn spawn(folder: &Path, config: &Path) -> (Child, SocketAddr) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_opamp-operator"))
        .args(["run", "--log-format", "json", "--config"])
        .arg(config)
        .arg("--manifests")
        .arg(folder.join("manifests"))
        .arg("--state")
        .arg(folder.join("state"))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let errors = BufReader::new(child.stderr.take().unwrap());
    let (told, address) = mpsc::channel();
    std::thread::spawn(move || {
        // To its end: nobody is to wait for room in a pipe.
        for line in errors.lines().map_while(Result::ok) {
            if let Some((_, address)) = line.split_once("listening on ") {
                let address = address.split('"').next().and_then(|it| it.parse().ok());
                let _ = told.send(address);
            }
            eprintln!("{line}");
        }
    });
    let address = tokio::task::spawn_blocking(move || address.recv_timeout(SOON));
    let address: Option<SocketAddr> = address.await.unwrap().unwrap();
    (child, address.unwrap())
}

/// An agent over HTTP, as the specification has it.
pub(crate) struct Agent<'operator> {
    operator: &'operator Operator,
    uid: u8,
    sequence: u64,
    headers: String,
}

impl<'operator> Agent<'operator> {
    pub(crate) fn new(operator: &'operator Operator, uid: u8, token: &str) -> Self {
        Self {
            operator,
            uid,
            sequence: 0,
            headers: format!("Authorization: Bearer {token}\r\n"),
        }
    }

    pub(crate) async fn poll(&mut self) -> (u16, ServerToAgent) {
        let message = AgentToServer {
            instance_uid: vec![self.uid; 16].into(),
            sequence_num: self.sequence,
            capabilities: 0x2101,
            agent_description: (self.sequence == 0).then(AgentDescription::default),
            ..AgentToServer::default()
        };
        self.sequence += 1;
        let (status, body) = self.operator.poll(&self.headers, &message).await;
        let reply = if status == 200 { body } else { Vec::new() };
        (status, ServerToAgent::decode(&*reply).unwrap())
    }

    /// Polls until it is offered settings.
    pub(crate) async fn offered(&mut self) -> OpAmpConnectionSettings {
        let end = Instant::now() + SOON;
        loop {
            let (status, reply) = self.poll().await;
            assert_eq!(status, 200);
            if let Some(settings) = reply.connection_settings.and_then(|offers| offers.opamp) {
                return settings;
            }
            assert!(Instant::now() < end, "no offer");
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Comes back as it was told.
    pub(crate) fn take(&mut self, settings: OpAmpConnectionSettings) {
        self.sequence = 0;
        self.headers.clear();
        for header in settings.headers.unwrap_or_default().headers {
            write!(self.headers, "{}: {}\r\n", header.key, header.value).unwrap();
        }
    }
}

/// The sum of a metric over these labels.
pub(crate) fn sum(page: &Page, name: &str, labels: &[(&str, &str)]) -> u64 {
    let wanted = |sample: &&Sample| {
        let has =
            |(label, value): &(&str, &str)| sample.labels.get(*label).is_some_and(|is| is == value);
        sample.name == name && labels.iter().all(has)
    };
    let all = page.values().flat_map(|family| &family.samples);
    all.filter(wanted)
        .map(|sample| sample.value.parse::<u64>().unwrap())
        .sum()
}

async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    request: &[u8],
) -> (u16, String, Vec<u8>) {
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    timeout(SOON, stream.read_to_end(&mut answer))
        .await
        .unwrap()
        .unwrap();
    let end = answer.windows(4).position(|at| at == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    (
        head[9..12].parse().unwrap(),
        head,
        answer[end + 4..].to_vec(),
    )
}

/// In one step, as the kubelet does it.
fn write(manifests: &Path, name: &str, text: &str) {
    let unfinished = manifests.join(format!(".{name}"));
    fs::write(&unfinished, text).unwrap();
    fs::rename(unfinished, manifests.join(format!("{name}.yaml"))).unwrap();
}

fn offered(token: &str) -> String {
    let label = "\n  labels: {opamp-operator.dev/offerable: \"true\"}";
    secret("token", label, &[("token", token)])
}

fn secret(name: &str, label: &str, data: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (key, value) in data {
        let form = if value.contains('\n') { "|" } else { "|-" };
        writeln!(text, "  {key}: {form}").unwrap();
        for line in value.lines() {
            writeln!(text, "    {line}").unwrap();
        }
    }
    format!("apiVersion: v1\nkind: Secret\nmetadata:\n  name: {name}{label}\nstringData:\n{text}")
}

const PROFILE: &str = "\
apiVersion: opamp-operator.dev/v1alpha1
kind: OpAMPConnectionProfile
metadata: {name: fleet}
spec:
  agentSelector: {}
  opamp:
    headers:
      - {name: Authorization, valueFrom: {prefix: \"Bearer \", secretKeyRef: {name: token, key: token}}}
    clientCertificate: {source: None}
    tls: {caBundleRef: {kind: ConfigMap, name: ca, key: ca.crt}}
";
