//! Files and pages that hold the keys of issuers, read again now and then. What
//! was read once stays in force however long it cannot be read again.

mod pages;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use http::Uri;
use opamp_operator_core::catalog::KeySource;
use tokio::{
    io::AsyncReadExt as _,
    sync::{mpsc, watch},
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep, timeout},
};

pub use pages::Pages;

use super::Observation;

/// How often a file is read.
const FILE: Duration = Duration::from_secs(5);
/// How often a page is fetched, more or less.
const PAGE: Duration = Duration::from_secs(300);
/// And while it cannot be.
const PAGE_AGAIN: Duration = Duration::from_secs(30);
/// How long a page may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Nobody's keys are larger.
const MAX_BYTES: usize = 1024 * 1024;
/// How often it is said that something cannot be read that once was.
const SAY_AGAIN: Duration = Duration::from_secs(600);

/// Tells what the wanted documents hold until the other side is gone.
pub async fn follow(
    mut wanted: watch::Receiver<BTreeSet<KeySource>>,
    observations: mpsc::Sender<Observation>,
    pages: Pages,
) {
    let mut readers = JoinSet::new();
    let mut followed: BTreeMap<KeySource, AbortHandle> = BTreeMap::new();
    wanted.mark_changed();
    loop {
        tokio::select! {
            changed = wanted.changed() => {
                if changed.is_err() {
                    return;
                }
                let wanted = wanted.borrow_and_update().clone();
                followed.retain(|source, reader| {
                    let keep = wanted.contains(source);
                    if !keep {
                        reader.abort();
                    }
                    keep
                });
                for source in wanted {
                    let read = || read(source.clone(), observations.clone(), pages.clone());
                    followed
                        .entry(source.clone())
                        .or_insert_with(|| readers.spawn(read()));
                }
            }
            Some(ended) = readers.join_next() => {
                if let Err(error) = ended && error.is_panic() {
                    std::panic::resume_unwind(error.into_panic());
                }
            }
        }
    }
}

/// Reads one document for ever.
async fn read(source: KeySource, observations: mpsc::Sender<Observation>, pages: Pages) {
    let mut reading = Reading::default();
    loop {
        let (read, wait) = match &source {
            KeySource::File(path) => (file(path).await, FILE),
            KeySource::Url(url) => {
                let fetched = timeout(PATIENCE, pages.fetch(url)).await;
                let fetched = fetched.unwrap_or_else(|_| Err("no answer in time".into()));
                let wait = if fetched.is_ok() { PAGE } else { PAGE_AGAIN };
                (fetched, about(wait))
            }
            // The backends watch objects.
            KeySource::Object(..) => return,
        };
        let read = read.map_err(|problem| format!("{}: {problem}", name(&source)));
        if let Some(news) = reading.take(read) {
            let told = Observation::Document(source.clone(), news);
            if observations.send(told).await.is_err() {
                return;
            }
        }
        sleep(wait).await;
    }
}

/// What was told of a document.
#[derive(Default)]
struct Reading {
    told: Option<Result<Vec<u8>, String>>,
    /// When it was last said that it cannot be read any more.
    said: Option<Instant>,
}

impl Reading {
    /// What is news.
    fn take(&mut self, read: Result<Vec<u8>, String>) -> Option<Result<Vec<u8>, String>> {
        if let (Some(Ok(_)), Err(problem)) = (&self.told, &read) {
            if self.said.is_none_or(|said| said.elapsed() >= SAY_AGAIN) {
                tracing::warn!(
                    problem,
                    "keys cannot be read again; those read before stay in force"
                );
                self.said = Some(Instant::now());
            }
            return None;
        }
        self.said = None;
        if self.told.as_ref() == Some(&read) {
            return None;
        }
        self.told = Some(read.clone());
        Some(read)
    }
}

async fn file(path: &Path) -> Result<Vec<u8>, String> {
    let read = async {
        let file = tokio::fs::File::open(path).await?;
        let mut bytes = Vec::new();
        let limit = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX);
        file.take(limit + 1).read_to_end(&mut bytes).await?;
        Ok(bytes)
    };
    let bytes = read
        .await
        .map_err(|error: std::io::Error| error.to_string())?;
    if bytes.len() > MAX_BYTES {
        return Err(format!("it is larger than {MAX_BYTES} bytes"));
    }
    Ok(bytes)
}

/// For people: of a URL what cannot be a secret.
fn name(source: &KeySource) -> String {
    match source {
        KeySource::File(path) => path.display().to_string(),
        KeySource::Url(url) => {
            let uri: Option<Uri> = url.parse().ok();
            let host = uri.as_ref().and_then(Uri::host).unwrap_or("the URL");
            format!("keys at {host}")
        }
        KeySource::Object(object, key) => format!("key `{key}` of {object}"),
    }
}

/// A tenth more or less, so that not all ask at once.
fn about(wait: Duration) -> Duration {
    let mut random = [0; 2];
    // Without randomness it is only less polite.
    let _ = getrandom::fill(&mut random);
    let random = u32::from(u16::from_ne_bytes(random));
    wait * 9 / 10 + wait / 5 * random / (1 << u16::BITS)
}

#[cfg(test)]
mod tests {
    use super::{pages::tests::serve, *};

    struct Follower {
        wanted: watch::Sender<BTreeSet<KeySource>>,
        observations: mpsc::Receiver<Observation>,
    }

    impl Follower {
        fn new(pages: Pages) -> Self {
            let (wanted, wants) = watch::channel(BTreeSet::new());
            let (observed, observations) = mpsc::channel(8);
            tokio::spawn(follow(wants, observed, pages));
            Self {
                wanted,
                observations,
            }
        }

        async fn told(&mut self) -> Result<String, String> {
            match self.observations.recv().await.unwrap() {
                Observation::Document(_, read) => {
                    read.map(|bytes| String::from_utf8(bytes).unwrap())
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn a_wanted_page_is_told() {
        let (port, pages) = serve().await;
        let mut follower = Follower::new(pages);
        let page = KeySource::Url(format!("https://user:secret@localhost:{port}/keys"));
        let missing = KeySource::Url(format!("https://user:secret@localhost:{port}/nothing"));
        follower.wanted.send_replace([page].into());
        assert_eq!(follower.told().await.unwrap(), "the keys");
        follower.wanted.send_replace([missing].into());
        let error = follower.told().await.unwrap_err();
        assert!(
            error.contains("localhost") && !error.contains("secret"),
            "{error}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn law9_a_file_that_goes_away_takes_nothing_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jwks.json");
        let mut follower = Follower::new(Pages::trusting_the_system());
        follower
            .wanted
            .send_replace([KeySource::File(path.clone())].into());
        let error = follower.told().await.unwrap_err();
        assert!(error.contains("jwks.json"), "{error}");
        std::fs::write(&path, "one").unwrap();
        let start = Instant::now();
        assert_eq!(follower.told().await.unwrap(), "one");
        assert!(start.elapsed() <= FILE, "{:?}", start.elapsed());
        std::fs::remove_file(&path).unwrap();
        tokio::time::sleep(FILE * 3).await;
        std::fs::write(&path, vec![b'x'; MAX_BYTES + 1]).unwrap();
        tokio::time::sleep(FILE * 3).await;
        assert!(follower.observations.try_recv().is_err(), "it was told");
        // As a mounted ConfigMap changes: by what a link leads to.
        std::fs::write(folder.path().join("next"), "two").unwrap();
        std::fs::rename(folder.path().join("next"), &path).unwrap();
        assert_eq!(follower.told().await.unwrap(), "two");
        follower.wanted.send_replace(BTreeSet::new());
        tokio::time::sleep(FILE).await;
        std::fs::write(&path, "three").unwrap();
        tokio::time::sleep(FILE * 3).await;
        assert!(follower.observations.try_recv().is_err(), "nobody wants it");
    }
}
