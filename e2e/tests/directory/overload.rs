//! Overload: what the operator, built as people run it, needs of memory while
//! others do their worst, and that an agent notices nothing of it.

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::world::{Setup, World};
use flate2::{Compression, write::GzEncoder};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, timeout};
use tokio_rustls::TlsConnector;

use crate::steps::{applies_leaf, exchanges};

const FLOOD: usize = 10_000;
/// With fewer connections nothing would be shown.
const LEAST: usize = 1000;
/// What this process needs beside them, and other tests in it.
const OTHER_FILES: usize = 2000;
/// The loopback loses packets of larger bursts, also those of others.
const AT_ONCE: usize = 500;
const DEADLINE: Duration = Duration::from_mins(5);
const MIB: usize = 1024 * 1024;
/// What the operator may need more than before, whatever happens.
const BOUND: usize = 160 * MIB;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn law10_half_open_connections_and_bombs_cost_little_memory() -> Result<()> {
    let setup = Setup {
        log: "info",
        ..Setup::default()
    };
    let (mut world, leaf) = World::with_mutual_tls("overload", setup).await?;
    let uid = world.supervisor("a1").await?;
    applies_leaf(&world, &uid, &leaf).await?;
    let operator = Operator::of(&mut world)?;
    let before = operator.peak()?;

    let count = connections(FLOOD)?;
    let what = format!("{count} connections that say nothing");
    flood(&world, &uid, &operator, (&what, before), count, Vec::new()).await?;
    let hello = operator.client_hello()?;
    let what = format!("{count} connections that begin TLS and stop");
    flood(&world, &uid, &operator, (&what, before), count, hello).await?;

    let bomb = Arc::<[u8]>::from(bomb()?);
    let mut thrown = JoinSet::new();
    for _ in 0..50 {
        thrown.spawn(throw(operator.clone(), Arc::clone(&bomb)));
    }
    let all = async {
        while let Some(status) = thrown.join_next().await {
            ensure!(status?? == 413, "a bomb was taken in");
        }
        exchanges(&world, &uid, 1).await
    };
    timeout(DEADLINE, all)
        .await
        .context("bombs take too long")??;
    operator.tell("50 bodies of 1 MiB that unpack to 1 GiB each", before)?;
    world.finish().await
}

/// Holds connections that say `first` and nothing more, until the operator has
/// ended them; an agent is answered meanwhile.
async fn flood(
    world: &World,
    uid: &str,
    operator: &Operator,
    (what, before): (&str, usize),
    count: usize,
    first: Vec<u8>,
) -> Result<()> {
    let (first, connected) = (Arc::<[u8]>::from(first), Arc::new(AtomicUsize::new(0)));
    let (begun, turn) = (Instant::now(), Arc::new(Semaphore::new(AT_ONCE)));
    let mut flood = JoinSet::new();
    for number in 0..u32::try_from(count)? {
        let (to, turn) = (operator.address, Arc::clone(&turn));
        let (first, connected) = (Arc::clone(&first), Arc::clone(&connected));
        flood.spawn(async move {
            let turn = turn.acquire().await;
            let stream = connect(to, number).await;
            drop(turn);
            connected.fetch_add(1, SeqCst);
            let mut stream = stream?;
            stream.write_all(&first).await?;
            stream.read_to_end(&mut Vec::new()).await
        });
    }
    let ended = async {
        let mut look = interval(Duration::from_millis(100));
        // The operator has a file for each, and few others.
        while connected.load(SeqCst) < count || operator.files()? > 50 {
            look.tick().await;
        }
        Ok(begun.elapsed())
    };
    let answered = exchanges(world, uid, 1);
    let both = async { futures::try_join!(ended, answered) };
    let both = timeout(DEADLINE, both).await;
    let (took, _) = both.context("they are not ended in time")??;
    operator.tell(&format!("{what}, all ended after {took:.1?}"), before)
}

async fn connect(to: SocketAddr, number: u32) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    let from = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 1, 0, 1)) + number);
    socket.bind((from, 0).into())?;
    socket.connect(to).await
}

/// The status that a bomb is answered with.
async fn throw(operator: Operator, bomb: Arc<[u8]>) -> Result<u16> {
    let stream = TcpStream::connect(operator.address).await?;
    let connector = TlsConnector::from(Arc::clone(&operator.tls));
    let mut stream = connector
        .connect(ServerName::try_from("localhost")?, stream)
        .await?;
    let head = format!(
        "POST /v1/opamp HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\
         Content-Type: application/x-protobuf\r\nContent-Encoding: gzip\r\nAuthorization: Bearer {}\r\n\r\n",
        bomb.len(),
        operator.token
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&bomb).await?;
    let mut status = [0; 12];
    stream.read_exact(&mut status).await?;
    Ok(std::str::from_utf8(&status[9..])?.parse()?)
}

/// A gibibyte of zeros, as several gzip members.
fn bomb() -> Result<Vec<u8>> {
    const PART: usize = 16 * MIB;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&vec![0; PART])?;
    let bomb = encoder.finish()?.repeat(1024 * MIB / PART);
    // More would be refused for what it is, not for what it unpacks to.
    ensure!(bomb.len() <= MIB, "{} bytes", bomb.len());
    Ok(bomb)
}

/// The operator's process, from outside.
#[derive(Clone)]
struct Operator {
    process: PathBuf,
    address: SocketAddr,
    token: String,
    tls: Arc<ClientConfig>,
}

impl Operator {
    fn of(world: &mut World) -> Result<Self> {
        let folder = world.folder().to_string_lossy().into_owned();
        let token = world.bootstrap_token().to_owned();
        let ca = CertificateDer::from_pem_slice(world.pki.server_ca.pem().as_bytes())?;
        let mut roots = RootCertStore::empty();
        roots.add(ca)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            process: process_of(&folder).context("no process of the operator")?,
            address: world.operator_mut()?.address(),
            token,
            tls: Arc::new(tls),
        })
    }

    /// What a client says first.
    fn client_hello(&self) -> Result<Vec<u8>> {
        let name = ServerName::try_from("localhost")?;
        let mut client = ClientConnection::new(Arc::clone(&self.tls), name)?;
        let mut hello = Vec::new();
        client.write_tls(&mut hello)?;
        Ok(hello)
    }

    /// The most memory that it ever had, in bytes.
    fn peak(&self) -> Result<usize> {
        let status = fs::read_to_string(self.process.join("status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().next());
        Ok(kib.context("no VmHWM")?.parse::<usize>()? * 1024)
    }

    /// How many files it has open.
    fn files(&self) -> Result<usize> {
        Ok(fs::read_dir(self.process.join("fd"))?.count())
    }

    fn tell(&self, what: &str, before: usize) -> Result<()> {
        let more = self.peak()?.saturating_sub(before);
        say(&format!(
            "{what}: at most {:.1} MiB more than the {:.1} MiB of before",
            mib(more),
            mib(before)
        ))?;
        ensure!(more < BOUND, "the operator grew by {more} bytes");
        Ok(())
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "people read it, and one digit of it"
)]
fn mib(bytes: usize) -> f64 {
    bytes as f64 / MIB as f64
}

/// The process that was started with something in `folder`.
fn process_of(folder: &str) -> Option<PathBuf> {
    let processes = fs::read_dir("/proc").ok()?;
    let mut processes = processes.filter_map(|entry| Some(entry.ok()?.path()));
    processes.find(|process| {
        let line = fs::read(process.join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        line.contains("--manifests") && line.contains(folder)
    })
}

/// As many connections as wanted, or as this machine lets us have.
fn connections(wanted: usize) -> Result<usize> {
    let now = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: now.maximum,
        maximum: now.maximum,
    };
    setrlimit(Resource::Nofile, raised)?;
    let Some(files) = now.maximum else {
        return Ok(wanted);
    };
    let possible = usize::try_from(files)?.saturating_sub(OTHER_FILES);
    if possible < wanted {
        say(&format!(
            "NOT the whole test: {files} open files are allowed (ulimit -Hn), \
             enough for {possible} connections instead of {wanted}"
        ))?;
    }
    ensure!(
        possible >= LEAST,
        "raise the limit of open files (ulimit -Hn)"
    );
    Ok(wanted.min(possible))
}

/// For whoever runs the test: seen also when it passes.
fn say(text: &str) -> Result<()> {
    let mut out = std::io::stderr();
    Ok(writeln!(out, "overload: {text}")?)
}
