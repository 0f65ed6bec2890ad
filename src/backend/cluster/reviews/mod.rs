//! What only the Kubernetes API can say of bearer tokens and of those whom it
//! vouched for. Whatever keeps it from answering is 'unknown', never a no.

mod user;

use std::{fmt::Debug, sync::Arc, time::Duration};

use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        authentication::v1::{TokenReview, TokenReviewSpec},
        authorization::v1::SubjectAccessReview,
        core::v1::{Pod, ServiceAccount as AccountObject},
    },
};
use kube::{
    Api, Client, Resource,
    api::{PartialObjectMeta, PostParams},
};
use opamp_operator_core::identity::{Bound, ServiceAccount, Vouched, Voucher, claimed_expiry};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::timeout,
};

use super::{
    WRITE_TIMEOUT, fault,
    fault::within,
    remedy::{self, Remedy},
    subjects::Seen,
};
use user::{User, allowed, holder, safe, short};

use crate::backend::{Homes, Judged, Question, Standing};

/// Questions that are asked at once: more must wait, or one flood of
/// connections would take the API from everybody else.
const AT_ONCE: usize = 32;
/// How long the watch of ServiceAccounts may lag behind the API's word.
const LAG: Duration = Duration::from_secs(5);

/// Asks the API what others want to know.
pub(super) struct Reviewer {
    client: Client,
    remedy: Remedy,
    homes: watch::Receiver<Homes>,
    /// The ServiceAccounts that the watches have told.
    seen: watch::Receiver<Seen>,
}

impl Reviewer {
    pub(super) fn new(
        client: Client,
        remedy: Remedy,
        homes: watch::Receiver<Homes>,
        seen: watch::Receiver<Seen>,
    ) -> Self {
        Self {
            client,
            remedy,
            homes,
            seen,
        }
    }

    /// Answers until nobody asks any more.
    pub(super) async fn run(self, mut questions: mpsc::Receiver<Question>) {
        let reviewer = Arc::new(self);
        let mut asked = JoinSet::new();
        loop {
            tokio::select! {
                question = questions.recv(), if asked.len() < AT_ONCE => match question {
                    Some(question) => {
                        asked.spawn(Arc::clone(&reviewer).answer(question));
                    }
                    None => break,
                },
                Some(_) = asked.join_next() => {}
            }
        }
        while asked.join_next().await.is_some() {}
    }

    /// Whoever asked may have lost patience: then nothing is asked in vain.
    async fn answer(self: Arc<Self>, question: Question) {
        match question {
            Question::Token {
                audience,
                token,
                mut answer,
            } => {
                let judged = tokio::select! {
                    () = answer.closed() => return,
                    judged = self.token(&audience, &token) => judged,
                };
                let _ = answer.send(judged);
            }
            Question::Standing {
                vouched,
                mut answer,
            } => {
                let standing = tokio::select! {
                    () = answer.closed() => return,
                    standing = self.standing(&vouched) => standing,
                };
                let _ = answer.send(standing);
            }
        }
    }

    async fn token(&self, audience: &str, token: &SecretString) -> Judged {
        match self.review(audience, token.expose_secret()).await {
            Ok(Ok(account)) => Judged::Vouched(Box::new(account)),
            Ok(Err(why)) => Judged::Denied(why),
            Err(why) => Judged::Unknown(why),
        }
    }

    /// Whose token it is, or why it admits nobody; or why that is not known.
    async fn review(
        &self,
        audience: &str,
        token: &str,
    ) -> Result<Result<ServiceAccount, String>, String> {
        let review = TokenReview {
            spec: TokenReviewSpec {
                audiences: Some(vec![audience.to_owned()]),
                token: Some(token.to_owned()),
            },
            ..TokenReview::default()
        };
        let api: Api<TokenReview> = Api::all(self.client.clone());
        let reviewed = within(api.create(&PostParams::default(), &review)).await;
        let reviewed = reviewed.map_err(|fault| self.refused(fault, token))?;
        let status = reviewed.status.ok_or("the API reviewed nothing")?;
        let user = match holder(status, audience) {
            Ok(user) => user,
            Err(why) => return Ok(Err(safe(&why, token))),
        };
        let User {
            namespace, name, ..
        } = &user;
        if !self.homes.borrow().namespaces.contains(namespace) {
            return Ok(Err(format!(
                "ServiceAccount {namespace}/{name} is at home in no home namespace: see `homeNamespaces`"
            )));
        }
        let pod = user.pod();
        // The API server may go by what it knew some seconds ago.
        if let Some(pod) = &pod
            && !self.exists::<Pod>(namespace, &pod.name, &pod.uid).await?
        {
            return Ok(Err(format!("Pod {namespace}/{} is gone", pod.name)));
        }
        if !self.may_connect(&user).await? {
            return Ok(Err(format!(
                "ServiceAccount {namespace}/{name} may not connect: {}",
                remedy::connect(namespace, name)
            )));
        }
        if !user.is_seen(&self.seen.borrow()) {
            if !self
                .exists::<AccountObject>(namespace, name, &user.uid)
                .await?
            {
                return Ok(Err(format!("ServiceAccount {namespace}/{name} is gone")));
            }
            self.until_seen(&user).await?;
        }
        Ok(Ok(ServiceAccount {
            pod,
            node: user.node(),
            expires: claimed_expiry(token.as_bytes()),
            namespace: user.namespace,
            name: user.name,
            uid: user.uid,
        }))
    }

    async fn standing(&self, vouched: &Vouched) -> Standing {
        let Voucher::Kubernetes { uid, pod } = &vouched.by else {
            return Standing::Unknown("it is not the Kubernetes API that vouches for it".into());
        };
        match self.stands(vouched, uid, pod.as_ref()).await {
            Ok(None) => Standing::Stands,
            Ok(Some(gone)) => Standing::Gone(gone),
            Err(why) => Standing::Unknown(why),
        }
    }

    /// What is gone of what somebody's word rests on.
    async fn stands(
        &self,
        vouched: &Vouched,
        uid: &str,
        pod: Option<&Bound>,
    ) -> Result<Option<String>, String> {
        let (namespace, name) = (&vouched.identity.namespace, &vouched.identity.subject);
        if !self.exists::<AccountObject>(namespace, name, uid).await? {
            return Ok(Some(format!(
                "the ServiceAccount with UID {uid} does not exist"
            )));
        }
        if let Some(pod) = pod
            && !self.exists::<Pod>(namespace, &pod.name, &pod.uid).await?
        {
            return Ok(Some(format!(
                "Pod {} with its UID does not exist",
                pod.name
            )));
        }
        let user = User::again(vouched, uid, pod);
        let gone = "it may not connect any more".to_owned();
        Ok((!self.may_connect(&user).await?).then_some(gone))
    }

    /// Is there an object of this name with this UID?
    async fn exists<K>(&self, namespace: &str, name: &str, uid: &str) -> Result<bool, String>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug,
    {
        let api: Api<PartialObjectMeta<K>> = Api::namespaced(self.client.clone(), namespace);
        match timeout(WRITE_TIMEOUT, api.get(name)).await {
            Ok(Ok(object)) => Ok(object.metadata.uid.as_deref() == Some(uid)),
            // By the API's own word: something before it may say 404 as well.
            Ok(Err(kube::Error::Api(status))) if status.reason == "NotFound" => Ok(false),
            Ok(Err(error)) => match fault::code(&error) {
                Some(403) => Err(format!(
                    "{} {namespace}/{name} may not be read: {}",
                    K::kind(&()),
                    self.remedy.subjects(namespace)
                )),
                _ => Err(short(&fault::words(&error))),
            },
            Err(_) => Err("no answer in time".into()),
        }
    }

    /// The verb `connect` on `opampagents` of its own namespace.
    async fn may_connect(&self, user: &User) -> Result<bool, String> {
        let api: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let reviewed = within(api.create(&PostParams::default(), &user.access())).await;
        let reviewed = reviewed.map_err(|fault| self.refused(fault, ""))?;
        let status = reviewed.status.ok_or("the API reviewed nothing")?;
        allowed(status)
    }

    /// Waits until the watch has told of a ServiceAccount that exists: else one
    /// that is made while the watch is interrupted would pass for one that was
    /// deleted.
    async fn until_seen(&self, user: &User) -> Result<(), String> {
        let mut seen = self.seen.clone();
        let told = seen.wait_for(|seen| user.is_seen(seen));
        match timeout(LAG, told).await {
            Ok(_) => Ok(()),
            Err(_) => Err("the watch of ServiceAccounts has not told of this one yet".into()),
        }
    }

    /// A review that is not had, in words.
    fn refused(&self, (code, words): (Option<u16>, String), token: &str) -> String {
        match code {
            Some(403) => format!("reviews are not allowed: {}", self.remedy.reviews()),
            _ => safe(&words, token),
        }
    }
}

#[cfg(test)]
mod tests;
