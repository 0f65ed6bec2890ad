//! The documentation: its links lead somewhere, its YAML is what it says it is,
//! and the pages for a laptop do what they say.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::cluster::repository;
use e2e::operator::{binary, command};
use e2e::pages::{self, Block, Page, script};
use e2e::parts::{Parts, Set};
use e2e::process::{LogMark, Process, read_from, tail};
use serde_json::Value;

/// What is said of a block of YAML that no server can judge by itself.
const PARTS: &str = "part";

/// Where all that is no whole object is a part of the configuration.
const CONFIGURATION: &str = "docs/configuration.md:";

/// The pages that a person follows with nothing but a laptop, in this order.
const LAPTOP: [&str; 4] = [
    "docs/quick-start-laptop.md",
    "docs/how-to/rotate-a-certificate.md",
    "docs/how-to/rotate-a-ca.md",
    "docs/how-to/move-an-endpoint.md",
];

/// They wait for six offers, of which no two come within 15 seconds.
const WALK: Duration = Duration::from_mins(8);

/// `a/b/../c` is `a/c`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path {
        if part == ".." {
            plain.pop();
        } else if part != "." {
            plain.push(part);
        }
    }
    plain
}

#[test]
fn every_link_leads_to_a_page_and_to_a_heading_of_it() -> Result<()> {
    let pages = pages::all()?;
    let anchors: BTreeMap<&Path, BTreeSet<String>> = pages
        .iter()
        .map(|page| (page.path.as_path(), page.anchors()))
        .collect();
    let (mut wrong, mut followed) = (Vec::new(), 0);
    for page in &pages {
        let folder = page.path.parent().context("a page is in a folder")?;
        for link in page.links() {
            if link.contains("://") {
                continue;
            }
            followed += 1;
            let (path, anchor) = link
                .split_once('#')
                .map_or((&*link, None), |(path, anchor)| (path, Some(anchor)));
            let target = match path {
                "" => page.path.clone(),
                path => plain(&folder.join(path)),
            };
            let known = anchors.get(target.as_path());
            let leads = match anchor {
                None => repository().join(&target).exists(),
                Some(anchor) => known.is_some_and(|anchors| anchors.contains(anchor)),
            };
            if !leads {
                wrong.push(format!("{}: {link}", page.path.display()));
            }
        }
    }
    ensure!(wrong.is_empty(), "lead nowhere:\n{}", wrong.join("\n"));
    ensure!(followed > 100, "only {followed} links");
    Ok(())
}

#[test]
fn every_page_is_in_the_index_and_the_index_in_the_readme() -> Result<()> {
    let index = Page::read("docs/README.md".into())?;
    let linked: BTreeSet<PathBuf> = index
        .links()
        .iter()
        .map(|link| plain(&Path::new("docs").join(link)))
        .collect();
    for page in pages::all()? {
        let below = page.path.starts_with("docs") && page.path != index.path;
        ensure!(
            !below || linked.contains(&page.path),
            "docs/README.md does not link {}",
            page.path.display()
        );
    }
    let readme = Page::read("README.md".into())?;
    ensure!(
        readme.links().contains(&"docs/README.md".to_owned()),
        "README.md"
    );
    Ok(())
}

/// All documents of a block are whole objects.
fn is_whole(block: &Block) -> bool {
    let documents = block.text.split("\n---\n");
    let whole = |text: &str| {
        let object: Option<Value> = serde_saphyr::from_str(text).ok();
        object.is_some_and(|object| !object["apiVersion"].is_null() && !object["kind"].is_null())
    };
    documents.into_iter().all(whole)
}

/// What is whole goes to the judge of the CRD here, and to the real API server
/// in the control-plane tier; values of the chart go there too.
#[test]
fn every_block_of_yaml_is_judged() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("block.yaml");
    let path = file.to_str().context("a path in UTF-8")?;
    let base = fs::read_to_string(repository().join("examples/operator.yaml"))?;
    let (mut configurations, mut objects) = (0, 0);
    for block in pages::all()?.iter().flat_map(Page::blocks) {
        if block.language() != "yaml" || block.is("values") {
            continue;
        }
        let place = &block.place;
        let of_configuration = place.starts_with(CONFIGURATION) && !is_whole(&block);
        if block.is("configuration") || of_configuration {
            let mut whole: Value = serde_saphyr::from_str(&base)?;
            let part: Value = serde_saphyr::from_str(&block.text).context(place.clone())?;
            for (name, value) in part.as_object().context(place.clone())? {
                whole[name] = value.clone();
            }
            fs::write(&file, serde_saphyr::to_string(&whole)?)?;
            command(&["config", "check", path]).context(place.clone())?;
            configurations += 1;
        } else if is_whole(&block) {
            fs::write(&file, &block.text)?;
            command(&["validate", path]).context(place.clone())?;
            objects += 1;
        } else {
            ensure!(
                block.value(PARTS).is_some(),
                "{place}: say of what this is a part: `yaml configuration`, `yaml values` or `yaml part=…`"
            );
            let part: Result<Value, _> = serde_saphyr::from_str(&block.text);
            part.context(place.clone())?;
        }
    }
    ensure!(
        configurations > 0 && objects > 0,
        "{configurations}, {objects}"
    );
    // What lies beside is a collector's.
    for example in [
        "",
        "quick-start",
        "laptop/fleet.yaml",
        "laptop/operator.yaml",
    ] {
        let path = repository().join("examples").join(example);
        let path = path.to_str().context("a path in UTF-8")?;
        command(&["validate", path]).context(example)?;
    }
    Ok(())
}

/// In pages that are followed step by step it is said of each command whether
/// tests run it.
#[test]
fn of_every_command_of_a_walk_it_is_said_whether_it_is_run() -> Result<()> {
    for page in pages::all()? {
        let name = page.path.to_string_lossy().into_owned();
        if !name.starts_with("docs/how-to/") && !name.starts_with("docs/quick-start") {
            continue;
        }
        for block in page.blocks() {
            let said = ["laptop", "cluster", "not-run"].map(|word| block.is(word));
            let said = said.iter().filter(|said| **said).count();
            let wanted = usize::from(block.language() == "bash");
            ensure!(said == wanted, "{}: {:?}", block.place, block.info);
        }
    }
    Ok(())
}

/// What a person does who follows the pages, in ports and a folder of our own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pages_for_a_laptop_do_what_they_say() -> Result<()> {
    let parts = Parts::ensure(Set::Directory).await?;
    let folder = tempfile::tempdir()?;
    let free = [
        TcpListener::bind("127.0.0.1:0")?,
        TcpListener::bind("127.0.0.1:0")?,
    ];
    let mut others = Vec::new();
    for (listener, port) in free.iter().zip(["4320", "8081"]) {
        others.push((port, listener.local_addr()?.port().to_string()));
    }
    drop(free);
    let here = |text: String| {
        let moved = others.iter();
        moved.fold(text, |text, (port, other)| text.replace(port, other))
    };
    let examples = folder.path().join("examples/laptop");
    fs::create_dir_all(&examples)?;
    for entry in fs::read_dir(repository().join("examples/laptop"))? {
        let entry = entry?;
        let text = fs::read_to_string(entry.path())?;
        fs::write(examples.join(entry.file_name()), here(text))?;
    }
    let file = folder.path().join("walk.sh");
    fs::write(&file, here(script(&LAPTOP, "laptop")?))?;

    let mut path = std::env::var_os("PATH").unwrap_or_default();
    for program in [
        &*binary()?,
        parts.path("opampsupervisor")?,
        parts.path("otelcol")?,
    ] {
        let program = program.parent().context("a program in a folder")?;
        let folders = [program.to_owned()]
            .into_iter()
            .chain(std::env::split_paths(&path));
        path = std::env::join_paths(folders.collect::<Vec<_>>())?;
    }
    let mut command = Command::new("bash");
    command.arg(&file).current_dir(folder.path());
    command.env("PATH", path).env("LOGS", folder.path());
    let log = folder.path().join("walk.log");
    let mut walk = Process::spawn("walk", command, &log)?;
    let ended = walk.end(WALK).await;
    let said = read_from(&log, LogMark::default());
    let logs = ["operator", "agent"].map(|name| {
        let log = folder.path().join(format!("{name}.log"));
        tail(&read_from(&log, LogMark::default()), 15)
    });
    let ended = ended.with_context(|| format!("{said}\n{logs:#?}"))?;
    ensure!(ended.success(), "{said}\n{logs:#?}");
    for revision in 1..=6 {
        let arrived = format!("revision {revision}: 1 of 1 agents proved that they run it");
        ensure!(said.contains(&arrived), "{said}");
    }
    println!("{said}");
    Ok(())
}
