//! `opamp-operator probe`, as `helm test` runs it, and others who only look.

use std::process::Command;

use opamp_operator::server::Limits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::world::World;

/// Whether it ends well, and what it says.
async fn probe(arguments: Vec<String>) -> (bool, String) {
    let run = move || {
        Command::new(env!("CARGO_BIN_EXE_opamp-operator"))
            .arg("probe")
            .args(arguments)
            .output()
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_sees_what_an_agent_sees() {
    let world = World::start(Limits::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, pem: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, pem).unwrap();
        format!("--ca-file={}", path.display())
    };
    let ca = file("ca.crt", &world.serving);
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
    let stranger = file("other.crt", &params.self_signed(&key).unwrap().pem());
    let empty = file("empty.crt", "");
    let port = world.address.port();
    let url = format!("wss://localhost:{port}/v1/opamp");

    // Nobody can be judged yet: an agent would be sent away.
    let (good, said) = probe(vec![url.clone(), ca.clone()]).await;
    assert!(!good && said.contains("503"), "{said}");
    world.trust();
    let (good, said) = probe(vec![url.clone(), ca.clone()]).await;
    assert!(good && said.contains("serves OpAMP"), "{said}");

    // An agent may call it by a name that leads elsewhere from here.
    let address = format!("https://127.0.0.1:{port}/v1/opamp");
    for (name, is_its) in [("localhost", true), ("elsewhere.example", false)] {
        let named = format!("--server-name={name}");
        let (good, said) = probe(vec![address.clone(), ca.clone(), named]).await;
        assert_eq!(good, is_its, "{said}");
    }

    // It waits for who is not ready, and no longer than it is told to.
    let world = World::start(Limits::default()).await;
    let soon = format!("wss://localhost:{}/v1/opamp", world.address.port());
    let trusted = file("soon.crt", &world.serving);
    let arguments = [soon.clone(), trusted.clone(), "--wait=60".into()];
    let waiting = tokio::spawn(probe(arguments.into()));
    let (good, said) = probe(vec![soon, trusted]).await;
    assert!(!good && said.contains("503"), "{said}");
    assert!(!waiting.is_finished(), "it gave up");
    world.trust();
    let (good, said) = waiting.await.unwrap();
    assert!(good, "{said}");

    let elsewhere = format!("wss://localhost:{port}/other");
    let by_address = format!("https://127.0.0.1:{port}/v1/opamp");
    let plain = url.replace("wss", "ws");
    for (url, ca, words) in [
        (&url, &stranger, "certificate"),
        (&by_address, &ca, "certificate"),
        (&url, &empty, "holds no certificate"),
        (&elsewhere, &ca, "404"),
        (&plain, &ca, "must be wss://"),
    ] {
        // What no time mends is said at once.
        let (good, said) = probe(vec![url.clone(), ca.clone(), "--wait=600".into()]).await;
        assert!(!good && said.contains(words), "{url} {ca}: {said}");
    }
}

/// What people look at in the clear on another port is not served here.
#[tokio::test]
async fn law7_no_page_of_the_admin_port_is_here() {
    let world = World::trusting(Limits::default()).await;
    for path in [
        "/",
        "/ui/",
        "/ui/style.css",
        "/ui/agents",
        "/agents",
        "/profiles",
        "/livez",
    ] {
        let mut stream = world.tls().await;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let status = answer.split(' ').nth(1).unwrap();
        assert!(matches!(status, "404" | "405"), "{path}: {answer}");
        assert!(!answer.contains("<html"), "{path}: {answer}");
    }
}
