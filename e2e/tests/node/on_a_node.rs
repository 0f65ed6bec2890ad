//! The tests. Each is a process in namespaces of its own: see `e2e::node`.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Result, ensure};
use e2e::node::{NodeWorld, PAUSE, alone, is_inside};
use serde_json::json;

use crate::{pages, story};

#[test]
fn a_release_lives_through_renewal_upgrade_rollback_kill_and_uninstall() -> Result<()> {
    alone(
        "on_a_node::a_release_lives_through_renewal_upgrade_rollback_kill_and_uninstall",
        story::tell,
    )
}

#[test]
fn the_pages_for_a_cluster_do_what_they_say() -> Result<()> {
    alone(
        "on_a_node::the_pages_for_a_cluster_do_what_they_say",
        pages::are_walked,
    )
}

#[test]
fn pods_run_and_the_machine_is_as_before() -> Result<()> {
    let before = machine()?;
    alone(
        "on_a_node::pods_run_and_the_machine_is_as_before",
        async || {
            let world = NodeWorld::empty().await?;
            let pod = json!({
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "pause"},
                "spec": {
                    "restartPolicy": "Never",
                    "containers": [{"name": "pause", "image": PAUSE, "imagePullPolicy": "Never"}],
                },
            });
            world.apply("default", &[pod]).await?;
            let wait = [
                "wait",
                "--for=condition=Ready",
                "pod/pause",
                "--timeout=60s",
            ];
            world.kubectl("default", &wait, "").await?;
            world.timeline.add("pod", "runs");
            world.abandon();
            Ok(())
        },
    )?;
    let after = machine()?;
    // Inside all is different, as it should be.
    ensure!(
        is_inside() || before == after,
        "before: {before:#?}\nafter: {after:#?}"
    );
    Ok(())
}

/// What a node could change of the machine: settings, devices, mounts and
/// control groups (not those of tests that run at the same time).
fn machine() -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for setting in [
        "vm/overcommit_memory",
        "kernel/panic",
        "net/ipv4/ip_forward",
    ] {
        let value = std::fs::read_to_string(Path::new("/proc/sys").join(setting))?;
        found.insert(format!("{setting} = {value}"));
    }
    for folder in [
        "/sys/class/net",
        "/sys/fs/cgroup/unified",
        "/sys/fs/cgroup/memory",
    ] {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            found.insert(entry.path().display().to_string());
        }
    }
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    found.extend(mounts.lines().map(str::to_owned));
    let own = format!("opamp-e2e-{}", std::process::id());
    found.retain(|line| !line.contains("/opamp-e2e-") || line.contains(&own));
    Ok(found)
}
