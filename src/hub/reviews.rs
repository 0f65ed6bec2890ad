//! What the Kubernetes API said of bearer tokens: asked once for all who show
//! the same token, kept for a minute at most, taken back when a Pod goes.

use std::{collections::HashMap, sync::Arc, time::Duration};

use opamp_operator_core::identity::{Bearer, Fingerprint, Vouched, Voucher};
use parking_lot::Mutex;
use secrecy::SecretString;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep, timeout},
};

use crate::backend::{Judged, Question, Standing};

/// How long an answer counts.
const KEPT: Duration = Duration::from_secs(60);
/// How long a refusal counts: somebody may be about to be let in.
const REFUSAL_KEPT: Duration = Duration::from_secs(10);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// When a question nobody could answer is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(60);
/// Answers that are kept.
const MAX_ANSWERS: usize = 65_536;

/// Becomes true when somebody whom the API vouched for is gone.
pub type Gone = watch::Receiver<bool>;

/// Who asks for which audience about which token.
type Token = (String, Fingerprint);
/// `metadata.uid` of the ServiceAccount and of the Pod.
type Subject = (String, Option<String>);

/// See the module.
#[derive(Debug)]
pub struct Reviews {
    questions: mpsc::Sender<Question>,
    /// How often those whom the API vouches for are asked about again.
    every: Duration,
    answers: Mutex<HashMap<Token, Arc<tokio::sync::Mutex<Option<Answer>>>>>,
    subjects: Arc<Mutex<HashMap<Subject, watch::Sender<bool>>>>,
}

#[derive(Clone, Debug)]
struct Answer {
    bearer: Bearer,
    subject: Option<Subject>,
    until: Instant,
}

impl Reviews {
    /// Asks by `questions`, and again `every` so often about those who are here.
    #[must_use]
    pub fn new(questions: mpsc::Sender<Question>, every: Duration) -> Self {
        Self {
            questions,
            every,
            answers: Mutex::default(),
            subjects: Arc::default(),
        }
    }

    /// Whom a token proves; for a bounded time nobody can be said to.
    pub async fn ask(
        &self,
        authenticator: &str,
        audience: &str,
        token: &str,
        fingerprint: Fingerprint,
    ) -> (Bearer, Option<Gone>) {
        let Some(slot) = self.slot((authenticator.to_owned(), fingerprint)) else {
            tracing::warn!("too many bearer tokens are shown at once: some are not judged");
            return (Bearer::NotYet, None);
        };
        // Whoever comes second waits for the answer to the first.
        let asked = timeout(PATIENCE, async {
            let mut slot = slot.lock().await;
            if let Some(counts) = slot.as_ref().and_then(|answer| self.counts(answer)) {
                return counts;
            }
            *slot = self.question(authenticator, audience, token).await;
            let counts = slot.as_ref().and_then(|answer| self.counts(answer));
            counts.unwrap_or((Bearer::NotYet, None))
        });
        asked.await.unwrap_or((Bearer::NotYet, None))
    }

    /// An answer, while it counts, and what will end it.
    fn counts(&self, answer: &Answer) -> Option<(Bearer, Option<Gone>)> {
        if answer.until <= Instant::now() {
            return None;
        }
        let gone = match &answer.subject {
            None => None,
            Some(subject) => Some(self.subjects.lock().get(subject)?.subscribe()),
        };
        let over = gone.as_ref().is_some_and(|gone| *gone.borrow());
        (!over).then(|| (answer.bearer.clone(), gone))
    }

    fn slot(&self, token: Token) -> Option<Arc<tokio::sync::Mutex<Option<Answer>>>> {
        let mut answers = self.answers.lock();
        if answers.len() >= MAX_ANSWERS && !answers.contains_key(&token) {
            // Whoever is being asked about holds its slot.
            answers.retain(|_, slot| match slot.try_lock() {
                Ok(answer) => answer.as_ref().is_some_and(|a| self.counts(a).is_some()),
                Err(_) => true,
            });
            if answers.len() >= MAX_ANSWERS {
                return None;
            }
        }
        Some(Arc::clone(answers.entry(token).or_default()))
    }

    async fn question(&self, authenticator: &str, audience: &str, token: &str) -> Option<Answer> {
        let (answer, answered) = oneshot::channel();
        let question = Question::Token {
            audience: audience.to_owned(),
            token: SecretString::from(token),
            answer,
        };
        if self.questions.try_send(question).is_err() {
            return None;
        }
        match answered.await {
            Ok(Judged::Vouched(account)) => {
                let vouched = Arc::new(account.vouched(authenticator));
                let left = vouched.expires.map_or(KEPT, left);
                Some(Answer {
                    subject: self.follow(&vouched),
                    bearer: Bearer::Vouched(vouched),
                    until: Instant::now() + KEPT.min(left),
                })
            }
            Ok(Judged::Denied(why)) => {
                tracing::info!(authenticator, why, "a ServiceAccount token proves nobody");
                Some(Answer {
                    bearer: Bearer::Nobody,
                    subject: None,
                    until: Instant::now() + REFUSAL_KEPT,
                })
            }
            Ok(Judged::Unknown(why)) => {
                tracing::warn!(
                    authenticator,
                    why,
                    "a ServiceAccount token cannot be judged"
                );
                None
            }
            Err(_) => None,
        }
    }

    /// As long as anybody is here whom the API vouched for, it is asked again
    /// now and then: a token's end, or the end of a Pod that is not watched, is
    /// not seen otherwise.
    fn follow(&self, vouched: &Arc<Vouched>) -> Option<Subject> {
        let Voucher::Kubernetes { uid, pod } = &vouched.by else {
            return None;
        };
        let subject = (uid.clone(), pod.as_ref().map(|pod| pod.uid.clone()));
        let mut subjects = self.subjects.lock();
        // The API vouches for it anew: a Pod that seemed gone is not.
        let gone = |known: &watch::Sender<bool>| *known.borrow();
        if subjects.get(&subject).is_some_and(|known| !gone(known)) {
            return Some(subject);
        }
        let followed = subjects
            .insert(subject.clone(), watch::Sender::new(false))
            .is_some();
        drop(subjects);
        if followed {
            return Some(subject);
        }
        let first = spread(self.every);
        let first = vouched.expires.map_or(first, |end| first.min(left(end)));
        tokio::spawn(review(
            self.questions.clone(),
            Arc::clone(&self.subjects),
            subject.clone(),
            Arc::clone(vouched),
            first,
            self.every,
        ));
        Some(subject)
    }

    /// A Pod was deleted: what was said of its tokens counts no more.
    pub fn pod_gone(&self, uid: &str) {
        for ((_, pod), gone) in self.subjects.lock().iter() {
            if pod.as_deref() == Some(uid) {
                gone.send_replace(true);
            }
        }
    }
}

/// What is left until a moment.
fn left(end: jiff::Timestamp) -> Duration {
    Duration::try_from(end.duration_since(jiff::Timestamp::now())).unwrap_or_default()
}

/// Up to a tenth less: who came at once is not asked about at once.
fn spread(wait: Duration) -> Duration {
    let mut random = [0; 2];
    // Without randomness it is only less polite.
    let _ = getrandom::fill(&mut random);
    let random = u32::from(u16::from_ne_bytes(random));
    wait / 10 * 9 + wait / (10 << u16::BITS) * random
}

/// Asks again now and then, as long as anybody wants to know.
async fn review(
    questions: mpsc::Sender<Question>,
    subjects: Arc<Mutex<HashMap<Subject, watch::Sender<bool>>>>,
    subject: Subject,
    vouched: Arc<Vouched>,
    first: Duration,
    every: Duration,
) {
    let mut wait = first;
    loop {
        sleep(wait.max(Duration::from_secs(1))).await;
        {
            let mut subjects = subjects.lock();
            let wanted =
                |known: &watch::Sender<bool>| known.receiver_count() > 0 && !*known.borrow();
            if !subjects.get(&subject).is_some_and(wanted) {
                subjects.remove(&subject);
                return;
            }
        }
        let (answer, answered) = oneshot::channel();
        let question = Question::Standing {
            vouched: Arc::clone(&vouched),
            answer,
        };
        let asked = questions.try_send(question).is_ok();
        let answer = timeout(PATIENCE, answered).await;
        wait = match answer {
            Ok(Ok(Standing::Stands)) => spread(every),
            Ok(Ok(Standing::Gone(why))) => {
                tracing::info!(identity = %vouched.identity, why, "what the Kubernetes API vouched for is gone");
                if let Some(gone) = subjects.lock().remove(&subject) {
                    gone.send_replace(true);
                }
                return;
            }
            Ok(Ok(Standing::Unknown(why))) if asked => {
                tracing::warn!(identity = %vouched.identity, why, "an identity cannot be reviewed; it stays as it is");
                spread(ASK_AGAIN)
            }
            _ => spread(ASK_AGAIN),
        };
    }
}
